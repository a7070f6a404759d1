//! Evidence: two signatures of one validator for one place that name different digests. A place is an epoch, a view, a height and
//! a kind of word. An honest validator never signs both (it writes each down before it sends it, and execution gives one header
//! per height), so whoever holds both has proof, and nobody can make it up.

use minicbor::{Decode, Encode};

use crate::block::{Epoch, Phase, ValidatorIndex, ValidatorSignature, View, Vote, attestation_bytes};
use crate::id::{ChainId, Digest, Height, Signature};
use crate::pbft::{Attest, SignedVote};
use crate::view::{SignedViewChange, ViewChange};

/// What a validator signs one digest of at one place. The first three are votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// The primary's proposal; the digest is the batch's.
    #[n(0)]
    PrePrepare,
    /// A backup accepts the proposal; the digest is the batch's.
    #[n(1)]
    Prepare,
    /// A validator holds a prepared certificate; the digest is the batch's.
    #[n(2)]
    Commit,
    /// A height was executed; the digest is the header's. Of no view: 0 stands for it.
    #[n(3)]
    Attestation,
    /// The validator leaves for a view; the digest is of all that it says. Of no height: 0 stands for it.
    #[n(4)]
    ViewChange,
}

impl Kind {
    /// For people and machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PrePrepare => "pre-prepare",
            Self::Prepare => "prepare",
            Self::Commit => "commit",
            Self::Attestation => "attestation",
            Self::ViewChange => "view-change",
        }
    }

    /// The phase of a vote.
    pub const fn phase(self) -> Option<Phase> {
        match self {
            Self::PrePrepare => Some(Phase::PrePrepare),
            Self::Prepare => Some(Phase::Prepare),
            Self::Commit => Some(Phase::Commit),
            Self::Attestation | Self::ViewChange => None,
        }
    }
}

impl From<Phase> for Kind {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::PrePrepare => Self::PrePrepare,
            Phase::Prepare => Self::Prepare,
            Phase::Commit => Self::Commit,
        }
    }
}

/// What one signature of a validator says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The chain.
    pub chain: ChainId,
    /// The epoch.
    pub epoch: Epoch,
    /// The view; 0 for an attestation.
    pub view: View,
    /// The height; 0 for a view change.
    pub height: Height,
    /// What kind of word.
    pub kind: Kind,
    /// What it names.
    pub digest: Digest,
    /// Who signed.
    pub by: ValidatorSignature,
}

impl Word {
    /// An attestation, whose message names neither chain nor epoch.
    pub const fn attested(chain: ChainId, epoch: Epoch, attest: &Attest) -> Self {
        let Attest { height, header, by } = *attest;
        Self { chain, epoch, view: 0, height, kind: Kind::Attestation, digest: header, by }
    }

    /// The bytes under the signature.
    pub fn to_sign(&self) -> Vec<u8> {
        let Self { chain, epoch, view, height, kind, digest, .. } = *self;
        match kind.phase() {
            Some(phase) => Vote { chain, epoch, view, height, phase, digest }.to_sign(),
            None if kind == Kind::Attestation => attestation_bytes(&chain, epoch, height, &digest),
            None => ViewChange::bytes_to_sign(&chain, epoch, view, &digest),
        }
    }

    /// The vote, if it is one.
    pub fn vote(&self) -> Option<SignedVote> {
        let Self { chain, epoch, view, height, digest, by, .. } = *self;
        let phase = self.kind.phase()?;
        Some(SignedVote { vote: Vote { chain, epoch, view, height, phase, digest }, by })
    }
}

impl From<&SignedVote> for Word {
    fn from(signed: &SignedVote) -> Self {
        let Vote { chain, epoch, view, height, phase, digest } = signed.vote;
        Self { chain, epoch, view, height, kind: phase.into(), digest, by: signed.by }
    }
}

impl From<&SignedViewChange> for Word {
    fn from(signed: &SignedViewChange) -> Self {
        let ViewChange { chain, epoch, view, .. } = signed.change;
        let (digest, by) = (signed.change.digest(), signed.by);
        Self { chain, epoch, view, height: 0, kind: Kind::ViewChange, digest, by }
    }
}

/// One of the two: what it names and the signature over the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Side {
    /// What it names.
    #[n(0)]
    pub digest: Digest,
    /// The validator's signature.
    #[n(1)]
    pub signature: Signature,
}

/// Two contradicting words. One spelling: the lower digest comes first, and what a kind does not have is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Conflict {
    /// The epoch.
    #[n(0)]
    pub epoch: Epoch,
    /// Who signed both.
    #[n(1)]
    pub validator: ValidatorIndex,
    /// The view; 0 for attestations.
    #[n(2)]
    pub view: View,
    /// The height; 0 for view changes.
    #[n(3)]
    pub height: Height,
    /// What kind of words.
    #[n(4)]
    pub kind: Kind,
    /// The lower digest.
    #[n(5)]
    pub lower: Side,
    /// The higher digest.
    #[n(6)]
    pub higher: Side,
}

impl Conflict {
    /// What two words prove; `None` when they are compatible. Signatures are for others to verify.
    pub fn of(one: impl Into<Word>, other: impl Into<Word>) -> Option<Self> {
        let (one, other) = (one.into(), other.into());
        let place = |word: &Word| (word.chain, word.epoch, word.view, word.height, word.kind, word.by.validator);
        if place(&one) != place(&other) || one.digest == other.digest {
            return None;
        }
        let (lower, higher) = if one.digest < other.digest { (one, other) } else { (other, one) };
        let side = |word: Word| Side { digest: word.digest, signature: word.by.signature };
        let Word { epoch, view, height, kind, by, .. } = one;
        let validator = by.validator;
        Some(Self { epoch, validator, view, height, kind, lower: side(lower), higher: side(higher) })
    }

    /// Whether it is the one spelling: sides that differ, in their order, and nothing said that its kind does not have.
    pub fn is_canonical(&self) -> bool {
        let is_placed = match self.kind {
            Kind::PrePrepare | Kind::Prepare | Kind::Commit => true,
            Kind::Attestation => self.view == 0,
            Kind::ViewChange => self.height == 0,
        };
        is_placed && self.lower.digest < self.higher.digest
    }

    /// The two words as they were signed on a chain.
    pub fn words(&self, chain: ChainId) -> [Word; 2] {
        let Self { epoch, validator, view, height, kind, .. } = *self;
        [self.lower, self.higher].map(|Side { digest, signature }| {
            let by = ValidatorSignature { validator, signature };
            Word { chain, epoch, view, height, kind, digest, by }
        })
    }
}
