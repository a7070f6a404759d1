//! One height in flight: the accepted proposal, the votes, the certificate, the executed header and its attestations. Of
//! each validator the first vote of a phase counts; a second one that differs is dropped (evidence is a later issue).

use std::collections::BTreeMap;

use schemas::block::{Block, CommitCertificate, Header, ValidatorIndex, ValidatorSignature};
use schemas::id::{Digest, Signature};

use crate::proposal::Proposal;

/// First vote of each validator.
pub(crate) type Votes = BTreeMap<ValidatorIndex, (Digest, Signature)>;

/// A height between the watermarks.
#[derive(Default)]
pub(crate) struct Slot {
    /// The one proposal that this replica accepted in the view.
    pub proposal: Option<Proposal>,
    /// Prepares of backups, the own one included.
    pub prepares: Votes,
    /// Commits, the own one included.
    pub commits: Votes,
    /// q commits over the accepted proposal.
    pub certificate: Option<CommitCertificate>,
    /// A final block that peers sent.
    pub block: Option<Box<Block>>,
    /// Made by the own execution.
    pub header: Option<Header>,
    /// Attestations, the own one included.
    pub attestations: Votes,
}

impl Slot {
    /// The digest that this replica accepted.
    pub fn digest(&self) -> Option<Digest> {
        self.proposal.as_ref().map(Proposal::digest)
    }

    /// Signatures over the given digest, sorted by validator.
    pub fn over(votes: &Votes, digest: &Digest) -> Vec<ValidatorSignature> {
        let matching = votes.iter().filter(|(_, (d, _))| d == digest);
        matching.map(|(&validator, &(_, signature))| ValidatorSignature { validator, signature }).collect()
    }

    /// Counts a first vote; anything after it is dropped.
    pub fn count(votes: &mut Votes, by: ValidatorSignature, digest: Digest) {
        votes.entry(by.validator).or_insert((digest, by.signature));
    }
}
