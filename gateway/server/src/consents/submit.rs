//! One transaction of a consent: sign, submit, wait for the ledger's word, wait until this gateway has followed. Nothing is
//! decided here.

use std::time::{Duration, Instant};

use schemas::cbor;
use schemas::id::{Digest, Height, TimeMs};
use schemas::state;
use schemas::transaction::{Body, Core, Outcome, Refusal, Signer, Transaction, signed_hash};

use super::{ConsentError, Consents, OUTCOME_WAIT};
use crate::store::{StoreError, chain};

/// Blocks until a consent's transaction can no longer be executed.
const VALID_BLOCKS: u64 = 2_000;
/// Longest wait of one look-up.
const LOOK_UP_MS: u128 = 5_000;
/// Pause between look-ups that were answered at once without a word.
const PAUSE: Duration = Duration::from_millis(50);

/// Height and effective time of the block that executed a transaction, or why it was refused.
type Word = Result<(Height, TimeMs), Refusal>;

impl Consents {
    /// Has a body executed and followed. The id covers no signatures, so anybody can have a copy with other ones refused: a
    /// refusal counts only when it is of our own bytes, and not against a state in which the transaction is executed.
    ///
    /// # Errors
    /// `ConsentError::OutcomeUnknown` when the ledger gives no word in time.
    pub(super) async fn execute(&self, body: Body) -> Result<Word, ConsentError> {
        let parts = &self.parts;
        let valid_until = parts.follower.height() + VALID_BLOCKS;
        let core = Core { chain: parts.chain, valid_until, body };
        let signed = parts.vault.sign(core, Signer::Institution(parts.institution));
        self.carry(&signed.map_err(|_| ConsentError::Vault)?).await
    }

    /// The same with a signed transaction, whoever signed it.
    ///
    /// # Errors
    /// `ConsentError::OutcomeUnknown` when the ledger gives no word in time.
    pub(super) async fn carry(&self, signed: &Transaction) -> Result<Word, ConsentError> {
        let parts = &self.parts;
        let bytes = cbor::encode(signed);
        let (id, own, from) = (signed.id(), signed_hash(&bytes), Instant::now());
        parts.ledger.submit(bytes.clone()).await?;
        loop {
            let left = OUTCOME_WAIT.saturating_sub(from.elapsed());
            if left.is_zero() {
                return Err(ConsentError::OutcomeUnknown);
            }
            let wait = Duration::from_millis(left.as_millis().min(LOOK_UP_MS).try_into().unwrap_or(0));
            let Some(proof) = parts.ledger.verdict(&id, &own, wait).await? else {
                if let Some(accepted) = self.executed(&id).await? {
                    return Ok(Ok(accepted));
                }
                tokio::time::sleep(PAUSE).await;
                // a copy may have taken its place among the waiting ones; known bytes are not taken twice
                if let Err(error) = parts.ledger.submit(bytes.clone()).await {
                    tracing::warn!(class = error.class().name(), "{error}");
                }
                continue;
            };
            let height = proof.header.height;
            if !parts.follower.reach(height, OUTCOME_WAIT).await {
                return Err(ConsentError::OutcomeUnknown);
            }
            return Ok(match proof.entry.outcome {
                Outcome::Accepted => Ok((height, proof.header.time)),
                // perhaps because it had been executed before
                Outcome::Refused(refusal) => self.executed(&id).await?.ok_or(refusal),
            });
        }
    }

    /// The acceptance of a transaction in the state that this gateway follows, with the time of that state.
    async fn executed(&self, id: &Digest) -> Result<Option<(Height, TimeMs)>, StoreError> {
        let found = chain::get(&self.parts.store, &state::transaction_key(id)).await?;
        let corrupt = |_| StoreError::Corrupt { what: "chain_state transaction" };
        let height = found.map(|bytes| cbor::decode::<Height>(&bytes).map_err(corrupt)).transpose()?;
        Ok(height.map(|height| (height, self.parts.follower.time())))
    }
}
