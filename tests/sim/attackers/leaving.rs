//! Leaves views with two stories: one half hears what prepared and what is final here, the other half that nothing was. It does so
//! when its replica leaves a view, and at times without a reason.

use std::collections::BTreeMap;

use schemas::block::{ValidatorIndex, ValidatorSignature, View, attestation_bytes, quorum};
use schemas::id::{Digest, Height};
use schemas::pbft::Message;
use schemas::view::{Checkpoint, SignedViewChange};

use super::{Attacker, Hand};

/// Two view changes for one view.
#[derive(Default)]
pub struct Leaving {
    /// Attestations heard of one height and header.
    heard: BTreeMap<ValidatorIndex, ValidatorSignature>,
    of: Option<(Height, Digest)>,
    /// The last checkpoint that they proved.
    proven: Option<Checkpoint>,
}

impl Leaving {
    fn tell(hand: &mut Hand, to: Option<ValidatorIndex>, stories: &[SignedViewChange; 2]) {
        let view = stories[0].change.view;
        for other in hand.others().into_iter().filter(|&other| to.is_none_or(|to| to == other)) {
            let which = usize::from((u64::from(other) + view).is_multiple_of(2));
            hand.send(Some(other), Message::ViewChange(stories[which].clone()));
        }
    }

    fn forgetful(hand: &Hand, view: View) -> SignedViewChange {
        hand.view_change(view, hand.base(), vec![])
    }
}

impl Attacker for Leaving {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        let Message::ViewChange(signed) = &message else {
            hand.send(to, message);
            return;
        };
        let other = Self::forgetful(hand, signed.change.view);
        Self::tell(hand, to, &[signed.clone(), other]);
    }

    fn hear(&mut self, _from: ValidatorIndex, message: &Message, hand: &mut Hand) {
        let Message::Attest(attest) = message else { return };
        let bytes = attestation_bytes(&hand.keys.chain, hand.epoch, attest.height, &attest.header);
        if !hand.keys.is_signed(hand.epoch, attest.by.validator, &bytes, &attest.by.signature) {
            return;
        }
        let of = Some((attest.height, attest.header));
        if self.of != of {
            (self.of, self.heard) = (of, BTreeMap::new());
        }
        self.heard.insert(attest.by.validator, attest.by);
        if self.heard.len() >= quorum(hand.n) {
            let attestations = self.heard.values().copied().collect();
            self.proven = Some(Checkpoint { height: attest.height, header: attest.header, attestations });
        }
    }

    fn tick(&mut self, hand: &mut Hand) {
        if hand.dice.percent(98) {
            return;
        }
        let Some(proven) = self.proven.clone().filter(|proven| proven.height > hand.base().height) else { return };
        let view = hand.view + 1;
        let stories = [hand.view_change(view, proven, vec![]), Self::forgetful(hand, view)];
        Self::tell(hand, None, &stories);
    }
}
