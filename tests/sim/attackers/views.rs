//! Votes and proposes in views that are over or have not begun, wants ever new ones, and boasts of huge ones.

use schemas::block::{Phase, ValidatorIndex, View};
use schemas::pbft::{Answer, Message, Status};

use super::{Attacker, Hand};

/// Somewhere else in time.
pub struct Views;

impl Views {
    fn view(hand: &mut Hand) -> View {
        match hand.dice.below(5) {
            0 => hand.view.saturating_sub(1),
            1 => hand.view + hand.n as u64,
            2 => u64::MAX - hand.dice.below(3),
            _ => hand.view + 1 + hand.dice.below(3),
        }
    }
}

impl Attacker for Views {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        if let Message::Vote(signed) = &message
            && hand.dice.percent(40)
        {
            let mut vote = signed.vote;
            vote.view = Self::view(hand);
            let message = hand.signed(vote);
            hand.send(to, message);
        }
        // who lost its votes would wait for ever
        let message = match message {
            Message::Answer(answer) => {
                let (executed, view) = (hand.certified + hand.dice.below(1_000), Self::view(hand));
                Message::Answer(if hand.dice.percent(70) { Answer { executed, view, ..answer } } else { answer })
            }
            other => other,
        };
        hand.send(to, message);
    }

    fn tick(&mut self, hand: &mut Hand) {
        if hand.dice.percent(85) {
            return;
        }
        let (view, height) = (Self::view(hand), hand.height());
        let transactions = vec![hand.transaction()];
        let proposal = hand.proposal(view, height, hand.now, transactions);
        let digest = proposal.batch.digest();
        hand.send(None, Message::PrePrepare(proposal));
        for phase in [Phase::Prepare, Phase::Commit] {
            let message = hand.signed(hand.vote(view, height, phase, digest));
            hand.send(None, message);
        }
        let genesis = hand.base();
        let change = hand.view_change(view, genesis, vec![]);
        hand.send(None, Message::ViewChange(change.clone()));
        if hand.dice.percent(30) {
            let message = hand.new_view(view, vec![change]);
            hand.send(None, Message::NewView(message));
        }
        let far = hand.certified + hand.dice.below(1_000);
        let (stuck, changing) = (hand.dice.percent(50), hand.dice.percent(50));
        let status = Status { view, executed: far, certified: far, proposed: far, stuck, changing, epoch: hand.epoch };
        hand.send(None, Message::Status(status));
    }
}
