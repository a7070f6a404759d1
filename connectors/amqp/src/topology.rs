//! What a source expects at the broker, and makes where it is missing: the topic exchange and one quorum queue, or, with lanes, an exchange
//! that hashes and a queue for each lane. Limits and dead letters are policies, never arguments.
//!
//! A lane is a queue with a single active consumer: however many gateways there are, one of them reads it, in order. The exchange in
//! front picks the lane by a header that a publisher sets to a small number, its bucket: the first 10 bits of SHA-256 of the patient's
//! identifier. Routing keys and headers are seen by everyone who may look at the broker, in its logs and traces too, so the identifier
//! itself must not stand there, nor a digest of it: identifiers are short numbers, and who tries them all finds the one that fits. Of a
//! million patients a thousand share a bucket; it says nothing more of one of them.
//!
//! Messages without the header all have the same hash: they share one lane. The exchange of the lanes is bound last, when every lane
//! hangs behind it, or the first messages would be spread over some of them. RabbitMQ makes its ring anew after all nodes of a cluster were
//! down, in whatever order it finds the queues (seen with 3.10): messages that wait at that time may be in another lane than the next.

use lapin::options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind};
use schemas::cbor::sha256;
use schemas::limits;

use crate::config::AmqpConfig;
use crate::connection::{ConnectError, HASHING, answered};

/// The header that picks the lane: a string, a bucket in decimal.
pub const LANE_HEADER: &str = "chartseal-lane";

/// The bucket of a patient, below 1,024.
pub fn bucket(identifier: &str) -> u16 {
    let [first, second, ..] = sha256(identifier.as_bytes()).0;
    u16::from_be_bytes([first, second]) >> 6
}

impl AmqpConfig {
    /// The queues that are read.
    pub fn queues(&self) -> Vec<String> {
        let queue = self.queue_name();
        match self.lanes {
            1 => vec![queue],
            lanes => (1..=lanes).map(|n| format!("{queue}.{n}")).collect(),
        }
    }

    /// The exchange in front of them, where there are lanes.
    pub fn lanes_exchange(&self) -> Option<String> {
        (self.lanes > 1).then(|| format!("{}.lanes", self.queue_name()))
    }

    /// Queues that were read with another number of lanes: nobody does any more.
    pub(crate) fn others(&self) -> Vec<String> {
        let queue = self.queue_name();
        let first = if self.lanes == 1 { 1 } else { self.lanes + 1 };
        let lanes = (first..=limits::LANES_MAX).map(|n| format!("{queue}.{n}"));
        (self.lanes > 1).then(|| queue.clone()).into_iter().chain(lanes).collect()
    }

    /// The arguments of its queues.
    pub(crate) fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        if self.lanes > 1 {
            arguments.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        }
        arguments
    }
}

/// The type of an exchange of lanes.
pub fn hashing() -> ExchangeKind {
    ExchangeKind::Custom("x-consistent-hash".into())
}

/// Its arguments.
pub fn by_header() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("hash-header".into(), AMQPValue::LongString(LANE_HEADER.into()));
    arguments
}

/// Declares and binds everything.
pub async fn declare(config: &AmqpConfig, connection: &Connection) -> Result<(), ConnectError> {
    let channel = answered("open a channel", connection.create_channel()).await?;
    let exchange = config.exchange.as_str();
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let declare = channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default());
    answered("declare the exchange", declare).await?;
    let queues = config.queues();
    for queue in &queues {
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        let declare = channel.queue_declare(queue.as_str().into(), durable, config.arguments());
        answered("declare the queue", declare).await?;
    }
    match config.lanes_exchange() {
        None => {
            for key in &config.bindings {
                bind(&channel, &config.queue_name(), exchange, key).await?;
            }
        }
        Some(lanes) => {
            let declare = channel.exchange_declare(lanes.as_str().into(), hashing(), durable, by_header());
            answered(HASHING, declare).await?;
            for queue in &queues {
                // the key is a weight
                bind(&channel, queue, &lanes, "1").await?;
            }
            for key in &config.bindings {
                let (options, none) = (ExchangeBindOptions::default(), FieldTable::default());
                let bind =
                    channel.exchange_bind(lanes.as_str().into(), exchange.into(), key.as_str().into(), options, none);
                answered("bind the exchange of the lanes", bind).await?;
            }
        }
    }
    answered("close a channel", channel.close(200, "declared".into())).await
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), ConnectError> {
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    answered("bind the queue", channel.queue_bind(queue.into(), exchange.into(), key.into(), options, none)).await
}

/// Messages that wait in a queue; `None` where there is no such queue. Makes nothing.
pub async fn waiting(connection: &Connection, queue: &str) -> Result<Option<u32>, ConnectError> {
    // a refusal ends the channel
    let channel = answered("open a channel", connection.create_channel()).await?;
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    match answered("look for a queue", channel.queue_declare(queue.into(), passive, FieldTable::default())).await {
        Ok(queue) => Ok(Some(queue.message_count())),
        Err(ConnectError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
