//! What became of messages is told to the hospital's systems over a real broker: everything at least once, also what happened while the
//! broker was away, which holds nothing up; what no queue takes waits without being in the way.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use connectors_amqp::{AmqpConfig, AmqpSource, PublisherConfig};
use connectors_source::Source;
use gateway_server::ingest::Outcome;
use gateway_server::notify;
use gateway_server::store::{anchors, cases, notices};
use ledger_client::Ledger as _;
use schemas::cbor;
use schemas::id::{ConsentId, Digest, SubjectId};
use schemas::transaction::{Basis, Body, Core, GrantConsent, RegisterSubject, Signer};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::journey::{HL7, admission, subject_of};
use crate::ledger::now_ms;
use crate::world::{INSTITUTION, Running, World, worlds};

const PATIENCE: Duration = Duration::from_secs(30);
/// An HL7 message that no table is for.
const STRANGE: &str =
    "MSH|^~\\&|ADT|HOSP|X|Y|20240101120000||ADT^Z33|9|P|2.5\rPID|1||4711^^^HOSP^MR||Canaryfamily^Jane\r";

fn broker() -> Option<String> {
    let url = std::env::var("CHARTSEAL_TEST_AMQP").ok();
    let promised = std::env::var("CHARTSEAL_SERVICES").is_ok();
    assert!(url.is_some() || !promised, "CHARTSEAL_SERVICES is set; found no CHARTSEAL_TEST_AMQP");
    if url.is_none() {
        println!("skipped: no services; run tests/run");
    }
    url
}

/// An exchange and a queue of its own for each test and engine.
async fn listening(url: &str, exchange: &str, binding: &str) -> AmqpSource {
    let source = AmqpSource::start(AmqpConfig {
        name: "hospital".into(),
        url: Some(url.into()),
        exchange: exchange.into(),
        queue: Some(format!("chartseal.{exchange}")),
        bindings: vec![binding.into()],
        ..AmqpConfig::default()
    });
    let connected = tokio::time::timeout(PATIENCE, source.health().wait_for(|h| h.connected)).await.map(|r| r.is_ok());
    assert_eq!(connected, Ok(true), "the queue is there");
    source
}

/// The next so many documents, each once, by their numbers.
async fn told(source: &mut AmqpSource, wanted: usize) -> BTreeMap<i64, (String, Value)> {
    let mut documents = BTreeMap::new();
    while documents.len() < wanted {
        let next = tokio::time::timeout(PATIENCE, source.next()).await.expect("in time").expect("no error");
        let delivery = next.expect("a delivery");
        let text = std::str::from_utf8(&delivery.body).expect("text").to_owned();
        assert!(!text.contains("Canary") && !text.contains("4711"), "{text}");
        assert_eq!(&*delivery.content_type, "application/json");
        let document: Value = serde_json::from_str(&text).expect("a document");
        let routing = delivery.routing.to_string();
        documents.insert(document["notice"].as_i64().expect("a number"), (routing, document));
        delivery.accept().await.expect("accepted");
    }
    documents
}

fn config(exchange: &str, address: &Path) -> PublisherConfig {
    PublisherConfig {
        url_file: Some(address.to_owned()),
        exchange: exchange.into(),
        routing_key: "none".into(),
        ..PublisherConfig::default()
    }
}

async fn waiting(running: &Running, at: i64) -> usize {
    notices::due(&running.store, at, 100).await.expect("read").len()
}

