//! A hospital system's side of AMQP, for demo and bench: `connectors_amqp::Publisher` with a trace of its own for each message.

use crate::failure::Failure;
use crate::home;

/// A connection that publishes.
pub struct Publisher(connectors_amqp::Publisher);

fn failed(error: connectors_amqp::PublishError) -> Failure {
    Failure::classed(error.class(), error)
}

impl Publisher {
    /// Connects with publisher confirms.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    pub async fn connect(url: &str) -> Result<Self, Failure> {
        connectors_amqp::Publisher::connect(url).await.map(Self).map_err(failed)
    }

    /// Publishes one message into `hospital.events`; waits only when too many are in flight.
    ///
    /// # Errors
    /// When the broker is lost, refuses or returns a message.
    pub async fn publish(&mut self, routing_key: &str, content_type: &str, body: &[u8]) -> Result<(), Failure> {
        let trace = format!("00-{}-{}-01", hex::encode(home::random::<16>()?), hex::encode(home::random::<8>()?));
        self.0.publish(routing_key, content_type, body, Some(&trace)).await.map_err(failed)
    }

    /// Waits until every message is confirmed and routed.
    ///
    /// # Errors
    /// As `publish`.
    pub async fn settle(&mut self) -> Result<(), Failure> {
        self.0.settle().await.map_err(failed)
    }
}
