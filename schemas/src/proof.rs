//! Proofs about the ledger beside the receipt of a case: a log entry, presence or absence of a key in the state at a height, and
//! that a later log continues an earlier one. As files they have one spelling, like receipts (`schemas/wire/receipts.md`). Checking
//! them is the work of `ledger-proof`.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::block::{Epoch, Header, ValidatorSignature};
use crate::cbor;
use crate::id::{self, ChainId, Digest};
use crate::receipt::{self, ENGINE, EntryProof, Receipt, ReceiptError};
use crate::state::{EpochRecord, epoch_key};
use crate::tree::{Leaf, Place};

/// What a key of the state holds after a block, or that it holds nothing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct StateProof {
    /// The key (`schemas::state`), hex in files.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "in_hex")]
    pub key: Vec<u8>,
    /// Its value, hex in files; none when the key is absent.
    #[n(1)]
    pub value: Option<Value>,
    /// Of an absent key: the one leaf of the subtree in which it would stand, if there is one.
    #[n(2)]
    pub other: Option<Leaf>,
    /// Siblings from the root down.
    #[n(3)]
    pub siblings: Vec<Digest>,
    /// The header whose state root it is.
    #[n(4)]
    #[serde(with = "receipt::encoded")]
    pub header: Header,
    /// Signatures over the header, sorted by validator, each once.
    #[n(5)]
    pub attestations: Vec<ValidatorSignature>,
}

/// The bytes of a value.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Value(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    #[serde(with = "in_hex")]
    pub Vec<u8>,
);

/// A header with its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct AttestedHeader {
    /// The header.
    #[n(0)]
    #[serde(with = "receipt::encoded")]
    pub header: Header,
    /// Signatures over it, sorted by validator, each once.
    #[n(1)]
    pub attestations: Vec<ValidatorSignature>,
}

/// The log of a later header continues the log of an earlier one: nothing was changed or taken out.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct ConsistencyProof {
    /// The earlier header.
    #[n(0)]
    pub first: AttestedHeader,
    /// The later one, or the same.
    #[n(1)]
    pub second: AttestedHeader,
    /// RFC 9162 §2.1.4.
    #[n(2)]
    pub path: Vec<Digest>,
}

/// What an epoch decided to follow it: the record of the next epoch in the state under one of its own headers, from the decision to
/// the seal. A chain of them leads from the genesis to the validators of any epoch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct EpochProof {
    /// The next epoch: the value of its row.
    #[n(0)]
    #[serde(with = "receipt::encoded")]
    pub record: EpochRecord,
    /// Siblings from the root of the state down.
    #[n(1)]
    pub siblings: Vec<Digest>,
    /// A header of the epoch before it.
    #[n(2)]
    #[serde(with = "receipt::encoded")]
    pub header: Header,
    /// Signatures over the header, sorted by validator, each once.
    #[n(3)]
    pub attestations: Vec<ValidatorSignature>,
}

impl EpochProof {
    /// Of a proof that the state holds the record of an epoch. `None` when it is a proof of something else.
    pub fn of(proof: StateProof) -> Option<Self> {
        let record: EpochRecord = cbor::decode(&proof.value?.0).ok()?;
        let StateProof { key, siblings, header, attestations, .. } = proof;
        (key == epoch_key(record.epoch)).then_some(Self { record, siblings, header, attestations })
    }

    /// Where the record stands in the state.
    pub fn place(&self) -> Option<Place> {
        Place::of(&epoch_key(self.record.epoch))
    }
}

/// A proof as a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filed<T> {
    /// The format of its kind.
    pub format: String,
    /// `receipt::ENGINE`.
    pub engine: String,
    /// The chain.
    pub chain: ChainId,
    /// The proof.
    pub proof: T,
    /// From epoch 1 to the latest that the proof names; left out where there is none.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub epochs: Vec<EpochProof>,
}

/// What can be filed.
pub trait Proof: Serialize + for<'de> Deserialize<'de> {
    /// The format's name in the file.
    const FORMAT: &'static str;

    /// The latest epoch that it names: its file carries the proofs up to it.
    fn epoch(&self) -> Epoch;
}
impl Proof for EntryProof {
    const FORMAT: &'static str = "chartseal-entry-1";

    fn epoch(&self) -> Epoch {
        self.header.epoch
    }
}
impl Proof for StateProof {
    const FORMAT: &'static str = "chartseal-state-1";

    fn epoch(&self) -> Epoch {
        self.header.epoch
    }
}
impl Proof for ConsistencyProof {
    const FORMAT: &'static str = "chartseal-consistency-1";

    fn epoch(&self) -> Epoch {
        self.first.header.epoch.max(self.second.header.epoch)
    }
}

impl<T: Proof> Filed<T> {
    /// A proof about a chain, with the epoch proofs that it needs.
    pub fn new(chain: ChainId, proof: T, epochs: Vec<EpochProof>) -> Self {
        Self { format: T::FORMAT.into(), engine: ENGINE.into(), chain, proof, epochs }
    }

    /// The one spelling.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the one spelling.
    ///
    /// # Errors
    /// `ReceiptError` for anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let filed: Self = receipt::parse_json(bytes)?;
        if filed.format != T::FORMAT || filed.engine != ENGINE {
            return Err(ReceiptError::OtherFormat);
        }
        if filed.to_json().as_bytes() == bytes { Ok(filed) } else { Err(ReceiptError::OtherSpelling) }
    }
}

/// Any file that an auditor can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProofFile {
    /// The receipt of a case.
    Receipt(Box<Receipt>),
    /// A log entry.
    Entry(Box<Filed<EntryProof>>),
    /// A key of the state.
    State(Box<Filed<StateProof>>),
    /// Two logs.
    Consistency(Box<Filed<ConsistencyProof>>),
}

impl ProofFile {
    /// Reads a file by the format that it names.
    ///
    /// # Errors
    /// `ReceiptError` when it is none of them in its one spelling.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        #[derive(Deserialize)]
        struct Named {
            format: String,
        }
        let Named { format } = receipt::parse_json(bytes)?;
        match format.as_str() {
            receipt::FORMAT => Receipt::parse(bytes).map(Box::new).map(Self::Receipt),
            EntryProof::FORMAT => Filed::parse(bytes).map(Box::new).map(Self::Entry),
            StateProof::FORMAT => Filed::parse(bytes).map(Box::new).map(Self::State),
            ConsistencyProof::FORMAT => Filed::parse(bytes).map(Box::new).map(Self::Consistency),
            _ => Err(ReceiptError::OtherFormat),
        }
    }
}

/// Bytes as lower-case hex.
mod in_hex {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::id;

    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&id::to_hex(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<'de, str>::deserialize(d)?;
        id::from_hex(&text).ok_or_else(|| serde::de::Error::custom("expected lower-case hex"))
    }
}