/// A consent of a subject, as its custodian attests it.
async fn grant(world: &World, subject: SubjectId) {
    let register = RegisterSubject { subject, institution: INSTITUTION, key: None, guardians: Vec::new() };
    let grant = GrantConsent {
        consent: ConsentId(subject.0),
        subject,
        set_version: 1,
        commitment: Digest([1; 32]),
        basis: Basis::Attested,
        custodian: INSTITUTION,
        from: None,
        until: None,
        supersedes: None,
    };
    for body in [Body::RegisterSubject(register), Body::GrantConsent(grant)] {
        let core = Core { chain: world.ledger.genesis.chain_id(), valid_until: 500, body };
        let signed = world.vault.sign(core, Signer::Institution(INSTITUTION)).expect("signed");
        world.ledger.submit(cbor::encode(&signed)).await.expect("taken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_of_messages_is_told_once_the_broker_is_there() {
    let Some(url) = broker() else { return };
    for (n, world) in worlds().await.into_iter().enumerate() {
        let exchange = format!("events-{}-{n}", std::process::id());
        let mut source = listening(&url, &exchange, "#").await;
        let running = world.start().await;
        let address = world.folder.path().join("broker");
        std::fs::write(&address, "amqp://127.0.0.1:1/%2f").expect("written");
        let stop = CancellationToken::new();
        let notifier = tokio::spawn(notify::run(running.store.clone(), config(&exchange, &address), stop.clone()));
        // the broker is away: nothing waits for it but notices
        assert_eq!(running.send(HL7, &admission("1", "4711")).await, Outcome::Received);
        assert_eq!(running.send(HL7, STRANGE).await, Outcome::Received);
        assert_eq!(running.send(HL7, &admission("1", "other")).await, Outcome::Conflict);
        running.indexed(1).await;
        running.idle().await;
        let subject = subject_of(&world, &running, "4711").await;
        grant(&world, subject).await;
        grant(&world, SubjectId([9; 16])).await; // of a stranger: nobody here is told
        running.until("the notices", || async { waiting(&running, i64::MAX).await == 4 }).await;
        std::fs::write(&address, &url).expect("written");

        let told = told(&mut source, 4).await;
        let of = |routing: &str| -> Vec<&Value> {
            told.values().filter(|(own, _)| own == routing).map(|(_, document)| document).collect()
        };
        let case = cases::of_subject(&running.store, &subject, 1).await.expect("read").remove(0);
        let receipt = anchors::receipt(&running.store, &case).await.expect("a receipt");
        let anchored = of("case.anchored.ehr");
        assert_eq!(anchored.len(), 1);
        assert_eq!(anchored[0]["case"], case.case.to_string());
        assert_eq!(anchored[0]["height"], case.height);
        assert_eq!(anchored[0]["receipt"], cbor::sha256(receipt.as_bytes()).to_string());
        let mut codes: Vec<_> = of("case.refused.ehr").iter().map(|d| d["code"].as_str().expect("a code")).collect();
        codes.sort_unstable();
        assert_eq!(codes, ["same-key-other-content", "unsupported-message"]);
        let consents = of("consent.changed");
        assert_eq!(consents.len(), 1);
        assert_eq!(consents[0]["subject"], subject.to_string());
        assert_eq!(consents[0]["inForce"], serde_json::json!([ConsentId(subject.0).to_string()]));
        running.until("no notice", || async { waiting(&running, i64::MAX).await == 0 }).await;
        stop.cancel();
        notifier.await.expect("no panic");
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_queue_takes_waits_and_is_in_nobodys_way() {
    let Some(url) = broker() else { return };
    for (n, world) in worlds().await.into_iter().enumerate() {
        let exchange = format!("refusals-{}-{n}", std::process::id());
        let mut source = listening(&url, &exchange, "case.refused.#").await;
        let running = world.start().await;
        let address = world.folder.path().join("broker");
        std::fs::write(&address, &url).expect("written");
        running.send(HL7, &admission("1", "4711")).await;
        running.indexed(1).await;
        running.send(HL7, STRANGE).await;
        running.idle().await;
        let stop = CancellationToken::new();
        let notifier = tokio::spawn(notify::run(running.store.clone(), config(&exchange, &address), stop.clone()));
        let refused = told(&mut source, 1).await;
        assert!(refused.values().all(|(routing, _)| routing == "case.refused.ehr"));
        running.until("one left", || async { waiting(&running, i64::MAX).await == 1 }).await;
        assert_eq!(waiting(&running, now_ms().cast_signed()).await, 0, "it is put off");
        stop.cancel();
        notifier.await.expect("no panic");
        running.stop().await;
        // it is there after a restart, and goes out when a queue takes it
        drop(source);
        let running = world.start().await;
        assert_eq!(waiting(&running, i64::MAX).await, 1);
        running.stop().await;
    }
}
