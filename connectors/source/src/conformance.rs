//! The MUSTs of `SPEC.md` as checks that every connector's tests run against its real peer. Not part of a running
//! gateway. A connector implements [`Rig`] over its peer and calls [`run`].

mod rules;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::delivery::Delivery;
use crate::source::Source;

/// A future of the rig.
pub type RigFuture<'r, T> = Pin<Box<dyn Future<Output = T> + Send + 'r>>;

/// How the suite drives a connector's peer. The rig may panic: it is test code.
pub trait Rig: Send {
    /// Makes the place at the peer empty: no message waiting, none put aside, no consumer.
    fn reset(&mut self) -> RigFuture<'_, ()>;
    /// A new source on that place, which holds at most `unsettled_max` deliveries unsettled.
    fn open(&mut self, unsettled_max: u16) -> RigFuture<'_, Box<dyn Source>>;
    /// Puts a message there, durable when this returns.
    fn publish(&mut self, message: Message) -> RigFuture<'_, ()>;
    /// Cuts the connection of every open source; the peer keeps its messages and can be reached again.
    fn cut(&mut self) -> RigFuture<'_, ()>;
    /// Makes the peer unreachable, or reachable again.
    fn set_reachable(&mut self, reachable: bool) -> RigFuture<'_, ()>;
    /// Whether the source listens and its peers connect: then the peer decides when it is reachable, and health is about the
    /// place where the source listens.
    fn listens(&self) -> bool {
        false
    }
    /// Number of messages put aside.
    fn put_aside(&mut self) -> RigFuture<'_, usize>;
}

/// A message of the suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Routing key.
    pub routing: String,
    /// Content type as the sender writes it.
    pub content_type: String,
    /// Body.
    pub body: Bytes,
}

impl Message {
    /// A message with number `n` in its body.
    pub fn numbered(n: usize) -> Self {
        Self {
            routing: "conformance.order".into(),
            content_type: "Application/Octet-Stream".into(),
            body: Bytes::from(format!("message {n}")),
        }
    }
}

/// A MUST that a source broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: found {found}, expected {expected}")]
pub struct Violation {
    /// Name of the check.
    pub rule: &'static str,
    /// What the source did.
    pub found: String,
    /// What SPEC.md demands.
    pub expected: &'static str,
}

/// How long the suite waits. The default is what SPEC.md demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Longest that a source may take for anything but recovery.
    pub patience: Duration,
    /// How long nothing must happen where nothing may happen.
    pub quiet: Duration,
    /// Longest that a source may take to be connected again.
    pub recovery: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { patience: Duration::from_secs(10), quiet: Duration::from_millis(300), recovery: Duration::from_secs(30) }
    }
}

/// Runs every check; one entry per broken MUST, empty when the connector conforms.
pub async fn run(rig: &mut dyn Rig, timing: Timing) -> Vec<Violation> {
    let mut broken = Vec::new();
    for check in rules::ALL {
        rig.reset().await;
        if let Err(violation) = check(rig, timing).await {
            broken.push(violation);
        }
    }
    broken
}

/// One check being made.
pub(crate) struct Check {
    rule: &'static str,
    pub(crate) timing: Timing,
}

impl Check {
    pub(crate) const fn of(rule: &'static str, timing: Timing) -> Self {
        Self { rule, timing }
    }

    pub(crate) fn fail<T>(&self, found: impl Into<String>, expected: &'static str) -> Result<T, Violation> {
        Err(Violation { rule: self.rule, found: found.into(), expected })
    }

    /// The next delivery in time.
    pub(crate) async fn next(&self, source: &mut dyn Source) -> Result<Delivery, Violation> {
        self.next_within(source, self.timing.patience).await
    }

    pub(crate) async fn next_within(&self, source: &mut dyn Source, limit: Duration) -> Result<Delivery, Violation> {
        match tokio::time::timeout(limit, source.next()).await {
            Ok(Ok(Some(delivery))) => Ok(delivery),
            Ok(Ok(None)) => self.fail("the end of the source", "a delivery"),
            Ok(Err(error)) => self.fail(error.to_string(), "a delivery"),
            Err(_) => self.fail("nothing in time", "a delivery"),
        }
    }

    /// Nothing for a while.
    pub(crate) async fn nothing(&self, source: &mut dyn Source, expected: &'static str) -> Result<(), Violation> {
        match tokio::time::timeout(self.timing.quiet, source.next()).await {
            Err(_) | Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(_))) => self.fail("a delivery", expected),
            Ok(Err(error)) => self.fail(error.to_string(), expected),
        }
    }

    pub(crate) async fn accept(&self, delivery: Delivery) -> Result<(), Violation> {
        match delivery.accept().await {
            Ok(()) => Ok(()),
            Err(error) => self.fail(error.to_string(), "the acknowledgement sent"),
        }
    }

    pub(crate) fn body(&self, delivery: &Delivery, wanted: &Bytes) -> Result<(), Violation> {
        if delivery.body == *wanted {
            return Ok(());
        }
        self.fail("another body", "the message that is due, byte for byte")
    }
}
