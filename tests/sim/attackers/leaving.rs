//! Leaves a view with two stories: one half hears what prepared here, the other half that nothing did.

use schemas::block::ValidatorIndex;
use schemas::pbft::Message;
use schemas::view::Checkpoint;

use super::{Attacker, Hand};

/// Two view changes for one view.
pub struct Leaving;

impl Attacker for Leaving {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        let Message::ViewChange(signed) = &message else {
            hand.send(to, message);
            return;
        };
        let (view, checkpoint) = (signed.change.view, signed.change.checkpoint.clone());
        let genesis = Checkpoint::genesis(&hand.keys.chain);
        let known = if hand.dice.percent(50) { genesis } else { checkpoint };
        let forgetful = hand.view_change(view, known, vec![]);
        for other in hand.others().into_iter().filter(|&other| to.is_none_or(|to| to == other)) {
            let is_lied_to = (u64::from(other) + view).is_multiple_of(2);
            let said = if is_lied_to { Message::ViewChange(forgetful.clone()) } else { message.clone() };
            hand.send(Some(other), said);
        }
    }
}
