//! Deterministic CBOR (RFC 8949 §4.2.1): shortest integers, definite lengths, integer keys in order, no tags, no floats.
//! What does not re-encode to the same bytes is refused. Also the labelled hashes of formats.md: `‖` is a CBOR array of
//! the parts with the label first.

use minicbor::decode::Error;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};
use sha2::{Digest as _, Sha256};

use crate::id::Digest;

/// Bytes that are not the one encoding of the expected type. Carries no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Not decodable as the type.
    #[error("found bytes that are not {expected}, at byte {offset}")]
    Malformed {
        /// The type's name.
        expected: &'static str,
        /// Where decoding stopped.
        offset: usize,
    },
    /// Decodable, but not in the deterministic encoding, or with bytes after it.
    #[error("found another spelling of {expected}, expected deterministic CBOR")]
    OtherSpelling {
        /// The type's name.
        expected: &'static str,
    },
}

/// Whatever has one deterministic encoding and is read back from it.
pub trait Record: Encode<()> + for<'b> Decode<'b, ()> {}
impl<T: Encode<()> + for<'b> Decode<'b, ()>> Record for T {}

/// The deterministic encoding.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    encode_to(value, &mut out);
    out
}

/// The same behind what is there already.
pub fn encode_to<T: Encode<()>>(value: &T, out: &mut Vec<u8>) {
    let Ok(()) = minicbor::encode(value, out).map_err(|_| ()) else {
        unreachable!("a Vec takes every write and no type of ours refuses to encode")
    };
}

/// Decodes and insists on the one spelling.
///
/// # Errors
/// `CborError` when the bytes are not exactly the deterministic encoding of a `T`.
pub fn decode<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Result<T, CborError> {
    let expected = short_name::<T>();
    let mut decoder = minicbor::Decoder::new(bytes);
    let value: T = decoder.decode().map_err(|_| CborError::Malformed { expected, offset: decoder.position() })?;
    if decoder.position() != bytes.len() || !is_encoding_of(bytes, &value) {
        return Err(CborError::OtherSpelling { expected });
    }
    Ok(value)
}

/// Whether the bytes are the deterministic encoding of the value: compared as it is written, never held.
fn is_encoding_of<T: Encode<()>>(bytes: &[u8], value: &T) -> bool {
    let mut same = Same { rest: bytes };
    minicbor::encode(value, &mut same).is_ok() && same.rest.is_empty()
}

/// Takes only what it expects.
struct Same<'b> {
    rest: &'b [u8],
}

/// Another byte was written than expected.
struct Other;

impl Write for Same<'_> {
    type Error = Other;

    fn write_all(&mut self, written: &[u8]) -> Result<(), Other> {
        self.rest = self.rest.strip_prefix(written).ok_or(Other)?;
        Ok(())
    }
}

/// Reads an array of at most `MAX` elements, for `#[cbor(decode_with = …)]`. What announces more is refused before the first
/// of them: an element of one byte may take fifty in memory.
///
/// # Errors
/// The decoder's, also for an array of indefinite length, which is no deterministic encoding.
pub fn list<'b, C, T, const MAX: usize>(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Vec<T>, Error>
where
    T: Decode<'b, C>,
{
    let at = decoder.position();
    let announced = decoder.array()?.and_then(|count| usize::try_from(count).ok());
    let Some(count) = announced.filter(|&count| count <= MAX) else {
        return Err(Error::message("found a list longer than allowed, or without a length").at(at));
    };
    // whoever announces much and sends little gets no room for it
    let left = decoder.input().len() - decoder.position();
    let mut out = Vec::with_capacity(count.min(left));
    for _ in 0..count {
        out.push(decoder.decode_with(context)?);
    }
    Ok(out)
}

fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

/// Builds `label ‖ part ‖ …` as one deterministic CBOR array.
pub struct Parts {
    label: &'static str,
    count: u64,
    body: Vec<u8>,
}

impl Parts {
    /// Starts with a label such as `cs1/leaf`.
    pub fn new(label: &'static str) -> Self {
        Self { label, count: 1, body: Vec::with_capacity(128) }
    }

    /// Adds any encodable part.
    #[must_use]
    pub fn part<T: Encode<()>>(mut self, value: &T) -> Self {
        encode_to(value, &mut self.body);
        self.count += 1;
        self
    }

    /// Adds a byte string.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.part::<&minicbor::bytes::ByteSlice>(&bytes.into())
    }

    /// The encoded array.
    pub fn finish(self) -> Vec<u8> {
        let mut out = self.head();
        out.reserve_exact(self.body.len());
        out.extend_from_slice(&self.body);
        out
    }

    /// SHA-256 of the encoded array.
    pub fn hash(self) -> Digest {
        Digest(Sha256::new().chain_update(self.head()).chain_update(&self.body).finalize().into())
    }

    /// SHA-256 of the array with one more part, a byte string that may be long: it is not copied.
    pub fn hash_with(mut self, last: &[u8]) -> Digest {
        let written = Encoder::new(&mut self.body).bytes_len(last.len() as u64).is_ok();
        assert!(written, "a Vec takes every write");
        self.count += 1;
        Digest(Sha256::new().chain_update(self.head()).chain_update(&self.body).chain_update(last).finalize().into())
    }

    /// What stands before the parts.
    fn head(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.label.len() + 16);
        let written = Encoder::new(&mut out).array(self.count).and_then(|e| e.str(self.label)).is_ok();
        assert!(written, "a Vec takes every write");
        out
    }
}

/// SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}
