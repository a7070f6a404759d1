//! ECDSA on P-256 with SHA-256: signing after RFC 6979 (deterministic), low-S only, and the strict verification that
//! Algorithm 2 needs. One verification covers up to 100 cases, so `p256` is fast enough here.

use p256::SecretKey;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature as Ecdsa, SigningKey, VerifyingKey};
use schemas::cose;
use schemas::id::{PublicKey, RawPublicKey, RawSignature, Signature};
use schemas::transaction::{Signed, Signer, Transaction};

/// A signing key. Zeroised when dropped (`p256`); no Debug, no Clone.
pub(crate) struct SignatureKey(SigningKey);

impl SignatureKey {
    pub(crate) fn new(secret: &SecretKey) -> Self {
        Self(SigningKey::from(secret))
    }

    pub(crate) fn public(&self) -> PublicKey {
        public_of(self.0.verifying_key())
    }

    /// RFC 6979, low-S.
    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        let signature: Ecdsa = self.0.sign(message);
        Signature(RawSignature(signature.normalize_s().to_bytes().into()))
    }

    /// Signs a transaction's id in a role.
    pub(crate) fn sign_transaction(&self, transaction: &mut Transaction, signer: Signer) {
        let chain = &transaction.core.chain;
        let message = cose::transaction_to_sign(chain, &transaction.id());
        let signature = self.sign(&message);
        transaction.signatures.push(Signed { signer, signature });
        transaction.signatures.sort_by_key(|signed| signed.signer);
    }
}

fn public_of(key: &VerifyingKey) -> PublicKey {
    let point = key.to_sec1_point(true);
    let Some(raw) = RawPublicKey::from_slice(point.as_bytes()) else {
        unreachable!("a compressed P-256 point has 33 bytes")
    };
    PublicKey(raw)
}

/// Whether `signature` is the key's over the message. High-S and invalid points are refused.
pub fn verify(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    let Ok(key) = VerifyingKey::from_sec1_bytes(key.as_bytes()) else { return false };
    let Ok(signature) = Ecdsa::from_slice(signature.as_bytes()) else { return false };
    signature.normalize_s() == signature && key.verify(message, &signature).is_ok()
}
