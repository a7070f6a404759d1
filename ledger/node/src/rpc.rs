//! The RPC of a validator for gateways, other validators and tools: submit, look up, follow, prove, heads, status. CBOR bodies unless
//! said otherwise. It shows only what is durable here and final everywhere, and decides nothing.

mod client;
mod idle;
mod listener;
mod proofs;
mod serve;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request as HttpRequest, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Router, middleware};
use ledger_contract::{StateError, admit, epoch_at, seal};
use ledger_core::{Input, Request};
use schemas::block::{TransactionBytes, quorum};
use schemas::cbor;
use schemas::evidence::Conflict;
use schemas::id::{Digest, Height};
use schemas::limits;
use schemas::state::{EpochRecord, Evidence};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};
use tracing::error;

use crate::node::{Heights, Node};
use crate::store::StoreError;
use crate::verify::{is_known, prepare};

use client::Client;
pub(crate) use idle::Idle;
pub(crate) use listener::RpcListener;
pub(crate) use serve::{converse, serve};

/// So few transactions are taken at once: another thread would cost more than it saves.
const FEW: usize = 2;

/// All paths.
pub(crate) fn router(node: Arc<Node>) -> Router {
    let many = DefaultBodyLimit::max(limits::SUBMISSION_BYTES_MAX);
    Router::new()
        .route("/ledger/v1/transactions", post(submit))
        .route("/ledger/v1/transactions/{id}", get(transaction))
        .route("/ledger/v1/transactions/{id}/cose", get(proofs::cose))
        .route("/ledger/v1/state/{key}", get(proofs::state))
        .route("/ledger/v1/consistency", get(proofs::consistency))
        .route("/ledger/v1/epochs", get(proofs::epochs))
        .route("/ledger/v1/blocks", get(blocks))
        .route("/ledger/v1/blocks/{height}", get(block))
        .route("/ledger/v1/head", get(head))
        .route("/ledger/v1/status", get(status))
        .layer(DefaultBodyLimit::max(limits::TRANSACTION_BYTES_MAX))
        .merge(Router::new().route("/ledger/v1/submissions", post(submit_many)).layer(many))
        .layer(middleware::from_fn(limit_rate))
        .with_state(node)
}

/// Why there is no answer. Texts name places, never content.
enum Failure {
    Refused(StatusCode, String),
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(status, text) => (status, text).into_response(),
            Self::Store(e @ StoreError::NotHeld { .. }) => (StatusCode::GONE, e.to_string()).into_response(),
            Self::Store(e) => {
                error!(error = %e, "the block store cannot be read");
                (StatusCode::INTERNAL_SERVER_ERROR, "the block store cannot be read").into_response()
            }
        }
    }
}

fn refused(status: StatusCode, text: impl Into<String>) -> Failure {
    Failure::Refused(status, text.into())
}

fn in_cbor<T: minicbor::Encode<()>>(value: &T) -> Response {
    ([(header::CONTENT_TYPE, "application/cbor")], cbor::encode(value)).into_response()
}

/// `?wait_ms=N&signed=HEX`
#[derive(Deserialize)]
struct LookUp {
    #[serde(default)]
    wait_ms: u64,
    /// Only what decides about the bytes with this signed hash.
    signed: Option<String>,
}

fn deadline(wait_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(wait_ms.min(limits::RPC_WAIT_MS_MAX))
}

/// `?from=H&max=N&wait_ms=N`
#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    from: Height,
    #[serde(default = "blocks_max")]
    max: usize,
    #[serde(default)]
    wait_ms: u64,
}

const fn blocks_max() -> usize {
    limits::CATCH_UP_BLOCKS_MAX
}

/// 202 taken for ordering, 200 known already, 400 refused for good, 429 no room now.
async fn submit(
    State(node): State<Arc<Node>>,
    ConnectInfo(client): ConnectInfo<Client>,
    body: Bytes,
) -> Result<StatusCode, Failure> {
    if !client.may_submit(1) {
        return Err(too_many());
    }
    take(&node, TransactionBytes(body.as_ref().into()))
}

