//! TLS in front of the RPC: only keys that the genesis names get through the handshake, handshakes and connections are counted
//! apart, and each connection belongs to its client's share and ends when it is idle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use schemas::id::PublicKey;
use schemas::limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::warn;

use super::client::{Client, Clients};
use super::idle::Idle;
use crate::handshake::{Handshakes, Ungreeted};
use crate::refusals::Refusals;
use crate::tls::certificate_key;

/// Between two looks at what was refused and not said.
const LOOK: Duration = Duration::from_secs(5);

pub(crate) type Stream = Idle<TlsStream<TcpStream>>;

/// Hands out connections whose handshake is done.
pub(crate) struct RpcListener {
    ready: mpsc::Receiver<Connection>,
    refusals: Arc<Refusals>,
}

/// A connection of a client.
pub(crate) struct Connection {
    pub stream: Stream,
    pub client: Client,
    pub address: SocketAddr,
}

impl RpcListener {
    /// Starts to accept; handshakes run beside each other.
    pub fn start(listener: TcpListener, tls: Arc<ServerConfig>) -> Self {
        let (done, ready) = mpsc::channel(64);
        let refusals = Arc::new(Refusals::new("rpc"));
        tokio::spawn(accept(listener, TlsAcceptor::from(tls), done, Arc::clone(&refusals)));
        Self { ready, refusals }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, done: mpsc::Sender<Connection>, refusals: Arc<Refusals>) {
    let handshakes = Handshakes::new(limits::RPC_HANDSHAKES_MAX);
    let clients = Clients::new();
    let mut look = tokio::time::interval(LOOK);
    loop {
        let accepted = tokio::select! {
            () = done.closed() => return,
            _ = look.tick() => {
                refusals.sum_up();
                continue;
            }
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
        let Some(handshake) = handshakes.enter(address) else {
            refusals.of_address(address, &Ungreeted::NoRoom);
            continue;
        };
        let (acceptor, done, clients) = (acceptor.clone(), done.clone(), Arc::clone(&clients));
        let refusals = Arc::clone(&refusals);
        tokio::spawn(async move {
            let stream = match handshake.greet(&acceptor, stream).await {
                Ok(stream) => stream,
                Err(ungreeted) => return refusals.of_address(address, &ungreeted),
            };
            // only connections with a known key count
            let Some(key) = key_of(&stream) else { return };
            let client = match clients.connect(key) {
                Ok(client) => client,
                Err(crowded) => return refusals.of_address(address, &crowded),
            };
            let stream = Idle::new(stream, Duration::from_millis(limits::RPC_IDLE_MS_MAX));
            drop(done.send(Connection { stream, client, address }).await);
        });
    }
}

/// The key that the handshake proved.
fn key_of(stream: &TlsStream<TcpStream>) -> Option<PublicKey> {
    stream.get_ref().1.peer_certificates()?.first().and_then(certificate_key)
}

impl RpcListener {
    /// The next connection; the accepting task ends only when this listener is dropped.
    pub async fn next(&mut self) -> Option<Connection> {
        self.ready.recv().await
    }

    /// Where it is said what was refused here.
    pub const fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }
}
