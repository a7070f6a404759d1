//! Sends blocks, decisions, view changes and new views with certificates that are forged, too short, count someone twice, or
//! belong to something else.

use schemas::block::{Block, CommitCertificate, Header, Phase, ValidatorSignature};
use schemas::id::Digest;
use schemas::pbft::{Decision, Message};
use schemas::view::{Checkpoint, NewView, PreparedCertificate, SignedViewChange};

use super::{Attacker, Hand};

/// A forger.
pub struct Forged;

impl Attacker for Forged {
    fn tick(&mut self, hand: &mut Hand) {
        if hand.dice.percent(80) {
            return;
        }
        let others = hand.others();
        let to = others[hand.dice.index(others.len())];
        let message = match hand.dice.below(4) {
            0 => Message::Blocks(vec![block(hand)]),
            1 => {
                let Block { batch, transactions, certificate, .. } = block(hand);
                Message::Decided(Decision { batch, transactions, certificate })
            }
            2 => Message::ViewChange(view_change(hand)),
            _ => Message::NewView(new_view(hand)),
        };
        hand.send(Some(to), message);
    }
}

/// A view change that claims what never prepared, or a checkpoint that nobody attested.
fn view_change(hand: &mut Hand) -> SignedViewChange {
    let view = hand.view + 1;
    let height = hand.height();
    let digest = hand.digest();
    let mut checkpoint = Checkpoint::genesis(&hand.keys.chain);
    if hand.dice.percent(40) {
        let bytes = schemas::block::attestation_bytes(&hand.keys.chain, 0, height, &digest);
        checkpoint = Checkpoint { height, header: digest, attestations: signatures(hand, &bytes) };
    }
    let vote = hand.vote(hand.view, height, Phase::Prepare, digest);
    let mut prepares = signatures(hand, &vote.to_sign());
    prepares.pop();
    let pre_prepare = hand.sign(&hand.vote(hand.view, height, Phase::PrePrepare, digest).to_sign());
    let prepared = PreparedCertificate { view: hand.view, height, digest, pre_prepare, prepares };
    hand.view_change(view, checkpoint, vec![prepared])
}

/// A new view from view changes that nobody else made: its own several times, too few, with others' names.
fn new_view(hand: &mut Hand) -> NewView {
    let view = hand.view + 1 + hand.dice.below(2);
    let own = hand.view_change(view, Checkpoint::genesis(&hand.keys.chain), vec![]);
    let q = schemas::block::quorum(hand.n);
    let changes = match hand.dice.below(3) {
        0 => vec![own],
        1 => vec![own; q],
        _ => (0..q as u16)
            .map(|validator| SignedViewChange {
                by: ValidatorSignature { validator, ..own.by },
                change: own.change.clone(),
            })
            .collect(),
    };
    hand.new_view(view, changes)
}

/// The next block, or an agreed one with another body, under proofs that prove nothing.
fn block(hand: &mut Hand) -> Block {
    let height = hand.certified + 1;
    let transactions = vec![hand.transaction()];
    let proposal = hand.proposal(hand.view, height, hand.now, transactions);
    let previous = hand.chain.at(height - 1).map_or(Digest(hand.keys.chain.0), |done| done.header.hash());
    let mut header = Header {
        chain: hand.keys.chain,
        epoch: 0,
        height,
        batch: proposal.batch.digest(),
        previous,
        log_size: height,
        log_root: hand.digest(),
        time: proposal.batch.time,
    };
    if let Some(done) = hand.chain.at(height)
        && hand.dice.percent(30)
    {
        header = done.header.clone();
    }
    let vote = hand.vote(hand.view, height, Phase::Commit, proposal.batch.digest());
    let commits = signatures(hand, &vote.to_sign());
    let attestations = signatures(hand, &schemas::block::attestation_to_sign(&header));
    let certificate = CommitCertificate { view: hand.view, commits };
    Block { batch: proposal.batch, transactions: proposal.transactions, certificate, header, attestations }
}

/// Its own signature once, q times, with others' names, or too few.
fn signatures(hand: &mut Hand, message: &[u8]) -> Vec<ValidatorSignature> {
    let own = ValidatorSignature { validator: hand.me, signature: hand.sign(message) };
    let q = schemas::block::quorum(hand.n);
    match hand.dice.below(4) {
        0 => vec![own],
        1 => vec![own; q],
        2 => (0..q as u16).map(|validator| ValidatorSignature { validator, ..own }).collect(),
        // friends sign along: one too few at most
        _ => {
            let friends = hand.friends.to_vec();
            friends.into_iter().map(|validator| ValidatorSignature { validator, ..own }).collect()
        }
    }
}
