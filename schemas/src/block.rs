//! Batches, blocks, votes, certificates and heads (formats.md §4). A batch is what is agreed; a header is made at
//! execution; votes and attestations sign the labelled bytes built here. The view is never part of a batch.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::cbor::{self, Parts, list};
use crate::id::{ChainId, Digest, Height, Signature, TimeMs};
use crate::limits;
use crate::merkle;

/// A view number within an epoch.
pub type View = u64;
/// An epoch: a set of validators.
pub type Epoch = u64;
/// Index of a validator in its epoch's list.
pub type ValidatorIndex = u16;

/// Most faulty validators that n tolerate: f = ⌊(n−1)/3⌋.
pub const fn faults_tolerated(n: usize) -> usize {
    n.saturating_sub(1) / 3
}

/// Quorum q = ⌈(n+f+1)/2⌉: any two share an honest validator, for every n.
pub const fn quorum(n: usize) -> usize {
    (n + faults_tolerated(n) + 1).div_ceil(2)
}

/// What a view agrees on at a height.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Batch {
    /// The chain.
    #[n(0)]
    pub chain: ChainId,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// The height.
    #[n(2)]
    pub height: Height,
    /// RFC 9162 root over the signed transactions' bytes.
    #[n(3)]
    pub transactions_root: Digest,
    /// The primary's time.
    #[n(4)]
    pub time: TimeMs,
}

impl Batch {
    /// The digest that votes name.
    pub fn digest(&self) -> Digest {
        Parts::new("cs1/batch").part(self).hash()
    }

    /// The null batch that fills a gap in a new view: without transactions, at time 0, so that its digest is one per chain,
    /// epoch and height, whoever proposes it.
    pub fn null(chain: ChainId, epoch: Epoch, height: Height) -> Self {
        Self { chain, epoch, height, transactions_root: merkle::empty_root(), time: 0 }
    }
}

/// Signed transaction bytes of a batch, in order.
pub fn transactions_root<T: AsRef<[u8]>>(transactions: &[T]) -> Digest {
    merkle::root(&transactions.iter().map(|t| merkle::leaf_hash(t.as_ref())).collect::<Vec<_>>())
}

/// Made at execution; attestations sign its hash.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Header {
    /// The chain.
    #[n(0)]
    pub chain: ChainId,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// The height.
    #[n(2)]
    pub height: Height,
    /// Digest of the batch.
    #[n(3)]
    pub batch: Digest,
    /// Hash of the previous header; the first block's is `Digest(chain id)`.
    #[n(4)]
    pub previous: Digest,
    /// Entries in the log after this block.
    #[n(5)]
    pub log_size: u64,
    /// RFC 9162 root of the log after this block.
    #[n(6)]
    pub log_root: Digest,
    /// Effective time: max(previous, batch time).
    #[n(7)]
    pub time: TimeMs,
    /// Root of the state tree after this block (`crate::tree`).
    #[n(8)]
    pub state_root: Digest,
}

impl Header {
    /// The header's hash.
    pub fn hash(&self) -> Digest {
        Parts::new("cs1/header").part(self).hash()
    }
}

/// Phase of a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Phase {
    /// The primary's proposal.
    #[n(0)]
    PrePrepare,
    /// A backup accepts the proposal.
    #[n(1)]
    Prepare,
    /// A validator holds a prepared certificate.
    #[n(2)]
    Commit,
}

/// What a vote signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(map)]
pub struct Vote {
    /// The chain.
    #[n(0)]
    pub chain: ChainId,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// The view.
    #[n(2)]
    pub view: View,
    /// The height.
    #[n(3)]
    pub height: Height,
    /// The phase.
    #[n(4)]
    pub phase: Phase,
    /// Digest of the batch.
    #[n(5)]
    pub digest: Digest,
}

impl Vote {
    /// The bytes under the signature.
    pub fn to_sign(&self) -> Vec<u8> {
        Parts::new("cs1/vote").part(self).finish()
    }
}

