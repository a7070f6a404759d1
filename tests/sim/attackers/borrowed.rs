//! Puts signatures that others made under votes and attestations that they did not make, or under its own name.

use schemas::block::{Phase, ValidatorIndex, ValidatorSignature, Vote};
use schemas::evidence::{Conflict, Kind};
use schemas::pbft::{Attest, Message, SignedVote};

use super::{Attacker, Hand};
use crate::client;

/// The last signature heard of each validator.
#[derive(Default)]
pub struct Borrowed {
    heard: Vec<SignedVote>,
}

impl Borrowed {
    /// Two votes that were never of one place, as proof against their signer.
    fn frame(&self, hand: &mut Hand) -> Option<Message> {
        let one = self.heard[hand.dice.index(self.heard.len())];
        let other = self
            .heard
            .iter()
            .find(|other| other.by.validator == one.by.validator && other.vote.digest != one.vote.digest)?;
        let mut moved = *other;
        moved.vote = Vote { digest: other.vote.digest, ..one.vote };
        let conflict = Conflict::of(&one, &moved)?;
        // or said to be words of another kind
        let frame = match hand.dice.below(3) {
            0 => conflict,
            1 => Conflict { kind: Kind::Attestation, view: 0, ..conflict },
            _ => Conflict { kind: Kind::ViewChange, height: 0, ..conflict },
        };
        let request = client::evidence(hand.keys, frame);
        Some(Message::Request(request.bytes().clone()))
    }
}

impl Attacker for Borrowed {
    fn hear(&mut self, from: ValidatorIndex, message: &Message, hand: &mut Hand) {
        // only what the honest say: many of this kind would answer each other without end
        let is_passed_on = !hand.friends.contains(&from) && hand.dice.percent(30);
        if let Message::ViewChange(signed) = message
            && is_passed_on
        {
            let mut altered = signed.clone();
            match hand.dice.below(4) {
                0 => {}
                1 => altered.by.validator = hand.me,
                2 => drop(altered.change.prepared.pop()),
                _ => altered.change.view += 1,
            }
            hand.send(None, Message::ViewChange(altered));
            return;
        }
        if let Message::NewView(message) = message
            && is_passed_on
        {
            let mut altered = message.clone();
            altered.pre_prepares.pop();
            hand.send(None, Message::NewView(altered));
            return;
        }
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
        let message = match hand.dice.below(7) {
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
            5 => {
                let frame = self.frame(hand);
                frame.unwrap_or(Message::Shown(SignedVote { vote, by: mine }))
            }
            _ => Message::Attest(Attest { height: vote.height, header: vote.digest, by }),
        };
        hand.send(None, message);
    }
}
