//! S12: whatever goes wrong, no byte of a resource, an id, an address or a credential is in a log or an error.

use std::io::Write;
use std::sync::{Arc, Mutex};

use connectors_fhir::{FhirConfig, FhirSource, LoginConfig};
use connectors_source::Rejection;
use tracing_subscriber::fmt::MakeWriter;

use crate::markers::{Memory, lock};
use crate::polling::{config, next};
use crate::server::{Hospital, answer_with};

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;
    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn no_fault_repeats_what_came_or_what_is_secret() {
    // what logs is known before the log begins: a place in the code that another test's thread comes to first, in the very moment in
    // which a subscriber is made, stays silent for good
    let early = Hospital::start().await;
    answer_with(&early, "{");
    let source = FhirSource::start(config(&early), Arc::<Memory>::default()).expect("its files");
    early.more_requests(2).await;
    drop(source);
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::TRACE);
    let _logging = tracing::subscriber::set_default(subscriber.with_writer(log.clone()).finish());
    let folder = tempfile::tempdir().expect("a folder");
    let (token, key) = (folder.path().join("token"), folder.path().join("key"));
    std::fs::write(&token, "CANARY-token").expect("written");
    std::fs::write(&key, rcgen::KeyPair::generate().expect("a key").serialize_pem()).expect("written");
    let hospital = Hospital::start().await;
    hospital.put("Patient", "CANARY-id", r#""name":"CANARY""#);
    let mut good = config(&hospital);
    good.server.base.push_str("/CANARY/..");
    good.server.token_file = Some(token);
    let mut source = FhirSource::start(good.clone(), Arc::<Memory>::default()).expect("its files");
    next(&mut source).await.reject(Rejection::TooLarge).await.expect("put aside");
    let broken =
        ["CANARY", r#"{"resourceType":"CANARY"}"#, r#"{"resourceType":"Bundle","entry":[{"search":"CANARY"}]}"#];
    for body in
        broken.into_iter().chain([r#"{"resourceType":"Bundle","link":[{"relation":"next","url":"http://CANARY/"}]}"#])
    {
        answer_with(&hospital, body);
        hospital.more_requests(2).await;
        // one that succeeds: the delay begins anew
        lock(&hospital.shared.manners).body = None;
        hospital.more_requests(2).await;
    }
    lock(&hospital.shared.manners).redirect = Some("http://CANARY.example/".into());
    hospital.more_requests(2).await;
    hospital.cut();
    let login = LoginConfig {
        client_id: "CANARY".into(),
        key_file: key,
        key_id: "CANARY".into(),
        token_url: Some(format!("{}/token", hospital.base())),
        scopes: vec!["CANARY".into()],
    };
    good.server.token_file = None;
    good.server.login = Some(login);
    let refused = FhirSource::start(FhirConfig { name: "other".into(), ..good }, Arc::<Memory>::default());
    hospital.more_requests(4).await;
    drop((source, refused));
    let text = String::from_utf8_lossy(&lock(&log.0)).into_owned();
    let ours: Vec<&str> = text.lines().filter(|line| line.contains("connectors_fhir")).collect();
    for expected in ["another resource", "a link to the next page", "a redirect", "while asking for a token"] {
        assert!(ours.iter().any(|line| line.contains(expected)), "{expected}: {ours:?}");
    }
    assert!(ours.iter().all(|line| !line.contains("CANARY")), "{ours:?}");
}
