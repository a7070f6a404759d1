//! Anchors: what the ledger said of each transaction that anchored cases, kept once for all of them. Written by *index* in the
//! commit of their rows. Receipts are built from it when somebody asks; what is kept is public on the ledger.

use ledger_proof::build_receipt;
use schemas::cbor;
use schemas::id::Digest;
use schemas::receipt::EntryProof;
use schemas::transaction::Transaction;
use sqlx::Row as _;

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
    let receipt = build_receipt(&transaction, case.statement as usize, &proof).map_err(|_| corrupt())?;
    if receipt.statement.leaf.0.case != case.case {
        return Err(corrupt());
    }
    Ok(receipt.to_json())
}
