//! A new view begins (§4.4): the new primary collects q view changes and says so in NEW-VIEW; everyone enters with the batches
//! that follow from it: what prepared in the highest view, null batches in the gaps. They keep their digests; bodies that are
//! not here come from those who hold them. Times are not looked at: what was agreed may be old.

use std::sync::Arc;

use schemas::block::{Phase, ValidatorSignature};
use schemas::id::{Digest, Height, RawSignature, Signature};
use schemas::pbft::{Message, Record, Repeated, SignedVote};
use schemas::view::NewView;

use crate::change::{Plan, VerifiedNewView};
use crate::mutants::planted;
use crate::proposal::{Body, Proposal};
use crate::replica::Replica;
use crate::slot::Slot;
use crate::{Divergence, Effect, Sign};

impl Replica {
    /// The primary of a view that q replicas want begins it.
    pub(super) fn begin_view(&mut self, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let Some(own) = self.changing.own.as_ref().filter(|_| !self.active && self.is_primary()) else { return };
        assert!(own.change.view == self.view, "the own view change is for the view");
        let needed = self.quorum() - 1 - usize::from(planted("new-view-one-short"));
        let mut changes: Vec<_> = self.changing.for_view(self.view).take(needed).cloned().collect();
        if changes.len() < needed {
            return;
        }
        changes.push(own.clone());
        changes.sort_by_key(|signed| signed.by.validator);
        let plan = Plan::of(&self.config, &changes);
        let votes = plan.digests().map(|(height, digest)| plan.vote(&self.config, self.view, height, digest).to_sign());
        let pre_prepares = votes.map(|bytes| signer.sign(&bytes)).collect();
        let (chain, epoch, view) = (self.config.chain, self.config.epoch, self.view);
        let unsigned = Signature(RawSignature([0; 64]));
        let mut message = NewView { chain, epoch, view, changes, pre_prepares, signature: unsigned };
        message.signature = signer.sign(&message.to_sign());
        self.enter(VerifiedNewView::own(&self.config, message), signer, effects);
    }

    /// A NEW-VIEW of this view or a later one, from its primary or from anyone who passes it on.
    pub(super) fn hear_new_view(&mut self, new_view: VerifiedNewView, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let message = new_view.message();
        let is_ours = message.chain == self.config.chain && message.epoch == self.config.epoch;
        let is_news = new_view.view() > self.view
            || (new_view.view() == self.view && (!self.active || planted("new-view-twice")));
        if is_ours && is_news {
            self.enter(new_view, signer, effects);
        }
    }

    /// Enters a view: written down, then votes for everything that it assigns.
    pub(super) fn enter(&mut self, new_view: VerifiedNewView, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        if let Some(divergence) = self.contradiction(&new_view) {
            effects.push(Effect::Halt(divergence));
            return;
        }
        if new_view.view() > self.view {
            self.leave_view(new_view.view());
        }
        let message = new_view.message().clone();
        if !planted("new-view-not-written") {
            effects.push(Effect::Append(Record::NewView(self.certified.saturating_add(1), message.clone())));
        }
        if self.is_primary() {
            effects.push(Effect::Broadcast(Message::NewView(message)));
        }
        self.learn_checkpoint(new_view.checkpoint().clone(), effects);
        self.install(&new_view);
        self.slots.values_mut().for_each(Slot::drop_bodies);
        let heights: Vec<_> = new_view.assigned().map(|(height, ..)| height).collect();
        self.changing.began = Some(new_view);
        for height in heights {
            self.accept_again(height, signer, effects);
        }
        if !self.has_bodies() {
            self.ask_at_once();
        }
    }

    /// What the view assigns to the heights that are not final here. Also at restart.
    pub(super) fn install(&mut self, new_view: &VerifiedNewView) {
        assert!(new_view.view() == self.view, "the view was entered");
        self.active = true;
        self.changing.forget_up_to(self.view);
        self.timer.began_view();
        self.pool.forward_anew(self.now);
        self.next = new_view.assigned_to().max(self.executed).saturating_add(1);
        if planted("proposes-on-assigned") {
            self.next = self.executed + 1;
        }
        for (height, digest, signature) in new_view.assigned() {
            if let Some(slot) = self.slot(height) {
                slot.assigned = Some((digest, signature));
            }
        }
        // what it rests on this replica says itself from now on: the more know of a certificate, the less has to be kept for others
        for certificate in new_view.prepared() {
            if let Some(slot) = self.slot(certificate.height) {
                slot.learn_prepared(certificate);
            }
        }
    }

    /// What committed or executed here can never be assigned away while at most f are faulty.
    fn contradiction(&self, new_view: &VerifiedNewView) -> Option<Divergence> {
        new_view.assigned().find_map(|(height, digest, _)| {
            let ours = self.slots.get(&height)?.settled()?;
            (ours != digest).then_some(Divergence { height, ours })
        })
    }

    /// Votes for an assigned batch whose body is here.
    pub(super) fn accept_again(&mut self, height: Height, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let Some(slot) = self.slots.get(&height).filter(|slot| slot.proposal.is_none()) else { return };
        let Some((digest, signature)) = slot.assigned else { return };
        let Some(body) = self.body_of(height, &digest) else { return };
        let proposal = body.proposed(self.view, signature);
        let (vote, pre_prepare) = (proposal.vote(Phase::PrePrepare), proposal.signature());
        if self.is_primary() {
            effects.push(Effect::Append(Record::Repeated(Repeated { vote, pre_prepare, prepare: None })));
        } else {
            let signed = self.sign_prepare(&proposal, signer);
            let prepare = Some(signed.by.signature);
            effects.push(Effect::Append(Record::Repeated(Repeated { vote, pre_prepare, prepare })));
            effects.push(Effect::Broadcast(Message::Vote(signed)));
        }
        self.hold(proposal, signer, effects);
    }

    /// A body that was written down, or the null batch, which needs none.
    pub(super) fn body_of(&self, height: Height, digest: &Digest) -> Option<Arc<Body>> {
        let null = Body::null(self.config.chain, self.config.epoch, height);
        if null.digest() == *digest {
            return Some(null);
        }
        self.slots.get(&height)?.body(digest)
    }

    /// The own prepare, counted at once: a validator that forgot its own vote could contradict itself.
    pub(super) fn sign_prepare(&mut self, proposal: &Proposal, signer: &dyn Sign) -> SignedVote {
        assert!(self.active && !self.is_primary() && proposal.view() == self.view, "backups prepare in their view");
        let vote = proposal.vote(Phase::Prepare);
        let by = ValidatorSignature { validator: self.config.me, signature: signer.sign(&vote.to_sign()) };
        if let Some(slot) = self.slot(vote.height) {
            let before = slot.prepares.insert(by.validator, (vote.digest, by.signature));
            assert!(before.is_none_or(|(digest, _)| digest == vote.digest), "one prepare per view and height");
        }
        SignedVote { vote, by }
    }

    /// Whether every batch that the view assigned is here.
    pub(super) fn has_bodies(&self) -> bool {
        self.slots.values().all(|slot| slot.assigned.is_none() || slot.proposal.is_some())
    }
}
