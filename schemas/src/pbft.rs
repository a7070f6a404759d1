//! What validators say to each other and what they write down before they say it (frozen by `schemas/wire/pbft.md`).
//! Everything that can enter a certificate is signed; the rest is protected by mutual TLS between validators. No
//! decision is taken here.

use minicbor::{Decode, Encode};

use crate::block::{
    Batch, Block, CommitCertificate, Epoch, TransactionBytes, ValidatorIndex, ValidatorSignature, View, Vote,
};
use crate::cbor::list;
use crate::id::{ChainId, Digest, Height, Signature};
use crate::limits;
use crate::transfer::{Asked, Offer, Told};
use crate::view::{NewView, SignedViewChange};

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
    Blocks(
        #[n(0)]
        #[cbor(decode_with = "list::<_, _, { limits::CATCH_UP_BLOCKS_MAX }>")]
        Vec<Block>,
    ),
    /// The sender leaves its view.
    #[n(7)]
    ViewChange(#[n(0)] SignedViewChange),
    /// A view begins.
    #[n(8)]
    NewView(#[n(0)] NewView),
    /// A committed batch for one who lacks it. Final or not, its certificate proves that nothing else is at its height.
    #[n(9)]
    Decided(#[n(0)] Decision),
    /// A vote of another validator, or the primary's signature of a proposal, that does not fit what the sender accepted: whoever
    /// holds another one of the same place has proof against its signer. It counts for nothing else.
    #[n(10)]
    Shown(#[n(0)] SignedVote),
    /// Asks for an offer that carries this number: the sender lost its disk or is too far behind for blocks.
    #[n(11)]
    AskOffer(#[n(0)] u64),
    /// How far the sender is, with proof.
    #[n(12)]
    Offered(#[n(0)] Offer),
    /// Asks for a piece of the snapshot of a height.
    #[n(13)]
    AskPiece(#[n(0)] Asked),
    /// A piece of a snapshot.
    #[n(14)]
    Piece(#[n(0)] Told),
    /// The answer to a fetch below it: the sender holds final blocks from this height on.
    #[n(15)]
    BlocksFrom(#[n(0)] Height),
    /// One who lost its votes asks how far the others are, and says what it waits for; the number comes back.
    #[n(16)]
    Ask(#[n(0)] u64, #[n(1)] Recovery),
    /// How far the sender is, for the one who asked.
    #[n(17)]
    Answer(#[n(0)] Answer),
    /// The sender would leave a view, so that this validator, which lost its votes and waits for a later view, gets one.
    #[n(18)]
    HandOver(#[n(0)] HandOver),
}

/// For whom a view would be left. It is left once a quorum says so, so that nobody leaves it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HandOver {
    /// Who asked for it.
    #[n(0)]
    pub asker: ValidatorIndex,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// The view that would be left: the sender is in it.
    #[n(2)]
    pub view: View,
}

/// The answer to one who lost its votes. Whoever is silent itself gives none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Answer {
    /// The number that was asked with: the answer is not older than the question.
    #[n(0)]
    pub nonce: u64,
    /// Its epoch; at the last height of one the next.
    #[n(1)]
    pub epoch: Epoch,
    /// Newest executed height.
    #[n(2)]
    pub executed: Height,
    /// The view of the epoch that it is in or wants.
    #[n(3)]
    pub view: View,
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
    #[cbor(decode_with = "list::<_, _, { limits::BATCH_TRANSACTIONS_MAX }>")]
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
    /// It left the view before and waits for the NEW-VIEW of `view`.
    #[n(5)]
    pub changing: bool,
    /// Its epoch: views count within it.
    #[n(6)]
    pub epoch: Epoch,
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
    /// A batch whose body stands in an earlier record, proposed again in a new view.
    #[n(3)]
    Repeated(#[n(0)] Repeated),
    /// No vote of a view below this one after it. Kept as long as records of the height.
    #[n(4)]
    ViewChange(#[n(0)] Height, #[n(1)] SignedViewChange),
    /// The view begins here. Kept as long as records of the height.
    #[n(5)]
    NewView(#[n(0)] Height, #[n(1)] NewView),
    /// A committed batch that another validator sent.
    #[n(6)]
    Decided(#[n(0)] Decision),
    /// What this log does not hold: its validator lost its votes. Kept as long as records of the height, and said again, until it
    /// votes.
    #[n(7)]
    Recovering(#[n(0)] Height, #[n(1)] Recovery),
}

/// What a validator that lost its votes may have said before: it must not speak of any of it again (formats.md §4, lost disk).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Recovery {
    /// In no epoch behind this one did it say anything. In one before it says nothing.
    #[n(0)]
    pub epoch: Epoch,
    /// At no height above this did it vote.
    #[n(1)]
    pub until: Height,
    /// In no view of the epoch above this did it vote, and for none did it ask.
    #[n(2)]
    pub above: View,
}

impl Recovery {
    /// Before anybody answered: it may have said anything.
    pub const fn unknown() -> Self {
        Self { epoch: Epoch::MAX, until: Height::MAX, above: View::MAX }
    }
}

/// A batch proposed again: the pre-prepare without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Repeated {
    /// The PRE-PREPARE vote.
    #[n(0)]
    pub vote: Vote,
    /// The primary's signature over it.
    #[n(1)]
    pub pre_prepare: Signature,
    /// A backup's own signature over its PREPARE.
    #[n(2)]
    pub prepare: Option<Signature>,
}

/// A batch with its body and the proof that it was agreed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Decision {
    /// What was agreed.
    #[n(0)]
    pub batch: Batch,
    /// The signed transactions' bytes under the batch's root.
    #[n(1)]
    #[cbor(decode_with = "list::<_, _, { limits::BATCH_TRANSACTIONS_MAX }>")]
    pub transactions: Vec<TransactionBytes>,
    /// q commits of one view.
    #[n(2)]
    pub certificate: CommitCertificate,
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
    #[cbor(decode_with = "list::<_, _, { limits::VALIDATORS_MAX }>")]
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
    /// The epoch that it is of. A commit certificate's follows from its height; what binds a recovering validator is of all.
    pub const fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Accepted(pre_prepare, _) => Some(pre_prepare.batch.epoch),
            Self::Prepared(prepared) => Some(prepared.vote.epoch),
            Self::Committed(_) | Self::Recovering(..) => None,
            Self::Repeated(repeated) => Some(repeated.vote.epoch),
            Self::ViewChange(_, signed) => Some(signed.change.epoch),
            Self::NewView(_, new_view) => Some(new_view.epoch),
            Self::Decided(decision) => Some(decision.batch.epoch),
        }
    }

    /// The chain that it is of. A commit certificate names none: it is of the chain of the body before it.
    pub const fn chain(&self) -> Option<ChainId> {
        match self {
            Self::Accepted(pre_prepare, _) => Some(pre_prepare.batch.chain),
            Self::Prepared(prepared) => Some(prepared.vote.chain),
            Self::Committed(_) | Self::Recovering(..) => None,
            Self::Repeated(repeated) => Some(repeated.vote.chain),
            Self::ViewChange(_, signed) => Some(signed.change.chain),
            Self::NewView(_, new_view) => Some(new_view.chain),
            Self::Decided(decision) => Some(decision.batch.chain),
        }
    }

    /// The height that the record is about.
    pub const fn height(&self) -> Height {
        match self {
            Self::Accepted(pre_prepare, _) => pre_prepare.batch.height,
            Self::Prepared(prepared) => prepared.vote.height,
            Self::Committed(committed) => committed.height,
            Self::Repeated(repeated) => repeated.vote.height,
            Self::ViewChange(height, _) | Self::NewView(height, _) | Self::Recovering(height, _) => *height,
            Self::Decided(decision) => decision.batch.height,
        }
    }
}
