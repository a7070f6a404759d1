//! Identifiers, digests, public keys and signatures as fixed bytes. In CBOR they are byte strings (keys and signatures with
//! an algorithm id), in text lower-case hex. They never carry meaning and are safe to print.

use std::fmt;
use std::str::FromStr;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is not the lower-case hex of the expected number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found} characters that are no such value, expected lower-case hex of {expected} bytes")]
pub struct IdError {
    /// Characters found.
    pub found: usize,
    /// Bytes expected.
    pub expected: usize,
}

macro_rules! bytes_id {
    ($($(#[$doc:meta])* $name:ident, $len:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// From a slice of exactly the right length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 2 * $len];
                hex(&self.0, &mut text);
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let mut out = [0; $len];
                unhex(text, &mut out).ok_or(IdError { found: text.len(), expected: $len })?;
                Ok(Self(out))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }
        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                Self::from_slice(d.bytes()?).ok_or_else(|| DecodeError::message(concat!("expected ", $len, " bytes")))
            }
        }
    )*};
}

bytes_id! {
    /// A SHA-256 digest or HMAC.
    Digest, 32;
    /// The chain: SHA-256 over the genesis (`genesis::Genesis::chain_id`).
    ChainId, 32;
    /// A case: random.
    CaseId, 16;
    /// A patient at one institution: random, a pseudonym.
    SubjectId, 16;
    /// An institution: random.
    InstitutionId, 16;
    /// A practitioner: random.
    PractitionerId, 16;
    /// One version of one consent: random.
    ConsentId, 16;
    /// HMAC(tag key, case id): one per case.
    SubjectTag, 32;
    /// P-256 point, SEC1 compressed.
    RawPublicKey, 33;
    /// ECDSA r ‖ s, low-S.
    RawSignature, 64;
}

/// Height of a block; the first block has height 1, the genesis stands at 0.
pub type Height = u64;
/// Milliseconds since 1970-01-01T00:00:00Z.
pub type TimeMs = u64;

/// COSE algorithm id of ECDSA on P-256 with SHA-256 (RFC 9053 §2.1). The only one accepted today.
pub const ES256: i64 = -7;

macro_rules! with_algorithm {
    ($($(#[$doc:meta])* $name:ident, $raw:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(pub $raw);

        impl $name {
            /// The bytes without the algorithm id.
            pub const fn as_bytes(&self) -> &[u8; $raw::LEN] {
                &self.0.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(&format_args!("es256:{}", self.0))
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                let hex = text.strip_prefix("es256:").ok_or_else(|| serde::de::Error::custom("expected es256:HEX"))?;
                hex.parse().map(Self).map_err(serde::de::Error::custom)
            }
        }
        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.array(2)?.i64(ES256)?.bytes(self.as_bytes())?.ok()
            }
        }
        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, c: &mut C) -> Result<Self, DecodeError> {
                if d.array()? != Some(2) || d.i64()? != ES256 {
                    return Err(DecodeError::message("expected [ES256, bytes]"));
                }
                Ok(Self($raw::decode(d, c)?))
            }
        }
    )*};
}

with_algorithm! {
    /// A public key with its algorithm id.
    PublicKey, RawPublicKey;
    /// A signature with its algorithm id.
    Signature, RawSignature;
}

impl Digest {
    /// All zero: the previous header of the first block, the root of nothing signed.
    pub const ZERO: Self = Self([0; 32]);
}

/// Lower-case hex of bytes.
pub fn to_hex(bytes: &[u8]) -> String {
    let mut text = vec![0; 2 * bytes.len()];
    hex(bytes, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Digit by digit: ids are written so often that the formatter's way would show.
fn hex(bytes: &[u8], text: &mut [u8]) {
    let digit = |n: u8| b"0123456789abcdef"[usize::from(n & 15)];
    for ([high, low], byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        (*high, *low) = (digit(byte >> 4), digit(*byte));
    }
}

/// Bytes of lower-case hex; upper case is another spelling and refused.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let mut out = vec![0; text.len() / 2];
    unhex(text, &mut out)?;
    Some(out)
}

fn unhex(text: &str, out: &mut [u8]) -> Option<()> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    if text.len() != out.len() * 2 {
        return None;
    }
    for (slot, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *slot = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}
