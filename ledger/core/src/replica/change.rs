//! Leaving a view (§4.4): VIEW-CHANGE with checkpoint and prepared certificates, written down before it is sent; after it no
//! vote of an older view. Joining others: f + 1 who want a later view contain an honest one, and the earliest that they want
//! is joined, so that no single validator drags anyone anywhere.

use std::collections::BTreeMap;

use schemas::block::{ValidatorIndex, ValidatorSignature, View};
use schemas::id::TimeMs;
use schemas::limits;
use schemas::pbft::{Message, Record};
use schemas::view::{Checkpoint, SignedViewChange, ViewChange};

use crate::change::{VerifiedNewView, VerifiedViewChange};
use crate::mutants::planted;
use crate::replica::Replica;
use crate::{Effect, Sign};

/// What is known about views.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changing {
    /// The own view change for the view, until it begins.
    pub own: Option<SignedViewChange>,
    said_at: TimeMs,
    /// The latest view change of each other validator.
    heard: BTreeMap<ValidatorIndex, VerifiedViewChange>,
    /// Why the view began; `None` in view 0 and while none has begun.
    pub began: Option<VerifiedNewView>,
}

impl Changing {
    /// Those for views that have not begun are kept.
    pub fn forget_up_to(&mut self, view: View) {
        self.own = None;
        self.heard.retain(|_, change| change.change().view > view);
    }

    /// The latest view that another validator wants.
    pub fn latest(&self, by: ValidatorIndex) -> Option<View> {
        self.heard.get(&by).map(|change| change.change().view)
    }

    /// Keeps a validator's latest view change.
    pub fn hear(&mut self, verified: VerifiedViewChange) {
        self.heard.insert(verified.by(), verified);
    }

    /// How many others want views above this one, and the earliest of these.
    pub fn wanted_above(&self, view: View) -> (usize, View) {
        let later = self.heard.values().map(|change| change.change().view).filter(|&wanted| wanted > view);
        later.fold((0, View::MAX), |(count, earliest), wanted| (count + 1, earliest.min(wanted)))
    }

    /// View changes of others for exactly this view.
    pub fn for_view(&self, view: View) -> impl Iterator<Item = &SignedViewChange> + '_ {
        self.heard.values().filter(move |change| change.change().view == view).map(VerifiedViewChange::message)
    }
}

impl Replica {
    /// §4.4: moves to the view, stops voting in older ones, tells everyone what prepared here.
    pub(super) fn change_view(&mut self, to: View, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        assert!(to > self.view, "a view is left for a later one");
        let Some(change) = self.say_view_change(to) else { return };
        self.leave_view(to);
        let signature = signer.sign(&change.to_sign());
        let signed = SignedViewChange { change, by: ValidatorSignature { validator: self.config.me, signature } };
        if !planted("view-change-not-written") {
            effects.push(Effect::Append(Record::ViewChange(self.certified.saturating_add(1), signed.clone())));
        }
        effects.push(Effect::Broadcast(Message::ViewChange(signed.clone())));
        self.changing.own = Some(signed);
        self.changing.said_at = self.now;
        self.timer.left_view();
    }

    /// The set P: of every height above the checkpoint the certificate of the highest view. `None` while there are more than
    /// a view change carries, after a store lost its end: leaving one out could undo what was committed, so this replica
    /// first catches up.
    fn say_view_change(&self, to: View) -> Option<ViewChange> {
        let checkpoint = self.checkpoint.clone();
        let above = self.slots.range(checkpoint.height.saturating_add(1)..);
        let prepared = above.filter(|_| !planted("prepared-not-said")).filter_map(|(_, slot)| slot.prepared.clone());
        let prepared: Vec<_> = prepared.collect();
        let fits = prepared.iter().all(|certificate| self.is_open(certificate.height));
        assert!(prepared.iter().all(|certificate| certificate.view < to), "nothing prepared in a view to come");
        let (chain, epoch) = (self.config.chain, self.config.epoch);
        fits.then_some(ViewChange { chain, epoch, view: to, checkpoint, prepared })
    }

    /// What belongs to the old view counts no more; its transactions wait again.
    pub(super) fn leave_view(&mut self, to: View) {
        assert!(to > self.view, "views only grow");
        self.view = to;
        self.active = false;
        self.changing.own = None;
        self.changing.began = None;
        for slot in self.slots.values_mut() {
            if let Some(lost) = slot.leave_view() {
                self.pool.give_back(lost.requests());
            }
        }
    }

    /// Another validator's view change: of each the latest counts, and of one view the first.
    pub(super) fn hear_view_change(
        &mut self,
        verified: VerifiedViewChange,
        signer: &dyn Sign,
        effects: &mut Vec<Effect>,
    ) {
        let (by, view) = (verified.by(), verified.change().view);
        let is_ours = self.is_place(verified.change().chain, verified.change().epoch);
        let is_news = view > self.view || (view == self.view && !self.active);
        let is_later = self.changing.latest(by).is_none_or(|before| before < view);
        if !is_ours || !self.is_member(by) || by == self.config.me || !is_news || !is_later {
            return;
        }
        self.learn_checkpoint(verified.change().checkpoint.clone(), effects);
        self.changing.hear(verified);
        assert!(self.changing.heard.len() < self.config.validators, "one of each other validator");
        self.join(signer, effects);
        self.begin_view(signer, effects);
    }

    /// f + 1 others want later views: the earliest of these, without waiting for the own timer.
    pub(super) fn join(&mut self, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let (count, earliest) = self.changing.wanted_above(self.view);
        if count > self.faults() || (count > 0 && planted("one-drags-all")) {
            self.change_view(earliest, signer, effects);
        }
    }

    /// Replicas that want this view or a later one, this one included.
    pub(super) fn wanting(&self, view: View) -> usize {
        let others = self.changing.heard.values().filter(|change| change.change().view >= view).count();
        others + usize::from(self.changing.own.is_some() && self.view >= view)
    }

    /// Frames get lost: the own view change is said again until the view begins.
    pub(super) fn repeat_view_change(&mut self, effects: &mut Vec<Effect>) {
        let Some(own) = &self.changing.own else { return };
        if self.now < self.changing.said_at.saturating_add(limits::VIEW_CHANGE_AGAIN_MS)
            || planted("view-change-said-once")
        {
            return;
        }
        self.changing.said_at = self.now;
        effects.push(Effect::Broadcast(Message::ViewChange(own.clone())));
    }

    /// A checkpoint that others proved. Where it was executed here too its attestations make the height final.
    pub(super) fn learn_checkpoint(&mut self, checkpoint: Checkpoint, effects: &mut Vec<Effect>) {
        if checkpoint.height <= self.checkpoint.height {
            return;
        }
        let (height, header) = (checkpoint.height, checkpoint.header);
        if height <= self.executed
            && let Some(slot) = self.slot(height)
        {
            // q signers agree: a first attestation of one of them that differs was a lie
            for by in &checkpoint.attestations {
                slot.attestations.insert(by.validator, (header, by.signature));
            }
        }
        self.checkpoint = checkpoint;
        self.certify(height, effects);
    }
}
