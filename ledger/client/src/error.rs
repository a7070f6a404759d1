//! What can go wrong with the ledger, by what the caller can do about it. Text that validators send never enters.

use ledger_proof::VerifyError;
use schemas::ErrorClass;
use schemas::genesis::GenesisError;

/// A failure of the ledger client.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file of the configuration cannot be read.
    #[error("{path}: {message}")]
    File {
        /// The path.
        path: String,
        /// What was found and expected.
        message: String,
    },
    /// The genesis file is not consistent.
    #[error("genesis file: {0}")]
    Genesis(#[from] GenesisError),
    /// The genesis does not verify.
    #[error("genesis: {0}")]
    Proof(#[from] VerifyError),
    /// The configured validators do not fit the genesis.
    #[error("ledger configuration: {0}")]
    Config(String),
    /// The transaction is invalid, say more validators than can be faulty.
    #[error("ledger: {votes} validators refused the transaction's bytes, expected a valid transaction")]
    Refused {
        /// How many.
        votes: usize,
    },
    /// Validators answer but take no more now.
    #[error("ledger: every validator that answered is full, try again later")]
    Busy,
    /// No validator gave a valid answer.
    #[error("ledger: no validator gave a valid answer ({asked} asked)")]
    Unreachable {
        /// How many were asked.
        asked: usize,
    },
}

impl LedgerError {
    /// The class that decides about retries.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::File { .. } | Self::Genesis(_) | Self::Proof(_) | Self::Config(_) | Self::Refused { .. } => {
                ErrorClass::Caller
            }
            Self::Busy | Self::Unreachable { .. } => ErrorClass::Transient,
        }
    }
}