/// The bytes that an attestation of an executed header signs.
pub fn attestation_to_sign(header: &Header) -> Vec<u8> {
    attestation_bytes(&header.chain, header.epoch, header.height, &header.hash())
}

/// The same from the header's hash, for those who do not hold the header.
pub fn attestation_bytes(chain: &ChainId, epoch: Epoch, height: Height, header: &Digest) -> Vec<u8> {
    Parts::new("cs1/attestation").part(chain).part(&epoch).part(&height).part(header).finish()
}

/// A validator's signature, named by its index in the epoch. Lists are sorted by index, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorSignature {
    /// Who.
    #[n(0)]
    pub validator: ValidatorIndex,
    /// The signature.
    #[n(1)]
    pub signature: Signature,
}

/// The primary of view v of n validators is validator v mod n (§4.1).
pub fn primary_of(view: View, validators: usize) -> ValidatorIndex {
    let n = u64::try_from(validators).unwrap_or(u64::MAX).max(1);
    ValidatorIndex::try_from(view % n).unwrap_or(0)
}

/// q commits of one view over one batch digest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CommitCertificate {
    /// The view in which it committed.
    #[n(0)]
    pub view: View,
    /// At least q signatures over the commit vote.
    #[n(1)]
    #[cbor(decode_with = "list::<_, _, { limits::VALIDATORS_MAX }>")]
    pub commits: Vec<ValidatorSignature>,
}

/// A block as it is stored and sent to those who are behind: checked by its certificate, executed by the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Block {
    /// What was agreed.
    #[n(0)]
    pub batch: Batch,
    /// The signed transactions' bytes.
    #[n(1)]
    #[cbor(decode_with = "list::<_, _, { limits::BATCH_TRANSACTIONS_MAX }>")]
    pub transactions: Vec<TransactionBytes>,
    /// Proof that it was agreed.
    #[n(2)]
    pub certificate: CommitCertificate,
    /// Made at execution.
    #[n(3)]
    pub header: Header,
    /// Signatures over the header: ≥ q makes the block final for everyone outside.
    #[n(4)]
    #[cbor(decode_with = "list::<_, _, { limits::VALIDATORS_MAX }>")]
    pub attestations: Vec<ValidatorSignature>,
}

/// The signed bytes of one transaction. Shared: a batch is held by several parts at once.
#[derive(Clone, PartialEq, Eq)]
pub struct TransactionBytes(pub std::sync::Arc<[u8]>);

impl AsRef<[u8]> for TransactionBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
impl std::fmt::Debug for TransactionBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TransactionBytes({})", self.0.len())
    }
}
impl<C> minicbor::Encode<C> for TransactionBytes {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}
impl<'b, C> minicbor::Decode<'b, C> for TransactionBytes {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        Ok(Self(d.bytes()?.into()))
    }
}

/// A validator's statement about its newest executed block, signed once a second: proves freshness, is not stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Head {
    /// The chain.
    #[n(0)]
    pub chain: ChainId,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// Newest executed height, 0 for genesis.
    #[n(2)]
    pub height: Height,
    /// Its header's hash; the chain id's bytes at genesis.
    #[n(3)]
    pub header: Digest,
    /// The validator's time.
    #[n(4)]
    pub time: TimeMs,
}

impl Head {
    /// The bytes under the signature.
    pub fn to_sign(&self) -> Vec<u8> {
        Parts::new("cs1/head").part(self).finish()
    }
}

/// The encoded size of a list of transactions, for the batch's byte bound.
pub fn bytes_of(transactions: &[TransactionBytes]) -> usize {
    transactions.iter().map(|t| t.0.len() + 5).sum()
}

/// A head with its signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedHead {
    /// The head.
    #[n(0)]
    pub head: Head,
    /// Who signed.
    #[n(1)]
    pub by: ValidatorSignature,
}

/// Encodes a block for storage and transport.
pub fn encode_block(block: &Block) -> Vec<u8> {
    cbor::encode(block)
}
