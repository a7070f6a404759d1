//! One transaction of a consent: sign, submit, wait for the ledger's word, wait until this gateway has followed. Nothing is
//! decided here.

use std::time::Instant;

use schemas::cbor;
use schemas::id::{Height, TimeMs};
use schemas::transaction::{Body, Core, Outcome, Refusal, Signer};

use super::{ConsentError, Consents, OUTCOME_WAIT};

/// Blocks until a consent's transaction can no longer be executed.
const VALID_BLOCKS: u64 = 2_000;
/// Longest wait of one look-up.
const LOOK_UP_MS: u128 = 5_000;

/// Height and effective time of the block that executed a transaction, or why it was refused.
type Word = Result<(Height, TimeMs), Refusal>;

impl Consents {
    /// Has a body executed and followed.
    ///
    /// # Errors
    /// `ConsentError::OutcomeUnknown` when the ledger gives no word in time.
    pub(super) async fn execute(&self, body: Body) -> Result<Word, ConsentError> {
        let parts = &self.parts;
        let valid_until = parts.follower.height() + VALID_BLOCKS;
        let core = Core { chain: parts.chain, valid_until, body };
        let signed = parts.vault.sign(core, Signer::Institution(parts.institution));
        let signed = signed.map_err(|_| ConsentError::Vault)?;
        let (id, from) = (signed.id(), Instant::now());
        parts.ledger.submit(cbor::encode(&signed)).await?;
        loop {
            let left = OUTCOME_WAIT.saturating_sub(from.elapsed());
            if left.is_zero() {
                return Err(ConsentError::OutcomeUnknown);
            }
            let wait = std::time::Duration::from_millis(left.as_millis().min(LOOK_UP_MS).try_into().unwrap_or(0));
            let Some(proof) = parts.ledger.proof(&id, wait).await? else { continue };
            let height = proof.header.height;
            if !parts.follower.reach(height, OUTCOME_WAIT).await {
                return Err(ConsentError::OutcomeUnknown);
            }
            return Ok(match proof.entry.outcome {
                Outcome::Accepted => Ok((height, proof.header.time)),
                Outcome::Refused(refusal) => Err(refusal),
            });
        }
    }
}
