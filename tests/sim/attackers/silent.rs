//! Says nothing, from the start or from some moment on.

use schemas::block::ValidatorIndex;
use schemas::pbft::Message;

use super::{Attacker, Hand};

/// Silent from a drawn time.
#[derive(Default)]
pub struct Silent {
    from: Option<u64>,
}

impl Attacker for Silent {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        let from = *self.from.get_or_insert_with(|| hand.now + hand.dice.below(4) * 1_000);
        if hand.now < from {
            hand.send(to, message);
        }
    }
}
