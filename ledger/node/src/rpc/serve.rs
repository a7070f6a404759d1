//! Requests and answers of the RPC's connections. A known key earns no patience: the header of a request is there whole within the
//! time in which an idle connection would end, so that nobody keeps a place by sending a byte now and then. Bytes that are no
//! request are said to be none.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use schemas::limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::listener::{Connection, RpcListener};

/// Largest header of a request, in bytes.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Serves connections until told to stop; requests under way are finished.
pub(crate) async fn serve(mut listener: RpcListener, router: Router, stop: CancellationToken) {
    let open = TaskTracker::new();
    let header_wait = Duration::from_millis(limits::RPC_IDLE_MS_MAX);
    while let Some(Some(Connection { stream, client, address })) = stop.run_until_cancelled(listener.next()).await {
        let refusals = Arc::clone(listener.refusals());
        let lost = client.lost();
        let router = router.clone().layer(Extension(ConnectInfo(client)));
        let conversation = converse(stream, router, header_wait, stop.clone());
        // whoever loses his place to another client ends at once, also with a request under way
        open.spawn(async move {
            if let Some(Err(rude)) = lost.run_until_cancelled(conversation).await {
                refusals.of_address(address, &rude);
            }
        });
    }
    open.close();
    open.wait().await;
}

/// Bytes that are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found bytes that are no HTTP request, or one with a header larger than {HEADER_BYTES_MAX} bytes")]
pub(crate) struct Rude;

/// One connection until it ends or the node does.
///
/// # Errors
/// `Rude` when it ended because of what it sent.
pub(crate) async fn converse<S>(
    stream: S,
    router: Router,
    header_wait: Duration,
    stop: CancellationToken,
) -> Result<(), Rude>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(header_wait).max_buf_size(HEADER_BYTES_MAX);
    let served = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    tokio::select! {
        // how else a client's connection ends is its own affair
        ended = served.as_mut() => match ended {
            Err(e) if e.is_parse() || e.is_parse_too_large() => Err(Rude),
            _ => Ok(()),
        },
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            drop(served.await);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
