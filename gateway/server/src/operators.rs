//! The operators' listener: is the process alive, is each part ready, how is it doing; and the ledger's own words for those who
//! audit. Never reachable by clients, never a record: counts, heights, digests, signed bytes. What changes something or shows a
//! refused message needs the operators' token (`hands`).

pub mod hands;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use ledger_client::{Ledger, LedgerError};
use schemas::id::{CaseId, Digest};
use schemas::{ErrorClass, cbor, limits};
use serde::Serialize;
use tower_http::catch_panic::CatchPanicLayer;

use crate::http::{body_within, form};
use crate::store::{Store, anchors, cases};
use crate::telemetry::Metrics;

/// Longest answer of one part.
const PART_WAIT: Duration = Duration::from_secs(2);
/// Longest wait that a follower of the ledger may ask for, in milliseconds.
const WAIT_MS_MAX: u64 = 10_000;

/// One part's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PartState {
    /// Whether it works.
    pub ready: bool,
    /// What is wrong, or how it stands: no address with a password, no record.
    pub detail: String,
}

/// Asks one part.
pub type Probe = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = PartState> + Send>> + Send + Sync>;

/// Text as it is now.
pub type TextNow = Arc<dyn Fn() -> String + Send + Sync>;

/// Parts that come and go, each with its word.
pub type PartsNow = Arc<dyn Fn() -> Vec<(String, PartState)> + Send + Sync>;

/// What the operators' routes stand on. Cheap to clone.
#[derive(Clone)]
pub struct Operators {
    /// Measures.
    pub metrics: Metrics,
    /// Parts by name: `database`, `objects`, `ledger`.
    pub probes: Arc<BTreeMap<String, Probe>>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// For receipts.
    pub store: Store,
    /// How the connectors are now.
    pub connectors: PartsNow,
    /// Their measures now.
    pub measures: TextNow,
    /// Longest wait for a body.
    pub body_wait: Duration,
}

/// All routes for operators.
pub fn router(operators: Operators) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/ledger/v1/transactions", post(submit))
        .route("/ledger/v1/transactions/{id}", get(transaction))
        .route("/ledger/v1/blocks", get(blocks))
        .route("/ledger/v1/blocks/{height}", get(block))
        .route("/ledger/v1/status", get(status))
        .route("/ledger/v1/receipts/{case}", get(receipt))
        .layer(CatchPanicLayer::new())
        .with_state(operators)
}

async fn ready(State(operators): State<Operators>) -> Response {
    let mut parts = BTreeMap::new();
    for (name, probe) in operators.probes.iter() {
        let silent = || PartState { ready: false, detail: "no answer in time".to_owned() };
        let state = tokio::time::timeout(PART_WAIT, probe()).await.unwrap_or_else(|_| silent());
        parts.insert(name.clone(), state);
    }
    parts.extend((operators.connectors)());
    let all = parts.values().all(|part| part.ready);
    let status = if all { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "ready": all, "parts": parts }))).into_response()
}

async fn metrics(State(operators): State<Operators>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], operators.metrics.to_text() + &(operators.measures)()).into_response()
}

async fn submit(State(operators): State<Operators>, body: Body) -> Response {
    let body = match body_within(body, limits::TRANSACTION_BYTES_MAX, operators.body_wait).await {
        Ok(body) => body,
        Err(refused) => {
            return (refused.status(), "expected one transaction within its bounds and in time\n").into_response();
        }
    };
    match operators.ledger.submit(body.to_vec()).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(error) => failed(&error),
    }
}

async fn transaction(
    State(operators): State<Operators>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let (Ok(id), Some(query)) = (id.parse::<Digest>(), numbers(query.as_deref())) else { return bad_request() };
    match operators.ledger.proof(&id, wait_of(&query)).await {
        Ok(Some(proof)) => encoded(cbor::encode(&proof)),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => failed(&error),
    }
}

async fn blocks(State(operators): State<Operators>, RawQuery(query): RawQuery) -> Response {
    let Some(query) = numbers(query.as_deref()) else { return bad_request() };
    let from = query.get("from").copied().unwrap_or(1);
    let most = limits::CATCH_UP_BLOCKS_MAX;
    let max = query.get("max").map_or(most, |max| usize::try_from(*max).unwrap_or(most).min(most));
    match operators.ledger.blocks(from, max, wait_of(&query)).await {
        Ok(blocks) => encoded(cbor::encode(&blocks)),
        Err(error) => failed(&error),
    }
}

async fn block(State(operators): State<Operators>, Path(height): Path<String>) -> Response {
    let Ok(height) = height.parse() else { return bad_request() };
    match operators.ledger.blocks(height, 1, Duration::ZERO).await {
        Ok(blocks) => match blocks.first() {
            Some(block) => encoded(cbor::encode(block)),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Err(error) => failed(&error),
    }
}

async fn status(State(operators): State<Operators>) -> Response {
    Json(operators.ledger.status().await).into_response()
}

/// The receipt of a case, in its one spelling.
async fn receipt(State(operators): State<Operators>, Path(case): Path<String>) -> Response {
    let Ok(case) = case.parse::<CaseId>() else { return bad_request() };
    let receipt = async {
        match cases::get(&operators.store, &[case]).await?.first() {
            Some(found) => anchors::receipt(&operators.store, found).await.map(Some),
            None => Ok(None),
        }
    };
    match receipt.await {
        Ok(Some(receipt)) => ([(header::CONTENT_TYPE, "application/json")], receipt).into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => status_of(error.class()),
    }
}

fn encoded(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/cbor")], bytes).into_response()
}

fn bad_request() -> Response {
    (StatusCode::BAD_REQUEST, "expected lower-case hex ids and decimal numbers\n").into_response()
}

fn failed(error: &LedgerError) -> Response {
    let status = StatusCode::from_u16(error.class().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, format!("{error}\n")).into_response()
}

fn status_of(class: ErrorClass) -> Response {
    StatusCode::from_u16(class.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
}

/// A query of numbers only.
fn numbers(query: Option<&str>) -> Option<BTreeMap<String, u64>> {
    let form = form::decode(query.unwrap_or_default())?;
    form.into_iter().map(|(name, value)| Some((name, value.parse().ok()?))).collect()
}

fn wait_of(query: &BTreeMap<String, u64>) -> Duration {
    Duration::from_millis(query.get("wait_ms").copied().unwrap_or(0).min(WAIT_MS_MAX))
}
