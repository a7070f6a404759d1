//! Every MUST of the sources. The suite's messages are Binary resources here: what comes out of one is what was put in.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use connectors_fhir::{FhirConfig, FhirSource};
use connectors_source::conformance::{self, Message, Rig, RigFuture, Timing};
use connectors_source::{NextDelivery, Source, SourceHealth};
use serde_json::Value;
use tokio::sync::watch;

use crate::markers::{Memory, lock};
use crate::polling::config;
use crate::server::Hospital;

struct Peer {
    hospital: Hospital,
    markers: Arc<Memory>,
    published: usize,
    history: bool,
}

/// Gives out of each Binary what the suite put into it.
struct Opened(FhirSource);

impl Source for Opened {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn next(&mut self) -> NextDelivery<'_> {
        Box::pin(async move {
            let Some(mut delivery) = self.0.next().await? else { return Ok(None) };
            assert_eq!((&*delivery.content_type, &*delivery.routing), ("application/fhir+json", "Binary"));
            let binary: Value = serde_json::from_slice(&delivery.body).expect("a resource");
            let text = |name: &str| binary[name].as_str().expect("text").to_owned();
            delivery.content_type = text("contentType").to_ascii_lowercase().into();
            delivery.body = BASE64_STANDARD.decode(text("data")).expect("base64").into();
            Ok(Some(delivery))
        })
    }

    fn health(&self) -> watch::Receiver<SourceHealth> {
        self.0.health()
    }

    fn close(&mut self) {
        self.0.close();
    }
}

impl Rig for Peer {
    fn reset(&mut self) -> RigFuture<'_, ()> {
        Box::pin(async move {
            (self.hospital, self.markers) = (Hospital::start().await, Arc::default());
        })
    }

    fn open(&mut self, unsettled_max: u16) -> RigFuture<'_, Box<dyn Source>> {
        Box::pin(async move {
            let types = vec!["Binary".into()];
            let mode = if self.history { connectors_fhir::Mode::History } else { connectors_fhir::Mode::Search };
            let config = FhirConfig { types, mode, count: 7, unsettled_max, ..config(&self.hospital) };
            let source = FhirSource::start(config, Arc::clone(&self.markers) as _).expect("no files");
            Box::new(Opened(source)) as Box<dyn Source>
        })
    }

    fn publish(&mut self, message: Message) -> RigFuture<'_, ()> {
        Box::pin(async move {
            self.published += 1;
            let data = BASE64_STANDARD.encode(&message.body);
            let rest = format!(r#""contentType":"{}","data":"{data}""#, message.content_type);
            self.hospital.put("Binary", &self.published.to_string(), &rest);
        })
    }

    fn cut(&mut self) -> RigFuture<'_, ()> {
        Box::pin(async move { self.hospital.cut() })
    }

    fn set_reachable(&mut self, reachable: bool) -> RigFuture<'_, ()> {
        Box::pin(self.hospital.set_reachable(reachable))
    }

    fn put_aside(&mut self) -> RigFuture<'_, usize> {
        Box::pin(async move { lock(&self.markers.aside).len() })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polling_by_search_keeps_every_must() {
    keeps_every_must(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn polling_by_history_keeps_every_must() {
    keeps_every_must(true).await;
}

async fn keeps_every_must(history: bool) {
    let mut rig = Peer { hospital: Hospital::start().await, markers: Arc::default(), published: 0, history };
    let broken = conformance::run(&mut rig, Timing::default()).await;
    assert!(broken.is_empty(), "{}", broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}
