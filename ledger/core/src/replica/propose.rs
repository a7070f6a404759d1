//! The primary assigns heights to batches (§4.2): at once when nothing is in flight, else when a batch is full or its
//! oldest transaction has waited long enough. A backup accepts at most one proposal per view and height, ever.

use schemas::block::{Batch, Phase};
use schemas::id::{Height, TimeMs};
use schemas::limits;
use schemas::pbft::{Message, Record};

use crate::proposal::{Proposal, root_of};
use crate::replica::Replica;
use crate::{Effect, Sign};

/// When a proposal's time is believed. The future is bounded always. A fresh proposal is not old; an old one is believed
/// after an outage only (nothing was accepted for as long as the skew), for as many heights as a primary keeps in flight:
/// those it may have written down before it died. So a primary can hold time back only by standing still.
#[derive(Default)]
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
    pub(super) fn propose(&mut self, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        assert!(self.is_primary(), "only the primary proposes");
        while self.may_propose() {
            let requests = self.pool.batch();
            assert!(!requests.is_empty(), "a ripe pool is not empty");
            self.proposed_time = self.proposed_time.max(self.now);
            let batch = Batch {
                chain: self.config.chain,
                epoch: self.config.epoch,
                height: self.next,
                transactions_root: root_of(&requests),
                time: self.proposed_time,
            };
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

    fn may_propose(&self) -> bool {
        let in_flight = self.next.saturating_sub(self.executed + 1);
        let is_wanted = if in_flight == 0 { self.pool.size().0 > 0 } else { self.pool.is_ripe(self.now) };
        is_wanted
            && in_flight < limits::BLOCKS_IN_FLIGHT_MAX
            && self.next > self.executed
            && self.is_in_window(self.next)
    }

    /// §4.2: accepts the pre-prepare if the view is right, the height lies between the watermarks and no other digest was
    /// accepted there; then writes it down with the prepare and sends the prepare to all.
    pub(super) fn accept(&mut self, proposal: Proposal, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let batch = proposal.batch();
        let height = batch.height;
        let is_ours = batch.chain == self.config.chain && batch.epoch == self.config.epoch;
        if self.is_primary() || proposal.view() != self.view || !is_ours || height <= self.certified {
            return;
        }
        let digest = proposal.digest();
        // a store may be ahead of the log after a power cut: then the proposal must be what was executed
        let is_taken = self.slots.get(&height).is_some_and(|slot| {
            slot.proposal.is_some() || slot.header.as_ref().is_some_and(|header| header.batch != digest)
        });
        if !self.is_in_window(height) || is_taken {
            return;
        }
        let held: usize =
            self.slots.range(self.executed + 1..).filter_map(|(_, s)| s.proposal.as_ref()).map(Proposal::len).sum();
        if held + proposal.len() > limits::PROPOSALS_BYTES_MAX {
            return;
        }
        if !self.timeliness.is_timely(batch, self.executed, self.now) {
            return;
        }
        self.timeliness.accepted_at = self.now;
        let vote = proposal.vote(Phase::Prepare);
        let signature = signer.sign(&vote.to_sign());
        effects.push(Effect::Append(Record::Accepted(proposal.to_pre_prepare(), Some(signature))));
        let by = schemas::block::ValidatorSignature { validator: self.config.me, signature };
        effects.push(Effect::Broadcast(Message::Vote(schemas::pbft::SignedVote { vote, by })));
        if let Some(slot) = self.slot(height) {
            // a validator that forgot its own vote could contradict itself: the own one always counts
            let before = slot.prepares.insert(by.validator, (vote.digest, signature));
            assert!(before.is_none_or(|(digest, _)| digest == vote.digest), "one prepare per view and height");
        }
        self.hold(proposal, signer, effects);
    }

    /// Keeps an accepted proposal and looks whether votes that came earlier complete it.
    fn hold(&mut self, proposal: Proposal, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let height = proposal.batch().height;
        self.pool.take(&proposal);
        let Some(slot) = self.slot(height) else { unreachable!("checked to be in the window") };
        assert!(slot.proposal.is_none(), "never two proposals at one height of a view");
        slot.proposal = Some(proposal);
        self.prepare(height, signer, effects);
    }

    /// A backup hands transactions that nobody proposes to the primary.
    pub(super) fn forward(&mut self, effects: &mut Vec<Effect>) {
        assert!(!self.is_primary(), "the primary has nobody to forward to");
        let primary = self.primary();
        let due = self.pool.take_forwards(self.now);
        effects.extend(due.into_iter().map(|r| Effect::Send(primary, Message::Request(r.bytes().clone()))));
    }
}
