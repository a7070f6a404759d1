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
    /// The prepared certificate of the highest view.
    pub prepared: Option<PreparedCertificate>,
    /// Bodies in the own log, by digest: a later view may want any of them again.
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

    /// Keeps a body that was written down. Of too many the one of the oldest view goes, never the prepared one.
    pub fn keep_body(&mut self, proposal: &Proposal) {
        let digest = proposal.digest();
        self.bodies.insert(digest, (proposal.view(), Arc::clone(proposal.body())));
        if self.bodies.len() > limits::BODIES_PER_HEIGHT_MAX {
            let prepared = self.prepared.as_ref().map(|certificate| certificate.digest);
            let others = self.bodies.iter().filter(|(other, _)| **other != digest && Some(**other) != prepared);
            let oldest = others.min_by_key(|(_, (view, _))| *view).map(|(&other, _)| other);
            oldest.and_then(|oldest| self.bodies.remove(&oldest));
        }
        assert!(self.bodies.len() <= limits::BODIES_PER_HEIGHT_MAX, "bodies of a height are bounded");
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
