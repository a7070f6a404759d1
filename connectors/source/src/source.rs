//! The trait of a connector's receiving side.

use std::future::Future;
use std::pin::Pin;

use tokio::sync::watch;

use crate::delivery::Delivery;
use crate::error::SourceError;
use crate::health::SourceHealth;

/// The next delivery, when it comes.
pub type NextDelivery<'s> = Pin<Box<dyn Future<Output = Result<Option<Delivery>, SourceError>> + Send + 's>>;

/// Yields messages of one connector. The MUSTs are in `SPEC.md`.
pub trait Source: Send {
    /// Name of the connector in the configuration, in metrics and in the inbox.
    fn name(&self) -> &str;

    /// The next delivery; `None` once the source was closed and everything in hand was yielded. May be dropped before it
    /// is ready without losing a message (S3). The source reconnects by itself; an error ends it.
    ///
    /// # Errors
    /// `SourceError` when the source cannot recover by itself.
    fn next(&mut self) -> NextDelivery<'_>;

    /// Whether the source is connected and alive. Kept up to date without `next` being called.
    fn health(&self) -> watch::Receiver<SourceHealth>;

    /// Stops taking messages from the peer; what was not yielded goes back. Deliveries already yielded can still be
    /// settled. Idempotent; does not wait.
    fn close(&mut self);
}
