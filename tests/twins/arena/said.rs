//! What leaves an honest replica: never two words that contradict, never a new view that does not follow from its view
//! changes.

use ::tests::check;
use ledger_core::VerifiedNewView;
use schemas::block::{self, Batch, Phase, ValidatorIndex, View, Vote};
use schemas::id::{Digest, Height};
use schemas::pbft::Message;
use schemas::view::NewView;

use super::Arena;
use crate::scenario::VALIDATORS;

/// Doubled validators.
const FAULTY: usize = 1;

impl Arena<'_> {
    /// An honest validator sends this.
    pub(super) fn check_said(&mut self, by: ValidatorIndex, message: &Message) {
        match message {
            Message::PrePrepare(said)
                // bodies of assigned batches are passed on by anyone
                if block::primary_of(said.view, VALIDATORS) == by => {
                    self.check_vote(by, said.view, said.batch.height, Phase::PrePrepare, said.batch.digest());
                }
            Message::Vote(signed) => {
                assert!(signed.by.validator == by, "validator {by} sends a vote of {}", signed.by.validator);
                let Vote { view, height, phase, digest, .. } = signed.vote;
                self.check_vote(by, view, height, phase, digest);
            }
            Message::Shown(signed) => assert!(signed.by.validator != by, "validator {by} shows a vote of its own"),
            Message::Attest(attest) if attest.by.validator == by => {
                self.checks.attest(by, attest.height, attest.header);
            }
            Message::Attest(attest) => {
                let of = attest.by.validator;
                assert!(of == self.scenario.doubled, "validator {by} shows an attestation of {of}");
            }
            Message::ViewChange(signed) => {
                assert!(signed.by.validator == by, "validator {by} sends a view change of {}", signed.by.validator);
                self.checks.leave(by, &signed.change);
            }
            Message::NewView(message) => self.check_new_view(by, message),
            // the rest is not signed by its sender
            _ => {}
        }
    }

    fn check_vote(&mut self, by: ValidatorIndex, view: View, height: Height, phase: Phase, digest: Digest) {
        let vote = Vote { chain: self.keys.chain, epoch: 0, view, height, phase, digest };
        self.checks.say(by, &vote, VALIDATORS, FAULTY);
    }

    fn check_new_view(&mut self, by: ValidatorIndex, message: &NewView) {
        let (view, keys) = (message.view, self.keys);
        let verify = |who: ValidatorIndex, bytes: &[u8], signature: &_| keys.is_signed(0, who, bytes, signature);
        let config = keys.config(0).expect("the first epoch");
        let checked = VerifiedNewView::check(&config, message.clone(), &verify);
        let Ok(checked) = checked else { panic!("validator {by} sends a new view that does not verify: {view}") };
        if block::primary_of(view, VALIDATORS) != by {
            return;
        }
        check::view_changes(keys, message);
        let assigned: Vec<_> = checked.assigned().map(|(height, digest, _)| (height, digest)).collect();
        self.checks.new_view(message, &assigned);
        if self.checks.begins(0, view) {
            self.count.new_views += 1;
            let null = |height| Batch::null(keys.chain, 0, height).digest();
            let keeps = assigned.iter().any(|&(height, digest)| digest != null(height));
            self.count.new_views_with_batches += u64::from(keeps);
        }
        for (height, digest) in assigned {
            self.check_vote(by, view, height, Phase::PrePrepare, digest);
        }
    }
}
