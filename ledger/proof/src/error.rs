//! Why a proof was not accepted: what is wrong stays wrong, what is incomplete may be completed by asking again.

use schemas::ErrorClass;
use schemas::genesis::GenesisError;
use schemas::receipt::ReceiptError;

/// A refused proof. Proofs hold nothing secret, but messages name places, not values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not a receipt in its one spelling.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// Not a consistent genesis.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// Made for another chain than the genesis at hand.
    #[error("{place}: found another chain, expected the chain of this genesis")]
    OtherChain {
        /// Where.
        place: &'static str,
    },
    /// Of an epoch that the proofs at hand do not reach.
    #[error("{place}: found epoch {epoch}, expected one that is proved here; ask the ledger for its epoch proofs")]
    OtherEpoch {
        /// Where.
        place: &'static str,
        /// Which.
        epoch: schemas::block::Epoch,
    },
    /// Two parts contradict each other.
    #[error("{place}: found a contradiction, expected {expected}")]
    Contradiction {
        /// Where.
        place: &'static str,
        /// What must hold.
        expected: &'static str,
    },
    /// A leaf is not in its tree.
    #[error("{place}: found a path that does not lead from the leaf to the root")]
    Path {
        /// Which tree.
        place: &'static str,
    },
    /// A signature does not verify.
    #[error("{place}: found an invalid signature")]
    Signature {
        /// Whose.
        place: &'static str,
    },
    /// A list of validators' signatures is not sorted, or names one twice or an unknown one.
    #[error("{place}: found validators out of order, twice or unknown, expected each once, sorted by index")]
    Validators {
        /// Which list.
        place: &'static str,
    },
    /// The institution is not in the genesis.
    #[error("statement: found an institution that the genesis does not name")]
    UnknownInstitution,
    /// The ledger refused the transaction.
    #[error("entry: found a transaction that the ledger refused, expected an accepted one")]
    NotAccepted,
    /// Too few signatures: all that are there are valid, more may come.
    #[error("{place}: found {found} valid signatures, expected at least {expected}; ask the ledger again")]
    Incomplete {
        /// Which list.
        place: &'static str,
        /// Signatures there.
        found: usize,
        /// The quorum.
        expected: usize,
    },
}

impl VerifyError {
    /// Whether more signatures can make this proof valid (exit 4); everything else is invalid for good (exit 2).
    pub const fn is_incomplete(&self) -> bool {
        matches!(self, Self::Incomplete { .. })
    }

    /// The class that decides about retries.
    pub const fn class(&self) -> ErrorClass {
        if self.is_incomplete() { ErrorClass::Transient } else { ErrorClass::Caller }
    }
}
