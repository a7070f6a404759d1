//! The validator's key: the only place that names it. A PEM file (PKCS#8) of mode 0600; it signs votes (RFC 6979, low-S)
//! and is the key of the TLS certificate. It is never printed, cloned or written anywhere else.

use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use schemas::ErrorClass;
use schemas::id::{PublicKey, RawPublicKey, RawSignature, Signature};
use zeroize::Zeroizing;

/// A key file that is not used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read or written.
    #[error("key file {path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Others may read it.
    #[error("key file {path}: found mode {mode:o}, expected 600: chmod 600 {path}")]
    Mode {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// Not a P-256 key in PKCS#8.
    #[error("key file {path}: found something else, expected a P-256 private key in PEM (PKCS#8)")]
    Format {
        /// The file.
        path: String,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

impl KeyError {
    /// The class that decides about exit codes.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Randomness => ErrorClass::Transient,
            _ => ErrorClass::Caller,
        }
    }
}

/// A validator's key. `SigningKey` wipes itself when dropped.
pub struct ValidatorKey {
    signing: SigningKey,
    public: PublicKey,
}

/// Makes a new key file of mode 0600; an existing file is never overwritten.
///
/// # Errors
/// `KeyError` when it exists or cannot be written.
pub fn create(path: &Path) -> Result<PublicKey, KeyError> {
    let signing = random_key()?;
    let pem =
        signing.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Format { path: path.display().to_string() })?;
    let file = |cause| KeyError::File { path: path.display().to_string(), cause };
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(file)?;
    out.write_all(pem.as_bytes()).and_then(|()| out.sync_all()).map_err(file)?;
    Ok(public_of(&signing))
}

/// Opens a key file after checking its mode.
///
/// # Errors
/// `KeyError` that says what to do.
pub fn open(path: &Path) -> Result<ValidatorKey, KeyError> {
    let file = |cause| KeyError::File { path: path.display().to_string(), cause };
    let mode = std::fs::metadata(path).map_err(file)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Mode { path: path.display().to_string(), mode });
    }
    let pem = Zeroizing::new(std::fs::read_to_string(path).map_err(file)?);
    let signing =
        SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeyError::Format { path: path.display().to_string() })?;
    let public = public_of(&signing);
    Ok(ValidatorKey { signing, public })
}

impl ValidatorKey {
    /// The public key, as in the genesis.
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// A self-signed certificate for this key, and the key as rustls takes it. Peers look at the key only.
    pub(crate) fn identity(&self) -> Option<(CertificateDer<'static>, PrivateKeyDer<'static>)> {
        let der = self.signing.to_pkcs8_der().ok()?;
        let key = PrivatePkcs8KeyDer::from(der.as_bytes().to_vec());
        let pair = rcgen::KeyPair::try_from(&key).ok()?;
        let params = rcgen::CertificateParams::new(vec!["chartseal-validator".to_owned()]).ok()?;
        let certificate = params.self_signed(&pair).ok()?.der().clone();
        Some((certificate, key.into()))
    }
}

impl ledger_core::Sign for ValidatorKey {
    fn sign(&self, bytes: &[u8]) -> Signature {
        self.sign_bytes(bytes)
    }
}

impl ValidatorKey {
    /// Signs what is labelled for this key: votes and heads by the node, a ballot or its seat by its operator.
    pub fn sign_bytes(&self, bytes: &[u8]) -> Signature {
        let signature: p256::ecdsa::Signature = self.signing.sign(bytes);
        let bytes: [u8; 64] = signature.normalize_s().to_bytes().into();
        Signature(RawSignature(bytes))
    }
}

fn random_key() -> Result<SigningKey, KeyError> {
    let mut secret = Zeroizing::new([0_u8; 32]);
    for _ in 0..8 {
        getrandom::fill(secret.as_mut()).map_err(|_| KeyError::Randomness)?;
        // fails with a chance of 2^-32: not below the order
        if let Ok(key) = SigningKey::from_slice(secret.as_ref()) {
            return Ok(key);
        }
    }
    Err(KeyError::Randomness)
}

fn public_of(signing: &SigningKey) -> PublicKey {
    let point = signing.verifying_key().to_sec1_point(true);
    let Some(raw) = RawPublicKey::from_slice(point.as_bytes()) else { unreachable!("a compressed point has 33 bytes") };
    PublicKey(raw)
}
