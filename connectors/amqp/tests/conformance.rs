//! The MUSTs of `connectors/source/SPEC.md` against a real RabbitMQ, through a TCP proxy that can cut and refuse. The broker's
//! policies are those of `compose/rabbitmq.json`. Needs `CHARTSEAL_TEST_AMQP`; fails where services were promised.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use connectors_amqp::{AmqpConfig, AmqpSource};
use connectors_source::conformance::{self, Message, Rig, RigFuture, Timing};
use connectors_source::{Source, SourceHealth};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const EXCHANGE: &str = "hospital.events";
const DEAD: &str = "hospital.dead";
/// Longest wait for a recovery.
const PATIENCE: Duration = Duration::from_secs(30);

/// Forwards to the broker until it is told to cut; refuses while unreachable.
struct Proxy {
    port: u16,
    cuts: watch::Sender<u64>,
    reachable: Arc<AtomicBool>,
}

impl Proxy {
    async fn start(broker: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (cuts, seen) = watch::channel(0);
        let reachable = Arc::new(AtomicBool::new(true));
        let open = Arc::clone(&reachable);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if !open.load(Ordering::SeqCst) {
                    continue;
                }
                let (broker, mut seen) = (broker.clone(), seen.clone());
                seen.mark_unchanged();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(broker).await.expect("the broker");
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = seen.changed() => {}
                    }
                });
            }
        });
        Self { port, cuts, reachable }
    }

    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

struct Broker {
    url: String,
    proxy: Proxy,
    _connection: Connection,
    channel: Channel,
    /// Number of the queue: a fresh one for every check.
    number: u64,
}

impl Broker {
    async fn start(url: String) -> Self {
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("the broker answers");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let host = url.rsplit('@').next().and_then(|rest| rest.split('/').next()).expect("host and port").to_owned();
        Self { proxy: Proxy::start(host).await, url, _connection: connection, channel, number: 0 }
    }

    fn key(&self) -> String {
        format!("rig-{}-{}", std::process::id(), self.number)
    }

    fn queue(&self) -> String {
        format!("chartseal.{}", self.key())
    }

    fn config(&self, prefetch: u16) -> AmqpConfig {
        let (credentials, rest) = self.url.split_once('@').expect("credentials");
        let (_, vhost) = rest.split_once('/').unwrap_or((rest, "%2f"));
        AmqpConfig {
            name: "rig".into(),
            url: Some(format!("{credentials}@127.0.0.1:{}/{vhost}", self.proxy.port)),
            queue: Some(self.queue()),
            bindings: vec![format!("{}.#", self.key())],
            prefetch,
            ..AmqpConfig::default()
        }
    }

    async fn waiting(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("a queue");
        queue.message_count()
    }
}

impl Rig for Broker {
    fn reset(&mut self) -> RigFuture<'_, ()> {
        Box::pin(async move {
            self.proxy.reachable.store(true, Ordering::SeqCst);
            if self.number > 0 {
                let old = self.queue();
                self.channel.queue_delete(old.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
            }
            self.number += 1;
            self.channel.queue_purge(DEAD.into(), QueuePurgeOptions::default()).await.expect("purged");
            let mut arguments = FieldTable::default();
            arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
            let durable = QueueDeclareOptions { durable: true, ..Default::default() };
            let (queue, key) = (self.queue(), format!("{}.#", self.key()));
            self.channel.queue_declare(queue.as_str().into(), durable, arguments).await.expect("declared");
            let bind = self.channel.queue_bind(
                queue.as_str().into(),
                EXCHANGE.into(),
                key.as_str().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            bind.await.expect("bound");
        })
    }

    fn open(&mut self, unsettled_max: u16) -> RigFuture<'_, Box<dyn Source>> {
        Box::pin(async move {
            let source = AmqpSource::start(self.config(unsettled_max));
            Box::new(source) as Box<dyn Source>
        })
    }

    fn publish(&mut self, message: Message) -> RigFuture<'_, ()> {
        Box::pin(async move {
            let key = format!("{}.{}", self.key(), message.routing);
            let properties = BasicProperties::default()
                .with_content_type(message.content_type.as_str().into())
                .with_delivery_mode(2);
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let sent =
                self.channel.basic_publish(EXCHANGE.into(), key.as_str().into(), options, &message.body, properties);
            let confirm = sent.await.expect("sent").await.expect("confirmed");
            assert!(confirm.is_ack(), "the broker took the message");
        })
    }

    fn cut(&mut self) -> RigFuture<'_, ()> {
        Box::pin(async move { self.proxy.cut() })
    }

    fn set_reachable(&mut self, reachable: bool) -> RigFuture<'_, ()> {
        Box::pin(async move {
            self.proxy.reachable.store(reachable, Ordering::SeqCst);
            if !reachable {
                self.proxy.cut();
            }
        })
    }

    fn put_aside(&mut self) -> RigFuture<'_, usize> {
        Box::pin(async move {
            // dead-lettering is confirmed inside the broker: it arrives a little later
            let arrived = async {
                while self.waiting(DEAD).await == 0 {
                    tokio::task::yield_now().await;
                }
            };
            drop(tokio::time::timeout(Duration::from_secs(10), arrived).await);
            self.waiting(DEAD).await as usize
        })
    }
}

fn broker() -> Option<String> {
    let url = std::env::var("CHARTSEAL_TEST_AMQP").ok();
    let promised = std::env::var("CHARTSEAL_SERVICES").is_ok();
    assert!(url.is_some() || !promised, "CHARTSEAL_SERVICES is set; found no CHARTSEAL_TEST_AMQP");
    if url.is_none() {
        println!("skipped: no services; run tests/run");
    }
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_source_keeps_every_must() {
    let Some(url) = broker() else { return };
    let mut rig = Broker::start(url).await;
    let broken = conformance::run(&mut rig, Timing::default()).await;
    assert!(broken.is_empty(), "{}", broken.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_is_made_again() {
    let Some(url) = broker() else { return };
    let mut rig = Broker::start(url).await;
    rig.number = 1_000;
    rig.reset().await;
    let source = rig.open(4).await;
    let mut health = source.health();
    assert!(becomes(&mut health, |h| h.connected).await, "connected");
    let queue = rig.queue();
    rig.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.expect("deleted");
    assert!(becomes(&mut health, |h| h.connected && h.reconnects > 0).await, "connected again");
    rig.publish(Message::numbered(7)).await;
    let mut source = source;
    let delivery = tokio::time::timeout(PATIENCE, source.next()).await.expect("in time").expect("no error");
    let delivery = delivery.expect("a delivery");
    assert_eq!(delivery.body, Message::numbered(7).body);
    delivery.accept().await.expect("accepted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_broker_of_the_cluster_is_tried_when_the_first_is_away() {
    let Some(url) = broker() else { return };
    let mut rig = Broker::start(url.clone()).await;
    rig.number = 2_000;
    rig.reset().await;
    let both = format!("amqp://127.0.0.1:1/%2f {url}");
    let mut source = AmqpSource::start(AmqpConfig { url: Some(both), ..rig.config(4) });
    assert!(becomes(&mut source.health(), |h| h.connected).await, "connected to the second");
    rig.publish(Message::numbered(8)).await;
    let delivery = tokio::time::timeout(PATIENCE, source.next()).await.expect("in time").expect("no error");
    delivery.expect("a delivery").accept().await.expect("accepted");
}

async fn becomes(health: &mut watch::Receiver<SourceHealth>, wanted: impl FnMut(&SourceHealth) -> bool) -> bool {
    matches!(tokio::time::timeout(PATIENCE, health.wait_for(wanted)).await, Ok(Ok(_)))
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
