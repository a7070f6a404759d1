//! The rig of these tests: a place at a real RabbitMQ, with one queue or with lanes, and a proxy in front. Needs `CHARTSEAL_TEST_AMQP`;
//! fails where services were promised.

use std::sync::atomic::Ordering;
use std::time::Duration;

use connectors_amqp::{AmqpConfig, AmqpSource, LANE_HEADER};
use connectors_source::conformance::{Message, Rig, RigFuture};
use connectors_source::{Source, SourceHealth};
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
    QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::watch;

use crate::proxy::Proxy;

pub const EXCHANGE: &str = "hospital.events";
const DEAD: &str = "hospital.dead";
/// Longest wait for a recovery.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Broker {
    pub url: String,
    pub proxy: Proxy,
    pub channel: Channel,
    _connection: Connection,
    name: &'static str,
    lanes: u16,
    /// Number of the place: a fresh one for every check.
    number: u64,
}

impl Broker {
    pub async fn start(url: String, name: &'static str, lanes: u16) -> Self {
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("the broker answers");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let host = url.rsplit('@').next().and_then(|rest| rest.split('/').next()).expect("host and port").to_owned();
        Self { proxy: Proxy::start(host).await, url, channel, _connection: connection, name, lanes, number: 0 }
    }

    pub fn key(&self) -> String {
        format!("rig-{}{}-{}-{}", self.name, self.lanes, std::process::id(), self.number)
    }

    pub fn config(&self, prefetch: u16) -> AmqpConfig {
        let (credentials, rest) = self.url.split_once('@').expect("credentials");
        let (_, vhost) = rest.split_once('/').unwrap_or((rest, "%2f"));
        AmqpConfig {
            name: "rig".into(),
            url: Some(format!("{credentials}@127.0.0.1:{}/{vhost}", self.proxy.port)),
            queue: Some(format!("chartseal.{}", self.key())),
            bindings: vec![format!("{}.#", self.key())],
            prefetch,
            lanes: self.lanes,
            ..AmqpConfig::default()
        }
    }

    /// Messages of a queue that nobody has in hand.
    pub async fn waiting(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.expect("a queue");
        queue.message_count()
    }

    /// Messages of each lane.
    pub async fn spread(&self) -> Vec<u32> {
        let mut all = Vec::new();
        for queue in self.config(1).queues() {
            all.push(self.waiting(&queue).await);
        }
        all
    }

    /// Waits until so many messages are in nobody's hand.
    pub async fn until_waiting(&self, count: u32) {
        let arrived = async { while self.spread().await.iter().sum::<u32>() != count {} };
        tokio::time::timeout(PATIENCE, arrived).await.expect("in time");
    }

    /// An empty place: a source makes it, and is gone.
    pub async fn renew(&mut self) {
        self.proxy.reachable.store(true, Ordering::SeqCst);
        if self.number > 0 {
            let old = self.config(1);
            for queue in old.queues() {
                self.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.expect("deleted");
            }
            if let Some(lanes) = old.lanes_exchange() {
                self.channel.exchange_delete(lanes.into(), ExchangeDeleteOptions::default()).await.expect("deleted");
            }
        }
        self.number += 1;
        let source = AmqpSource::start(self.config(1));
        let mut health = source.health();
        assert!(becomes(&mut health, |h| h.connected).await, "connected");
        drop(source);
        // it ends with its connection
        let ended = async { while health.changed().await.is_ok() {} };
        tokio::time::timeout(PATIENCE, ended).await.expect("ended");
    }

    /// Ends everything that a source has in hand, as the death of its process does.
    pub async fn die(&self, source: impl Source, held: Vec<connectors_source::Delivery>, waiting: u32) {
        self.proxy.reachable.store(false, Ordering::SeqCst);
        self.proxy.cut();
        drop((source, held));
        self.until_waiting(waiting).await;
        self.proxy.reachable.store(true, Ordering::SeqCst);
    }

    /// Publishes to a lane, or to that of messages that name none.
    pub async fn publish_to(&self, message: Message, bucket: Option<u16>) {
        let key = format!("{}.{}", self.key(), message.routing);
        let mut headers = FieldTable::default();
        if let Some(bucket) = bucket {
            headers.insert(LANE_HEADER.into(), AMQPValue::LongString(bucket.to_string().into()));
        }
        let properties = BasicProperties::default()
            .with_content_type(message.content_type.as_str().into())
            .with_headers(headers)
            .with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let sent = self.channel.basic_publish(EXCHANGE.into(), key.as_str().into(), options, &message.body, properties);
        let confirm = sent.await.expect("sent").await.expect("confirmed");
        assert!(matches!(confirm, lapin::Confirmation::Ack(None)), "the broker took the message");
    }
}

impl Rig for Broker {
    fn reset(&mut self) -> RigFuture<'_, ()> {
        Box::pin(async move {
            self.renew().await;
            self.channel.queue_purge(DEAD.into(), QueuePurgeOptions::default()).await.expect("purged");
        })
    }

    fn open(&mut self, unsettled_max: u16) -> RigFuture<'_, Box<dyn Source>> {
        Box::pin(async move {
            let source = AmqpSource::start(self.config(unsettled_max));
            Box::new(source) as Box<dyn Source>
        })
    }

    fn publish(&mut self, message: Message) -> RigFuture<'_, ()> {
        // the suite's messages are one another's order
        Box::pin(async move { self.publish_to(message, Some(7)).await })
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

pub fn broker() -> Option<String> {
    let url = std::env::var("CHARTSEAL_TEST_AMQP").ok();
    let promised = std::env::var("CHARTSEAL_SERVICES").is_ok();
    assert!(url.is_some() || !promised, "CHARTSEAL_SERVICES is set; found no CHARTSEAL_TEST_AMQP");
    if url.is_none() {
        println!("skipped: no services; run tests/run");
    }
    url
}

pub async fn becomes(health: &mut watch::Receiver<SourceHealth>, wanted: impl FnMut(&SourceHealth) -> bool) -> bool {
    matches!(tokio::time::timeout(PATIENCE, health.wait_for(wanted)).await, Ok(Ok(_)))
}
