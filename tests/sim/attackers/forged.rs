//! Sends blocks with certificates that are forged, too short, count someone twice, or belong to something else.

use schemas::block::{Block, CommitCertificate, Header, Phase, ValidatorSignature};
use schemas::id::Digest;
use schemas::pbft::Message;

use super::{Attacker, Hand};

/// A forger.
pub struct Forged;

impl Attacker for Forged {
    fn tick(&mut self, hand: &mut Hand) {
        if hand.dice.percent(80) {
            return;
        }
        let block = block(hand);
        let others = hand.others();
        let to = others[hand.dice.index(others.len())];
        hand.send(Some(to), Message::Blocks(vec![block]));
    }
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
