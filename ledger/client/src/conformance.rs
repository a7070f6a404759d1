//! What every implementation of `Ledger` must do, run against a live one: the real validators in `tests/`, a small TLS
//! double in this crate's own tests.

use std::time::Duration;

use schemas::id::{Digest, Height, TimeMs};
use schemas::transaction::{Outcome, signed_hash};

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

async fn is_fresh(ledger: &dyn Ledger, height: Height, now: TimeMs) -> Result<(), String> {
    let heads = ledger.heads().await;
    let fresh = ledger_proof::freshness(ledger.validators(), &heads, now);
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
