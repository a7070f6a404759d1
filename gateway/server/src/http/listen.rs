//! The clients' socket: TLS where configured, plain only on a loopback address. Handshakes happen beside each other, so that a
//! slow one holds nobody up; connections are bounded. Knows nothing of HTTP.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemas::ErrorClass;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Connections at once.
const CONNECTIONS_MAX: usize = 1024;
/// Longest handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// A listener that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Plain HTTP on an address that others can reach.
    #[error("listener {address}: found no certificate and an address that is not loopback; expected TLS or 127.0.0.1")]
    Plain {
        /// The address.
        address: String,
    },
    /// The address cannot be bound.
    #[error("listener {address}: {source}")]
    Bind {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("listener TLS: {0}")]
    Tls(String),
}

impl ListenError {
    /// A wrong configuration, or a port that is taken.
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Caller
    }
}

/// A bound socket, ready to serve.
pub struct Door {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Door {
    /// Binds `address`; with a certificate chain and key in PEM it speaks TLS.
    ///
    /// # Errors
    /// `ListenError`.
    pub async fn open(address: &str, tls: Option<(&Path, &Path)>) -> Result<Self, ListenError> {
        let bind = |source| ListenError::Bind { address: address.to_owned(), source };
        let socket = TcpListener::bind(address).await.map_err(bind)?;
        let at = socket.local_addr().map_err(bind)?;
        if tls.is_none() && !at.ip().is_loopback() {
            return Err(ListenError::Plain { address: address.to_owned() });
        }
        let tls = tls.map(|(certificate, key)| acceptor(certificate, key)).transpose()?;
        Ok(Self { socket, tls })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until told to stop; answers under way are finished.
    ///
    /// # Errors
    /// What the system says.
    pub async fn serve(self, router: Router, stop: CancellationToken) -> io::Result<()> {
        let address = self.socket.local_addr()?;
        let (ready, accepted) = mpsc::channel(64);
        let accepting = tokio::spawn(accept(self.socket, self.tls, ready, stop.clone()));
        let served = axum::serve(Accepted { accepted, address }, router)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await;
        accepting.abort();
        served
    }
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ListenError> {
    let failed = |path: &Path, what: String| ListenError::Tls(format!("{}: {what}", path.display()));
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| failed(certificate, e.to_string()))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| failed(key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| ListenError::Tls(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|e| failed(certificate, e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

async fn accept(
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    ready: mpsc::Sender<Connection>,
    stop: CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = socket.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let stream = match stream {
            Ok((stream, _)) => stream,
            Err(error) => {
                // out of descriptors, most likely: wait for some to come back
                tracing::warn!("listener: {}", error.kind());
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            if let Some(wire) = shake_hands(stream, tls).await {
                // the server has ended: nobody is left to answer
                let _ = ready.send(Connection { wire, _place: place }).await;
            }
        });
    }
}

async fn shake_hands(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Box<dyn Wire>> {
    stream.set_nodelay(true).ok()?;
    let Some(tls) = tls else { return Some(Box::new(stream)) };
    let shaken = tokio::time::timeout(HANDSHAKE_WAIT, tls.accept(stream)).await.ok()?.ok()?;
    Some(Box::new(shaken))
}

/// One connection; its place is free again when it is dropped.
struct Connection {
    wire: Box<dyn Wire>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.wire).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        std::pin::Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

struct Accepted {
    accepted: mpsc::Receiver<Connection>,
    address: SocketAddr,
}

impl Listener for Accepted {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        match self.accepted.recv().await {
            Some(connection) => (connection, self.address),
            // accepting has stopped; the graceful shutdown ends this wait
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
