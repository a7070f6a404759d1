//! Censors by copies: whatever it is to propose as primary it proposes under signatures that nobody made. Everyone may vote for
//! that, execution refuses it, and who looks at ids alone believes that the client was served. It hands such copies on, too.

use schemas::pbft::{Message, PrePrepare};

use super::{Attacker, Hand};

/// A forger of copies.
pub struct Copying;

impl Attacker for Copying {
    fn say(&mut self, to: Option<schemas::block::ValidatorIndex>, message: Message, hand: &mut Hand) {
        match message {
            Message::PrePrepare(PrePrepare { view, batch, transactions, .. }) if !transactions.is_empty() => {
                let copies = transactions.iter().map(|bytes| hand.copy(bytes)).collect();
                let proposal = hand.proposal(view, batch.height, batch.time, copies);
                hand.send(to, Message::PrePrepare(proposal));
            }
            Message::Request(bytes) => {
                let copy = hand.copy(&bytes);
                hand.send(to, Message::Request(copy));
            }
            other => hand.send(to, other),
        }
    }

    fn tick(&mut self, hand: &mut Hand) {
        if hand.known.is_empty() || !hand.dice.percent(10) {
            return;
        }
        let newest = hand.known.len() - 1 - hand.dice.index(hand.known.len().min(8));
        let copy = hand.copy(&hand.known[newest].clone());
        hand.send(None, Message::Request(copy));
    }
}
