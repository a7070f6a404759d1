//! TLS in front of the RPC: only keys that the genesis names get through the handshake, handshakes and connections are counted
//! apart, and each connection belongs to its client's share and ends when it is idle.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use schemas::id::PublicKey;
use schemas::limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::client::{Client, Clients};
use super::idle::Idle;
use crate::handshake::Handshakes;
use crate::tls::certificate_key;

pub(crate) type Stream = Idle<TlsStream<TcpStream>>;

/// Hands out connections whose handshake is done.
pub(crate) struct RpcListener {
    ready: mpsc::Receiver<(Stream, Client)>,
}

impl RpcListener {
    /// Starts to accept; handshakes run beside each other.
    pub fn start(listener: TcpListener, tls: Arc<ServerConfig>) -> Self {
        let (done, ready) = mpsc::channel(64);
        tokio::spawn(accept(listener, TlsAcceptor::from(tls), done));
        Self { ready }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, done: mpsc::Sender<(Stream, Client)>) {
    let handshakes = Handshakes::new(limits::RPC_HANDSHAKES_MAX);
    let clients = Arc::new(Clients::new());
    loop {
        let accepted = tokio::select! {
            () = done.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                warn!(error = %e, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(handshake) = handshakes.enter(address) else { continue };
        let (acceptor, done, clients) = (acceptor.clone(), done.clone(), Arc::clone(&clients));
        tokio::spawn(async move {
            let Some(stream) = handshake.greet(&acceptor, stream).await else {
                return debug!("a connection whose key the genesis does not name");
            };
            // only connections with a known key count
            let Some(key) = key_of(&stream) else { return };
            let client = match clients.connect(key) {
                Ok(client) => client,
                Err(crowded) => return warn!(%address, ?crowded, "too many connections, one is closed"),
            };
            let stream = Idle::new(stream, Duration::from_millis(limits::RPC_IDLE_MS_MAX));
            drop(done.send((stream, client)).await);
        });
    }
}

/// The key that the handshake proved.
fn key_of(stream: &TlsStream<TcpStream>) -> Option<PublicKey> {
    stream.get_ref().1.peer_certificates()?.first().and_then(certificate_key)
}

impl RpcListener {
    /// The next connection; the accepting task ends only when this listener is dropped.
    pub async fn next(&mut self) -> Option<(Stream, Client)> {
        self.ready.recv().await
    }
}
