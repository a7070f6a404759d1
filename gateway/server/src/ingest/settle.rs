//! The outcome of one submission: submitted, submitted again while there is no word, looked up by its id. Only when the
//! ledger proves that it was not and will never be executed are its cases signed again, under the same ids.

use std::time::{Duration, Instant};

use ledger_client::{EntryProof, LedgerError};
use schemas::cbor;
use schemas::transaction::{Outcome, Refusal, Transaction, signed_hash};

use super::anchor::{Intended, VALID_BLOCKS};
use super::plan::Plan;
use super::{Control, Foundation, StepError, crash_point};
use crate::store::intents::{self, Submission};
use crate::store::{self};
use crate::telemetry::{Moment, Step};

/// Longest wait for a word before the same bytes are submitted again, in milliseconds.
const PROOF_WAIT_MS: u64 = 5_000;

/// An accepted submission with its proof. Built here only.
pub struct Anchored {
    pub(super) submission: Submission,
    pub(super) plans: Vec<Plan>,
    pub(super) proof: EntryProof,
}

/// None when the gateway stops: the submission stays pending and goes on at the next start.
pub async fn settle(on: Foundation, control: Control, intended: Intended) -> Option<Anchored> {
    let Intended { mut submission, plans } = intended;
    let from = Instant::now();
    let mut patience = control.patience("anchor");
    let proof = loop {
        let word = tokio::select! {
            () = control.stop.cancelled() => return None,
            word = word(&on, &submission) => word,
        };
        let error = match word {
            Ok(Some(proof)) => break proof,
            Ok(None) => match sign_again(&on, &submission).await {
                Ok(again) => {
                    submission = again;
                    continue;
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        if !patience.wait(&error).await {
            return None;
        }
    };
    crash_point!("ingest::after_proof");
    patience.over();
    on.metrics.step(Step::Anchor, from.elapsed());
    on.metrics.count(Moment::Anchored, plans.len() as u64);
    Some(Anchored { submission, plans, proof })
}

/// The proof of acceptance; none: it is proven that it was not executed and cannot be any more.
async fn word(on: &Foundation, submission: &Submission) -> Result<Option<EntryProof>, StepError> {
    let submitted = match on.ledger.submit(submission.bytes.clone()).await {
        // refused bytes may still be those of a transaction that was executed: expired, or known
        Ok(()) | Err(LedgerError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    };
    crash_point!("ingest::after_submit");
    let wait = if submitted.is_ok() { Duration::from_millis(PROOF_WAIT_MS) } else { Duration::ZERO };
    // a stranger's copy that was refused says nothing about our bytes
    let signed = signed_hash(&submission.bytes);
    let proof = on.ledger.proof(&submission.id, wait).await?.filter(|proof| proof.decides(&signed));
    match proof.map(|proof| (proof.entry.outcome, proof)) {
        Some((Outcome::Accepted, proof)) => Ok(Some(proof)),
        // executed again after it was accepted, or past its time: the state says which
        Some((Outcome::Refused(Refusal::Expired | Refusal::Duplicate), _)) | None => {
            let (accepted, height) = on.follower.transaction_height(&submission.id).await?;
            match accepted {
                None if height > submission.valid_until => Ok(None),
                _ => {
                    submitted?;
                    Err(StepError::Unknown)
                }
            }
        }
        Some((Outcome::Refused(refusal), _)) => Err(StepError::Refused(refusal)),
    }
}

/// The same statements under a new limit, durable in place of the old before it is submitted.
async fn sign_again(on: &Foundation, old: &Submission) -> Result<Submission, StepError> {
    let corrupt = StepError::Corrupt("a submission's bytes");
    let transaction: Transaction = cbor::decode(&old.bytes).map_err(|_| corrupt)?;
    let valid_until = on.follower.height() + VALID_BLOCKS;
    let statements = transaction.statements;
    let signed = on.vault.sign_anchor(on.chain, on.institution, valid_until, statements, Vec::new())?;
    let new = Submission {
        id: signed.id(),
        sequence: old.sequence,
        bytes: cbor::encode(&signed),
        valid_until,
        intents: old.intents.clone(),
    };
    let mut write = on.store.begin().await?;
    // an earlier attempt whose answer was lost may have replaced it already
    if let Some(first) = old.intents.first()
        && let Some((id, bytes, valid_until)) = intents::of_case(&mut write, &first.case).await?
        && id != old.id
    {
        return Ok(Submission { id, bytes, valid_until, ..old.clone() });
    }
    intents::replace(&mut write, &old.id, &new).await?;
    store::commit(write).await?;
    Ok(new)
}
