//! What validators say to each other and what they write down before they say it (frozen by `schemas/wire/pbft.md`).
//! Everything that can enter a certificate is signed; the rest is protected by mutual TLS between validators. No
//! decision is taken here.

use minicbor::{Decode, Encode};

use crate::block::{Batch, Block, CommitCertificate, TransactionBytes, ValidatorSignature, View, Vote};
use crate::id::{Digest, Height, Signature};

/// One frame between two validators.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    /// A transaction for the primary.
    #[n(0)]
    Request(#[n(0)] TransactionBytes),
    /// The primary's proposal.
    #[n(1)]
    PrePrepare(#[n(0)] PrePrepare),
    /// A prepare or a commit.
    #[n(2)]
    Vote(#[n(0)] SignedVote),
    /// An attestation of an executed header.
    #[n(3)]
    Attest(#[n(0)] Attest),
    /// How far the sender is.
    #[n(4)]
    Status(#[n(0)] Status),
    /// Asks for final blocks from a height on.
    #[n(5)]
    Fetch(#[n(0)] Height),
    /// Final blocks in order of height.
    #[n(6)]
    Blocks(#[n(0)] Vec<Block>),
}

/// PRE-PREPARE: the body and the primary's signature over the vote.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PrePrepare {
    /// The view whose primary proposes.
    #[n(0)]
    pub view: View,
    /// What is proposed.
    #[n(1)]
    pub batch: Batch,
    /// The signed transactions' bytes under the batch's root.
    #[n(2)]
    pub transactions: Vec<TransactionBytes>,
    /// The primary's signature over the PRE-PREPARE vote.
    #[n(3)]
    pub signature: Signature,
}

/// A PREPARE or COMMIT vote with its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedVote {
    /// The vote.
    #[n(0)]
    pub vote: Vote,
    /// Who signed.
    #[n(1)]
    pub by: ValidatorSignature,
}

/// A validator's signature over an executed header, named by the header's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Attest {
    /// Height of the header.
    #[n(0)]
    pub height: Height,
    /// Hash of the header.
    #[n(1)]
    pub header: Digest,
    /// Who signed.
    #[n(2)]
    pub by: ValidatorSignature,
}

/// How far a validator is. Unsigned: it only asks for help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Status {
    /// Its view.
    #[n(0)]
    pub view: View,
    /// Newest executed height.
    #[n(1)]
    pub executed: Height,
    /// Up to where every block has q attestations.
    #[n(2)]
    pub certified: Height,
    /// Up to where it holds proposals without a gap.
    #[n(3)]
    pub proposed: Height,
    /// No progress since its last status although something is in flight: resend what I may lack.
    #[n(4)]
    pub stuck: bool,
}

/// A line of the vote log: durable before the message that it justifies is sent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Record {
    /// The proposal of a height: the primary's own, or one accepted with the prepare that was signed for it.
    #[n(0)]
    Accepted(#[n(0)] PrePrepare, #[n(1)] Option<Signature>),
    /// A prepared certificate and the commit that was signed for it.
    #[n(1)]
    Prepared(#[n(0)] Prepared),
    /// A commit certificate: its height is executed after this.
    #[n(2)]
    Committed(#[n(0)] Committed),
}

/// The prepared certificate: with the pre-prepare, q distinct signers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Prepared {
    /// The commit vote that was signed.
    #[n(0)]
    pub vote: Vote,
    /// At least q − 1 prepares of backups, sorted by index.
    #[n(1)]
    pub prepares: Vec<ValidatorSignature>,
    /// The own signature over `vote`.
    #[n(2)]
    pub commit: Signature,
}

/// A committed height.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Committed {
    /// The height.
    #[n(0)]
    pub height: Height,
    /// The batch's digest.
    #[n(1)]
    pub digest: Digest,
    /// Its certificate.
    #[n(2)]
    pub certificate: CommitCertificate,
}

impl Record {
    /// The height that the record is about.
    pub const fn height(&self) -> Height {
        match self {
            Self::Accepted(pre_prepare, _) => pre_prepare.batch.height,
            Self::Prepared(prepared) => prepared.vote.height,
            Self::Committed(committed) => committed.height,
        }
    }
}
