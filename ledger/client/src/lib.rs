//! The ledger as the rest of the house sees it: the `Ledger` trait that other engines can stand behind, and `HttpLedger`,
//! which speaks to our validators over pinned TLS. Nothing but each validator's own status is returned that was not verified against the genesis and the
//! epochs that follow from it; no single validator is trusted.

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod http;
mod tls;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use error::LedgerError;
pub use http::{HttpLedger, LedgerConfig, ValidatorAddress};
pub use ledger_proof::{EntryProof, Epochs, Fresh, ValidatorSet, Validators};
use schemas::block::{Block, SignedHead};
use schemas::id::{Digest, Height};
use schemas::proof::{ConsistencyProof, StateProof};

/// What a method of `Ledger` returns: a future that can be sent between threads.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A ledger: submit, look up, follow, prove. Implementations pass `conformance`.
pub trait Ledger: Send + Sync {
    /// Hands the signed bytes of a transaction over for ordering. `Ok` says that a validator took it (or has it already), not
    /// that it was executed: ask `proof`.
    ///
    /// # Errors
    /// `Refused` when more validators than can be faulty say that the bytes are invalid; else transient.
    fn submit(&self, transaction: Vec<u8>) -> Answer<'_, Result<(), LedgerError>>;

    /// The verified log entry of a transaction, waiting up to `wait` for it. `None`: no validator that answered has it yet;
    /// absence is proven only by following the blocks past its `valid_until`. An acceptance that any validator proves goes
    /// before refusals; a refusal may be of a copy with other signatures, which anybody can have ordered: ask `verdict`.
    ///
    /// # Errors
    /// Transient when no validator answers.
    fn proof(&self, id: &Digest, wait: Duration) -> Answer<'_, Result<Option<EntryProof>, LedgerError>>;

    /// The same for the transaction with exactly the signed bytes that hash to `signed` (`schemas::transaction::signed_hash`):
    /// its acceptance, or the refusal of these bytes. Copies with other signatures are passed over.
    ///
    /// # Errors
    /// Transient when no validator answers.
    fn verdict(
        &self,
        id: &Digest,
        signed: &Digest,
        wait: Duration,
    ) -> Answer<'_, Result<Option<EntryProof>, LedgerError>> {
        let (id, signed) = (*id, *signed);
        Box::pin(async move { Ok(self.proof(&id, wait).await?.filter(|proof| proof.decides(&signed))) })
    }

    /// Up to `max` final blocks from height `from`, contiguous and each verified (bodies, certificate, ≥ q attestations), waiting
    /// up to `wait` for the first. Empty when there is none yet.
    ///
    /// # Errors
    /// Transient when no validator gives a valid answer.
    fn blocks(&self, from: Height, max: usize, wait: Duration) -> Answer<'_, Result<Vec<Block>, LedgerError>>;

    /// What a key of the state (`schemas::state`) held after the block at `height`, verified: its value, or that it was absent.
    /// `None`: no validator that answered can prove it, because the height is not final there yet or was forgotten.
    ///
    /// # Errors
    /// Transient when no validator answers.
    fn state(&self, key: &[u8], height: Height) -> Answer<'_, Result<Option<StateProof>, LedgerError>>;

    /// That the log at height `to` continues the log at height `from`, verified. `None`: no validator that answered has both.
    ///
    /// # Errors
    /// Transient when no validator answers.
    fn consistency(&self, from: Height, to: Height) -> Answer<'_, Result<Option<ConsistencyProof>, LedgerError>>;

    /// Verified heads, of all validators that answer soon and of at least a quorum of one epoch where so many are reachable, each
    /// validator once.
    fn heads(&self) -> Answer<'_, Vec<SignedHead>>;

    /// What each validator says about itself, for people. Unverified.
    fn status(&self) -> Answer<'_, Vec<ValidatorStatus>>;

    /// The validators whose signatures count, of all epochs that are known by now. Freshness (formats.md §4) is proved with them by
    /// `heads`: `Epochs::proved_fresh`.
    fn validators(&self) -> Arc<Epochs>;
}

/// What one validator says about itself.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ValidatorStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Its own JSON; `None` when it cannot be reached.
    pub status: Option<serde_json::Value>,
}
