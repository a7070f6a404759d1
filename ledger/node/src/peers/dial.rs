//! Keeps one connection to a peer and writes its outbox there. Reconnects with backoff, for ever.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use schemas::block::ValidatorIndex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::node::Node;
use crate::peers::Outbox;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Writes to one peer until told to stop.
pub(crate) async fn dial(
    node: Arc<Node>,
    peer: ValidatorIndex,
    address: String,
    tls: Arc<ClientConfig>,
    stop: CancellationToken,
) {
    let Some(outbox) = node.outboxes.of(peer) else { return };
    let connector = TlsConnector::from(tls);
    let mut backoff = BACKOFF_MIN;
    loop {
        let attempt = async {
            let stream =
                timeout(CONNECT_TIMEOUT, connect(&connector, &address)).await.map_err(std::io::Error::other)??;
            info!(peer, "connected to a validator");
            while outbox.pop().is_some() {}
            outbox.connected.store(true, Ordering::Relaxed);
            write(outbox, stream).await
        };
        let started = tokio::time::Instant::now();
        tokio::select! {
            () = stop.cancelled() => return,
            ended = attempt => debug!(peer, ended = ?ended.err().map(|e| e.kind()), "no connection to a validator"),
        }
        outbox.connected.store(false, Ordering::Relaxed);
        backoff = if started.elapsed() > BACKOFF_MAX { BACKOFF_MIN } else { (backoff * 2).min(BACKOFF_MAX) };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff) => {}
        }
    }
}

async fn connect(connector: &TlsConnector, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // the name says nothing: the key is pinned
    let name = ServerName::try_from("chartseal-validator").map_err(std::io::Error::other)?;
    connector.connect(name, stream).await
}

/// Writes frames as they come; ends when the peer closes.
async fn write(outbox: &Outbox, stream: TlsStream<TcpStream>) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut nothing = [0; 1];
    loop {
        let mut is_flushed = true;
        while let Some(frame) = outbox.pop() {
            timeout(WRITE_TIMEOUT, writer.write_all(&frame)).await.map_err(std::io::Error::other)??;
            is_flushed = false;
        }
        if !is_flushed {
            timeout(WRITE_TIMEOUT, writer.flush()).await.map_err(std::io::Error::other)??;
        }
        tokio::select! {
            () = outbox.filled.notified() => {}
            // a peer says nothing here: whatever comes is the end
            ended = reader.read(&mut nothing) => return ended.map(|_| ()),
        }
    }
}
