//! Blame: whoever signs two batches for one height, view and phase is faulty, and both signatures together prove it to everyone.
//! Each replica compares what it hears; what one alone cannot see, because the two were said to different replicas, comes
//! together by showing votes that do not fit: a vote for another batch than the one accepted here, and the primary's
//! signature of that one. Nothing here changes what is agreed.

use schemas::block::{CommitCertificate, Phase, ValidatorSignature, View, Vote, primary_of};
use schemas::id::{Digest, Height};
use schemas::limits;
use schemas::pbft::{Message, SignedVote};
use schemas::view::PreparedCertificate;

use crate::proposal::Proposal;
use crate::replica::Replica;
use crate::{Effect, Input};

impl Replica {
    /// Compares every vote that an input holds with what its signer said before.
    pub(super) fn compare(&mut self, input: &Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Voted(signed) | Input::Shown(signed) => self.see(signed, effects),
            Input::Proposed(proposal) => self.see(&self.pre_prepare_of(proposal), effects),
            Input::ViewChanged(change) => self.see_prepared(&change.change().prepared, effects),
            Input::Renewed(new_view) => {
                for signed in &new_view.message().changes {
                    self.see_prepared(&signed.change.prepared, effects);
                }
                let (view, validator) = (new_view.view(), primary_of(new_view.view(), self.config.validators));
                for (height, digest, signature) in new_view.assigned() {
                    let vote = self.vote_at(view, height, Phase::PrePrepare, digest);
                    self.see(&SignedVote { vote, by: ValidatorSignature { validator, signature } }, effects);
                }
            }
            Input::Decided(decided) => {
                let (batch, certificate) = (decided.batch(), decided.certificate());
                self.see_commits(batch.height, decided.digest(), certificate, effects);
            }
            Input::Final(blocks) => {
                for block in blocks {
                    self.see_commits(block.header.height, block.header.batch, &block.certificate, effects);
                }
            }
            Input::Tick(_)
            | Input::Request(_)
            | Input::Attested(_)
            | Input::Told(..)
            | Input::Asked(..)
            | Input::Answered(..)
            | Input::Executed(..) => {}
        }
    }

    /// A verified vote: kept, compared, and shown to the others when it is over another batch than the one accepted here.
    fn see(&mut self, signed: &SignedVote, effects: &mut Vec<Effect>) {
        let SignedVote { vote, by } = signed;
        let is_ours = vote.chain == self.config.chain && vote.epoch == self.config.epoch;
        if !is_ours || !self.is_member(by.validator) || by.validator == self.config.me || !self.is_witnessed(vote) {
            return;
        }
        if let Some(conflict) = self.witness.see(signed) {
            effects.push(Effect::Blame(Box::new(conflict)));
        } else {
            self.show_others(vote.height, effects);
        }
    }

    /// Late enough to be compared, and no further ahead than what is voted for.
    fn is_witnessed(&self, vote: &Vote) -> bool {
        let is_recent = vote.height.saturating_add(limits::WITNESS_HEIGHTS) > self.certified;
        let is_near = vote.height <= self.certified.saturating_add(limits::OPEN_HEIGHTS_MAX);
        let is_of_late = vote.view.abs_diff(self.view) < limits::WITNESS_VIEWS;
        is_recent && is_near && is_of_late
    }

    /// Shows what does not fit the proposal accepted at a height, and the primary's signature of that proposal.
    pub(super) fn show_others(&mut self, height: Height, effects: &mut Vec<Effect>) {
        let Some(proposal) = self.slots.get(&height).and_then(|slot| slot.proposal.as_ref()) else { return };
        let (view, digest) = (proposal.view(), proposal.digest());
        let others = self.witness.others((self.config.chain, self.config.epoch), height, view, digest);
        if others.is_empty() {
            return;
        }
        let accepted = self.pre_prepare_of(proposal);
        for signed in others.into_iter().chain([accepted]) {
            let by = signed.by.validator;
            if by != self.config.me && self.witness.may_show(by, self.now) {
                effects.push(Effect::Broadcast(Message::Shown(signed)));
            }
        }
    }

    fn pre_prepare_of(&self, proposal: &Proposal) -> SignedVote {
        let validator = primary_of(proposal.view(), self.config.validators);
        let by = ValidatorSignature { validator, signature: proposal.signature() };
        SignedVote { vote: proposal.vote(Phase::PrePrepare), by }
    }

    fn see_prepared(&mut self, prepared: &[PreparedCertificate], effects: &mut Vec<Effect>) {
        for certificate in prepared {
            let vote = |phase| certificate.vote(self.config.chain, self.config.epoch, phase);
            let (proposed, prepare) = (vote(Phase::PrePrepare), vote(Phase::Prepare));
            let validator = primary_of(certificate.view, self.config.validators);
            let by = ValidatorSignature { validator, signature: certificate.pre_prepare };
            self.see(&SignedVote { vote: proposed, by }, effects);
            for &by in &certificate.prepares {
                self.see(&SignedVote { vote: prepare, by }, effects);
            }
        }
    }

    fn see_commits(
        &mut self,
        height: Height,
        digest: Digest,
        certificate: &CommitCertificate,
        effects: &mut Vec<Effect>,
    ) {
        let vote = self.vote_at(certificate.view, height, Phase::Commit, digest);
        for &by in &certificate.commits {
            self.see(&SignedVote { vote, by }, effects);
        }
    }

    const fn vote_at(&self, view: View, height: Height, phase: Phase, digest: Digest) -> Vote {
        Vote { chain: self.config.chain, epoch: self.config.epoch, view, height, phase, digest }
    }
}
