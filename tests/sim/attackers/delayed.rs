//! Says everything, but so late that it is just before the others lose patience.

use schemas::block::ValidatorIndex;
use schemas::pbft::Message;

use super::{Attacker, Hand};

/// Patience of the others; a little less is waited.
const PATIENCE_MS: [u64; 2] = [schemas::limits::STATUS_STUCK_MS, schemas::limits::VIEW_TIMEOUT_MS];

/// Late.
pub struct Delayed;

impl Attacker for Delayed {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        // one and the same for a validator
        let patience = PATIENCE_MS[usize::from(hand.me) % PATIENCE_MS.len()];
        let delay = patience - 1 - hand.dice.below(patience / 10);
        hand.later(to, delay, message);
    }
}
