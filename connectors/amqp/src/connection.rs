//! One connection with its channel, queue and consumer. lapin's own recovery is off: it may hang in silence, so whatever
//! breaks ends the connection and the supervisor (`source.rs`) makes a new one. Every wait has a limit.

use std::future::Future;
use std::time::Duration;

use lapin::options::{
    BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Consumer, Error, ErrorKind, ExchangeKind};

use crate::config::AmqpConfig;

/// Longest wait for one answer of the broker, in milliseconds.
const ANSWER_MS_MAX: u64 = 10_000;
/// Heartbeat unless the address says otherwise, in seconds: a dead peer is noticed within twice this time.
const HEARTBEAT_S: u16 = 4;

/// A consumer that is running, with what keeps it alive.
pub struct Live {
    pub connection: Connection,
    pub channel: Channel,
    pub consumer: Consumer,
}

/// Why there is no consumer.
pub enum Failure {
    /// The broker is away; trying again helps.
    Away(&'static str),
    /// The broker refuses what is configured; it is tried again all the same, for brokers are repaired too.
    Disagrees(&'static str),
}

impl Failure {
    pub const fn what(&self) -> &'static str {
        match self {
            Self::Away(what) | Self::Disagrees(what) => what,
        }
    }
}

/// Connects to the broker whose turn it is, declares, binds and consumes.
pub async fn open(config: &AmqpConfig, attempt: usize) -> Result<Live, Failure> {
    let address = config.address(attempt).ok_or(Failure::Disagrees("the file of the address cannot be read"))?;
    let mut uri: AMQPUri = address.parse().map_err(|_| Failure::Disagrees("the address is no AMQP URI"))?;
    uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
    let properties = ConnectionProperties::default().with_connection_name(format!("chartseal {}", config.name).into());
    let connection = answered("connect", Connection::connect_uri(uri, properties)).await?;
    let channel = answered("open a channel", connection.create_channel()).await?;
    let queue = config.queue_name();
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    let declare =
        channel.exchange_declare(config.exchange.as_str().into(), ExchangeKind::Topic, durable, FieldTable::default());
    answered("declare the exchange", declare).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    answered("declare the queue", channel.queue_declare(queue.as_str().into(), durable, arguments)).await?;
    for key in &config.bindings {
        let exchange = config.exchange.as_str();
        let options = QueueBindOptions::default();
        let bind = channel.queue_bind(
            queue.as_str().into(),
            exchange.into(),
            key.as_str().into(),
            options,
            FieldTable::default(),
        );
        answered("bind the queue", bind).await?;
    }
    answered("set the prefetch", channel.basic_qos(config.prefetch, BasicQosOptions::default())).await?;
    let consume = channel.basic_consume(
        queue.as_str().into(),
        "chartseal".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let consumer = answered("consume", consume).await?;
    Ok(Live { connection, channel, consumer })
}

/// Waits for an answer, but not for ever.
async fn answered<T>(what: &'static str, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match error.kind() {
            ErrorKind::ProtocolError(_) | ErrorKind::AuthProviderError(_) => Failure::Disagrees(what),
            _ => Failure::Away(what),
        }),
        Err(_) => Err(Failure::Away(what)),
    }
}
