//! One unit of a case: its padding and its STREAM encryption. Chunks of 64 KiB under AES-256-GCM, nonce
//! 0^7 ‖ counter (32 bits, big endian) ‖ last (1 byte), AAD = CBOR[SHA-256(header), unit index]. A chunk that is flipped,
//! moved, repeated or missing does not verify.
//!
//! Padded plaintext: length of the bytes (u32, big endian) ‖ length of the type (u8) ‖ type ‖ bytes ‖ zeros up to a
//! multiple of 256. So neither length nor type can be read from outside, and there is one spelling only.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use schemas::cbor;
use schemas::envelope::{TAG_BYTES, ciphertext_bytes};
use schemas::id::Digest;
use schemas::limits;

use crate::derive::{Secret, UnitKeys};
use crate::error::UnitError;

/// Type of the unit that is the raw message.
pub const RAW: &str = "raw";
/// Longest type of a unit, in bytes.
const KIND_BYTES_MAX: usize = 64;
const HEAD_BYTES: usize = 5;
const CHUNK: usize = limits::UNIT_CHUNK_BYTES;
const SEALED_CHUNK: usize = CHUNK + TAG_BYTES;

const _: () =
    assert!(limits::UNIT_BYTES_MAX + HEAD_BYTES + KIND_BYTES_MAX < u32::MAX as usize - limits::UNIT_PADDING_BYTES);

/// A plaintext unit: canonical bytes of one resource, or the raw message. Its Debug shows sizes only.
#[derive(Clone, PartialEq, Eq)]
pub struct Unit {
    /// FHIR resource type, or `RAW`.
    pub kind: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Unit({} bytes)", self.bytes.len())
    }
}

/// A unit to be sealed, which is somebody else's: nothing large is copied. Its Debug shows sizes only.
#[derive(Clone, Copy)]
pub struct UnitRef<'a> {
    /// FHIR resource type, or `RAW`.
    pub kind: &'a str,
    /// The bytes.
    pub bytes: &'a [u8],
}

impl<'a> From<&'a Unit> for UnitRef<'a> {
    fn from(unit: &'a Unit) -> Self {
        Self { kind: &unit.kind, bytes: &unit.bytes }
    }
}

impl std::fmt::Debug for UnitRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "UnitRef({} bytes)", self.bytes.len())
    }
}

impl UnitRef<'_> {
    /// Whether the type is 1 to 64 ASCII letters, digits or hyphens.
    pub(crate) fn has_plain_kind(&self) -> bool {
        (1..=KIND_BYTES_MAX).contains(&self.kind.len())
            && self.kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    }

    /// Length of the padded plaintext, in bytes.
    pub(crate) fn padded_length(&self) -> usize {
        padded(self.kind.len(), self.bytes.len())
    }
}

const fn padded(kind: usize, bytes: usize) -> usize {
    (HEAD_BYTES + kind + bytes).next_multiple_of(limits::UNIT_PADDING_BYTES)
}

/// AAD of every chunk of a unit.
fn additional(header_hash: &Digest, index: u32) -> Vec<u8> {
    cbor::encode(&(header_hash, index))
}

fn nonce(counter: usize, last: bool) -> Option<Nonce<aes_gcm::aead::consts::U12>> {
    let mut nonce = [0; 12];
    let (_, tail) = nonce.split_at_mut(7);
    let (middle, flag) = tail.split_at_mut(4);
    middle.copy_from_slice(&u32::try_from(counter).ok()?.to_be_bytes());
    flag.fill(u8::from(last));
    Some(nonce.into())
}

fn cipher(key: &Secret) -> Aes256Gcm {
    Aes256Gcm::new((&**key).into())
}

