//! What is said when the primary fails (Castro and Liskov, OSDI '99 §4.4): VIEW-CHANGE with the stable checkpoint and the set
//! P of prepared certificates, NEW-VIEW with q of them. Both are signed as a whole, so that anyone may pass them on. Bodies
//! of batches are not in them: they are named by digest. No decision is taken here.

use minicbor::{Decode, Encode};

use crate::block::{Epoch, Phase, ValidatorSignature, View, Vote};
use crate::cbor::{Parts, list};
use crate::id::{ChainId, Digest, Height, Signature};
use crate::limits;

/// Proof that everything up to a height is final (§4.3): q attestations of its header. Every final height is one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Checkpoint {
    /// The height, 0 for genesis.
    #[n(0)]
    pub height: Height,
    /// Hash of its header; the chain id's bytes at genesis.
    #[n(1)]
    pub header: Digest,
    /// At least q signatures over the header, sorted by validator; none at genesis.
    #[n(2)]
    #[cbor(decode_with = "list::<_, _, { limits::VALIDATORS_MAX }>")]
    pub attestations: Vec<ValidatorSignature>,
}

impl Checkpoint {
    /// The one that needs no proof.
    pub const fn genesis(chain: &ChainId) -> Self {
        Self { height: 0, header: Digest(chain.0), attestations: vec![] }
    }
}

/// prepared(m, v, n): the pre-prepare and q − 1 matching prepares of backups, all of one view.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PreparedCertificate {
    /// The view in which it prepared.
    #[n(0)]
    pub view: View,
    /// The height.
    #[n(1)]
    pub height: Height,
    /// Digest of the batch.
    #[n(2)]
    pub digest: Digest,
    /// The signature of the view's primary over the PRE-PREPARE vote.
    #[n(3)]
    pub pre_prepare: Signature,
    /// q − 1 prepares of backups, sorted by index.
    #[n(4)]
    #[cbor(decode_with = "list::<_, _, { limits::VALIDATORS_MAX }>")]
    pub prepares: Vec<ValidatorSignature>,
}

impl PreparedCertificate {
    /// The vote that one of its signatures is over.
    pub const fn vote(&self, chain: ChainId, epoch: Epoch, phase: Phase) -> Vote {
        Vote { chain, epoch, view: self.view, height: self.height, phase, digest: self.digest }
    }
}

/// VIEW-CHANGE ⟨v + 1, n, C, P⟩: what its sender knows when it leaves a view.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ViewChange {
    /// The chain.
    #[n(0)]
    pub chain: ChainId,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// The view that is wanted. Its sender votes in no older one any more.
    #[n(2)]
    pub view: View,
    /// The sender's stable checkpoint.
    #[n(3)]
    pub checkpoint: Checkpoint,
    /// What prepared above the checkpoint, of each height the certificate of the highest view, in order of height.
    #[n(4)]
    #[cbor(decode_with = "list::<_, _, { limits::OPEN_HEIGHTS_MAX as usize }>")]
    pub prepared: Vec<PreparedCertificate>,
}

impl ViewChange {
    /// Hash of all that is said: what the signature names, so that two view changes contradict each other in a few bytes.
    pub fn digest(&self) -> Digest {
        Parts::new("cs1/view-change-content").part(self).hash()
    }

    /// The bytes under the signature.
    pub fn to_sign(&self) -> Vec<u8> {
        Self::bytes_to_sign(&self.chain, self.epoch, self.view, &self.digest())
    }

    /// The same from the hash, for those who do not hold the view change.
    pub fn bytes_to_sign(chain: &ChainId, epoch: Epoch, view: View, digest: &Digest) -> Vec<u8> {
        Parts::new("cs1/view-change").part(chain).part(&epoch).part(&view).part(digest).finish()
    }
}

/// A VIEW-CHANGE with its sender's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedViewChange {
    /// What is said.
    #[n(0)]
    pub change: ViewChange,
    /// Who says it.
    #[n(1)]
    pub by: ValidatorSignature,
}

/// NEW-VIEW ⟨v + 1, V, O⟩: the new primary's proof that its view begins, and its pre-prepares. Everyone computes O again.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NewView {
    /// The chain.
    #[n(0)]
    pub chain: ChainId,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// The view that begins.
    #[n(2)]
    pub view: View,
    /// V: exactly q view changes for this view, sorted by sender.
    #[n(3)]
    #[cbor(decode_with = "list::<_, _, { limits::VALIDATORS_MAX }>")]
    pub changes: Vec<SignedViewChange>,
    /// O: the primary's signatures over the PRE-PREPARE votes of every height above the newest checkpoint in V, up to the
    /// highest that prepared. Which digests they are over follows from V.
    #[n(4)]
    #[cbor(decode_with = "list::<_, _, { limits::OPEN_HEIGHTS_MAX as usize }>")]
    pub pre_prepares: Vec<Signature>,
    /// The primary's signature over all of it.
    #[n(5)]
    pub signature: Signature,
}

impl NewView {
    /// The bytes under the signature: V is named by its hash.
    pub fn to_sign(&self) -> Vec<u8> {
        let changes = Parts::new("cs1/view-changes").part(&self.changes).hash();
        let parts = Parts::new("cs1/new-view").part(&self.chain).part(&self.epoch).part(&self.view);
        parts.part(&changes).part(&self.pre_prepares).finish()
    }
}
