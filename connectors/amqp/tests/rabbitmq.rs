//! The MUSTs of `connectors/source/SPEC.md` against a real RabbitMQ, with one queue and with lanes, and what goes beyond them: lanes, queues
//! that are read carefully, connections that are lost in every way. The broker's policies are those of `compose/rabbitmq.json`.

#[path = "rabbitmq/broker.rs"]
mod broker;
#[path = "rabbitmq/careful.rs"]
mod careful;
#[path = "rabbitmq/lanes.rs"]
mod lanes;
#[path = "rabbitmq/proxy.rs"]
mod proxy;
#[path = "rabbitmq/watchdog.rs"]
mod watchdog;

use broker::{Broker, PATIENCE, becomes, broker};
use connectors_amqp::{AmqpConfig, AmqpSource};
use connectors_source::conformance::{self, Message, Rig as _, Timing};
use connectors_source::{Delivery, Source};

/// Nothing comes for so long where nothing may come.
const QUIET: std::time::Duration = std::time::Duration::from_millis(300);

/// The next delivery, in time.
async fn next(source: &mut dyn Source) -> Delivery {
    tokio::time::timeout(PATIENCE, source.next()).await.expect("in time").expect("no error").expect("a delivery")
}

/// One after the other: dead letters are counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_keeps_every_must() {
    let Some(url) = broker() else { return };
    for lanes in [1, 4] {
        let mut rig = Broker::start(url.clone(), "must", lanes).await;
        let broken = conformance::run(&mut rig, Timing::default()).await;
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        assert!(broken.is_empty(), "{lanes} lanes: {}", broken.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_broker_of_the_cluster_is_tried_when_the_first_is_away() {
    let Some(url) = broker() else { return };
    let mut rig = Broker::start(url.clone(), "cluster", 1).await;
    rig.renew().await;
    let both = format!("amqp://127.0.0.1:1/%2f {url}");
    let mut source = AmqpSource::start(AmqpConfig { url: Some(both), ..rig.config(4) });
    assert!(becomes(&mut source.health(), |h| h.connected).await, "connected to the second");
    rig.publish(Message::numbered(8)).await;
    next(&mut source).await.accept().await.expect("accepted");
}

#[test]
fn the_address_never_shows() {
    let config =
        AmqpConfig { name: "x".into(), url: Some("amqp://user:CANARY@host/%2f".into()), ..AmqpConfig::default() };
    assert!(!format!("{config:?}").contains("CANARY"));
    let other = AmqpConfig { url: Some("http://user:CANARY@host".into()), ..config };
    let message = other.check().expect_err("another scheme");
    assert!(!message.contains("CANARY"));
}
