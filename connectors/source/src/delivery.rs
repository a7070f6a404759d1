//! One message from one connector, with the one right to settle it. The type makes settling twice impossible, and a
//! delivery that is dropped goes back to the peer: a crash, a cancelled task or a lost branch loses nothing.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use schemas::id::TimeMs;

use crate::error::SettleError;

/// A message as it came.
#[must_use = "dropping a delivery releases it to the peer"]
pub struct Delivery {
    /// Name of the connector.
    pub connector: Box<str>,
    /// Content type as stated by the sender, lower case without white space around it; empty when not stated.
    pub content_type: Box<str>,
    /// The bytes, untouched.
    pub body: Bytes,
    /// Trace context of the sender.
    pub trace: TraceContext,
    /// Routing key, topic, path or file name: a hint for people, never part of a message's identity.
    pub routing: Box<str>,
    /// What the peer says about earlier deliveries of it. Only a hint: the inbox alone recognises duplicates.
    pub redelivery: Redelivery,
    /// Whether its sender can be told later what became of it: its connector says where.
    pub tells_outcome: bool,
    /// When it was received.
    pub received: TimeMs,
    settle: Option<Box<dyn Settle>>,
}

/// W3C trace context headers, when the sender gave valid ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`.
    pub parent: Option<Box<str>>,
    /// `tracestate`, only beside a parent.
    pub state: Option<Box<str>>,
}

/// What the peer says about earlier deliveries of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redelivery {
    /// Whether it was delivered before.
    pub redelivered: bool,
    /// How often, when the peer counts.
    pub count: Option<u32>,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is durable in the inbox: the peer may forget it.
    Accepted,
    /// It can never be taken: the peer puts it aside (dead letter).
    Rejected(Rejection),
    /// It could not be taken now: the peer delivers it again.
    Released,
}

/// Why a message can never be taken. Only for what cannot even be kept; what can be kept goes to quarantine and is
/// accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Longer than the configured maximum.
    TooLarge,
    /// Without any byte.
    Empty,
}

impl Rejection {
    /// A low-cardinality name for headers, metrics and logs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "too-large",
            Self::Empty => "empty",
        }
    }
}

/// The end of a settlement.
pub type SettleFuture = Pin<Box<dyn Future<Output = Result<(), SettleError>> + Send>>;

/// The connector's side of settling one delivery.
pub trait Settle: Send + Sync {
    /// Tells the peer. Called at most once.
    fn settle(self: Box<Self>, how: Settlement) -> SettleFuture;

    /// The delivery was dropped unsettled: release it without waiting. Must not block or panic.
    fn abandon(self: Box<Self>);
}

impl TraceContext {
    /// Takes the headers' values when `parent` is a valid `traceparent` (W3C Trace Context §3.2.2); anything else is
    /// ignored, since headers come from outside.
    pub fn new(parent: Option<&str>, state: Option<&str>) -> Self {
        let Some(parent) = parent.filter(|p| is_traceparent(p)) else { return Self::default() };
        let is_plain = |s: &&str| s.len() <= 512 && s.bytes().all(|b| (0x20..0x7f).contains(&b));
        Self { parent: Some(parent.into()), state: state.filter(is_plain).map(Into::into) }
    }
}

fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { return false };
    let lengths = version.len() == 2 && trace.len() == 32 && span.len() == 16 && flags.len() == 2;
    let some = |part: &str| part.bytes().any(|b| b != b'0');
    lengths && [version, trace, span, flags].into_iter().all(hex) && version != "ff" && some(trace) && some(span)
}

impl Delivery {
    /// A delivery of `connector`; the other fields are set by the caller, the settlement is `settle`'s.
    pub fn new(connector: &str, body: Bytes, received: TimeMs, settle: Box<dyn Settle>) -> Self {
        Self {
            connector: connector.into(),
            content_type: "".into(),
            body,
            trace: TraceContext::default(),
            routing: "".into(),
            redelivery: Redelivery::default(),
            tells_outcome: false,
            received,
            settle: Some(settle),
        }
    }

    /// It is durable: call only after the inbox commit.
    ///
    /// # Errors
    /// `SettleError`: the message comes again, and the inbox recognises it.
    pub async fn accept(self) -> Result<(), SettleError> {
        self.settle(Settlement::Accepted).await
    }

    /// It can never be kept: the peer puts it aside.
    ///
    /// # Errors
    /// As for [`accept`](Self::accept).
    pub async fn reject(self, reason: Rejection) -> Result<(), SettleError> {
        self.settle(Settlement::Rejected(reason)).await
    }

    /// Not now: the peer delivers it again.
    ///
    /// # Errors
    /// As for [`accept`](Self::accept).
    pub async fn release(self) -> Result<(), SettleError> {
        self.settle(Settlement::Released).await
    }

    /// Gives the body away and keeps the right to settle: the bytes need not live until the commit.
    pub fn take_body(&mut self) -> Bytes {
        std::mem::take(&mut self.body)
    }

    async fn settle(mut self, how: Settlement) -> Result<(), SettleError> {
        match self.settle.take() {
            Some(settle) => settle.settle(how).await,
            None => Ok(()),
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settle) = self.settle.take() {
            settle.abandon();
        }
    }
}

/// Shape only: a message is patient data, and so may be its routing key.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Delivery({}, {} bytes)", self.connector, self.body.len())
    }
}
