//! Lies to whoever copies the state: about the height, the manifest, the rows, the log; or has nothing, or says nothing.

use schemas::block::ValidatorIndex;
use schemas::pbft::Message;
use schemas::transfer::{Content, Manifest, Offer, Told};
use schemas::tree::Subtree;
use schemas::view::Checkpoint;

use super::{Attacker, Hand};

/// Whoever asks for a state gets another one.
pub struct Lying;

impl Lying {
    fn offer(offer: Offer, hand: &mut Hand) -> Option<Offer> {
        let Checkpoint { height, header, attestations } = offer.checkpoint.clone();
        let moved = |height| Offer {
            checkpoint: Checkpoint { height, header, attestations: attestations.clone() },
            ..offer.clone()
        };
        match hand.dice.below(6) {
            0 => None,
            1 => Some(moved(height + 1 + hand.dice.below(100))),
            2 => Some(Offer { checkpoint: hand.base(), ..offer }),
            3 => Some(Offer { epoch: offer.epoch + 1, ..offer }),
            4 => {
                let mut few = attestations.clone();
                few.truncate(1);
                Some(Offer { checkpoint: Checkpoint { height, header, attestations: few }, ..offer })
            }
            _ => Some(offer),
        }
    }

    fn manifest(mut manifest: Manifest, hand: &mut Hand) -> Manifest {
        match hand.dice.below(6) {
            0 => manifest.header.state_root = hand.digest(),
            1 => drop(manifest.attestations.pop()),
            2 => {
                let at = hand.dice.index(manifest.state.len());
                manifest.state[at] = Subtree::Empty;
            }
            3 => drop(manifest.log.pieces.pop()),
            4 => manifest.header.height += 1,
            _ => {}
        }
        manifest
    }

    fn content(content: Content, hand: &mut Hand) -> Option<Content> {
        let lie = hand.dice.below(5);
        Some(match content {
            _ if lie == 0 => return None,
            _ if lie == 1 => Content::Gone,
            Content::Manifest(manifest) => Content::Manifest(Box::new(Self::manifest(*manifest, hand))),
            Content::State(mut rows) => {
                match (lie, rows.is_empty()) {
                    (2, false) => drop(rows.swap_remove(hand.dice.index(rows.len()))),
                    (3, false) => {
                        let at = hand.dice.index(rows.len());
                        rows[at].value.0.push(0);
                    }
                    (4, false) => rows.push(rows[0].clone()),
                    _ => {}
                }
                Content::State(rows)
            }
            Content::Log(mut entries) => {
                if lie != 2 {
                    entries.pop();
                }
                Content::Log(entries)
            }
            Content::Gone => Content::Gone,
        })
    }
}

impl Attacker for Lying {
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        let message = match message {
            Message::Offered(offer) => Self::offer(offer, hand).map(Message::Offered),
            Message::Piece(Told { asked, content }) => {
                Self::content(content, hand).map(|content| Message::Piece(Told { asked, content }))
            }
            Message::Blocks(_) if hand.dice.percent(30) => Some(Message::BlocksFrom(hand.certified + 1)),
            other => Some(other),
        };
        if let Some(message) = message {
            hand.send(to, message);
        }
    }
}
