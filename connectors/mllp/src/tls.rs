//! TLS of listener and sender, from PEM files. With `tls_clients` every sender shows a certificate. Errors name files, never
//! what is in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use schemas::ErrorClass;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::config::{MllpConfig, SenderConfig};

/// A file of the configuration that TLS cannot be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: found {found}, expected {expected}", .file.display())]
pub struct TlsError {
    /// The file.
    pub file: PathBuf,
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: &'static str,
}

impl TlsError {
    /// A wrong configuration.
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Caller
    }
}

impl MllpConfig {
    /// Makes TLS of the files that it names, as the listener and the sender of acknowledgements will.
    ///
    /// # Errors
    /// `TlsError`.
    pub fn rehearse(&self) -> Result<(), TlsError> {
        acceptor(self)?;
        self.application_ack.as_ref().map_or(Ok(()), |ack| connector(&ack.sender()).map(drop))
    }
}

/// Of a listener; `None` where it speaks plain TCP.
pub(crate) fn acceptor(config: &MllpConfig) -> Result<Option<TlsAcceptor>, TlsError> {
    let Some((certificate, key)) = config.tls_certificate.as_deref().zip(config.tls_key.as_deref()) else {
        return Ok(None);
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| fault(certificate, e, "TLS"))?;
    let builder = match &config.tls_clients {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(file)?), provider);
            builder.with_client_cert_verifier(verifier.build().map_err(|e| fault(file, e, "certificates that vouch"))?)
        }
    };
    let made = builder.with_single_cert(chain(certificate)?, secret(key)?);
    let made = made.map_err(|e| fault(key, e, "the key of the certificate"))?;
    Ok(Some(TlsAcceptor::from(Arc::new(made))))
}

/// Of a sender; `None` where it speaks plain TCP.
pub(crate) fn connector(config: &SenderConfig) -> Result<Option<TlsConnector>, TlsError> {
    let Some(file) = &config.tls_roots else { return Ok(None) };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| fault(file, e, "TLS"))?;
    let builder = builder.with_root_certificates(roots(file)?);
    let made = match &config.tls_identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(chain(certificate)?, secret(key)?)
            .map_err(|e| fault(key, e, "the key of the certificate"))?,
    };
    Ok(Some(TlsConnector::from(Arc::new(made))))
}

fn fault(file: &Path, found: impl ToString, expected: &'static str) -> TlsError {
    TlsError { file: file.to_owned(), found: found.to_string(), expected }
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let expected = "a certificate chain in PEM";
    let all = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let all = all.map_err(|e| fault(file, e, expected))?;
    if all.is_empty() { Err(fault(file, "no certificate", expected)) } else { Ok(all) }
}

fn secret(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|e| fault(file, e, "a private key in PEM"))
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(file)? {
        roots.add(certificate).map_err(|e| fault(file, e, "certificates that vouch for others"))?;
    }
    Ok(roots)
}
