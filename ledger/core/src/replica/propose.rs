//! The primary assigns heights to batches (§4.2): at once when nothing is in flight, else when a batch is full or its
//! oldest transaction has waited long enough. A backup accepts at most one proposal per view and height, ever.

use schemas::block::{Batch, Phase};
use schemas::id::{Height, TimeMs};
use schemas::limits;
use schemas::pbft::{Message, Record};

use crate::mutants::planted;
use crate::proposal::{Proposal, Request, root_of};
use crate::replica::Replica;
use crate::slot::Slot;
use crate::{Effect, Sign};

/// When a proposal's time is believed. The future is bounded always. A fresh proposal is not old; an old one is believed
/// after an outage only (nothing was accepted for as long as the skew), for as many heights as a primary keeps in flight:
/// those it may have written down before it died. So a primary can hold time back only by standing still.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timeliness {
    accepted_at: TimeMs,
    old_until: Height,
}

impl Timeliness {
    fn is_timely(&mut self, batch: &Batch, executed: Height, now: TimeMs) -> bool {
        if now >= self.accepted_at.saturating_add(limits::CLOCK_SKEW_MS_MAX) {
            self.old_until = executed.saturating_add(limits::BLOCKS_IN_FLIGHT_MAX);
        }
        let is_future = batch.time > now.saturating_add(limits::CLOCK_SKEW_MS_MAX);
        let is_old = batch.time.saturating_add(limits::CLOCK_SKEW_MS_MAX) < now;
        !is_future && (!is_old || batch.height <= self.old_until)
    }
}

impl Replica {
    /// Assigns the next heights while there is something to propose and room in flight.
    pub(super) fn propose(&mut self, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        assert!(self.is_primary(), "only the primary proposes");
        while self.may_propose() {
            let requests = if self.is_crowded(self.next) { vec![] } else { self.pool.batch() };
            let batch = self.next_batch(&requests);
            let vote = schemas::block::Vote {
                chain: batch.chain,
                epoch: batch.epoch,
                view: self.view,
                height: batch.height,
                phase: Phase::PrePrepare,
                digest: batch.digest(),
            };
            let signature = signer.sign(&vote.to_sign());
            let Ok(proposal) = Proposal::check(self.view, batch, requests, signature) else {
                unreachable!("the pool makes batches within the limits")
            };
            self.next += 1;
            let pre_prepare = proposal.to_pre_prepare();
            effects.push(Effect::Append(Record::Accepted(pre_prepare.clone(), None)));
            effects.push(Effect::Broadcast(Message::PrePrepare(pre_prepare)));
            self.hold(proposal, signer, effects);
        }
    }

    /// Without transactions the null batch, which the epoch's end calls for, or one who waits for heights, or a height at which too
    /// many batches came to nothing.
    fn next_batch(&mut self, requests: &[Request]) -> Batch {
        let (chain, epoch, height) = (self.config.chain, self.config.epoch, self.next);
        if requests.is_empty() {
            let is_wanted = self.is_sealing(height) || self.is_helping() || self.is_crowded(height);
            assert!(is_wanted, "a ripe pool is not empty");
            self.note_null();
            return Batch::null(chain, epoch, height);
        }
        self.proposed_time = self.proposed_time.max(self.now);
        Batch { chain, epoch, height, transactions_root: root_of(requests), time: self.proposed_time }
    }

    fn may_propose(&self) -> bool {
        let in_flight = self.next.saturating_sub(self.executed + 1);
        let is_ripe = if in_flight == 0 { self.pool.size().0 > 0 } else { self.pool.is_ripe(self.now, in_flight) };
        let is_wanted = is_ripe || self.is_sealing(self.next) || self.is_helping();
        let is_timely = !self.is_crowded(self.next) || self.may_be_null(limits::RECOVERY_NULL_MS);
        // who does not know every batch before could propose a transaction twice
        let knows_all = self.executed >= self.checkpoint.height && self.has_bodies();
        self.active
            && is_wanted
            && is_timely
            && knows_all
            && in_flight < limits::BLOCKS_IN_FLIGHT_MAX
            && self.next > self.executed
            && self.is_open(self.next)
            && self.is_before_seal(self.next)
            && self.is_in_window(self.next)
    }

