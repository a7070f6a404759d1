//! Canaries: strings of a record and of a request must be in no file of the database, no metric, no log line. The log is
//! captured at its most talkative.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::world::{World, permit};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

#[tokio::test]
async fn no_sink_holds_a_record_a_request_or_a_token() {
    let captured = Captured::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(captured.clone()).finish();
    // For the whole process: blocking threads and the tests beside this one are captured too, and no call site stays switched
    // off because another thread passed it first.
    tracing::subscriber::set_global_default(subscriber).expect("the only subscriber of this process");
    let world = World::new().await;
    let patient = world.patient("CanaryMRN").await;
    let lab = world.observation(&patient, "canarycode", "laboratory", "2026-01-01").await;
    world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
    let clinic = world.token("clinic", "system/*.rs").await;
    let (_, body) = world.get(&clinic, &format!("Observation/{lab}")).await;
    assert!(body.to_string().contains("Canarytext"), "it is disclosed to whom it may be");
    world.get(&clinic, "Patient?identifier=urn:mrn|CanaryMRN").await;
    world.get(&clinic, "Observation?canaryparameter=canaryvalue").await;
    world.get(&clinic, &format!("Observation?patient={}&code=canarycode", patient.id)).await;
    world.recorder().look().await.expect("anchored");
    let metrics = world.metrics.to_text();
    let folder = world.folder.path().to_owned();
    world.store.close().await;
    let mut sinks = vec![
        ("metrics".to_owned(), metrics.into_bytes()),
        ("log".to_owned(), captured.0.lock().expect("lock").clone()),
    ];
    for entry in std::fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            sinks.push((path.display().to_string(), std::fs::read(&path).expect("a file")));
        }
    }
    assert!(sinks.iter().any(|(name, bytes)| name.ends_with("gateway.db") && bytes.len() > 10_000));
    assert!(contains(&sinks[0].1, "disclosed"), "the metrics are those of this world");
    assert!(sinks[1].1.len() > 1_000, "the log was captured");
    for (name, bytes) in &sinks {
        for needle in ["Canary", &clinic] {
            assert!(!contains(bytes, needle), "{name} holds a canary");
        }
    }
}
