//! ECDSA P-256 with SHA-256, twice: `p256` is the reference that offline verification uses, `aws-lc-rs` the fast one for
//! validators and gateways. Both accept exactly the same: low-S, r and s in 1..n, a compressed point on the curve.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use p256::ecdsa::signature::Verifier as _;
use schemas::cose::Verifier;
use schemas::id::{PublicKey, Signature};

/// Half of the order of P-256, (n−1)/2, big-endian: the largest s that is accepted.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xde, 0x73, 0x7d,
    0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The key is not a compressed point of the curve.
    #[error("found a key that is no point of P-256, expected a compressed point")]
    Key,
    /// r or s is out of range, or s is high.
    #[error("found a signature out of range or with a high s, expected r and s in range and s low")]
    Encoding,
    /// It does not cover the message under this key.
    #[error("found a signature that does not cover this message under this key")]
    Mismatch,
}

/// Verifies with the reference implementation.
///
/// # Errors
/// `SignatureError` for anything but a valid low-S signature by a valid key.
pub fn verify_signature(key: &PublicKey, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
    if !is_compressed(key) {
        return Err(SignatureError::Key);
    }
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key.as_bytes()).map_err(|_| SignatureError::Key)?;
    if !is_low_s(signature) {
        return Err(SignatureError::Encoding);
    }
    let signature = p256::ecdsa::Signature::from_slice(signature.as_bytes()).map_err(|_| SignatureError::Encoding)?;
    key.verify(message, &signature).map_err(|_| SignatureError::Mismatch)
}

/// Whether s ≤ (n−1)/2: of the two spellings of a signature only this one is accepted.
fn is_low_s(signature: &Signature) -> bool {
    signature.as_bytes()[32..] <= HALF_ORDER[..]
}

/// 33 bytes that start with 2 or 3: the only spelling of a key.
fn is_compressed(key: &PublicKey) -> bool {
    matches!(key.as_bytes()[0], 2 | 3)
}

/// The reference: pure Rust, about 6,000 verifications a second per core.
#[derive(Clone, Copy, Debug, Default)]
pub struct P256;

impl Verifier for P256 {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        verify_signature(key, message, signature).is_ok()
    }
}

/// Keys kept in parsed form; more than a chain's validators and institutions use at a time.
const PARSED_KEYS_MAX: usize = 4_096;

/// Parsing a key, a square root, costs a part of each verification that its next one saves.
static PARSED: RwLock<BTreeMap<PublicKey, ParsedPublicKey>> = RwLock::new(BTreeMap::new());

/// The key in parsed form. `None` when it is no point of the curve.
fn parsed(key: &PublicKey) -> Option<ParsedPublicKey> {
    if let Some(known) = PARSED.read().unwrap_or_else(PoisonError::into_inner).get(key) {
        return Some(known.clone());
    }
    let new = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.as_bytes()).ok()?;
    let mut all = PARSED.write().unwrap_or_else(PoisonError::into_inner);
    if all.len() >= PARSED_KEYS_MAX {
        all.clear();
    }
    all.insert(*key, new.clone());
    Some(new)
}

/// The fast one, for validators and gateways.
#[derive(Clone, Copy, Debug, Default)]
pub struct AwsLc;

impl Verifier for AwsLc {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        // aws-lc accepts a high s and other spellings of a point
        is_compressed(key)
            && is_low_s(signature)
            && parsed(key).is_some_and(|key| key.verify_sig(message, signature.as_bytes()).is_ok())
    }
}
