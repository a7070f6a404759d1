//! One height in flight: what is proposed in the current view with its votes; what outlives views (bodies, the prepared
//! certificate, the decision); the executed header and its attestations. Of each validator the first vote of a phase and view
//! counts; a second one that differs is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::block::{Block, Header, ValidatorIndex, ValidatorSignature, View};
use schemas::id::{Digest, Signature};
use schemas::limits;
use schemas::view::PreparedCertificate;

use crate::mutants::planted;
use crate::proposal::{Body, Decided, Proposal};

/// First vote of each validator.
pub(crate) type Votes = BTreeMap<ValidatorIndex, (Digest, Signature)>;

/// A height between the watermarks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot {
    /// What the current view's NEW-VIEW put here: digest and the primary's signature.
    pub assigned: Option<(Digest, Signature)>,
    /// The one proposal that this replica accepted in the current view.
    pub proposal: Option<Proposal>,
    /// Prepares of backups in the current view, the own one included.
    pub prepares: Votes,
    /// Commits of the current view, the own one included.
    pub commits: Votes,
    /// The prepared certificate of the highest view that is known here: the own one, or what a new view rested on.
    pub prepared: Option<PreparedCertificate>,
    /// Bodies for which this replica signed, by digest, with the last view in which it did: they are in its log, and a later view
    /// may want any of them again.
    bodies: BTreeMap<Digest, (View, Arc<Body>)>,
    /// q commits of one view, and what they are over.
    pub decided: Option<Decided>,
    /// A final block that peers sent.
    pub block: Option<Box<Block>>,
    /// Made by the own execution.
    pub header: Option<Header>,
    /// Attestations, the own one included.
    pub attestations: Votes,
}

impl Slot {
    /// The digest that this replica accepted in the current view.
    pub fn digest(&self) -> Option<Digest> {
        self.proposal.as_ref().map(Proposal::digest)
    }

    /// What can only stand at this height, because it was committed or executed.
    pub fn settled(&self) -> Option<Digest> {
        let decided = self.decided.as_ref().map(Decided::digest);
        let block = || self.block.as_ref().map(|block| block.header.batch);
        decided.or_else(block).or_else(|| self.header.as_ref().map(|header| header.batch))
    }

    /// A body that was written down.
    pub fn body(&self, digest: &Digest) -> Option<Arc<Body>> {
        let decided = self.decided.as_ref().map(Decided::body).filter(|body| body.digest() == *digest);
        decided.or_else(|| self.bodies.get(digest).map(|(_, body)| body)).cloned()
    }

    /// Keeps a body that was written down.
    pub fn keep_body(&mut self, proposal: &Proposal) {
        self.bodies.insert(proposal.digest(), (proposal.view(), Arc::clone(proposal.body())));
    }

    /// Lets bodies go that no new view can ask this replica for. What a new view assigns has a certificate of some view v, the
    /// highest among q view changes; q − f of those who signed there are honest, so one of them is among the q, with its body:
    /// none of them knew a certificate of a later view. Whoever knows one may forget what it signed in views before that.
    /// Anything else must stay, whoever shows its certificate, and however late: what is signed for is bounded instead
    /// (`has_place`).
    pub fn drop_bodies(&mut self) {
        let Some(prepared) = &self.prepared else { return };
        let (view, digest) = (prepared.view, prepared.digest);
        self.bodies.retain(|other, (signed, _)| *other == digest || *signed >= view);
        // memory before all, should an adversary make more certificates in secret than the bounds above foresee
        while self.bodies.len() > limits::BODIES_PER_HEIGHT_MAX {
            let others = self.bodies.iter().filter(|(other, _)| **other != digest);
            let oldest = others.min_by_key(|(_, (view, _))| *view).map(|(&other, _)| other);
            oldest.and_then(|oldest| self.bodies.remove(&oldest));
        }
    }

    /// Whether a fresh batch may be signed for: its body is here, or not too many wait to be asked for.
    pub fn has_place(&self, digest: &Digest) -> bool {
        self.bodies.contains_key(digest) || !self.is_crowded()
    }

    /// So many batches were signed for and did not prepare that another one is not: only the null batch, which has no body.
    pub fn is_crowded(&self) -> bool {
        let prepared = self.prepared.as_ref().map(|certificate| certificate.digest);
        let others = self.bodies.keys().filter(|other| Some(**other) != prepared);
        others.count() >= limits::FRESH_BODIES_PER_HEIGHT_MAX
    }

    /// A certificate proves the same, whoever made it.
    pub fn learn_prepared(&mut self, certificate: &PreparedCertificate) {
        if self.prepared.as_ref().is_none_or(|before| before.view < certificate.view) {
            self.prepared = Some(certificate.clone());
        }
    }

    /// The view ends: its proposal and votes count no more. The proposal, unless it is what was decided.
    pub fn leave_view(&mut self) -> Option<Proposal> {
        self.assigned = None;
        if !planted("votes-outlive-views") {
            self.prepares.clear();
            self.commits.clear();
        }
        let decided = self.decided.as_ref().map(Decided::digest);
        self.proposal.take().filter(|proposal| Some(proposal.digest()) != decided)
    }

    /// Signatures over the given digest, sorted by validator.
    pub fn over(votes: &Votes, digest: &Digest) -> Vec<ValidatorSignature> {
        let matching = votes.iter().filter(|(_, (d, _))| d == digest || planted("votes-of-any-digest"));
        matching.map(|(&validator, &(_, signature))| ValidatorSignature { validator, signature }).collect()
    }

    /// Counts a first vote; anything after it is dropped.
    pub fn count(votes: &mut Votes, by: ValidatorSignature, digest: Digest) {
        votes.entry(by.validator).or_insert((digest, by.signature));
    }
}
