//! `chartseal ledger get` and `consistency`: what the ledger holds about a transaction or a key of its state, with the proof as
//! a file that `chartseal verify` checks offline. Everything shown was verified by the client.

use std::path::Path;
use std::time::Duration;

use ledger_client::{HttpLedger, Ledger};
use schemas::cbor;
use schemas::id::{Digest, Height, to_hex};
use schemas::proof::{Filed, Proof, StateProof};
use schemas::state;

use super::records::record;
use super::{failed, show_entry};
use crate::commands::verify::timestamp;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, good, strong};

/// Where proofs are written.
pub(super) struct Files<'a> {
    pub prove: Option<&'a Path>,
    pub cose: Option<&'a Path>,
}

pub(super) async fn transaction(ledger: &HttpLedger, id: Digest, files: &Files<'_>, output: Output) -> Outcome {
    let Some(proof) = ledger.proof(&id, Duration::ZERO).await.map_err(failed)? else {
        return Err(Failure::new(Exit::Failed, format_args!("{id}: no validator that answered has this transaction")));
    };
    if let Some(file) = files.prove {
        write(file, &filed(ledger, &proof)?, output)?;
    }
    if let Some(file) = files.cose {
        let receipts = ledger.cose_receipts(&id).await.map_err(failed)?;
        let too_few = || Failure::new(Exit::TryAgain, "found receipts of fewer than a quorum; ask again");
        write(file, &cbor::encode(&receipts.ok_or_else(too_few)?), output)?;
    }
    show_entry(&proof.entry, proof.header.time, proof.attestations.len(), output)
}

pub(super) async fn key(
    ledger: &HttpLedger,
    (text, height): (&str, Option<Height>),
    files: &Files<'_>,
    output: Output,
) -> Outcome {
    let key = state::key_of_text(text).ok_or_else(|| {
        Failure::usage(format_args!(
            "{text}: expected a transaction id, or case/, subj/, cons/, dead/, inst/, prac/, gate/, epoc/, ball/, conf/ or seat/ and the \
             id in hex"
        ))
    })?;
    if files.cose.is_some() {
        return Err(Failure::usage("--cose: expected a transaction id; COSE receipts are about the log"));
    }
    let height = match height {
        Some(height) => height,
        None => match fresh(ledger).await? {
            0 => return Err(Failure::new(Exit::TryAgain, "found no block yet, and with it no state to be proved")),
            height => height,
        },
    };
    let proof = ledger.state(&key, height).await.map_err(failed)?.ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            format_args!("{text}: no validator that answered can prove the state at height {height}"),
        )
    })?;
    if let Some(file) = files.prove {
        write(file, &filed(ledger, &proof)?, output)?;
    }
    output.line(describe(&proof));
    output.document(&row(&proof))?;
    Ok(if proof.value.is_some() { Exit::Done } else { Exit::Failed })
}

pub(super) async fn consistency(
    ledger: &HttpLedger,
    (from, to): (Height, Height),
    file: Option<&Path>,
    output: Output,
) -> Outcome {
    let proof = ledger.consistency(from, to).await.map_err(failed)?.ok_or_else(|| {
        let expected = "expected two final heights in order";
        Failure::new(Exit::Failed, format_args!("found no proof for heights {from} and {to}, {expected}"))
    })?;
    if let Some(file) = file {
        write(file, &filed(ledger, &proof)?, output)?;
    }
    let (first, second) = (&proof.first.header, &proof.second.header);
    output.line(format_args!(
        "{}  the log of height {to} ({} entries) continues that of height {from} ({} entries)",
        good("consistent"),
        second.log_size,
        first.log_size
    ));
    output.document(&serde_json::json!({
        "from": from, "to": to, "from_size": first.log_size, "to_size": second.log_size,
        "from_root": first.log_root, "to_root": second.log_root,
    }))?;
    Ok(Exit::Done)
}

/// A height that is proved to be up to date; 0 before the first block.
pub(super) async fn fresh(ledger: &HttpLedger) -> Result<Height, Failure> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let heads = ledger.heads().await;
    let fresh = ledger.validators().proved_fresh(0, &heads, now);
    let none = "found heads younger than 5 s of fewer than a quorum; ask again";
    fresh.map(|fresh| fresh.height).ok_or_else(|| Failure::new(Exit::TryAgain, none))
}

/// A proof as a file, with the epoch proofs that it needs.
fn filed<T: Proof + Clone>(ledger: &HttpLedger, proof: &T) -> Result<Vec<u8>, Failure> {
    let epochs = ledger.validators();
    let needed = epochs.proofs(proof.epoch());
    let needed = needed.ok_or_else(|| Failure::new(Exit::TryAgain, "found an epoch without proof; ask again"))?;
    Ok(Filed::new(*epochs.chain(), proof.clone(), needed.to_vec()).to_json().into_bytes())
}

/// A proved key in a line.
pub fn describe(proof: &StateProof) -> String {
    let (key, header) = (state::text_of_key(&proof.key), &proof.header);
    let at = format!("height {}, {}", header.height, timestamp(header.time));
    match &proof.value {
        Some(value) => format!("{}  {key}  {at}\n  {}", good("present"), record(&proof.key, &value.0)),
        None => format!("{}  {key}  {at}", strong("absent ")),
    }
}

/// The same for machines.
pub fn row(proof: &StateProof) -> serde_json::Value {
    serde_json::json!({
        "key": state::text_of_key(&proof.key), "present": proof.value.is_some(), "height": proof.header.height,
        "time": timestamp(proof.header.time), "value": proof.value.as_ref().map(|value| to_hex(&value.0)),
        "state_root": proof.header.state_root,
    })
}

fn write(file: &Path, bytes: &[u8], output: Output) -> Result<(), Failure> {
    let failed =
        |e| Failure::new(Exit::Failed, format_args!("{}: {e}; expected a file that can be written", file.display()));
    std::fs::write(file, bytes).map_err(failed)?;
    output.note(format_args!("wrote {}; check it with: chartseal verify", file.display()));
    Ok(())
}
