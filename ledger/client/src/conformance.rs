//! What every implementation of `Ledger` must do, run against a live one: the real validators in `tests/`, a small TLS
//! double in this crate's own tests.

use std::time::Duration;

use ledger_proof::{verify_consistency_proof, verify_state_proof};
use schemas::cbor;
use schemas::id::{Digest, Height, TimeMs};
use schemas::state;
use schemas::transaction::{Body, Outcome, Transaction, signed_hash};

use crate::{Ledger, LedgerError};

/// Longest wait for one step, so that a broken ledger fails instead of hanging.
const WAIT: Duration = Duration::from_secs(10);

/// Runs the suite with a valid transaction that the ledger has not seen, at the caller's clock.
///
/// # Errors
/// The first rule that the ledger breaks.
pub async fn run(ledger: &dyn Ledger, id: &Digest, signed: Vec<u8>, now: TimeMs) -> Result<(), String> {
    unknown_is_none(ledger).await?;
    let height = accepts_once(ledger, id, &signed).await?;
    follows(ledger, height).await?;
    proves(ledger, &signed, height).await?;
    is_fresh(ledger, height, now).await?;
    refuses_garbage(ledger).await
}

async fn unknown_is_none(ledger: &dyn Ledger) -> Result<(), String> {
    match ledger.proof(&Digest([0xaa; 32]), Duration::ZERO).await {
        Ok(None) => Ok(()),
        other => Err(format!("an unknown transaction must be None, found {other:?}")),
    }
}

/// A transaction is executed once, however often it is submitted; its proof says so.
async fn accepts_once(ledger: &dyn Ledger, id: &Digest, signed: &[u8]) -> Result<Height, String> {
    let submit = || async { ledger.submit(signed.to_vec()).await.map_err(|e| format!("submit: {e}")) };
    submit().await?;
    submit().await?;
    let proof = ledger
        .proof(id, WAIT)
        .await
        .map_err(|e| format!("proof: {e}"))?
        .ok_or("a submitted transaction must get a proof in time")?;
    ensure(proof.entry.outcome == Outcome::Accepted, "a valid transaction must be accepted")?;
    ensure(proof.entry.signed == signed_hash(signed), "the entry must name the signed bytes")?;
    submit().await?;
    let again = ledger.proof(id, WAIT).await.map_err(|e| format!("proof: {e}"))?;
    ensure(again.map(|p| p.entry) == Some(proof.entry.clone()), "a proof must not change")?;
    Ok(proof.entry.height)
}

/// Blocks come contiguous from 1 up to the height of the proof, each chained to the one before, and no further than asked.
async fn follows(ledger: &dyn Ledger, height: Height) -> Result<(), String> {
    let chain = *ledger.validators().chain();
    let (mut next, mut previous) = (1, Digest(chain.0));
    while next <= height {
        let blocks = ledger.blocks(next, 2, WAIT).await.map_err(|e| format!("blocks: {e}"))?;
        ensure(!blocks.is_empty() && blocks.len() <= 2, "1 or 2 blocks where 2 were asked and one is known")?;
        for block in blocks {
            ensure(block.header.height == next, "heights without a gap")?;
            ensure(block.header.previous == previous, "each block chained to the one before")?;
            previous = block.header.hash();
            next += 1;
        }
    }
    let ahead = ledger.blocks(next + 1_000_000, 2, Duration::ZERO).await.map_err(|e| format!("blocks: {e}"))?;
    ensure(ahead.is_empty(), "no blocks beyond the head")
}

/// What the transaction changed is proved present at its height and absent before, and the log to have grown.
async fn proves(ledger: &dyn Ledger, signed: &[u8], height: Height) -> Result<(), String> {
    let transaction: Transaction = cbor::decode(signed).map_err(|e| e.to_string())?;
    let key = match (&transaction.core.body, transaction.statements.first()) {
        (_, Some(statement)) => state::case_key(&statement.case),
        (Body::RegisterSubject(body), None) => state::subject_key(&body.subject),
        _ => return Err("the suite needs an AnchorCases or a RegisterSubject".into()),
    };
    let at = async |height| ledger.state(&key, height).await.map_err(|e| format!("state: {e}"));
    let now = at(height).await?.ok_or("the state at a final height must be provable")?;
    ensure(now.header.height == height && now.key == key && now.value.is_some(), "the key present at its height")?;
    ensure(verify_state_proof(&*ledger.validators(), &now).is_ok(), "a proof that verifies")?;
    if height > 1 {
        let before = at(height - 1).await?.ok_or("the state of an earlier height must be provable")?;
        ensure(before.value.is_none() && before.header.height == height - 1, "the key absent at the height before")?;
    }
    ensure(at(height + 1_000_000).await?.is_none(), "no proof of a height that is not there")?;
    let grown = ledger.consistency(1, height).await.map_err(|e| format!("consistency: {e}"))?;
    let grown = grown.ok_or("consistency of two final heights must be provable")?;
    ensure(verify_consistency_proof(&*ledger.validators(), &grown).is_ok(), "a consistency proof that verifies")?;
    let ahead = ledger.consistency(1, height + 1_000_000).await.map_err(|e| format!("consistency: {e}"))?;
    ensure(ahead.is_none(), "no consistency with a height that is not there")
}

async fn is_fresh(ledger: &dyn Ledger, height: Height, now: TimeMs) -> Result<(), String> {
    let heads = ledger.heads().await;
    let fresh = ledger.validators().proved_fresh(0, &heads, now).map(|fresh| fresh.height);
    ensure(fresh.is_some_and(|fresh| fresh >= height), "fresh heads of a quorum, not below a proven height")
}

async fn refuses_garbage(ledger: &dyn Ledger) -> Result<(), String> {
    match ledger.submit(vec![0xff; 16]).await {
        Err(LedgerError::Refused { .. }) => Ok(()),
        other => Err(format!("bytes that are no transaction must be refused, found {other:?}")),
    }
}

fn ensure(holds: bool, rule: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("expected {rule}")) }
}