/// Seals a unit onto the end of `object`. `None` when the cipher refuses, which limits exclude.
pub(crate) fn seal_onto(
    object: &mut Vec<u8>,
    unit: UnitRef<'_>,
    keys: &UnitKeys,
    header_hash: &Digest,
    index: u32,
) -> Option<()> {
    let (start, length) = (object.len(), unit.padded_length());
    object.reserve(ciphertext_bytes(length));
    object.extend_from_slice(&u32::try_from(unit.bytes.len()).ok()?.to_be_bytes());
    object.push(u8::try_from(unit.kind.len()).ok()?);
    object.extend_from_slice(unit.kind.as_bytes());
    object.extend_from_slice(unit.bytes);
    object.resize(start + ciphertext_bytes(length), 0);
    let sealed = object.get_mut(start..)?;
    // In place: chunks move apart from the last to the first, so that each tag has its room behind its chunk.
    let chunks = length.div_ceil(CHUNK);
    for at in (1..chunks).rev() {
        sealed.copy_within(at * CHUNK..length.min((at + 1) * CHUNK), at * SEALED_CHUNK);
    }
    let (cipher, additional) = (cipher(&keys.encryption()), additional(header_hash, index));
    for (at, chunk) in sealed.chunks_mut(SEALED_CHUNK).enumerate() {
        let (body, tag) = chunk.split_at_mut_checked(chunk.len().checked_sub(TAG_BYTES)?)?;
        let nonce = nonce(at, at + 1 == chunks)?;
        tag.copy_from_slice(&cipher.encrypt_inout_detached(&nonce, &additional, body.into()).ok()?);
    }
    Some(())
}

/// Opens a unit and checks tags, padding and leaf.
pub(crate) fn open(
    sealed: &[u8],
    keys: &UnitKeys,
    header_hash: &Digest,
    index: u32,
    leaf: &Digest,
) -> Result<Unit, UnitError> {
    let chunks = sealed.len().div_ceil(SEALED_CHUNK);
    let (cipher, additional) = (cipher(&keys.encryption()), additional(header_hash, index));
    let mut plain = Vec::with_capacity(sealed.len());
    for (at, chunk) in sealed.chunks(SEALED_CHUNK).enumerate() {
        let body = chunk.len().checked_sub(TAG_BYTES).and_then(|length| chunk.split_at_checked(length));
        let (body, tag) = body.ok_or(UnitError::Tag)?;
        let tag = Tag::try_from(tag).map_err(|_| UnitError::Tag)?;
        let nonce = nonce(at, at + 1 == chunks).ok_or(UnitError::Tag)?;
        let start = plain.len();
        plain.extend_from_slice(body);
        let target = plain.get_mut(start..).unwrap_or_default();
        cipher.decrypt_inout_detached(&nonce, &additional, target.into(), &tag).map_err(|_| UnitError::Tag)?;
    }
    let unit = strip(plain).ok_or(UnitError::Padding)?;
    if keys.leaf(&unit.kind, &unit.bytes) != *leaf {
        return Err(UnitError::Leaf);
    }
    Ok(unit)
}

/// Takes the padding off. `None` for any other spelling than the one that `seal_onto` writes.
fn strip(mut plain: Vec<u8>) -> Option<Unit> {
    let (length, rest) = plain.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (&kind_length, rest) = rest.split_first()?;
    let kind_length = usize::from(kind_length);
    let (kind, rest) = rest.split_at_checked(kind_length)?;
    let kind = std::str::from_utf8(kind).ok()?.to_owned();
    let zeros = rest.get(length..)?;
    if zeros.iter().any(|&byte| byte != 0) || plain.len() != padded(kind_length, length) {
        return None;
    }
    plain.drain(..HEAD_BYTES + kind_length);
    plain.truncate(length);
    let unit = Unit { kind, bytes: plain };
    UnitRef::from(&unit).has_plain_kind().then_some(unit)
}

#[cfg(test)]
pub(crate) mod tests {
    //! What an insider with the key could write: any plaintext of one chunk.

    use super::*;

    pub(crate) fn seal_plain(plain: &[u8], keys: &UnitKeys, header_hash: &Digest, index: u32) -> Vec<u8> {
        let mut out = plain.to_vec();
        let (nonce, additional) = (nonce(0, true).unwrap(), additional(header_hash, index));
        let cipher = cipher(&keys.encryption());
        let tag = cipher.encrypt_inout_detached(&nonce, &additional, out.as_mut_slice().into()).unwrap();
        out.extend_from_slice(&tag);
        out
    }
}
