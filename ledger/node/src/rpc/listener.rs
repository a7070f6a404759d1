//! TLS in front of the RPC: only keys that the genesis names get through the handshake, handshakes and connections are counted
//! apart, and each connection has an allowance of requests per second and ends when it is idle.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use schemas::limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::idle::Idle;
use crate::handshake::Handshakes;

pub(crate) type Stream = Idle<TlsStream<TcpStream>>;

/// One connection's place among the counted ones, and its allowance.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    allowance: Arc<Mutex<Allowance>>,
    /// Freed when the connection ends.
    _place: Arc<OwnedSemaphorePermit>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.address)
    }
}

struct Allowance {
    left: f64,
    at: Instant,
}

impl Client {
    fn new(address: SocketAddr, place: OwnedSemaphorePermit) -> Self {
        let left = f64::from(limits::RPC_REQUESTS_PER_SECOND_MAX);
        let allowance = Arc::new(Mutex::new(Allowance { left, at: Instant::now() }));
        Self { address, allowance, _place: Arc::new(place) }
    }

    /// Takes one request from the allowance, which fills up over a second.
    pub fn may_ask(&self) -> bool {
        let per_second = f64::from(limits::RPC_REQUESTS_PER_SECOND_MAX);
        let mut allowance = self.allowance.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let filled = allowance.left + now.duration_since(allowance.at).as_secs_f64() * per_second;
        allowance.left = filled.min(per_second) - 1.0;
        allowance.at = now;
        let may = allowance.left >= 0.0;
        allowance.left = allowance.left.max(0.0);
        may
    }
}

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
    let places = Arc::new(Semaphore::new(limits::RPC_CONNECTIONS_MAX));
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
        let (acceptor, done, places) = (acceptor.clone(), done.clone(), Arc::clone(&places));
        tokio::spawn(async move {
            let Some(stream) = handshake.greet(&acceptor, stream).await else {
                return debug!("a connection whose key the genesis does not name");
            };
            // only connections with a known key count
            let Ok(place) = places.try_acquire_owned() else { return warn!("too many connections, one is closed") };
            let stream = Idle::new(stream, Duration::from_millis(limits::RPC_IDLE_MS_MAX));
            drop(done.send((stream, Client::new(address, place))).await);
        });
    }
}

impl RpcListener {
    /// The next connection; the accepting task ends only when this listener is dropped.
    pub async fn next(&mut self) -> Option<(Stream, Client)> {
        self.ready.recv().await
    }
}
