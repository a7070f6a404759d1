//! What leaves an honest validator: never two words that contradict, never one that no durable record stands for, never a
//! new view that does not follow from its view changes.

use ledger_core::VerifiedNewView;
use schemas::block::{self, Batch, Phase, ValidatorIndex, Vote};
use schemas::pbft::Message;
use schemas::view::{NewView, SignedViewChange};

use super::World;
use crate::check;
use crate::seat::Reason;
use crate::verify;

impl World {
    /// An honest validator sends this.
    pub(super) fn check_said(&mut self, seat: usize, message: &Message) {
        let by = self.seats[seat].index;
        match message {
            Message::PrePrepare(pre_prepare) => {
                let (view, batch) = (pre_prepare.view, &pre_prepare.batch);
                // bodies of assigned batches are passed on by anyone
                if block::primary_of(view, self.keys.validators(batch.epoch)) == by {
                    self.check_vote(seat, &vote(view, batch, Phase::PrePrepare));
                }
            }
            Message::Vote(signed) => {
                assert!(signed.by.validator == by, "validator {by} sends a vote of {}", signed.by.validator);
                self.check_vote(seat, &signed.vote);
            }
            Message::Shown(signed) => {
                assert!(signed.by.validator != by, "validator {by} shows a vote of its own");
            }
            Message::Attest(attest) if attest.by.validator == by => {
                self.checks.attest(by, attest.height, attest.header);
            }
            Message::Attest(attest) => {
                let of = attest.by.validator;
                assert!(
                    self.plan.attackers.iter().any(|&(index, _)| index == of),
                    "validator {by} shows an attestation of {of}"
                );
            }
            Message::ViewChange(signed) => self.check_view_change(seat, by, signed),
            Message::NewView(message) => self.check_new_view(seat, by, message),
            Message::Answer(_) | Message::HandOver(_) => {
                assert!(!self.seats[seat].is_silent(), "validator {by} is silent, and answers");
            }
            Message::Request(_)
            | Message::Status(_)
            | Message::Fetch(_)
            | Message::Blocks(_)
            | Message::Decided(_)
            | Message::Ask(..)
            | Message::AskOffer(_)
            | Message::Offered(_)
            | Message::AskPiece(_)
            | Message::Piece(_)
            | Message::BlocksFrom(_) => {}
        }
    }

    fn check_vote(&mut self, seat: usize, vote: &Vote) {
        let at = &self.seats[seat];
        let reason = Reason::Vote(vote.view, vote.height, vote.phase, vote.digest);
        // what a primary's new view assigns is a proposal of its own
        let is_assigned =
            vote.phase == Phase::PrePrepare && at.justified.contains(&Reason::NewView(vote.epoch, vote.view));
        let is_durable = at.justified.contains(&reason) || is_assigned;
        assert!(is_durable, "durability: validator {} sends {reason:?} before its record is durable", at.index);
        let n = self.keys.validators(vote.epoch);
        self.checks.say(at.index, vote, n, self.plan.attackers.len());
    }

    fn check_view_change(&mut self, seat: usize, by: ValidatorIndex, signed: &SignedViewChange) {
        let (epoch, view) = (signed.change.epoch, signed.change.view);
        assert!(signed.by.validator == by, "validator {by} sends a view change of {}", signed.by.validator);
        let is_durable = self.seats[seat].justified.contains(&Reason::ViewChange(epoch, view));
        assert!(is_durable, "durability: validator {by} leaves for view {view} before its record is durable");
        self.checks.leave(by, &signed.change);
    }

    fn check_new_view(&mut self, seat: usize, by: ValidatorIndex, message: &NewView) {
        let (epoch, view) = (message.epoch, message.view);
        let is_durable = self.seats[seat].justified.contains(&Reason::NewView(epoch, view));
        assert!(is_durable, "durability: validator {by} passes view {view} on before its record is durable");
        let config = self.keys.config(epoch).expect("an epoch that began");
        let checked = VerifiedNewView::check(&config, message.clone(), &verify::verify_with(&self.keys, epoch));
        let Ok(checked) = checked else { panic!("validator {by} sends a new view that does not verify: {view}") };
        let assigned: Vec<_> = checked.assigned().map(|(height, digest, _)| (height, digest)).collect();
        if block::primary_of(view, config.validators) != by {
            return;
        }
        check::view_changes(&self.keys, message);
        self.checks.new_view(message, &assigned);
        let null = |height| Batch::null(self.keys.chain, epoch, height).digest();
        if self.checks.begins(epoch, view) {
            self.count.reach("new_views");
            if assigned.iter().any(|&(height, digest)| digest == null(height)) {
                self.count.reach("new_views_with_gaps");
            }
            if assigned.iter().any(|&(height, digest)| digest != null(height)) {
                self.count.reach("new_views_with_batches");
            }
        }
        let chain = self.keys.chain;
        for (height, digest) in assigned {
            self.check_vote(seat, &Vote { chain, epoch, view, height, phase: Phase::PrePrepare, digest });
        }
    }
}

fn vote(view: block::View, batch: &Batch, phase: Phase) -> Vote {
    let (chain, epoch, height) = (batch.chain, batch.epoch, batch.height);
    Vote { chain, epoch, view, height, phase, digest: batch.digest() }
}
