//! Says the right thing in the wrong place: a vote of a phase that is not sent as a vote, a prepare as primary, a proposal as
//! backup, an empty batch, a batch's digest as header, a transaction twice, a height
//! far ahead.

use schemas::block::{Batch, Phase, TransactionBytes, ValidatorIndex};
use schemas::pbft::{Message, PrePrepare};

use super::{Attacker, Hand};

/// Confused on purpose.
#[derive(Default)]
pub struct Wrong {
    /// Right proposals are held back until then: the gap stays open.
    silent_until: u64,
}

impl Attacker for Wrong {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        if matches!(message, Message::PrePrepare(_)) && hand.now < self.silent_until {
            return;
        }
        if let Message::Vote(signed) = &message
            && hand.dice.percent(30)
        {
            let mut vote = signed.vote;
            vote.phase = [Phase::PrePrepare, Phase::Prepare, Phase::Commit][hand.dice.index(3)];
            let twisted = hand.signed(vote);
            hand.send(to, twisted);
            let attest = hand.attest(vote.height, vote.digest);
            hand.send(to, attest);
        }
        if let Message::NewView(message) = &message
            && hand.dice.percent(50)
        {
            let mut twisted = message.clone();
            match hand.dice.below(4) {
                0 => drop(twisted.pre_prepares.pop()),
                1 => twisted.pre_prepares.reverse(),
                2 => twisted.changes.reverse(),
                _ => drop(twisted.changes.pop()),
            }
            let twisted = hand.sealed(twisted);
            hand.send(to, Message::NewView(twisted));
        }
        hand.send(to, message);
    }

    fn tick(&mut self, hand: &mut Hand) {
        if hand.dice.percent(75) {
            return;
        }
        let view = hand.view;
        let one = hand.transaction();
        if schemas::block::primary_of(view, hand.n) == hand.me && hand.dice.percent(50) {
            // a right proposal, far ahead: leaves a gap behind it
            let ahead = hand.certified + 2 + hand.dice.below(50);
            let proposal = hand.proposal(view, ahead, hand.now, vec![one]);
            hand.send(None, Message::PrePrepare(proposal));
            self.silent_until = hand.now + hand.dice.below(20_000);
            return;
        }
        let height = hand.height();
        let transactions = match hand.dice.below(4) {
            0 => vec![],
            1 => vec![one.clone(), one],
            2 => vec![TransactionBytes([0xff; 12].as_slice().into())],
            _ => vec![one],
        };
        let mut proposal = hand.proposal(view, height, hand.now, transactions);
        if hand.dice.percent(30) {
            proposal.transactions.pop();
        }
        if hand.dice.percent(20) {
            proposal = null(hand, height);
        }
        hand.send(None, Message::PrePrepare(proposal));
    }
}

/// What only a new view may propose.
fn null(hand: &Hand, height: u64) -> PrePrepare {
    let transactions_root = schemas::merkle::empty_root();
    let batch = Batch { chain: hand.keys.chain, epoch: hand.epoch, height, transactions_root, time: 0 };
    let vote = hand.vote(hand.view, height, Phase::PrePrepare, batch.digest());
    PrePrepare { view: hand.view, batch, transactions: vec![], signature: hand.sign(&vote.to_sign()) }
}
