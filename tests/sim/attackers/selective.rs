//! Talks to a part of the others only, another one every while: often just enough of them, or one too few.

use schemas::block::ValidatorIndex;
use schemas::pbft::Message;

use super::{Attacker, Hand};

/// Who is talked to, until when.
#[derive(Default)]
pub struct Selective {
    circle: Vec<ValidatorIndex>,
    until: u64,
}

impl Attacker for Selective {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        if hand.now >= self.until {
            self.until = hand.now + hand.dice.between(100, 3_000);
            let wanted = schemas::block::quorum(hand.n) - 1 - hand.dice.index(2);
            self.circle = hand.others();
            while self.circle.len() > wanted {
                self.circle.swap_remove(hand.dice.index(self.circle.len()));
            }
        }
        for &other in self.circle.iter().filter(|&&other| to.is_none_or(|to| to == other)) {
            hand.send(Some(other), message.clone());
        }
    }
}