    fn is_crowded(&self, height: Height) -> bool {
        self.slots.get(&height).is_some_and(Slot::is_crowded)
    }

    /// §4.2: accepts the pre-prepare if the view is right, the height lies between the watermarks and no other digest was
    /// accepted there; then writes it down with the prepare and sends the prepare to all. What the new view assigned is
    /// accepted in its place only, whoever passes its body on, and without a look at the clock.
    pub(super) fn accept(&mut self, proposal: Proposal, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let batch = proposal.batch();
        let height = batch.height;
        let is_ours = batch.chain == self.config.chain && batch.epoch == self.config.epoch;
        if !(self.active || planted("votes-while-changing"))
            || proposal.view() != self.view
            || !is_ours
            || !self.is_in_window(height)
        {
            return;
        }
        let slot = self.slots.get(&height);
        let assigned = slot.and_then(|slot| slot.assigned);
        let digest = proposal.digest();
        // a store may be ahead of the log after a power cut: then the proposal must be what was executed
        let is_taken =
            slot.is_some_and(|slot| slot.proposal.is_some() || slot.settled().is_some_and(|settled| settled != digest));
        let is_other = assigned.is_some_and(|(assigned, _)| assigned != digest);
        if is_taken || (is_other && !planted("assigned-digest-ignored")) {
            return;
        }
        if assigned.is_none() && (self.is_primary() || !self.is_fresh(&proposal)) {
            return;
        }
        let prepare = (!self.is_primary()).then(|| self.sign_prepare(&proposal, signer));
        let record = Record::Accepted(proposal.to_pre_prepare(), prepare.map(|signed| signed.by.signature));
        if !planted("prepare-not-written") {
            effects.push(Effect::Append(record));
        }
        effects.extend(prepare.map(|signed| Effect::Broadcast(Message::Vote(signed))));
        self.hold(proposal, signer, effects);
    }

    /// Whether a fresh proposal may be voted for: above what the view assigned, where a view change can carry it, within
    /// bounds, at a believable time.
    fn is_fresh(&mut self, proposal: &Proposal) -> bool {
        let batch = proposal.batch();
        let is_above = self.changing.began.as_ref().is_none_or(|began| batch.height > began.assigned_to());
        let held: usize =
            self.slots.range(self.executed + 1..).filter_map(|(_, s)| s.proposal.as_ref()).map(Proposal::len).sum();
        let has_room = held + proposal.len() <= limits::PROPOSALS_BYTES_MAX;
        if !is_above || !self.is_open(batch.height) || !self.is_before_seal(batch.height) || !has_room {
            return false;
        }
        if proposal.is_empty() {
            // at no time of its own
            return self.is_sealing(batch.height) || self.admits_null();
        }
        if self.slots.get(&batch.height).is_some_and(|slot| !slot.has_place(&proposal.digest())) {
            return false;
        }
        if !self.timeliness.is_timely(batch, self.executed, self.now) {
            return false;
        }
        self.timeliness.accepted_at = self.now;
        true
    }

    /// Keeps an accepted proposal, which was written down, and looks whether votes that came earlier complete it.
    pub(super) fn hold(&mut self, proposal: Proposal, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let height = proposal.batch().height;
        let is_executed = self.slots.get(&height).is_some_and(|slot| slot.header.is_some());
        if is_executed {
            // what was accepted of it left the pool with its execution
            self.pool.executed(proposal.requests(), &[]);
        } else {
            self.pool.take(proposal.requests(), self.now);
        }
        let Some(slot) = self.slot(height) else { unreachable!("checked to be in the window") };
        assert!(slot.proposal.is_none(), "never two proposals at one height of a view");
        if !proposal.is_empty() {
            slot.keep_body(&proposal);
        }
        slot.proposal = Some(proposal);
        self.show_others(height, effects);
        self.prepare(height, signer, effects);
    }
}
