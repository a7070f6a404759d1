//! Forgets everything now and then, and votes again as if nothing had been said.

use super::{Attacker, Hand, Wish};

/// Forgetful.
pub struct Amnesia;

impl Attacker for Amnesia {
    fn tick(&mut self, hand: &mut Hand) {
        if hand.dice.per_mille(4) {
            hand.wants = Some(Wish::Forget);
        }
    }
}
