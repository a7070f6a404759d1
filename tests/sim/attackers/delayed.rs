//! Says everything, but so late that it is just before the others lose patience.

use schemas::block::ValidatorIndex;
use schemas::pbft::Message;

use super::{Attacker, Hand};

/// Patience of the others; a little less is waited.
const PATIENCE_MS: u64 = schemas::limits::STATUS_STUCK_MS;

/// Late.
pub struct Delayed;

impl Attacker for Delayed {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        let delay = PATIENCE_MS - 1 - hand.dice.below(PATIENCE_MS / 10);
        hand.later(to, delay, message);
    }
}
