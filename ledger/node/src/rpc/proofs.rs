//! Proofs on request: what a key of the state held at a height, that one log continues another, and this validator's COSE receipt
//! of a log entry. All about final heights only.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use ledger_core::Sign;
use schemas::block::Epoch;
use schemas::cbor;
use schemas::cose_receipt::{self, CoseReceipt, CoseReceipts, ReceiptBytes};
use schemas::id::{self, Height};
use schemas::limits;
use schemas::merkle;
use schemas::tree::Place;
use serde::Deserialize;

use super::{Failure, digest_of, in_cbor, refused};
use crate::node::Node;
use crate::store::Shown;

/// `?height=H`
#[derive(Deserialize)]
pub(super) struct At {
    /// The newest final one unless given.
    height: Option<Height>,
}

/// 404 above the newest final height, 410 where the tree of cases was forgotten.
pub(super) async fn state(
    State(node): State<Arc<Node>>,
    Path(key): Path<String>,
    Query(at): Query<At>,
) -> Result<Response, Failure> {
    let no_key = || refused(StatusCode::BAD_REQUEST, "expected a key of the state in hex");
    let key = id::from_hex(&key).ok_or_else(no_key)?;
    let is_key = Place::of(&key).is_some();
    let certified = node.heights.borrow().certified;
    let height = at.height.unwrap_or(certified);
    let reading = Arc::clone(&node);
    let read = move || reading.store.state_proof(&key, height);
    // what is no key is none at any height, also here where the height may not have come yet
    let is_early = is_key && (height == 0 || height > certified);
    let shown = if is_early { Shown::NotFinal } else { beside(read).await? };
    match shown {
        Shown::Proof(proof) => Ok(in_cbor(&*proof)),
        Shown::NotFinal => Err(refused(StatusCode::NOT_FOUND, "no final block at this height")),
        Shown::Forgotten => Err(refused(StatusCode::GONE, "the cases of this height were forgotten")),
        Shown::NoKey => Err(no_key()),
    }
}

/// `?from=H&to=H`
#[derive(Deserialize)]
pub(super) struct Heights {
    from: Height,
    to: Height,
}

pub(super) async fn consistency(
    State(node): State<Arc<Node>>,
    Query(Heights { from, to }): Query<Heights>,
) -> Result<Response, Failure> {
    let certified = node.heights.borrow().certified;
    let reading = Arc::clone(&node);
    let read = move || reading.store.consistency_proof(from, to);
    let proof = if to > certified { None } else { beside(read).await? };
    proof
        .map(|proof| in_cbor(&proof))
        .ok_or_else(|| refused(StatusCode::NOT_FOUND, "expected two final heights in order"))
}

/// `?from=E`
#[derive(Deserialize)]
pub(super) struct From {
    /// The first epoch that is not known to whoever asks.
    #[serde(default = "first_change")]
    from: Epoch,
}

const fn first_change() -> Epoch {
    1
}

/// Proofs of epochs from one on, in order without a gap: all that are decided, and at most so many as one answer may hold.
pub(super) async fn epochs(
    State(node): State<Arc<Node>>,
    Query(From { from }): Query<From>,
) -> Result<Response, Failure> {
    let certified = node.heights.borrow().certified;
    let read = move || {
        let mut found = Vec::new();
        for epoch in (from.max(1)..).take(limits::EPOCH_PROOFS_MAX) {
            let Some(proof) = node.store.epoch_proof(epoch, certified)? else { break };
            found.push(proof);
        }
        Ok(found)
    };
    beside(read).await.map(|found| in_cbor(&found))
}

/// RFC 9942: signed over the log of the entry's own block, so that the receipts of all validators are over one root.
pub(super) async fn cose(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Result<Response, Failure> {
    let (id, certified) = (digest_of(&id)?, node.heights.borrow().certified);
    let found = node.store.entry_proof(&id, None, certified)?;
    let proof = found.ok_or_else(|| refused(StatusCode::NOT_FOUND, "no final block holds this transaction"))?;
    let entry = cbor::encode(&proof.entry);
    let (size, index, path) = (proof.header.log_size, proof.log_index, proof.path);
    let root = merkle::root_of_path(&merkle::leaf_hash(&entry), index, size, &path);
    if root != Some(proof.header.log_root) {
        return Err(crate::store::StoreError::Corrupt { row: "log" }.into());
    }
    let key = node.key.public();
    let signature = node.key.sign(&cose_receipt::to_sign(&key, &node.chain, &proof.header.log_root));
    let receipt = CoseReceipt { key, chain: node.chain, size, index, path, signature };
    Ok(in_cbor(&CoseReceipts { entry, receipts: vec![ReceiptBytes(cbor::encode(&receipt))], epochs: vec![] }))
}

/// Reads beside the threads that serve.
async fn beside<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, crate::store::StoreError> + Send + 'static,
) -> Result<T, Failure> {
    let answer = tokio::task::spawn_blocking(read).await;
    Ok(answer.map_err(|_| refused(StatusCode::INTERNAL_SERVER_ERROR, "reading was interrupted"))??)
}