/// Many at once: the status code that each alone would get, in order.
async fn submit_many(
    State(node): State<Arc<Node>>,
    ConnectInfo(client): ConnectInfo<Client>,
    body: Bytes,
) -> Result<Response, Failure> {
    let list = submission(&body).map_err(|text| refused(StatusCode::BAD_REQUEST, text))?;
    if !client.may_submit(list.len()) {
        return Ok(in_cbor(&vec![StatusCode::TOO_MANY_REQUESTS.as_u16(); list.len()]));
    }
    if list.len() <= FEW {
        let codes = list.into_iter().map(|bytes| code(take(&node, bytes))).collect::<Result<Vec<u16>, _>>();
        return Ok(in_cbor(&codes?));
    }
    let taking = move || list.into_iter().map(|bytes| code(take(&node, bytes))).collect::<Result<Vec<u16>, _>>();
    let taken = tokio::task::spawn_blocking(taking).await;
    Ok(in_cbor(&taken.map_err(|_| refused(StatusCode::INTERNAL_SERVER_ERROR, "taking was interrupted"))??))
}

/// Many transactions. Their number is looked at before any of them is: an element of one byte takes fifty in memory.
fn submission(body: &[u8]) -> Result<Vec<TransactionBytes>, String> {
    let (announced, expected) = (minicbor::Decoder::new(body).array(), limits::SUBMISSION_TRANSACTIONS_MAX);
    match announced {
        Ok(Some(found)) if found > expected as u64 => {
            Err(format!("found {found} transactions, expected at most {expected}"))
        }
        Ok(Some(_)) => cbor::decode(body).map_err(|e| e.to_string()),
        _ => Err("found no list of transactions in deterministic CBOR".to_owned()),
    }
}

fn too_many() -> Failure {
    refused(StatusCode::TOO_MANY_REQUESTS, "too many transactions in a second")
}

/// A refusal is an answer; a store that fails is none.
fn code(taken: Result<StatusCode, Failure>) -> Result<u16, Failure> {
    match taken {
        Ok(status) | Err(Failure::Refused(status, _)) => Ok(status.as_u16()),
        Err(failure) => Err(failure),
    }
}

/// Takes one transaction, and counts it.
fn take(node: &Node, bytes: TransactionBytes) -> Result<StatusCode, Failure> {
    let taken = admitted(node, bytes);
    if let Ok(status) | Err(Failure::Refused(status, _)) = &taken {
        node.metrics.submitted(status.as_u16());
    }
    taken
}

fn admitted(node: &Node, bytes: TransactionBytes) -> Result<StatusCode, Failure> {
    let transaction =
        admit(bytes.as_ref(), &node.chain).map_err(|e| refused(StatusCode::BAD_REQUEST, e.to_string()))?;
    let request = Request::of(&transaction, bytes);
    if is_known(node, &request)? {
        return Ok(StatusCode::OK);
    }
    let full = || refused(StatusCode::TOO_MANY_REQUESTS, "too many transactions wait, try again");
    if !node.has_room(&request) {
        return Err(full());
    }
    prepare(node, &transaction, &request);
    let length = request.len();
    node.offer(None, Input::Request(None, request), length).map_err(|_| full())?;
    Ok(StatusCode::ACCEPTED)
}

fn digest_of(hex: &str) -> Result<Digest, Failure> {
    hex.parse().map_err(|_| refused(StatusCode::BAD_REQUEST, "expected a transaction id or hash in hex"))
}

async fn transaction(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    Query(look_up): Query<LookUp>,
) -> Result<Response, Failure> {
    let (id, signed) = (digest_of(&id)?, look_up.signed.as_deref().map(digest_of).transpose()?);
    let (deadline, mut heights) = (deadline(look_up.wait_ms), node.heights.subscribe());
    loop {
        let certified = heights.borrow_and_update().certified;
        if let Some(proof) = node.store.entry_proof(&id, signed.as_ref(), certified)? {
            return Ok(in_cbor(&proof));
        }
        if !changes(&node, &mut heights, deadline).await {
            let from = node.store.begins();
            return Err(refused(
                StatusCode::NOT_FOUND,
                format!("no final block from {from} on holds this transaction"),
            ));
        }
    }
}

