//! Faults of a source. A source recovers from its own transient faults; what it returns is what it cannot recover from.
//! Messages name the connector's part that failed, never an address with credentials, never content.

use schemas::ErrorClass;

/// Why a source gives no more deliveries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It is configured for something that is not there or not allowed (a missing queue, refused credentials).
    #[error("connector {connector}: {what}; expected the configuration and the peer to agree")]
    Configuration {
        /// Name of the connector.
        connector: Box<str>,
        /// What does not agree, in words of our own.
        what: &'static str,
    },
    /// The peer is away and the source was told to stop trying.
    #[error("connector {connector}: peer not reachable: {what}")]
    Unreachable {
        /// Name of the connector.
        connector: Box<str>,
        /// Which operation failed.
        what: &'static str,
    },
}

impl SourceError {
    /// Class of the error.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Configuration { .. } => ErrorClass::Caller,
            Self::Unreachable { .. } => ErrorClass::Transient,
        }
    }
}

/// Why a settlement did not reach the peer. The peer will deliver again; the inbox recognises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The connection over which the delivery came is gone, and its acknowledgement with it.
    #[error("found the delivery's connection closed, expected it open: the message comes again")]
    ConnectionLost,
    /// The peer refused the settlement.
    #[error("found the settlement refused by the peer, expected it accepted: the message comes again")]
    Refused,
    /// No answer in time.
    #[error("found no answer to the settlement within {after_ms} ms: the message may come again")]
    TimedOut {
        /// How long was waited.
        after_ms: u64,
    },
}

impl SettleError {
    /// Always transient: the message comes again.
    pub const fn class(self) -> ErrorClass {
        ErrorClass::Transient
    }
}
