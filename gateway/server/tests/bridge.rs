//! A bridge between a hospital's MLLP senders and a real broker: what is acknowledged is in a queue, byte for byte and in order; what
//! the broker cannot be given is not acknowledged.

use std::net::Ipv4Addr;
use std::time::Duration;

use connectors_amqp::{AmqpConfig, AmqpSource, EXCHANGE, PublisherConfig};
use connectors_mllp::{MllpConfig, MllpSender, MllpSource, SenderConfig};
use connectors_source::Source;
use gateway_server::bridge;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);
const MESSAGES: usize = 60;
/// Nothing more is there when nothing comes for so long.
const QUIET: Duration = Duration::from_millis(200);

fn broker() -> Option<String> {
    let url = std::env::var("CHARTSEAL_TEST_AMQP").ok();
    let promised = std::env::var("CHARTSEAL_SERVICES").is_ok();
    assert!(url.is_some() || !promised, "CHARTSEAL_SERVICES is set; found no CHARTSEAL_TEST_AMQP");
    if url.is_none() {
        println!("skipped: no services; run tests/run");
    }
    url
}

async fn listener() -> MllpSource {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let listen = socket.local_addr().expect("an address");
    drop(socket);
    let text = format!("name = \"ward\"\nlisten = \"{listen}\"\n");
    let config: MllpConfig = toml::from_str(&text).expect("a configuration");
    let source = MllpSource::start(config).expect("no TLS");
    let connected = tokio::time::timeout(PATIENCE, source.health().wait_for(|h| h.connected)).await.map(|r| r.is_ok());
    assert_eq!(connected, Ok(true), "it listens");
    ADDRESS.with(|address| address.set(Some(listen)));
    source
}

thread_local! {
    static ADDRESS: std::cell::Cell<Option<std::net::SocketAddr>> = const { std::cell::Cell::new(None) };
}

fn sender(timeout_ms: u64) -> MllpSender {
    let address = ADDRESS.with(std::cell::Cell::get).expect("a listener").to_string();
    MllpSender::new(SenderConfig { address, tls_roots: None, tls_identity: None, timeout_ms }).expect("no TLS")
}

fn message(n: usize) -> String {
    format!("MSH|^~\\&|LAB|NORTH|GW|HUB|20260101||ORU^R01^ORU_R01|{n}|P|2.5|||AL|NE\rPID|1||{n}\r")
}

#[tokio::test]
async fn what_is_acknowledged_is_in_a_queue_byte_for_byte_and_in_order() {
    let Some(url) = broker() else { return };
    let key = format!("bridge{}.test", std::process::id());
    let mut queue = AmqpSource::start(AmqpConfig {
        name: "bridge-test".into(),
        url: Some(url.clone()),
        queue: Some(format!("chartseal.{key}")),
        bindings: vec![key.clone()],
        prefetch: 100,
        ..AmqpConfig::default()
    });
    let connected = tokio::time::timeout(PATIENCE, queue.health().wait_for(|h| h.connected)).await.map(|r| r.is_ok());
    assert_eq!(connected, Ok(true), "the queue is there");
    let stop = CancellationToken::new();
    let config =
        PublisherConfig { url: Some(url), exchange: EXCHANGE.into(), routing_key: key, ..PublisherConfig::default() };
    let running = tokio::spawn(bridge::run(Box::new(listener().await), config, stop.clone()));
    let mut sender = sender(30_000);
    for n in 0..MESSAGES {
        let answer = sender.send(message(n).as_bytes()).await.expect("sent").expect("an answer");
        assert_eq!(answer.code, "CA");
    }
    for n in 0..MESSAGES {
        let delivery = tokio::time::timeout(PATIENCE, queue.next()).await.expect("in time").expect("no error");
        let delivery = delivery.expect("a delivery");
        assert_eq!((&*delivery.body, &*delivery.content_type), (message(n).as_bytes(), "x-application/hl7-v2+er7"));
        delivery.accept().await.expect("accepted");
    }
    stop.cancel();
    running.await.expect("no panic");
}

/// Two patients' messages go by two lanes: with one delivery in hand of each lane, both are there at once.
#[tokio::test]
async fn a_patient_has_a_lane() {
    let Some(url) = broker() else { return };
    let key = format!("bridge-lanes{}.test", std::process::id());
    let mut lanes = AmqpSource::start(AmqpConfig {
        name: "bridge-lanes".into(),
        url: Some(url.clone()),
        queue: Some(format!("chartseal.{key}")),
        bindings: vec![key.clone()],
        prefetch: 1,
        lanes: 16,
        ..AmqpConfig::default()
    });
    let connected = tokio::time::timeout(PATIENCE, lanes.health().wait_for(|h| h.connected)).await.map(|r| r.is_ok());
    assert_eq!(connected, Ok(true), "the lanes are there");
    let stop = CancellationToken::new();
    let config =
        PublisherConfig { url: Some(url), exchange: EXCHANGE.into(), routing_key: key, ..PublisherConfig::default() };
    let running = tokio::spawn(bridge::run(Box::new(listener().await), config, stop.clone()));
    let mut sender = sender(30_000);
    let (patients, messages) = (8, 24);
    for n in 0..messages {
        let text = message(n).replace(&format!("PID|1||{n}"), &format!("PID|1||patient {}^^^NORTH", n % patients));
        assert_eq!(sender.send(text.as_bytes()).await.expect("sent").expect("an answer").code, "CA");
    }
    let (mut seen, mut held, mut together) = (vec![Vec::new(); patients], Vec::new(), 0);
    for _ in 0..messages {
        while let Ok(next) = tokio::time::timeout(QUIET, lanes.next()).await {
            held.push(next.expect("no error").expect("a delivery"));
        }
        together = together.max(held.len());
        let delivery = held.remove(0);
        let text = String::from_utf8(delivery.body.to_vec()).expect("text");
        let n: usize = text.split('|').nth(9).and_then(|n| n.parse().ok()).expect("MSH-10");
        seen[n % patients].push(n);
        delivery.accept().await.expect("accepted");
    }
    assert!(together > 1, "{together} lanes");
    assert!(seen.iter().all(|of_patient| of_patient.is_sorted()), "{seen:?}");
    stop.cancel();
    running.await.expect("no panic");
}

#[tokio::test]
async fn what_the_broker_cannot_be_given_is_not_acknowledged() {
    let stop = CancellationToken::new();
    let nobody = PublisherConfig {
        url: Some("amqp://127.0.0.1:1/%2f".into()),
        exchange: EXCHANGE.into(),
        routing_key: "nowhere".into(),
        ..PublisherConfig::default()
    };
    let running = tokio::spawn(bridge::run(Box::new(listener().await), nobody, stop.clone()));
    sender(20_000).send(message(1).as_bytes()).await.expect_err("no answer, and the connection is closed");
    stop.cancel();
    running.await.expect("no panic");
}