async fn blocks(
    State(node): State<Arc<Node>>,
    ConnectInfo(client): ConnectInfo<Client>,
    Query(range): Query<Range>,
) -> Result<Response, Failure> {
    let mut heights = node.heights.subscribe();
    let deadline = deadline(range.wait_ms);
    let from = range.from.max(1);
    while heights.borrow_and_update().certified < from {
        if !changes(&node, &mut heights, deadline).await {
            break;
        }
    }
    let max = range.max.clamp(1, limits::CATCH_UP_BLOCKS_MAX) as u64;
    let last = node.heights.borrow().certified.min(from.saturating_add(max - 1));
    let place = client.large().await;
    let read = move || {
        let bytes = cbor::encode(&node.store.blocks(from..=last, limits::CATCH_UP_BYTES_MAX)?);
        let body = Bytes::from_owner(Held { bytes, _place: place });
        Ok::<_, StoreError>(([(header::CONTENT_TYPE, "application/cbor")], body).into_response())
    };
    let answer = tokio::task::spawn_blocking(read).await;
    Ok(answer.map_err(|_| refused(StatusCode::INTERNAL_SERVER_ERROR, "reading was interrupted"))??)
}

/// An answer with its place among the client's large ones, until its last byte is written.
struct Held {
    bytes: Vec<u8>,
    _place: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Waits for the heights to change; false when there is nothing more to wait for.
async fn changes(node: &Node, heights: &mut watch::Receiver<Heights>, deadline: Instant) -> bool {
    tokio::select! {
        () = node.stop.cancelled() => false,
        changed = timeout_at(deadline, heights.changed()) => matches!(changed, Ok(Ok(()))),
    }
}

async fn block(State(node): State<Arc<Node>>, Path(height): Path<Height>) -> Result<Response, Failure> {
    let certified = node.heights.borrow().certified;
    let found = if height <= certified { node.store.block(height)? } else { None };
    found.map(|block| in_cbor(&block)).ok_or_else(|| refused(StatusCode::NOT_FOUND, "no final block at this height"))
}

async fn head(State(node): State<Arc<Node>>) -> Result<Response, Failure> {
    node.head().map(|head| in_cbor(&head)).ok_or_else(|| refused(StatusCode::SERVICE_UNAVAILABLE, "stands still"))
}

async fn status(State(node): State<Arc<Node>>) -> Result<Response, Failure> {
    let heights = *node.heights.borrow();
    let view = node.view.load(Ordering::Relaxed);
    let epoch = epoch_at(&*node.store, heights.executed + 1).map_err(StoreError::from)?;
    let sealed = seal(&*node.store, epoch.epoch).map_err(StoreError::from)?;
    let answer = axum::Json(serde_json::json!({
        "name": node.genesis.validators.get(usize::from(node.me)).map(|validator| validator.name.as_str()),
        "index": node.me,
        "chain": node.chain,
        "epoch": epoch.epoch,
        "epoch_first": epoch.first,
        "epoch_seal": sealed.map(|sealed| sealed.at),
        "view": view,
        "primary": schemas::block::primary_of(view, node.config.validators),
        "changing": node.changing.load(Ordering::Relaxed),
        "silent": node.silent.load(Ordering::Relaxed),
        "height": heights.certified,
        "executed": heights.executed,
        "blocks_from": node.store.blocks_from(),
        "validators": epoch.members.len(),
        "quorum": quorum(epoch.members.len()),
        "peers_connected": node.outboxes.connected(),
        "mempool": node.waiting.load(Ordering::Relaxed),
        "mempool_bytes": node.waiting_bytes.load(Ordering::Relaxed),
        "evidence": evidence_of(&node, &epoch).map_err(StoreError::from)?,
    }));
    Ok(answer.into_response())
}

/// What the state holds against validators of an epoch.
fn evidence_of(node: &Node, epoch: &EpochRecord) -> Result<Vec<serde_json::Value>, StateError> {
    let mut found = Vec::new();
    for (index, validator) in (0..).zip(&epoch.members) {
        let held = ledger_contract::evidence(&*node.store, epoch.epoch, index)?;
        found.extend(held.map(|Evidence { conflict, height }| {
            let Conflict { view, height: place, kind, .. } = conflict;
            let kind = kind.name();
            serde_json::json!({
                "validator": validator.name, "view": view, "height": place, "kind": kind, "reported_at": height,
            })
        }));
    }
    Ok(found)
}

/// Each client has its own allowance.
async fn limit_rate(ConnectInfo(client): ConnectInfo<Client>, request: HttpRequest, next: Next) -> Response {
    if client.may_ask() {
        next.run(request).await
    } else {
        (StatusCode::TOO_MANY_REQUESTS, "too many requests of this client").into_response()
    }
}

#[cfg(test)]
mod tests;
