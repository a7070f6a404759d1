//! Why a validator does not start or stops. Paths and places, never keys.

use schemas::ErrorClass;
use schemas::block::Epoch;
use schemas::id::Height;

use crate::key::KeyError;
use crate::store::StoreError;
use crate::votelog::LogError;

/// A validator that does not start or stops.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The configuration file.
    #[error("{place}: {message}")]
    Config {
        /// File, with line and column where there is one.
        place: String,
        /// Found, expected, what to do.
        message: String,
    },
    /// The genesis file.
    #[error(transparent)]
    Genesis(#[from] schemas::genesis::GenesisError),
    /// The genesis does not verify.
    #[error("genesis: {0}")]
    Possession(ledger_proof::VerifyError),
    /// The validator's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The vote log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The block store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key is no validator's.
    #[error(
        "found a key that is no validator's in epoch {epoch}, which begins at height {first}: a validator that left may be switched \
         off; a new one starts once its seat is decided, with the genesis and what `chartseal ledger confirm` wrote beside its key"
    )]
    NoSeat {
        /// The epoch.
        epoch: Epoch,
        /// Its first height.
        first: Height,
    },
    /// Another process has the data folder.
    #[error("data folder {path}: found another process that uses it, expected none; stop it first")]
    InUse {
        /// The folder.
        path: String,
    },
    /// A backup that cannot be made or used.
    #[error("backup {place}: {message}")]
    Backup {
        /// File or folder.
        place: String,
        /// Found, expected, what to do.
        message: String,
    },
    /// Log and store contradict each other.
    #[error(
        "{0}: log and store do not belong together; `chartseal restore` makes this validator begin anew, in silence until it is safe"
    )]
    Core(#[from] ledger_core::CoreError),
    /// Others executed another header.
    #[error(
        "{0}: the store is damaged, or this is another version than the others'; keep the data folder for whoever looks for the \
         cause, then `chartseal restore` begins anew"
    )]
    Divergence(#[from] ledger_core::Divergence),
    /// TLS could not be set up.
    #[error("TLS of the validator: {0}")]
    Tls(String),
    /// An instrument is not accepted.
    #[error("metrics: {0}")]
    Metrics(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The system's clock was put back by more than others' clocks may differ.
    #[error(
        "the system's clock went back by {back_ms} ms, expected less than the clocks of validators may differ; start again"
    )]
    Clock {
        /// By how much.
        back_ms: u64,
    },
    /// A part of the node ended.
    #[error("the validator's {0} ended unexpectedly")]
    Ended(&'static str),
}

impl NodeError {
    /// The class that decides about exit codes.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Config { .. }
            | Self::Backup { .. }
            | Self::InUse { .. }
            | Self::NoSeat { .. }
            | Self::Genesis(_)
            | Self::Possession(_) => ErrorClass::Caller,
            Self::Key(e) => e.class(),
            Self::Log(e) => e.class(),
            Self::Store(e) => e.class(),
            Self::Core(e) => e.class(),
            Self::Divergence(_) => ErrorClass::Corrupt,
            Self::Listen { .. } | Self::Clock { .. } => ErrorClass::Transient,
            Self::Tls(_) | Self::Metrics(_) | Self::Ended(_) => ErrorClass::Bug,
        }
    }
}
