//! The operators' listener, where one is configured: is the process alive, does its loop turn, how is it doing. Plain HTTP, for the
//! host's own network only; it shows counts and heights, never a transaction.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use schemas::limits;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::metrics::Now;
use crate::node::Node;
use crate::refusals::Refusals;
use crate::rpc::{Idle, converse};

/// All paths.
pub(crate) fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(node)
}

/// Serves a few connections at a time until told to stop.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits::OPERATOR_CONNECTIONS_MAX));
    let idle = Duration::from_millis(limits::RPC_IDLE_MS_MAX);
    let refusals = Arc::new(Refusals::new("operators"));
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        refusals.sum_up();
        let (stream, place) = match (accepted, Arc::clone(&places).try_acquire_owned()) {
            (Ok((stream, address)), Ok(place)) => ((stream, address), place),
            (Ok((_, address)), Err(_)) => {
                refusals.of_address(address, &"too many connections of operators");
                continue;
            }
            (Err(e), _) => {
                warn!(error = %e, "cannot accept an operator's connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let ((stream, address), router, stop) = (stream, router.clone(), stop.clone());
        let refusals = Arc::clone(&refusals);
        tokio::spawn(async move {
            if let Err(rude) = converse(Idle::new(stream, idle), router, idle, stop).await {
                refusals.of_address(address, &rude);
            }
            drop(place);
        });
    }
}

/// 200 while the loop turns and a quorum is connected.
async fn ready(State(node): State<Arc<Node>>) -> Response {
    let (peers, quorum) = (node.outboxes.connected() + 1, node.validators.quorum());
    let is_turning = node.is_turning();
    let status = if is_turning && peers >= quorum { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = format!(
        "loop {}, {peers} validators connected of {quorum} needed\n",
        if is_turning { "turns" } else { "stands" }
    );
    (status, text).into_response()
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    let heights = *node.heights.borrow();
    let text = node.metrics.to_text(&Now {
        height: heights.executed,
        certified: heights.certified,
        view: node.view.load(Ordering::Relaxed),
        waiting: node.waiting.load(Ordering::Relaxed),
        waiting_bytes: node.waiting_bytes.load(Ordering::Relaxed),
        peers: node.outboxes.connected(),
    });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
