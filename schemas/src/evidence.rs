//! Evidence: two votes of one validator for one epoch, view, height and phase that name different batches. An honest validator
//! never signs both (it writes each down before it sends it), so whoever holds both has proof, and nobody can make it up.

use minicbor::{Decode, Encode};

use crate::block::{Epoch, Phase, ValidatorIndex, ValidatorSignature, View, Vote};
use crate::id::{ChainId, Digest, Height, Signature};
use crate::pbft::SignedVote;

/// One of the two: what it names and the signature over the vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Side {
    /// Digest of the batch.
    #[n(0)]
    pub digest: Digest,
    /// The validator's signature.
    #[n(1)]
    pub signature: Signature,
}

/// Two contradicting votes. One spelling: the lower digest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Conflict {
    /// The epoch.
    #[n(0)]
    pub epoch: Epoch,
    /// Who signed both.
    #[n(1)]
    pub validator: ValidatorIndex,
    /// The view.
    #[n(2)]
    pub view: View,
    /// The height.
    #[n(3)]
    pub height: Height,
    /// The phase.
    #[n(4)]
    pub phase: Phase,
    /// The lower digest.
    #[n(5)]
    pub lower: Side,
    /// The higher digest.
    #[n(6)]
    pub higher: Side,
}

impl Conflict {
    /// What two votes prove; `None` when they are compatible. Signatures are for others to verify.
    pub fn of(one: &SignedVote, other: &SignedVote) -> Option<Self> {
        let place = |signed: &SignedVote| {
            let Vote { chain, epoch, view, height, phase, .. } = signed.vote;
            (chain, epoch, view, height, phase, signed.by.validator)
        };
        if place(one) != place(other) || one.vote.digest == other.vote.digest {
            return None;
        }
        let (lower, higher) = if one.vote.digest < other.vote.digest { (one, other) } else { (other, one) };
        let side = |signed: &SignedVote| Side { digest: signed.vote.digest, signature: signed.by.signature };
        let Vote { epoch, view, height, phase, .. } = one.vote;
        let validator = one.by.validator;
        Some(Self { epoch, validator, view, height, phase, lower: side(lower), higher: side(higher) })
    }

    /// Whether the sides differ and stand in their order.
    pub fn is_ordered(&self) -> bool {
        self.lower.digest < self.higher.digest
    }

    /// The two votes as they were signed on a chain.
    pub fn votes(&self, chain: ChainId) -> [SignedVote; 2] {
        let Self { epoch, validator, view, height, phase, .. } = *self;
        [self.lower, self.higher].map(|Side { digest, signature }| SignedVote {
            vote: Vote { chain, epoch, view, height, phase, digest },
            by: ValidatorSignature { validator, signature },
        })
    }
}
