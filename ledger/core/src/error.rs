//! Why a replica refuses to start or stops. Both are for an operator: nothing here is retried.

use schemas::ErrorClass;
use schemas::id::{Digest, Height};

/// A vote log or store that no honest run can have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoreError {
    /// Fewer than one validator, or an index outside of the list.
    #[error("found validator {me} of {validators}, expected an index below the number of validators")]
    NotAValidator {
        /// The index.
        me: u16,
        /// Number of validators.
        validators: usize,
    },
    /// The log holds two things of which at most one can be true.
    #[error("vote log at height {height}: {what}")]
    Contradiction {
        /// Where.
        height: Height,
        /// What contradicts.
        what: &'static str,
    },
    /// The checkpoint handed over at the start is not that of the certified height.
    #[error("store: found a checkpoint at height {found}, expected one at the certified height {certified}")]
    CheckpointGap {
        /// The checkpoint's height.
        found: Height,
        /// Up to where every block has q attestations.
        certified: Height,
    },
    /// Headers handed over at the start do not end at the executed height.
    #[error("store: found headers that do not end at the executed height {executed}")]
    HeaderGap {
        /// The executed height.
        executed: Height,
    },
}

impl CoreError {
    /// The class that decides about retries.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::NotAValidator { .. } => ErrorClass::Caller,
            Self::Contradiction { .. } | Self::CheckpointGap { .. } | Self::HeaderGap { .. } => ErrorClass::Corrupt,
        }
    }
}

/// Validators that cannot all be faulty executed another header than this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("height {height}: this validator executed header {ours}, others attest another one")]
pub struct Divergence {
    /// Where.
    pub height: Height,
    /// This replica's header.
    pub ours: Digest,
}
