//! Anchors: what the ledger said of each transaction that anchored cases, kept once for all of them. Written by *index* in the
//! commit of their rows. Receipts are built from it when somebody asks; what is kept is public on the ledger.

use ledger_proof::{Epochs, build_receipt};
use schemas::block::Epoch;
use schemas::cbor;
use schemas::id::Digest;
use schemas::proof::EpochProof;
use schemas::receipt::EntryProof;
use schemas::transaction::Transaction;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::cases::CaseRow;
use super::rows::insert;
use super::{Store, StoreError, Write, failed};

/// An accepted transaction.
pub struct Anchor {
    /// Its id.
    pub transaction: Digest,
    /// Its exact signed bytes.
    pub bytes: Vec<u8>,
    /// The proof that it was accepted.
    pub proof: EntryProof,
}

/// Writes accepted transactions.
///
/// # Errors
/// `StoreError`.
pub async fn add(write: &mut Write, anchors: &[Anchor]) -> Result<(), StoreError> {
    insert(write, ("anchor (tx_id, bytes, proof)", 3, ""), anchors, |query, anchor| {
        query.bind(anchor.transaction.0.to_vec()).bind(anchor.bytes.clone()).bind(cbor::encode(&anchor.proof))
    })
    .await
}

/// Keeps the epoch proofs that receipts of these anchors need; those that are kept already stay.
///
/// # Errors
/// `StoreError`; `Corrupt` when the proof of a transaction names an epoch that nobody proved.
pub async fn keep_epochs(write: &mut Write, anchors: &[Anchor], epochs: &Epochs) -> Result<(), StoreError> {
    let latest = anchors.iter().map(|anchor| anchor.proof.header.epoch).max().unwrap_or(0);
    let proofs = epochs.proofs(latest).ok_or(StoreError::Corrupt { what: "anchor epoch" })?;
    insert(write, ("epoch_proof (epoch, proof)", 2, "ON CONFLICT (epoch) DO NOTHING"), proofs, |query, proof| {
        query.bind(i64::try_from(proof.record.epoch).unwrap_or(i64::MAX)).bind(cbor::encode(proof))
    })
    .await
}

async fn epochs_up_to(store: &Store, latest: Epoch) -> Result<Vec<EpochProof>, StoreError> {
    if latest == 0 {
        return Ok(vec![]);
    }
    let sql = "SELECT proof FROM epoch_proof WHERE epoch <= $1 ORDER BY epoch";
    let query = sqlx::query(sql).bind(i64::try_from(latest).unwrap_or(i64::MAX));
    let rows = query.fetch_all(store.reader()).await.map_err(failed("epoch_proof"))?;
    let proof = |row: &AnyRow| {
        let bytes: Vec<u8> = row.try_get(0).map_err(failed("epoch_proof"))?;
        cbor::decode(&bytes).map_err(|_| StoreError::Corrupt { what: "epoch_proof" })
    };
    rows.iter().map(proof).collect()
}

/// The receipt of an anchored case, in its one spelling (formats.md §5).
///
/// # Errors
/// `StoreError`; `Corrupt` when no receipt can be built from what is kept.
pub async fn receipt(store: &Store, case: &CaseRow) -> Result<String, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "anchor" };
    let query = sqlx::query("SELECT bytes, proof FROM anchor WHERE tx_id = $1").bind(case.transaction.0.to_vec());
    let row = query.fetch_optional(store.reader()).await.map_err(failed("anchor"))?.ok_or_else(corrupt)?;
    let bytes = |at: usize| row.try_get::<Vec<u8>, _>(at).map_err(failed("anchor"));
    let transaction: Transaction = cbor::decode(&bytes(0)?).map_err(|_| corrupt())?;
    let proof: EntryProof = cbor::decode(&bytes(1)?).map_err(|_| corrupt())?;
    let epochs = epochs_up_to(store, proof.header.epoch).await?;
    let receipt = build_receipt(&transaction, case.statement as usize, &proof, &epochs).map_err(|_| corrupt())?;
    if receipt.statement.leaf.0.case != case.case {
        return Err(corrupt());
    }
    Ok(receipt.to_json())
}
