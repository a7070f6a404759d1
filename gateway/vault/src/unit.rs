//! One unit of a case: its padding and its STREAM encryption. Chunks of 64 KiB under AES-256-GCM, nonce
//! 0^7 ‖ counter (32 bits, big endian) ‖ last (1 byte), AAD = CBOR[SHA-256(header), unit index]. A chunk that is flipped,
//! moved, repeated or missing does not verify.
//!
//! Padded plaintext: length of the bytes (u32, big endian) ‖ length of the type (u8) ‖ type ‖ bytes ‖ zeros up to a
//! multiple of 256. So neither length nor type can be read from outside, and there is one spelling only.

use std::borrow::Cow;

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use schemas::cbor;
use schemas::envelope::{TAG_BYTES, ciphertext_bytes};
use schemas::id::Digest;
use schemas::limits;
use zeroize::Zeroizing;

use crate::derive::{GrowingLeaf, Secret, UnitKeys};
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

/// A unit to be sealed: nothing large is copied, and bytes of its own are gone when they are sealed. Its Debug shows sizes only.
#[derive(Clone)]
pub struct UnitRef<'a> {
    /// FHIR resource type, or `RAW`.
    pub kind: &'a str,
    /// The bytes.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> From<&'a Unit> for UnitRef<'a> {
    fn from(unit: &'a Unit) -> Self {
        Self { kind: &unit.kind, bytes: Cow::Borrowed(&unit.bytes) }
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
    unit: &UnitRef<'_>,
    keys: &UnitKeys,
    header_hash: &Digest,
    index: u32,
) -> Option<()> {
    let (start, length) = (object.len(), unit.padded_length());
    object.reserve(ciphertext_bytes(length));
    object.extend_from_slice(&u32::try_from(unit.bytes.len()).ok()?.to_be_bytes());
    object.push(u8::try_from(unit.kind.len()).ok()?);
    object.extend_from_slice(unit.kind.as_bytes());
    object.extend_from_slice(&unit.bytes);
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
    let mut plain = Vec::with_capacity(sealed.len());
    let opener = Opener::new(sealed, keys, header_hash, index);
    for (at, chunk) in sealed.chunks(SEALED_CHUNK).enumerate() {
        opener.open_onto(&mut plain, at, chunk)?;
    }
    let unit = strip(plain).ok_or(UnitError::Padding)?;
    if keys.leaf(&unit.kind, &unit.bytes) != *leaf {
        return Err(UnitError::Leaf);
    }
    Ok(unit)
}

/// Checks tags, padding and leaf as `open` does, and keeps no more of it than a chunk.
pub(crate) fn check(
    sealed: &[u8],
    keys: &UnitKeys,
    header_hash: &Digest,
    index: u32,
    leaf: &Digest,
) -> Result<(), UnitError> {
    let opener = Opener::new(sealed, keys, header_hash, index);
    let mut plain = Zeroizing::new(Vec::with_capacity(CHUNK.min(sealed.len())));
    let mut reading: Option<Reading> = None;
    let mut total = 0;
    for (at, chunk) in sealed.chunks(SEALED_CHUNK).enumerate() {
        plain.clear();
        opener.open_onto(&mut plain, at, chunk)?;
        total += plain.len();
        match &mut reading {
            // a chunk is larger than the longest head
            None if at == 0 => reading = Reading::begin(&plain, keys),
            None => {}
            Some(reading) => reading.read(&plain),
        }
    }
    let reading = reading.filter(|reading| reading.is_plain && reading.left == 0 && reading.padded == total);
    let reading = reading.ok_or(UnitError::Padding)?;
    if reading.leaf.finish() == *leaf { Ok(()) } else { Err(UnitError::Leaf) }
}

/// A unit of which some chunks were read.
struct Reading {
    leaf: GrowingLeaf,
    /// Bytes that are still to come; behind them stand zeros.
    left: usize,
    /// Whether all that stood behind them so far is zeros.
    is_plain: bool,
    /// What the length of all must be.
    padded: usize,
}

impl Reading {
    /// From the first chunk. `None` where its head is none.
    fn begin(plain: &[u8], keys: &UnitKeys) -> Option<Self> {
        let (length, kind, rest) = head(plain)?;
        let unit = UnitRef { kind, bytes: Cow::Borrowed(&[]) };
        let leaf = keys.begin_leaf(kind, length);
        let mut reading = Self { leaf, left: length, is_plain: true, padded: padded(kind.len(), length) };
        reading.read(rest);
        unit.has_plain_kind().then_some(reading)
    }

    fn read(&mut self, plain: &[u8]) {
        let (bytes, zeros) = plain.split_at(self.left.min(plain.len()));
        self.leaf.update(bytes);
        self.left -= bytes.len();
        self.is_plain &= zeros.iter().all(|&byte| byte == 0);
    }
}

/// Opens the chunks of one unit.
struct Opener {
    cipher: Aes256Gcm,
    additional: Vec<u8>,
    chunks: usize,
}

impl Opener {
    fn new(sealed: &[u8], keys: &UnitKeys, header_hash: &Digest, index: u32) -> Self {
        let chunks = sealed.len().div_ceil(SEALED_CHUNK);
        Self { cipher: cipher(&keys.encryption()), additional: additional(header_hash, index), chunks }
    }

    fn open_onto(&self, plain: &mut Vec<u8>, at: usize, chunk: &[u8]) -> Result<(), UnitError> {
        let body = chunk.len().checked_sub(TAG_BYTES).and_then(|length| chunk.split_at_checked(length));
        let (body, tag) = body.ok_or(UnitError::Tag)?;
        let tag = Tag::try_from(tag).map_err(|_| UnitError::Tag)?;
        let nonce = nonce(at, at + 1 == self.chunks).ok_or(UnitError::Tag)?;
        let start = plain.len();
        plain.extend_from_slice(body);
        let target = plain.get_mut(start..).unwrap_or_default();
        let opened = self.cipher.decrypt_inout_detached(&nonce, &self.additional, target.into(), &tag);
        opened.map_err(|_| UnitError::Tag)
    }
}

/// Length of the bytes, type, and what stands behind it.
fn head(plain: &[u8]) -> Option<(usize, &str, &[u8])> {
    let (length, rest) = plain.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (&kind_length, rest) = rest.split_first()?;
    let (kind, rest) = rest.split_at_checked(usize::from(kind_length))?;
    Some((length, std::str::from_utf8(kind).ok()?, rest))
}

/// Takes the padding off. `None` for any other spelling than the one that `seal_onto` writes.
fn strip(mut plain: Vec<u8>) -> Option<Unit> {
    let (length, kind, rest) = head(&plain)?;
    let zeros = rest.get(length..)?;
    if zeros.iter().any(|&byte| byte != 0) || plain.len() != padded(kind.len(), length) {
        return None;
    }
    let kind = kind.to_owned();
    plain.drain(..HEAD_BYTES + kind.len());
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
