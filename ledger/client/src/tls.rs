//! Mutual TLS 1.3 without certificate authorities: a validator's certificate counts when its key is one that the newest epochs
//! have under its name; ours is self-signed by the transport key on the spot. Names, dates and issuers in certificates say nothing here.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use schemas::id::{PublicKey, RawPublicKey};

/// DER before the point in the SubjectPublicKeyInfo of an uncompressed P-256 key (RFC 5480).
const P256_SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Our certificate and its key.
pub(crate) struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Makes a self-signed certificate for the key of a PEM (PKCS#8) text. `None` when the text is no such key.
    pub(crate) fn from_pem(pem: &str) -> Option<Self> {
        let pair = rcgen::KeyPair::from_pem(pem).ok()?;
        let params = rcgen::CertificateParams::new(vec!["chartseal-client".to_owned()]).ok()?;
        let certificate = params.self_signed(&pair).ok()?.der().clone();
        Some(Self { certificate, key: PrivatePkcs8KeyDer::from(pair.serialize_der()).into() })
    }
}

/// Keys that a server may have. They change with the epochs; connections that are open stay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pins(Arc<RwLock<BTreeSet<PublicKey>>>);

impl Pins {
    /// These and no others from now on.
    pub(crate) fn set(&self, keys: BTreeSet<PublicKey>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn contains(&self, key: &PublicKey) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }
}

/// A client configuration that talks to holders of `pins` and to nobody else; without any, to whoever holds a key: for questions
/// whose answers prove themselves.
///
/// # Errors
/// rustls' error when the identity does not fit together.
pub(crate) fn client_config(identity: &Identity, pins: Option<Pins>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pinned = Pinned { pins, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The P-256 key of a certificate, compressed. `None` for any other kind of key.
fn certificate_key(certificate: &CertificateDer<'_>) -> Option<PublicKey> {
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

#[derive(Debug)]
struct Pinned {
    pins: Option<Pins>,
    provider: Arc<CryptoProvider>,
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
        let key = certificate_key(end_entity);
        if key.is_some_and(|key| self.pins.as_ref().is_none_or(|pins| pins.contains(&key))) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not offered".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
