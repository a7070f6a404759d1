//! Proposes different batches to different validators, and votes for everything that it or a friend proposes.

use schemas::block::{Phase, ValidatorIndex};
use schemas::pbft::{Message, PrePrepare};

use super::{Attacker, Hand};

/// Two-faced.
pub struct Equivocating;

impl Attacker for Equivocating {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        let Message::PrePrepare(first) = message else {
            hand.send(to, message);
            return;
        };
        let second = other_side(&first, hand);
        for other in hand.others() {
            let side = if hand.dice.percent(50) { &first } else { &second };
            hand.send(Some(other), Message::PrePrepare(side.clone()));
            if hand.dice.percent(10) {
                hand.send(Some(other), Message::PrePrepare(first.clone()));
            }
        }
        support(&first, hand);
        support(&second, hand);
    }

    fn hear(&mut self, from: ValidatorIndex, message: &Message, hand: &mut Hand) {
        if let Message::PrePrepare(pre_prepare) = message
            && hand.friends.contains(&from)
        {
            support(pre_prepare, hand);
        }
    }
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
