//! Behaves, and says again what it or others said long ago, to whoever.

use schemas::block::ValidatorIndex;
use schemas::pbft::Message;

use super::{Attacker, Hand};

/// Messages kept.
const KEPT_MAX: usize = 300;

/// What was said before.
#[derive(Default)]
pub struct Replaying {
    kept: Vec<Message>,
}

impl Replaying {
    fn keep(&mut self, message: &Message, hand: &mut Hand) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(message.clone());
        } else {
            let at = hand.dice.index(KEPT_MAX);
            self.kept[at] = message.clone();
        }
    }
}

impl Attacker for Replaying {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        self.keep(&message, hand);
        hand.send(to, message);
    }

    fn hear(&mut self, _from: ValidatorIndex, message: &Message, hand: &mut Hand) {
        if hand.dice.percent(20) {
            self.keep(message, hand);
        }
    }

    fn tick(&mut self, hand: &mut Hand) {
        if self.kept.is_empty() || hand.dice.percent(70) {
            return;
        }
        for _ in 0..hand.dice.below(4) {
            let old = self.kept[hand.dice.index(self.kept.len())].clone();
            let others = hand.others();
            let to = others[hand.dice.index(others.len())];
            hand.send(Some(to), old);
        }
    }
}
