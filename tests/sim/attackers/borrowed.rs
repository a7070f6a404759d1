//! Puts signatures that others made under votes and attestations that they did not make, or under its own name.

use schemas::block::{Phase, ValidatorIndex, ValidatorSignature};
use schemas::pbft::{Attest, Message, SignedVote};

use super::{Attacker, Hand};

/// The last signature heard of each validator.
#[derive(Default)]
pub struct Borrowed {
    heard: Vec<SignedVote>,
}

impl Attacker for Borrowed {
    fn hear(&mut self, _from: ValidatorIndex, message: &Message, hand: &mut Hand) {
        if let Message::Vote(signed) = message {
            if self.heard.len() >= 50 {
                self.heard.swap_remove(hand.dice.index(50));
            }
            self.heard.push(*signed);
        }
    }

    fn tick(&mut self, hand: &mut Hand) {
        if self.heard.is_empty() || hand.dice.percent(60) {
            return;
        }
        let SignedVote { mut vote, by } = self.heard[hand.dice.index(self.heard.len())];
        let mine = ValidatorSignature { validator: hand.me, signature: by.signature };
        let message = match hand.dice.below(6) {
            0 => Message::Vote(SignedVote { vote, by }),
            1 => Message::Vote(SignedVote { vote, by: mine }),
            2 => {
                vote.digest = hand.digest();
                Message::Vote(SignedVote { vote, by })
            }
            3 => {
                vote.phase = Phase::Commit;
                Message::Vote(SignedVote { vote, by })
            }
            4 => {
                vote.height += 1;
                Message::Vote(SignedVote { vote, by })
            }
            _ => Message::Attest(Attest { height: vote.height, header: vote.digest, by }),
        };
        hand.send(None, message);
    }
}
