//! Mutual TLS 1.3 without certificate authorities: a certificate counts when its key is one of the epoch's members. Names,
//! dates and issuers in certificates say nothing here.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
};
use schemas::id::{PublicKey, RawPublicKey};

use crate::NodeError;
use crate::key::ValidatorKey;

/// DER before the point in the SubjectPublicKeyInfo of an uncompressed P-256 key (RFC 5480).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Accepts exactly the holders of these keys, as client or as server.
#[derive(Debug)]
struct Pinned {
    keys: BTreeSet<PublicKey>,
    provider: Arc<CryptoProvider>,
}

/// A server that only these keys may connect to.
///
/// # Errors
/// `NodeError::Tls` when the key does not make a certificate.
pub(crate) fn server(key: &ValidatorKey, clients: BTreeSet<PublicKey>) -> Result<Arc<ServerConfig>, NodeError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Pinned { keys: clients, provider: Arc::clone(&provider) });
    let (certificate, private) = key.identity().ok_or_else(|| NodeError::Tls("no certificate".to_owned()))?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|b| b.with_client_cert_verifier(verifier).with_single_cert(vec![certificate], private))
        .map_err(|e| NodeError::Tls(e.to_string()))?;
    Ok(Arc::new(config))
}

/// A client that talks to the holder of one key only.
///
/// # Errors
/// `NodeError::Tls` when the key does not make a certificate.
pub(crate) fn client(key: &ValidatorKey, expected: PublicKey) -> Result<Arc<ClientConfig>, NodeError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(Pinned { keys: BTreeSet::from([expected]), provider: Arc::clone(&provider) });
    let (certificate, private) = key.identity().ok_or_else(|| NodeError::Tls("no certificate".to_owned()))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|b| {
            b.dangerous().with_custom_certificate_verifier(verifier).with_client_auth_cert(vec![certificate], private)
        })
        .map_err(|e| NodeError::Tls(e.to_string()))?;
    Ok(Arc::new(config))
}

/// The P-256 key of a certificate, compressed. `None` for any other kind of key.
pub(crate) fn certificate_key(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
    let info = ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info();
    let point = info.as_ref().strip_prefix(&P256_SPKI_PREFIX)?;
    let (&form, coordinates) = point.split_first()?;
    let (x, y) = coordinates.split_at_checked(32)?;
    if form != 4 || y.len() != 32 {
        return None;
    }
    let parity = 2 + (y.last()? & 1);
    RawPublicKey::from_slice(&[&[parity], x].concat()).map(PublicKey)
}

impl Pinned {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let is_known = certificate_key(certificate).is_some_and(|key| self.keys.contains(&key));
        let refusal = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        is_known.then_some(()).ok_or(refusal)
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
}

fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(Error::General("TLS 1.2 is not offered".to_owned()))
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
