//! The receipt of one case (formats.md §5, frozen by `schemas/wire/receipts.md`): everything that an auditor needs beside
//! the genesis file. One spelling: compact JSON in this field order, lower-case hex, no white space, no newline; what does
//! not re-serialise to the same bytes is refused. Checking it is the work of `ledger-proof`.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::block::{Header, ValidatorSignature};
use crate::cbor::{self, CborError};
use crate::envelope::Statement;
use crate::id::{self, ChainId, Digest, Signature};
use crate::proof::EpochProof;
use crate::transaction::{Core, LogEntry, Outcome};

/// The format's name in the file.
pub const FORMAT: &str = "chartseal-receipt-1";
/// The engine that made the certificate: proofs of different engines are not interchangeable.
pub const ENGINE: &str = "chartseal-pbft-1";

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// `FORMAT`.
    pub format: String,
    /// `ENGINE`.
    pub engine: String,
    /// The chain.
    pub chain: ChainId,
    /// The statement and its path to the signed root.
    pub statement: Placed<Statement>,
    /// The institution's signature over the root.
    pub signature: Signature,
    /// The signed part of the transaction, with that root.
    pub transaction: Encoded<Core>,
    /// The log entry and its path to the log root.
    pub entry: Placed<LogEntry>,
    /// The header whose log root it is.
    pub header: Encoded<Header>,
    /// At least q signatures over the header, sorted by validator, each once.
    pub attestations: Vec<ValidatorSignature>,
    /// From epoch 1 to the header's; left out in epoch 0.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<EpochProof>,
}

/// A leaf with its RFC 9162 inclusion path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound = "T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>")]
pub struct Placed<T> {
    /// The leaf's value.
    pub leaf: Encoded<T>,
    /// Its index in the tree.
    pub index: u64,
    /// Leaves of the tree.
    pub size: u64,
    /// Siblings from the leaf up.
    pub path: Vec<Digest>,
}

/// What a validator answers about one transaction once its block is attested: the log entry, placed in the log of its own
/// block's header, and at least q signatures over that header.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct EntryProof {
    /// The log entry.
    #[n(0)]
    #[serde(with = "encoded")]
    pub entry: LogEntry,
    /// Its index in the whole log.
    #[n(1)]
    pub log_index: u64,
    /// Siblings from the leaf up.
    #[n(2)]
    pub path: Vec<Digest>,
    /// The header of the entry's block.
    #[n(3)]
    #[serde(with = "encoded")]
    pub header: Header,
    /// Signatures over the header, sorted by validator, each once.
    #[n(4)]
    pub attestations: Vec<ValidatorSignature>,
}

impl EntryProof {
    /// Whether it decides about the transaction with these signed bytes (`transaction::signed_hash`). The id does not cover
    /// the signatures, so anybody can have a copy with other ones refused: that says nothing about these bytes. An
    /// acceptance is one of the id.
    pub fn decides(&self, signed: &Digest) -> bool {
        self.entry.outcome == Outcome::Accepted || self.entry.signed == *signed
    }
}

/// A value that travels as the hex of its deterministic CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoded<T>(pub T);

impl<T: minicbor::Encode<()>> Serialize for Encoded<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        encoded::serialize(&self.0, s)
    }
}

impl<'de, T> Deserialize<'de> for Encoded<T>
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let bytes = id::from_hex(&text).ok_or_else(|| D::Error::custom("expected lower-case hex"))?;
        cbor::decode(&bytes).map(Self).map_err(|e: CborError| D::Error::custom(e))
    }
}

/// Fields that travel like `Encoded`.
pub(crate) mod encoded {
    use super::{Deserialize, Encoded, cbor, id};

    pub fn serialize<T: minicbor::Encode<()>, S: serde::Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&id::to_hex(&cbor::encode(value)))
    }

    pub fn deserialize<'de, T, D: serde::Deserializer<'de>>(d: D) -> Result<T, D::Error>
    where
        T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
    {
        Encoded::deserialize(d).map(|Encoded(value)| value)
    }
}

/// A file that is no receipt or proof in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// Not the JSON of a receipt or proof.
    #[error("proof: line {line}, column {column}: {message}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What was expected; receipts hold nothing secret.
        message: String,
    },
    /// The same content spelt otherwise.
    #[error("proof: found another spelling, expected compact JSON in the order of the format")]
    OtherSpelling,
    /// Another format or engine.
    #[error("proof: found another format or engine, expected a receipt or proof of version 1 by {ENGINE}")]
    OtherFormat,
}

impl Receipt {
    /// The one spelling.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the one spelling.
    ///
    /// # Errors
    /// `ReceiptError` for anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let receipt: Self = parse_json(bytes)?;
        if receipt.format != FORMAT || receipt.engine != ENGINE {
            return Err(ReceiptError::OtherFormat);
        }
        if receipt.to_json().as_bytes() != bytes {
            return Err(ReceiptError::OtherSpelling);
        }
        Ok(receipt)
    }
}

pub(crate) fn parse_json<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, ReceiptError> {
    serde_json::from_slice(bytes).map_err(|e| ReceiptError::Malformed {
        line: e.line(),
        column: e.column(),
        message: e.to_string(),
    })
}
