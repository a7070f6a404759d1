//! The clients' socket: TLS where configured, plain only on a loopback address. Nobody keeps a place for nothing: handshakes
//! are counted apart from connections, each remote address has a share of both, and whoever is slow with a header, idle, or
//! does not read its answer is cut off. Knows nothing of what is asked.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schemas::ErrorClass;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::places::Places;
use self::wire::Wire;

mod places;
mod wire;

/// Longest handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);
/// Longest wait for a whole request header, and so for the next request of a connection.
const HEADER_WAIT: Duration = Duration::from_secs(30);
/// Largest request header, in bytes: a search's sealed link has to fit.
const HEADER_BYTES_MAX: usize = 64 << 10;
/// Longest wait for answers under way when the gateway stops.
const STOP_WAIT: Duration = Duration::from_secs(30);

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
    header_wait: Duration,
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
        Ok(Self { socket, tls, header_wait: HEADER_WAIT })
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
        let (places, open) = (Places::new(), TaskTracker::new());
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // out of descriptors, most likely: wait for some to come back
                    tracing::warn!("listener: {}", error.kind());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // nothing is free: the connection is closed at once rather than kept waiting
            let Some(place) = places.shake_hands(remote.ip()) else { continue };
            let (tls, router, stop, header_wait) = (self.tls.clone(), router.clone(), stop.clone(), self.header_wait);
            open.spawn(async move {
                let Some(wire) = shake_hands(stream, tls).await else { return };
                let Some(_place) = place.establish() else { return };
                converse(wire, router, header_wait, stop).await;
            });
        }
        open.close();
        open.wait().await;
        Ok(())
    }
}

/// Whether certificate and key can be used.
///
/// # Errors
/// `ListenError::Tls`.
pub fn check_tls(certificate: &Path, key: &Path) -> Result<(), ListenError> {
    acceptor(certificate, key).map(drop)
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ListenError> {
    let failed = |path: &Path, what: &str| ListenError::Tls(format!("{}: found {what}", path.display()));
    let no_chain = |what: String| failed(certificate, &format!("{what}, expected a certificate chain in PEM"));
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| no_chain(format!("none ({e})")))?;
    let Some(own) = chain.first() else { return Err(no_chain("none".to_owned())) };
    rustls::server::ParsedCertificate::try_from(own).map_err(|e| no_chain(format!("one that does not parse ({e})")))?;
    let secret = PrivateKeyDer::from_pem_file(key)
        .map_err(|e| failed(key, &format!("none ({e}), expected a private key in PEM")))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| ListenError::Tls(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|e| failed(key, &format!("another one ({e}), expected the key of {}", certificate.display())))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Requests and answers of one connection.
async fn converse(wire: Wire, router: Router, header_wait: Duration, stop: CancellationToken) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(header_wait).max_buf_size(HEADER_BYTES_MAX);
    let served = server.serve_connection(TokioIo::new(wire), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    tokio::select! {
        // how a client's connection ends is its own affair
        _ = served.as_mut() => {}
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(STOP_WAIT, served).await;
        }
    }
}

async fn shake_hands(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Wire> {
    stream.set_nodelay(true).ok()?;
    let Some(tls) = tls else { return Some(Wire::new(stream)) };
    let shaken = tokio::time::timeout(HANDSHAKE_WAIT, tls.accept(stream)).await.ok()?.ok()?;
    Some(Wire::new(shaken))
}

#[cfg(test)]
mod tests;
