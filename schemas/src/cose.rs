//! COSE_Sign1 with detached payload (RFC 9052 §4.4): the exact bytes that an ES256 signature covers. Building them is
//! here, signing is in the vault or the validator's key, verifying in `ledger-proof`.

use minicbor::Encoder;

use crate::id::{ChainId, Digest, PublicKey, Signature};

/// Protected header `{1: -7}`: algorithm ES256.
const PROTECTED_ES256: &[u8] = &[0xa1, 0x01, 0x26];

/// Verifies ECDSA P-256 SHA-256 signatures, low-S only. Implementations are in `ledger-proof`; a node may put a cache of
/// what was verified in parallel before the contract. Same answer for same arguments, always.
pub trait Verifier: Send + Sync {
    /// Whether `signature` by `key` covers `message`. An invalid key verifies nothing.
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool;
}

/// `Sig_structure` = ["Signature1", protected, external_aad, payload].
pub fn sig_structure(external_aad: &[u8], payload: &[u8]) -> Vec<u8> {
    sig_structure_of(PROTECTED_ES256, external_aad, payload)
}

/// The same with another protected header.
pub(crate) fn sig_structure_of(protected: &[u8], external_aad: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + protected.len() + external_aad.len() + payload.len());
    let mut e = Encoder::new(&mut out);
    let written = e
        .array(4)
        .and_then(|e| e.str("Signature1"))
        .and_then(|e| e.bytes(protected))
        .and_then(|e| e.bytes(external_aad))
        .and_then(|e| e.bytes(payload))
        .is_ok();
    assert!(written, "a Vec takes every write");
    out
}

/// What every signer of a transaction signs: its id, bound to the chain. The id covers the statements' root and
/// `valid_until`, so that whoever relays a transaction cannot give it another id.
pub fn transaction_to_sign(chain: &ChainId, id: &Digest) -> Vec<u8> {
    sig_structure(chain.as_bytes(), id.as_bytes())
}

/// What a practitioner signs of one statement (its CBOR bytes), bound to the chain.
pub fn authored_to_sign(chain: &ChainId, statement: &[u8]) -> Vec<u8> {
    sig_structure(chain.as_bytes(), statement)
}
