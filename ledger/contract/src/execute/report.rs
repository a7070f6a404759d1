//! ReportConflict: two words of one validator that contradict each other: votes, attestations or view changes. They prove
//! themselves, so nobody signs for them; a validator of the epoch is convicted once.

use schemas::evidence::Conflict;
use schemas::state::{self, Evidence};
use schemas::transaction::{Refusal, Transaction};

use super::{Context, Stop};
use crate::state::{Changes, evidence, validator_key};

/// Both signatures are the validator's, over different digests (`admit` looked) at one place.
pub(super) fn conflict(context: &Context<'_>, tx: &Transaction, body: &Conflict) -> Result<Changes, Stop> {
    let key = validator_key(context.state, body.epoch, body.validator)?.ok_or(Refusal::UnknownValidator)?;
    if evidence(context.state, body.epoch, body.validator)?.is_some() {
        return Err(Refusal::IdUsed.into());
    }
    for word in body.words(tx.core.chain) {
        if !context.verifier.verify(&key, &word.to_sign(), &word.by.signature) {
            return Err(Refusal::Signature.into());
        }
    }
    let mut changes = Changes::default();
    let record = Evidence { conflict: *body, height: context.height };
    changes.put(state::evidence_key(body.epoch, body.validator), &record);
    Ok(changes)
}
