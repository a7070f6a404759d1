//! Prepare and commit (§4.2). A batch is prepared with the pre-prepare and q − 1 matching prepares of backups: q distinct
//! signers, 2f + 1 at n = 3f + 1. It is committed with q matching commits once it is prepared here.

use std::sync::Arc;

use schemas::block::{CommitCertificate, Phase, ValidatorSignature};
use schemas::id::Height;
use schemas::pbft::{Committed, Message, Prepared, Record, SignedVote};
use schemas::view::PreparedCertificate;

use crate::mutants::planted;
use crate::proposal::Decided;
use crate::replica::Replica;
use crate::slot::Slot;
use crate::{Divergence, Effect, Sign};

impl Replica {
    /// Counts a prepare or commit of another validator.
    pub(super) fn vote(&mut self, signed: SignedVote, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let SignedVote { vote, by } = signed;
        let is_ours = vote.chain == self.config.chain
            && vote.epoch == self.config.epoch
            && (vote.view == self.view || planted("votes-of-any-view"));
        let is_other = self.is_member(by.validator) && by.validator != self.config.me;
        let is_primary = by.validator == self.primary();
        if !is_ours || !is_other {
            return;
        }
        let Some(slot) = self.slot(vote.height) else { return };
        match vote.phase {
            Phase::Prepare if !is_primary || planted("primary-prepares") => {
                Slot::count(&mut slot.prepares, by, vote.digest)
            }
            Phase::Commit => Slot::count(&mut slot.commits, by, vote.digest),
            // a pre-prepare comes with its body; the primary sends no prepare
            Phase::PrePrepare | Phase::Prepare => return,
        }
        self.prepare(vote.height, signer, effects);
    }

    /// prepared(m, v, n, i): writes the certificate and the commit down, then sends the commit.
    pub(super) fn prepare(&mut self, height: Height, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let (me, needed) = (self.config.me, self.quorum() - 1 - usize::from(planted("prepared-one-short")));
        let Some(slot) = self.slots.get(&height) else { return };
        let Some(proposal) = &slot.proposal else { return };
        let digest = proposal.digest();
        let mut prepares = Slot::over(&slot.prepares, &digest);
        if !slot.commits.contains_key(&me) && prepares.len() >= needed {
            // more prove no more, and a new view of many certificates must fit a frame
            prepares.truncate(needed);
            let (vote, view, pre_prepare) = (proposal.vote(Phase::Commit), proposal.view(), proposal.signature());
            let Some(signature) = self.sign(slot, Phase::Commit, signer) else { return };
            let by = ValidatorSignature { validator: me, signature };
            let certificate = PreparedCertificate { view, height, digest, pre_prepare, prepares: prepares.clone() };
            if !planted("commit-not-written") {
                effects.push(Effect::Append(Record::Prepared(Prepared { vote, prepares, commit: signature })));
            }
            effects.push(Effect::Broadcast(Message::Vote(SignedVote { vote, by })));
            if let Some(slot) = self.slots.get_mut(&height) {
                assert!(slot.commits.insert(me, (digest, signature)).is_none(), "one commit per view and height");
                assert!(slot.prepared.as_ref().is_none_or(|before| before.view < view), "prepared once in a view");
                slot.learn_prepared(&certificate);
                slot.drop_bodies();
            }
        }
        self.commit(height, signer, effects);
    }

    /// committed-local(m, v, n, i): prepared, and q commits. In a later view the same again, for those who missed it.
    fn commit(&mut self, height: Height, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let (me, view, needed) =
            (self.config.me, self.view, self.quorum() - usize::from(planted("committed-one-short")));
        let Some(slot) = self.slots.get_mut(&height) else { return };
        let Some(proposal) = &slot.proposal else { return };
        let digest = proposal.digest();
        let commits = Slot::over(&slot.commits, &digest);
        if slot.decided.is_some() || !slot.commits.contains_key(&me) || commits.len() < needed {
            return;
        }
        assert!(commits.iter().any(|c| c.validator == me), "the own commit is over the accepted digest");
        assert!(slot.settled().is_none_or(|settled| settled == digest), "nothing else committed at this height");
        let certificate = CommitCertificate { view, commits };
        slot.decided = Some(Decided::of(Arc::clone(proposal.body()), certificate.clone()));
        effects.push(Effect::Append(Record::Committed(Committed { height, digest, certificate })));
        self.timer.progressed();
        self.decide(height, signer, effects);
    }

    /// A committed batch that another validator holds: its certificate says all, whatever the view is here (end of §4.4: a replica
    /// that missed messages gets them from others).
    pub(super) fn learn(&mut self, decided: Decided, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let (height, digest) = (decided.batch().height, decided.digest());
        let is_ours = decided.batch().chain == self.config.chain && decided.batch().epoch == self.config.epoch;
        if !is_ours || !self.is_in_window(height) || planted("decisions-not-learned") {
            return;
        }
        let settled = self.slots.get(&height).and_then(Slot::settled);
        if let Some(ours) = settled.filter(|ours| *ours != digest) {
            effects.push(Effect::Halt(Divergence { height, ours }));
            return;
        }
        let Some(slot) = self.slot(height) else { return };
        if slot.decided.is_some() || slot.block.is_some() {
            return;
        }
        effects.push(Effect::Append(Record::Decided(decided.to_decision())));
        if slot.header.is_none() {
            self.pool.take(decided.requests(), self.now);
        }
        if let Some(slot) = self.slot(height) {
            slot.decided = Some(decided);
        }
        self.accept_again(height, signer, effects);
        self.decide(height, signer, effects);
    }

    /// What follows from a decision.
    fn decide(&mut self, height: Height, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        // executed already when the store was ahead of the log
        self.attest(height, signer, effects);
        self.certify(height, effects);
        self.execute_next(effects);
    }
}
