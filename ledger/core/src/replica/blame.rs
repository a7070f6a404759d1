//! Blame: whoever signs two digests at one place is faulty, and both signatures together prove it to everyone: two batches for
//! one height, view and phase, two headers for one height, two view changes for one view. Each replica compares what it hears.
//! What one alone cannot see, because the two were said to different replicas, comes together by showing words that do not fit:
//! a vote for another batch than the one accepted here, with the primary's signature of that one, and an attestation of another
//! header than the one made here. Of two view changes one stands in the new view. Nothing here changes what is agreed.

use schemas::block::{CommitCertificate, Phase, ValidatorSignature, View, Vote, primary_of};
use schemas::evidence::{Kind, Word};
use schemas::id::{Digest, Height};
use schemas::limits;
use schemas::pbft::{Attest, Message, SignedVote};
use schemas::view::{PreparedCertificate, SignedViewChange};

use crate::proposal::Proposal;
use crate::replica::Replica;
use crate::{Effect, Input};

impl Replica {
    /// Compares every word that an input holds with what its signer said before.
    pub(super) fn compare(&mut self, input: &Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Voted(signed) | Input::Shown(signed) => self.see(&signed.into(), effects),
            Input::Proposed(proposal) => self.see(&self.pre_prepare_of(proposal), effects),
            Input::Attested(attest) => self.see_attestations(attest.height, attest.header, &[attest.by], effects),
            Input::ViewChanged(change) => self.see_view_change(change.message(), effects),
            Input::Renewed(new_view) => {
                for signed in &new_view.message().changes {
                    self.see_view_change(signed, effects);
                }
                let (view, validator) = (new_view.view(), primary_of(new_view.view(), self.config.validators));
                for (height, digest, signature) in new_view.assigned() {
                    let vote = self.vote_at(view, height, Phase::PrePrepare, digest);
                    let signed = SignedVote { vote, by: ValidatorSignature { validator, signature } };
                    self.see(&(&signed).into(), effects);
                }
            }
            Input::Decided(decided) => {
                let (batch, certificate) = (decided.batch(), decided.certificate());
                self.see_commits(batch.height, decided.digest(), certificate, effects);
            }
            Input::Final(blocks) => {
                for block in blocks {
                    let height = block.header.height;
                    self.see_commits(height, block.header.batch, &block.certificate, effects);
                    self.see_attestations(height, block.header.hash(), &block.attestations, effects);
                }
            }
            Input::Tick(_)
            | Input::Request(..)
            | Input::Told(..)
            | Input::Asked(..)
            | Input::Answered(..)
            | Input::HandsOver(..)
            | Input::Executed(..) => {}
        }
    }

    /// A verified word: kept, compared, and shown to the others when it does not fit what is here.
    fn see(&mut self, word: &Word, effects: &mut Vec<Effect>) {
        let by = word.by.validator;
        let is_ours = word.chain == self.config.chain && word.epoch == self.config.epoch;
        if !is_ours || !self.is_member(by) || by == self.config.me || !self.is_witnessed(word) {
            return;
        }
        if let Some(conflict) = self.witness.see(word) {
            effects.push(Effect::Blame(Box::new(conflict)));
        } else if word.kind.phase().is_some() {
            self.show_others(word.height, effects);
        }
    }

    /// Late enough to be compared, and no further ahead than what is voted for.
    fn is_witnessed(&self, word: &Word) -> bool {
        let is_recent = word.height.saturating_add(limits::WITNESS_HEIGHTS) > self.certified;
        let is_near = word.height <= self.certified.saturating_add(limits::OPEN_HEIGHTS_MAX);
        let is_of_late = word.view.abs_diff(self.view) < limits::WITNESS_VIEWS;
        match word.kind {
            Kind::PrePrepare | Kind::Prepare | Kind::Commit => is_recent && is_near && is_of_late,
            Kind::Attestation => is_recent && is_near,
            Kind::ViewChange => is_of_late,
        }
    }

    /// Shows what does not fit the proposal accepted at a height, and the primary's signature of that proposal.
    pub(super) fn show_others(&mut self, height: Height, effects: &mut Vec<Effect>) {
        let Some(proposal) = self.slots.get(&height).and_then(|slot| slot.proposal.as_ref()) else { return };
        let (place, digest) = ((height, proposal.view()), proposal.digest());
        let ledger = (self.config.chain, self.config.epoch);
        let others = self.witness.others(ledger, place, Kind::PrePrepare..=Kind::Commit, digest);
        if others.is_empty() {
            return;
        }
        let accepted = self.pre_prepare_of(proposal);
        for signed in others.into_iter().chain([accepted]).filter_map(|word| word.vote()) {
            let by = signed.by.validator;
            if by != self.config.me && self.witness.may_show(by, self.now) {
                effects.push(Effect::Broadcast(Message::Shown(signed)));
            }
        }
    }

    /// Shows attestations of another header than the one made here: whoever heard the right one from the same validator has proof.
    pub(super) fn show_attestations(&mut self, height: Height, effects: &mut Vec<Effect>) {
        let Some(header) = self.slots.get(&height).and_then(|slot| slot.header.as_ref()) else { return };
        let (ledger, ours) = ((self.config.chain, self.config.epoch), header.hash());
        for word in self.witness.others(ledger, (height, 0), Kind::Attestation..=Kind::Attestation, ours) {
            if self.witness.may_show(word.by.validator, self.now) {
                let (header, by) = (word.digest, word.by);
                effects.push(Effect::Broadcast(Message::Attest(Attest { height, header, by })));
            }
        }
    }

    fn pre_prepare_of(&self, proposal: &Proposal) -> Word {
        let validator = primary_of(proposal.view(), self.config.validators);
        let by = ValidatorSignature { validator, signature: proposal.signature() };
        (&SignedVote { vote: proposal.vote(Phase::PrePrepare), by }).into()
    }

    fn see_view_change(&mut self, signed: &SignedViewChange, effects: &mut Vec<Effect>) {
        self.see(&signed.into(), effects);
        self.see_prepared(&signed.change.prepared, effects);
        let checkpoint = &signed.change.checkpoint;
        self.see_attestations(checkpoint.height, checkpoint.header, &checkpoint.attestations, effects);
    }

    fn see_prepared(&mut self, prepared: &[PreparedCertificate], effects: &mut Vec<Effect>) {
        for certificate in prepared {
            let vote = |phase| certificate.vote(self.config.chain, self.config.epoch, phase);
            let (proposed, prepare) = (vote(Phase::PrePrepare), vote(Phase::Prepare));
            let validator = primary_of(certificate.view, self.config.validators);
            let by = ValidatorSignature { validator, signature: certificate.pre_prepare };
            self.see(&(&SignedVote { vote: proposed, by }).into(), effects);
            for &by in &certificate.prepares {
                self.see(&(&SignedVote { vote: prepare, by }).into(), effects);
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
            self.see(&(&SignedVote { vote, by }).into(), effects);
        }
    }

    fn see_attestations(
        &mut self,
        height: Height,
        header: Digest,
        signatures: &[ValidatorSignature],
        effects: &mut Vec<Effect>,
    ) {
        // an attestation names no epoch: others are signed over another one
        if height <= self.config.base.height || self.seal.is_some_and(|seal| height > seal) {
            return;
        }
        for &by in signatures {
            let attest = Attest { height, header, by };
            self.see(&Word::attested(self.config.chain, self.config.epoch, &attest), effects);
        }
    }

    const fn vote_at(&self, view: View, height: Height, phase: Phase, digest: Digest) -> Vote {
        Vote { chain: self.config.chain, epoch: self.config.epoch, view, height, phase, digest }
    }
}
