//! The source: a socket that is bound again and again until it is, and a task for each connection. Few of them at once, each with
//! its own pace: one that stalls, floods or speaks something else touches no other, and no address takes all places for itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use connectors_source::{HealthReporter, NextDelivery, Source, SourceHealth};
use schemas::id::TimeMs;
use schemas::limits;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::MllpConfig;
use crate::connection::{Handed, LARGE_FRAMES_MAX, ROOM_KIB, Shared, converse};
use crate::places::{Place, Places};
use crate::tls::{TlsError, acceptor};

/// A connection on which nothing moves is probed after this.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Longest TLS handshake, in milliseconds.
const HANDSHAKE_MS_MAX: u64 = 5_000;
/// First delay between attempts to bind, in milliseconds; doubled up to `limits::RETRY_DELAY_MS_MAX` / 2.
const RETRY_FIRST_MS: u64 = 250;
/// Wait after an `accept` that failed, in milliseconds: out of descriptors, most likely.
const ACCEPT_AGAIN_MS: u64 = 100;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

/// A running MLLP listener. Must be started inside a tokio runtime.
pub struct MllpSource {
    name: Box<str>,
    deliveries: mpsc::Receiver<Handed>,
    health: watch::Receiver<SourceHealth>,
    closing: CancellationToken,
}

impl MllpSource {
    /// Listens when it returns, where the port is free. Otherwise that goes on in the background: a port that is taken is no error, a
    /// certificate that cannot be read is one.
    ///
    /// # Errors
    /// `TlsError`.
    pub fn start(config: MllpConfig) -> Result<Self, TlsError> {
        let tls = acceptor(&config)?;
        let bound = bind(config.listen);
        let reporter = HealthReporter::default();
        let health = reporter.subscribe();
        let unsettled = usize::from(config.unsettled_max);
        let (to, deliveries) = mpsc::channel(unsettled);
        let closing = CancellationToken::new();
        let name = config.name.as_str().into();
        let shared = Shared {
            config: Arc::new(config),
            reporter,
            to,
            unsettled: Arc::new(Semaphore::new(unsettled)),
            room: Arc::new(Semaphore::new(ROOM_KIB as usize)),
            large: Arc::new(Semaphore::new(LARGE_FRAMES_MAX)),
            closing: closing.clone(),
        };
        tokio::spawn(listen(shared, tls, bound));
        Ok(Self { name, deliveries, health, closing })
    }
}

impl Source for MllpSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn next(&mut self) -> NextDelivery<'_> {
        Box::pin(async move {
            loop {
                let received = tokio::select! {
                    biased;
                    () = self.closing.cancelled() => None,
                    received = self.deliveries.recv() => received,
                };
                match received {
                    // the sender of what came over a lost connection sends it again
                    Some(handed) if handed.gone.load(Ordering::Acquire) => {}
                    Some(handed) => return Ok(Some(handed.delivery)),
                    None => {
                        self.close();
                        return Ok(None);
                    }
                }
            }
        })
    }

    fn health(&self) -> watch::Receiver<SourceHealth> {
        self.health.clone()
    }

    fn close(&mut self) {
        self.closing.cancel();
        self.deliveries.close();
        // what was not yielded goes back
        while self.deliveries.try_recv().is_ok() {}
    }
}

impl Drop for MllpSource {
    fn drop(&mut self) {
        self.close();
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn listen(shared: Shared, tls: Option<TlsAcceptor>, mut bound: io::Result<TcpListener>) {
    let open = TaskTracker::new();
    let mut delay_ms = RETRY_FIRST_MS;
    loop {
        let name = shared.config.name.as_str();
        match bound {
            Ok(socket) => {
                delay_ms = RETRY_FIRST_MS;
                shared.reporter.connected(now_ms());
                tracing::info!(connector = name, address = %shared.config.listen, tls = tls.is_some(), "listens");
                accept(&socket, &shared, tls.as_ref(), &open).await;
                shared.reporter.disconnected(now_ms());
            }
            Err(error) => {
                shared
                    .reporter
                    .failed(now_ms(), &format!("cannot listen on {}: {}", shared.config.listen, error.kind()));
                tracing::warn!(connector = name, address = %shared.config.listen, delay_ms, "cannot listen: {}", error.kind());
                let delay = tokio::time::sleep(Duration::from_millis(delay_ms));
                shared.closing.run_until_cancelled(delay).await;
                delay_ms = (delay_ms * 2).min(limits::RETRY_DELAY_MS_MAX / 2);
            }
        }
        if shared.closing.is_cancelled() {
            break;
        }
        bound = bind(shared.config.listen);
    }
    open.close();
    open.wait().await;
}

/// The places of a listener.
#[derive(Clone)]
struct Doors {
    /// Of TLS only: a handshake is no connection yet, and whoever has no certificate gets no further.
    handshakes: Arc<Places>,
    connections: Arc<Places>,
    /// Whether there was a connection already.
    before: Arc<AtomicBool>,
}

/// Takes connections until the source is closed.
async fn accept(socket: &TcpListener, shared: &Shared, tls: Option<&TlsAcceptor>, open: &TaskTracker) {
    let doors = Doors {
        handshakes: Places::new(limits::MLLP_HANDSHAKES_MAX),
        connections: Places::new(shared.config.connections_max),
        before: Arc::default(),
    };
    loop {
        let accepted = tokio::select! {
            () = shared.closing.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(connector = %shared.config.name, "cannot accept: {}", error.kind());
                tokio::time::sleep(Duration::from_millis(ACCEPT_AGAIN_MS)).await;
                continue;
            }
        };
        let first = if tls.is_some() { &doors.handshakes } else { &doors.connections };
        let Some(place) = first.enter(remote.ip()) else {
            too_many(shared);
            continue;
        };
        let (shared, tls, doors) = (shared.clone(), tls.cloned(), doors.clone());
        open.spawn(async move {
            if let Err(error) = serve(stream, remote.ip(), place, tls, &shared, &doors).await {
                tracing::info!(connector = %shared.config.name, "no connection: {}", error.kind());
            }
        });
    }
}

fn too_many(shared: &Shared) {
    tracing::warn!(connector = %shared.config.name, most = shared.config.connections_max, "too many connections: one is closed");
}

/// `place` is one of a handshake where there is TLS, else one of a connection.
async fn serve(
    stream: TcpStream,
    from: IpAddr,
    place: Place,
    tls: Option<TlsAcceptor>,
    shared: &Shared,
    doors: &Doors,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // a peer that went without a word must not keep its place until the idle time is over
    let probes = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4).with_retries(4);
    SockRef::from(&stream).set_tcp_keepalive(&probes)?;
    let begin = || {
        if doors.before.swap(true, Ordering::AcqRel) {
            shared.reporter.connected_again();
        }
    };
    let Some(tls) = tls else {
        begin();
        converse(stream, shared.clone(), place.seat()).await;
        return Ok(());
    };
    let seat = place.seat();
    let limit = Duration::from_millis(HANDSHAKE_MS_MAX);
    let stream = tokio::select! {
        () = seat.lost().cancelled() => return Err(io::ErrorKind::ConnectionAborted.into()),
        shaken = tokio::time::timeout(limit, tls.accept(stream)) => {
            shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
        }
    };
    drop(place);
    let Some(place) = doors.connections.enter(from) else {
        too_many(shared);
        return Ok(());
    };
    begin();
    converse(stream, shared.clone(), place.seat()).await;
    Ok(())
}

pub(crate) fn now_ms() -> TimeMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
