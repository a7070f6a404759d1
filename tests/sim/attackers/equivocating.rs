//! Proposes different batches to different validators, votes for everything that it or a friend proposes, says to some that
//! nothing prepared, and begins a view in more than one way.

use std::collections::BTreeMap;

use schemas::block::{Phase, ValidatorIndex, View};
use schemas::pbft::{Message, PrePrepare};
use schemas::view::{NewView, SignedViewChange};

use super::{Attacker, Hand};

/// Two-faced.
#[derive(Default)]
pub struct Equivocating {
    /// View changes heard, by view.
    heard: BTreeMap<View, BTreeMap<ValidatorIndex, SignedViewChange>>,
}

impl Attacker for Equivocating {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        match message {
            Message::PrePrepare(first) => propose(&first, hand),
            Message::ViewChange(signed) => leave(&signed, hand),
            Message::NewView(message) if to.is_none() => self.begin(&message, hand),
            message => hand.send(to, message),
        }
    }

    fn hear(&mut self, from: ValidatorIndex, message: &Message, hand: &mut Hand) {
        match message {
            Message::PrePrepare(pre_prepare) if hand.friends.contains(&from) => support(pre_prepare, hand),
            Message::ViewChange(signed) => {
                self.heard.entry(signed.change.view).or_default().insert(from, signed.clone());
                while self.heard.len() > 4 {
                    self.heard.pop_first();
                }
            }
            _ => {}
        }
    }
}

impl Equivocating {
    /// Different quorums of view changes for different validators; its own says whatever helps.
    fn begin(&self, first: &NewView, hand: &mut Hand) {
        let view = first.view;
        let empty = hand.view_change(view, hand.base(), vec![]);
        for other in hand.others() {
            let mut changes: Vec<_> = self.heard.get(&view).into_iter().flat_map(|of| of.values().cloned()).collect();
            changes.push(empty.clone());
            while changes.len() > first.changes.len() {
                changes.swap_remove(hand.dice.index(changes.len() - 1));
            }
            let second = hand.new_view(view, changes);
            // one of them, or one after the other
            match hand.dice.below(3) {
                0 => hand.send(Some(other), Message::NewView(first.clone())),
                1 => hand.send(Some(other), Message::NewView(second)),
                _ => {
                    hand.send(Some(other), Message::NewView(first.clone()));
                    hand.later(Some(other), 30, Message::NewView(second));
                }
            }
        }
        // and other batches in the place of those that it assigns
        let assigned = crate::oracle::assignment(hand.keys.chain, &first.changes);
        for height in assigned.into_keys() {
            let transactions = vec![hand.transaction()];
            let proposal = hand.proposal(view, height, hand.now, transactions);
            let delay = hand.dice.below(20);
            hand.later(None, delay, Message::PrePrepare(proposal.clone()));
            support(&proposal, hand);
        }
    }
}

/// To some the truth, to others that nothing prepared.
fn leave(signed: &SignedViewChange, hand: &mut Hand) {
    let genesis = hand.base();
    let empty = hand.view_change(signed.change.view, signed.change.checkpoint.clone(), vec![]);
    let nothing = hand.view_change(signed.change.view, genesis, vec![]);
    for other in hand.others() {
        let side = [signed, &empty, &nothing][hand.dice.index(3)].clone();
        hand.send(Some(other), Message::ViewChange(side));
    }
}

fn propose(first: &PrePrepare, hand: &mut Hand) {
    let second = other_side(first, hand);
    for other in hand.others() {
        let side = if hand.dice.percent(50) { first } else { &second };
        hand.send(Some(other), Message::PrePrepare(side.clone()));
        if hand.dice.percent(10) {
            hand.send(Some(other), Message::PrePrepare(first.clone()));
        }
    }
    support(first, hand);
    support(&second, hand);
}

/// The same height with other transactions or another time.
fn other_side(first: &PrePrepare, hand: &mut Hand) -> PrePrepare {
    let mut transactions = first.transactions.clone();
    match hand.dice.below(3) {
        0 => transactions.reverse(),
        1 => transactions = vec![hand.transaction()],
        _ => {}
    }
    hand.proposal(first.view, first.batch.height, first.batch.time + 1, transactions)
}

/// Prepare and commit for a batch, to everyone.
fn support(pre_prepare: &PrePrepare, hand: &mut Hand) {
    for phase in [Phase::Prepare, Phase::Commit] {
        let vote = hand.vote(pre_prepare.view, pre_prepare.batch.height, phase, pre_prepare.batch.digest());
        let message = hand.signed(vote);
        let delay = hand.dice.below(30);
        hand.later(None, delay, message);
    }
}
