//! Attests the true header to one half and another one to the other half: what it executed is not what it says.

use schemas::block::ValidatorIndex;
use schemas::pbft::Message;

use super::{Attacker, Hand};

/// Two headers for one height.
pub struct Attesting;

impl Attacker for Attesting {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        let Message::Attest(attest) = &message else {
            hand.send(to, message);
            return;
        };
        for other in hand.others().into_iter().filter(|&other| to.is_none_or(|to| to == other)) {
            let is_lied_to = (u64::from(other) + attest.height).is_multiple_of(2);
            let said = if is_lied_to {
                let header = hand.digest();
                hand.attest(attest.height, header)
            } else {
                message.clone()
            };
            hand.send(Some(other), said);
        }
    }
}
