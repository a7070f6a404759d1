//! Sends far more than anyone needs: votes and attestations all over the window and outside, transactions, requests for
//! blocks, statuses.

use schemas::block::Phase;
use schemas::pbft::{Message, Status};

use super::{Attacker, Hand};

/// Messages of a burst.
const BURST: u64 = 12;
/// Between two bursts at least: its own turns are as many as what it hears.
const SPACING_MS: u64 = 10;

/// A flood.
#[derive(Default)]
pub struct Flooding {
    next: u64,
}

impl Attacker for Flooding {
    fn tick(&mut self, hand: &mut Hand) {
        if hand.now < self.next {
            return;
        }
        self.next = hand.now + SPACING_MS;
        let others = hand.others();
        let to = Some(others[hand.dice.index(others.len())]);
        for _ in 0..BURST {
            let height = hand.certified.saturating_sub(2) + hand.dice.below(300);
            let digest = hand.digest();
            let phase = if hand.dice.percent(50) { Phase::Prepare } else { Phase::Commit };
            let message = match hand.dice.below(7) {
                0 => hand.attest(height, digest),
                1 => Message::Request(hand.transaction()),
                2 => Message::Fetch(height),
                3 => {
                    let stuck = hand.dice.percent(80);
                    let (view, changing) = (hand.view, hand.dice.percent(20));
                    let status = Status {
                        view,
                        executed: height,
                        certified: height,
                        proposed: height,
                        stuck,
                        changing,
                        epoch: hand.epoch,
                    };
                    Message::Status(status)
                }
                4 => {
                    let view = hand.view + hand.dice.below(50);
                    let genesis = hand.base();
                    Message::ViewChange(hand.view_change(view, genesis, vec![]))
                }
                _ => hand.signed(hand.vote(hand.view, height, phase, digest)),
            };
            hand.send(to, message);
        }
    }
}
