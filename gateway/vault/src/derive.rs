//! Key derivation and MACs of formats.md §2: HKDF-SHA256 and HMAC-SHA256 with labels. Every key serves one purpose.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use minicbor::Encoder;
use schemas::cbor::{self, Parts};
use schemas::id::{CaseId, Digest, PractitionerId};
use sha2::Sha256;
use zeroize::Zeroizing;

/// 32 secret bytes, zeroised when dropped. Has no Debug.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// HKDF-Expand of a uniformly random 32-byte key, which is its own PRK.
pub(crate) fn expand(prk: &[u8; 32], info: &[u8]) -> Secret {
    let mut out = Zeroizing::new([0; 32]);
    let done = Hkdf::<Sha256>::from_prk(prk).is_ok_and(|hkdf| hkdf.expand(info, out.as_mut_slice()).is_ok());
    assert!(done, "HKDF-SHA256 takes a PRK of 32 bytes and gives 32 bytes");
    out
}

/// HMAC-SHA256.
pub(crate) fn mac(key: &[u8; 32], message: &[u8]) -> Digest {
    let mut hmac = begin_mac(key);
    hmac.update(message);
    Digest(hmac.finalize().into_bytes().into())
}

fn begin_mac(key: &[u8; 32]) -> Hmac<Sha256> {
    let Ok(hmac) = Hmac::<Sha256>::new_from_slice(key) else { unreachable!("HMAC takes keys of any length") };
    hmac
}

/// The keys of one case, all from K.
pub(crate) struct CaseKeys {
    hkdf: Hkdf<Sha256>,
}

impl CaseKeys {
    /// PRK = HKDF-Extract(salt = case id ‖ version, K).
    pub(crate) fn extract(k: &Secret, case: &CaseId, version: u32) -> Self {
        Self { hkdf: Hkdf::new(Some(&cbor::encode(&(case, version))), k.as_slice()) }
    }

    fn expand(&self, info: &[u8]) -> Secret {
        let mut out = Zeroizing::new([0; 32]);
        assert!(self.hkdf.expand(info, out.as_mut_slice()).is_ok(), "32 bytes are within HKDF's bound");
        out
    }

    /// `kc`: the key commitment.
    pub(crate) fn commitment(&self) -> Digest {
        Digest(*self.expand(b"cs1/commit"))
    }

    /// `u_i`: what a partial grant would hand over.
    pub(crate) fn unit(&self, index: u32) -> UnitKeys {
        UnitKeys { u: self.expand(&Parts::new("cs1/unit").part(&index).finish()) }
    }

    /// Commitment to the practitioner who authored the case, salted by K.
    pub(crate) fn practitioner(&self, practitioner: &PractitionerId) -> Digest {
        let message = Parts::new("cs1/practitioner").part(practitioner).finish();
        mac(&self.expand(b"cs1/practitioner"), &message)
    }
}

/// The keys of one unit.
pub(crate) struct UnitKeys {
    u: Secret,
}

impl UnitKeys {
    /// `k_i`: encrypts the unit.
    pub(crate) fn encryption(&self) -> Secret {
        expand(&self.u, b"enc")
    }

    /// `s_i`: salts the leaf. Whoever holds the unit's bytes learns nothing else by it.
    pub(crate) fn salt(&self) -> Secret {
        expand(&self.u, b"salt")
    }

    /// leaf_i = HMAC(s_i, "cs1/leaf" ‖ type ‖ len ‖ bytes). The bytes are not copied: they can be large.
    pub(crate) fn leaf(&self, kind: &str, bytes: &[u8]) -> Digest {
        let mut leaf = self.begin_leaf(kind, bytes.len());
        leaf.update(bytes);
        leaf.finish()
    }

    /// A leaf whose bytes come piece by piece, this many in all.
    pub(crate) fn begin_leaf(&self, kind: &str, length: usize) -> GrowingLeaf {
        let mut head = Vec::with_capacity(96);
        let length = length as u64;
        let written = Encoder::new(&mut head)
            .array(4)
            .and_then(|e| e.str("cs1/leaf"))
            .and_then(|e| e.str(kind))
            .and_then(|e| e.u64(length))
            .and_then(|e| e.bytes_len(length))
            .is_ok();
        assert!(written, "a Vec takes every write");
        let mut hmac = begin_mac(&self.salt());
        hmac.update(&head);
        GrowingLeaf(hmac)
    }
}

/// A leaf that is being computed.
pub(crate) struct GrowingLeaf(Hmac<Sha256>);

impl GrowingLeaf {
    /// The next bytes.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// When all bytes were there.
    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into_bytes().into())
    }
}
