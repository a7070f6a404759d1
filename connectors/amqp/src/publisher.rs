//! The publishing side of the broker: persistent, mandatory, confirmed, a bounded number in flight. A gateway's bridges and notices
//! stand on it, and the hospital systems of demo, benches and tests. A confirm does not mean routed, so a returned message is an error; no
//! error carries the address or a body.

use std::collections::VecDeque;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ExchangeKind, PublisherConfirm};
use schemas::ErrorClass;

use crate::config::PublisherConfig;
use crate::connection::{self, ConnectError};
use crate::topology::LANE_HEADER;

/// The topic exchange that hospital systems publish to.
pub const EXCHANGE: &str = "hospital.events";
/// Most messages that wait for their confirm.
const IN_FLIGHT_MAX: usize = 256;

/// A message that is not safely in a queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The broker cannot be reached or was lost.
    #[error("the broker cannot be reached or was lost while {doing}")]
    Away {
        /// What was being done.
        doing: &'static str,
    },
    /// No queue is bound to the routing key.
    #[error("a message was returned: no queue is bound to its routing key")]
    Unroutable,
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The broker refused it.
    #[error("the broker refused a message: its queue is full")]
    Refused,
}

impl PublishError {
    /// The class that decides about the retry.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Away { .. } | Self::Refused => ErrorClass::Transient,
            Self::Unroutable => ErrorClass::Caller,
            Self::Connect(error) => error.class(),
        }
    }
}

/// A document to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The same where it is sent again.
    pub id: String,
    /// Never about a patient.
    pub routing_key: String,
    /// JSON.
    pub body: Vec<u8>,
}

/// A connection that publishes.
pub struct Publisher {
    // The connection ends with the publisher.
    _connection: Connection,
    channel: Channel,
    exchange: Box<str>,
    waiting: VecDeque<PublisherConfirm>,
}

impl Publisher {
    /// Connects to `EXCHANGE` with publisher confirms.
    ///
    /// # Errors
    /// `PublishError::Connect`.
    pub async fn connect(url: &str) -> Result<Self, PublishError> {
        let access = PublisherConfig { url: Some(url.into()), exchange: EXCHANGE.into(), ..PublisherConfig::default() };
        Self::open(&access, 0).await
    }

    /// The same as configured; of several brokers to the one whose turn it is.
    ///
    /// # Errors
    /// `PublishError::Connect`.
    pub async fn open(config: &PublisherConfig, attempt: usize) -> Result<Self, PublishError> {
        let connection = connection::connect(&config.access(), "publisher", attempt).await?;
        let channel = connection::answered("open a channel", connection.create_channel()).await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        connection::answered("confirm what is published", confirms).await?;
        let exchange = config.exchange.as_str().into();
        Ok(Self { _connection: connection, channel, exchange, waiting: VecDeque::new() })
    }

    /// Publishes one message; waits only when too many are in flight. `trace` is a W3C traceparent.
    ///
    /// # Errors
    /// `PublishError`, also of an earlier message.
    pub async fn publish(
        &mut self,
        routing_key: &str,
        content_type: &str,
        body: &[u8],
        trace: Option<&str>,
    ) -> Result<(), PublishError> {
        self.publish_to_lane(routing_key, content_type, body, trace, None).await
    }

    /// The same for consumers with lanes, in a bucket: everything about one patient in the same one (`topology.rs`).
    ///
    /// # Errors
    /// As `publish`.
    pub async fn publish_to_lane(
        &mut self,
        routing_key: &str,
        content_type: &str,
        body: &[u8],
        trace: Option<&str>,
        bucket: Option<u16>,
    ) -> Result<(), PublishError> {
        while self.waiting.len() >= IN_FLIGHT_MAX {
            self.settle_one().await?;
        }
        let mut headers = FieldTable::default();
        if let Some(trace) = trace {
            headers.insert("traceparent".into(), AMQPValue::LongString(trace.into()));
        }
        if let Some(bucket) = bucket {
            headers.insert(LANE_HEADER.into(), AMQPValue::LongString(bucket.to_string().into()));
        }
        self.send(routing_key, content_type, body, BasicProperties::default().with_headers(headers)).await
    }

    /// Declares the exchange as its own: a durable topic.
    ///
    /// # Errors
    /// `PublishError::Connect`, where there is another of its name.
    pub async fn declare(&self) -> Result<(), PublishError> {
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let none = FieldTable::default();
        let declare = self.channel.exchange_declare((&*self.exchange).into(), ExchangeKind::Topic, durable, none);
        Ok(connection::answered("declare the exchange", declare).await?)
    }

    /// Publishes JSON documents and waits for the confirm of each: one that no queue takes is no reason to lose sight of the others.
    ///
    /// # Errors
    /// `PublishError::Away`: then it is not known which are in a queue.
    pub async fn publish_each(&mut self, messages: &[Outgoing]) -> Result<Vec<Result<(), PublishError>>, PublishError> {
        self.settle().await?;
        let mut outcomes = Vec::with_capacity(messages.len());
        for group in messages.chunks(IN_FLIGHT_MAX) {
            for message in group {
                let properties = BasicProperties::default().with_message_id(message.id.as_str().into());
                self.send(&message.routing_key, "application/json", &message.body, properties).await?;
            }
            for _ in group {
                match self.settle_one().await {
                    Err(error @ (PublishError::Away { .. } | PublishError::Connect(_))) => return Err(error),
                    outcome => outcomes.push(outcome),
                }
            }
        }
        Ok(outcomes)
    }

    async fn send(
        &mut self,
        routing_key: &str,
        content_type: &str,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), PublishError> {
        let properties = properties.with_content_type(content_type.into()).with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let sent =
            self.channel.basic_publish((&*self.exchange).into(), routing_key.into(), options, body, properties).await;
        self.waiting.push_back(sent.map_err(|_| PublishError::Away { doing: "publishing" })?);
        Ok(())
    }

    /// Waits until every message is confirmed and routed.
    ///
    /// # Errors
    /// `PublishError` of the first that is not.
    pub async fn settle(&mut self) -> Result<(), PublishError> {
        while !self.waiting.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }

    async fn settle_one(&mut self) -> Result<(), PublishError> {
        let Some(confirm) = self.waiting.pop_front() else { return Ok(()) };
        match confirm.await.map_err(|_| PublishError::Away { doing: "waiting for a confirm" })? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => Err(PublishError::Unroutable),
            Confirmation::Nack(_) => Err(PublishError::Refused),
            Confirmation::NotRequested => Err(PublishError::Away { doing: "waiting for a confirm" }),
        }
    }
}
