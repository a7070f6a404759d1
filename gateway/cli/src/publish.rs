//! A hospital system's side of AMQP, for demo and bench: persistent, mandatory, confirmed publishing into `hospital.events`, a
//! bounded number in flight. A confirm does not mean routed, so a returned message is an error.

use std::collections::VecDeque;

use anyhow::{Context, anyhow};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm};

use crate::failure::Failure;
use crate::home;

/// The topic exchange that hospital systems publish to.
pub const EXCHANGE: &str = "hospital.events";
/// Most messages that wait for their confirm.
const IN_FLIGHT_MAX: usize = 256;

/// A connection that publishes.
pub struct Publisher {
    // The connection ends with the publisher.
    _connection: Connection,
    channel: Channel,
    waiting: VecDeque<PublisherConfirm>,
}

impl Publisher {
    /// Connects with publisher confirms.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        let connection = Connection::connect(url, ConnectionProperties::default());
        // The URL holds a password: it is not part of the message.
        let connection = connection.await.map_err(|e| Failure::unavailable(format_args!("the broker: {e}")))?;
        let channel = connection.create_channel().await.context("the broker's channel")?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.context("publisher confirms")?;
        Ok(Self { _connection: connection, channel, waiting: VecDeque::new() })
    }

    /// Publishes one message; waits only when too many are in flight.
    ///
    /// # Errors
    /// When the broker is lost, refuses or returns a message.
    pub async fn publish(&mut self, routing_key: &str, content_type: &str, body: &[u8]) -> Result<(), Failure> {
        while self.waiting.len() >= IN_FLIGHT_MAX {
            self.settle_one().await?;
        }
        let mut headers = FieldTable::default();
        let trace = format!("00-{}-{}-01", hex::encode(home::random::<16>()?), hex::encode(home::random::<8>()?));
        headers.insert("traceparent".into(), AMQPValue::LongString(trace.into()));
        let properties = BasicProperties::default()
            .with_content_type(content_type.into())
            .with_delivery_mode(2)
            .with_headers(headers);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let sent = self.channel.basic_publish(EXCHANGE.into(), routing_key.into(), options, body, properties).await;
        self.waiting.push_back(sent.context("publishing")?);
        Ok(())
    }

    /// Waits until every message is confirmed and routed.
    ///
    /// # Errors
    /// As `publish`.
    pub async fn settle(&mut self) -> Result<(), Failure> {
        while !self.waiting.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }

    async fn settle_one(&mut self) -> Result<(), Failure> {
        let Some(confirm) = self.waiting.pop_front() else { return Ok(()) };
        match confirm.await.context("a publisher confirm")? {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) => Err(anyhow!("a message was returned: no queue is bound to its key").into()),
            Confirmation::Nack(_) => Err(anyhow!("the broker refused a message: its queue is full").into()),
            Confirmation::NotRequested => Err(anyhow!("the broker does not confirm").into()),
        }
    }
}
