//! Sends blocks, decisions, view changes and new views with certificates that are forged, too short, count someone twice, or
//! belong to something else.

use std::collections::BTreeMap;

use schemas::block::{Block, CommitCertificate, Header, Phase, ValidatorIndex, ValidatorSignature, Vote};
use schemas::id::Digest;
use schemas::pbft::{Decision, Message, SignedVote};
use schemas::view::{Checkpoint, NewView, PreparedCertificate, SignedViewChange};

use super::{Attacker, Hand};

/// Proposals whose prepares are kept.
const HEARD_MAX: usize = 20;

/// A forger, with the prepares that others sent for its own proposals.
#[derive(Default)]
pub struct Forged {
    heard: BTreeMap<Vote, Vec<ValidatorSignature>>,
}

impl Attacker for Forged {
    fn hear(&mut self, _from: ValidatorIndex, message: &Message, hand: &mut Hand) {
        if let Message::Vote(SignedVote { vote, by }) = message
            && vote.phase == Phase::Prepare
            && schemas::block::primary_of(vote.view, hand.n) == hand.me
        {
            let prepares = self.heard.entry(*vote).or_default();
            if prepares.iter().all(|before| before.validator != by.validator) {
                prepares.push(*by);
            }
            if self.heard.len() > HEARD_MAX {
                self.heard.pop_first();
            }
        }
    }

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
            2 => Message::ViewChange(self.view_change(hand)),
            _ => Message::NewView(new_view(hand)),
        };
        hand.send(Some(to), message);
    }
}

impl Forged {
    /// A view change that claims what never prepared, or a checkpoint that nobody attested.
    fn view_change(&self, hand: &mut Hand) -> SignedViewChange {
        let view = hand.view + 1;
        let mut checkpoint = hand.base();
        if hand.dice.percent(40) {
            let (height, header) = (hand.height(), hand.digest());
            let bytes = schemas::block::attestation_bytes(&hand.keys.chain, hand.epoch, height, &header);
            checkpoint = Checkpoint { height, header, attestations: signatures(hand, &bytes) };
            return hand.view_change(view, checkpoint, vec![]);
        }
        let proposals: Vec<_> = self.heard.iter().filter(|(vote, _)| vote.view < view).collect();
        let (height, digest) = (hand.height(), hand.digest());
        let (vote, mut prepares) = match proposals.len() {
            0 => (hand.vote(u64::from(hand.me), height, Phase::Prepare, digest), vec![]),
            some => {
                let (vote, prepares) = proposals[hand.dice.index(some)];
                (*vote, prepares.clone())
            }
        };
        let wanted = schemas::block::quorum(hand.n) - 1;
        prepares.sort_unstable();
        prepares.truncate(wanted - 1);
        let own = ValidatorSignature { validator: hand.me, signature: hand.sign(&vote.to_sign()) };
        match hand.dice.below(4) {
            // one too few
            0 => {}
            // the primary's own beside its pre-prepare
            1 => {
                prepares.push(own);
                prepares.sort_unstable();
            }
            // somebody again
            2 => {
                let again = prepares.first().copied().unwrap_or(own);
                prepares.resize(wanted, again);
                prepares.sort_unstable();
            }
            _ => prepares = signatures(hand, &vote.to_sign()),
        }
        let pre_prepare = hand.sign(&Vote { phase: Phase::PrePrepare, ..vote }.to_sign());
        let prepared =
            PreparedCertificate { view: vote.view, height: vote.height, digest: vote.digest, pre_prepare, prepares };
        hand.view_change(view, checkpoint, vec![prepared])
    }
}

/// A new view from view changes that nobody else made: its own several times, too few, with others' names.
fn new_view(hand: &mut Hand) -> NewView {
    let view = hand.view + 1 + hand.dice.below(2);
    let own = hand.view_change(view, hand.base(), vec![]);
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
        epoch: hand.epoch,
        height,
        batch: proposal.batch.digest(),
        previous,
        log_size: height,
        log_root: hand.digest(),
        time: proposal.batch.time,
        state_root: hand.digest(),
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
