//! Frames of other validators become inputs of the protocol: decoded, bounded, signatures verified, transactions admitted.
//! Runs beside the loop, in the order in which a peer sent. What does not verify is dropped with a word in the log.

use std::sync::atomic::Ordering;

use ledger_contract::admit;
use ledger_core::{Decided, Input, Proposal, Request, TransferInput, VerifiedNewView, VerifiedViewChange};
use ledger_proof::{verify_commits, verify_finalised_block};
use schemas::block::{self, Block, Epoch, Phase, TransactionBytes, ValidatorIndex, Vote};
use schemas::id::Height;
use schemas::limits;
use schemas::pbft::{Attest, Decision, Message, PrePrepare, SignedVote, Status};
use schemas::transaction::{Transaction, signed_hash};
use schemas::transfer::Offer;
use schemas::view::{NewView, SignedViewChange};

use crate::copier::Copier;
use crate::node::Node;
use crate::store::StoreError;

/// Why a frame is dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Dropped {
    /// It is about something that is final here.
    #[error("old news")]
    Old,
    /// A signature, a transaction or a block does not verify, or a bound is exceeded.
    #[error("found a {0} that does not verify")]
    Invalid(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a frame asks for.
pub(crate) enum Heard {
    /// An input for the loop.
    Input(Input),
    /// For the peer, at once.
    Answer(Message),
    /// It was taken, or there is nothing to say.
    Nothing,
}

/// Verifies one message of a peer.
pub(crate) fn verify(node: &Node, from: ValidatorIndex, message: Message) -> Result<Heard, Dropped> {
    let certified = node.heights.borrow().certified;
    // without a state nothing can be judged, and nothing is asked but pieces of it
    if let Some(transfer) = &node.transfer {
        return copied(transfer, from, message).map(|()| Heard::Nothing);
    }
    // whoever left may ask for the last blocks of his epoch, and has no say in this one
    if usize::from(from) >= node.config.validators && !matches!(message, Message::Fetch(_)) {
        return Err(Dropped::Old);
    }
    match message {
        Message::Request(bytes) => request(node, bytes).map(|request| Input::Request(Some(from), request)),
        Message::PrePrepare(pre_prepare) => proposal(node, certified, pre_prepare).map(Input::Proposed),
        Message::Vote(vote) => self::vote(node, certified, from, vote).map(Input::Voted),
        Message::Shown(signed) => shown(node, certified, signed).map(Input::Shown),
        Message::Attest(attest) => attestation(node, certified, from, attest).map(Input::Attested),
        Message::Status(status) => status_of(status).map(|status| {
            node.behind.is_at(certified, from, status.certified);
            Input::Told(from, status)
        }),
        Message::Ask(nonce, waits_for) => Ok(Input::Asked(from, nonce, waits_for)),
        Message::Answer(answer) => Ok(Input::Answered(from, answer)),
        Message::HandOver(hand_over) => Ok(Input::HandsOver(from, hand_over)),
        Message::Fetch(height) => return fetch(node, certified, height),
        Message::BlocksFrom(height) => {
            node.behind.holds_from(certified, from, height);
            return Ok(Heard::Nothing);
        }
        Message::AskOffer(nonce) => return offer(node, certified, nonce).map(Heard::Answer),
        Message::AskPiece(asked) => {
            node.snapshots.ask(from, asked);
            return Ok(Heard::Nothing);
        }
        // an answer that comes after the end
        Message::Offered(_) | Message::Piece(_) => return Err(Dropped::Old),
        Message::Blocks(blocks) => finals(node, certified, blocks).map(Input::Final),
        Message::ViewChange(signed) => view_change(node, from, signed).map(Input::ViewChanged),
        Message::NewView(message) => new_view(node, message).map(Input::Renewed),
        Message::Decided(decision) => decided(node, certified, decision).map(Input::Decided),
    }
    .map(Heard::Input)
}

/// An admitted transaction that has no result yet.
pub(crate) fn request(node: &Node, bytes: TransactionBytes) -> Result<Request, Dropped> {
    let transaction = admit(bytes.as_ref(), &node.chain).map_err(|_| Dropped::Invalid("transaction"))?;
    let request = Request::of(&transaction, bytes);
    if is_known(node, &request)? {
        return Err(Dropped::Old);
    }
    prepare(node, &transaction, &request);
    Ok(request)
}

/// Verifies its signatures before execution asks for them, and remembers it for the proposal that holds it.
pub(crate) fn prepare(node: &Node, transaction: &Transaction, request: &Request) {
    node.verified.prepare(&node.store, transaction);
    node.admitted.keep(request);
}

/// A proposed transaction: mostly one that came before.
fn proposed(node: &Node, bytes: TransactionBytes) -> Result<Request, Dropped> {
    if let Some(request) = node.admitted.find(&signed_hash(bytes.as_ref())) {
        return Ok(request);
    }
    let transaction = admit(bytes.as_ref(), &node.chain).map_err(|_| Dropped::Invalid("proposed transaction"))?;
    let request = Request::of(&transaction, bytes);
    prepare(node, &transaction, &request);
    Ok(request)
}

/// Whoever is in another epoch is early or late: no reason to complain.
const fn is_of_another_epoch(node: &Node, epoch: Epoch) -> bool {
    epoch != node.config.epoch
}

/// Accepted before, or executed before with exactly these bytes.
pub(crate) fn is_known(node: &Node, request: &Request) -> Result<bool, StoreError> {
    Ok(node.store.verdict(&request.id(), &request.signed())?.is_some())
}

fn proposal(node: &Node, certified: Height, pre_prepare: PrePrepare) -> Result<Proposal, Dropped> {
    let PrePrepare { view, batch, transactions, signature } = pre_prepare;
    if batch.height <= certified || is_of_another_epoch(node, batch.epoch) {
        return Err(Dropped::Old);
    }
    let too_many =
        transactions.len() > limits::BATCH_TRANSACTIONS_MAX || block::bytes_of(&transactions) > limits::BATCH_BYTES_MAX;
    let vote = Vote {
        chain: node.chain,
        epoch: batch.epoch,
        view,
        height: batch.height,
        phase: Phase::PrePrepare,
        digest: batch.digest(),
    };
    let primary = block::primary_of(view, node.config.validators);
    if too_many || batch.chain != node.chain || !node.is_signed(primary, &vote.to_sign(), &signature) {
        return Err(Dropped::Invalid("pre-prepare"));
    }
    let requests = transactions.into_iter().map(|bytes| proposed(node, bytes)).collect::<Result<Vec<_>, _>>()?;
    Proposal::check(view, batch, requests, signature).map_err(|_| Dropped::Invalid("proposal"))
}

fn vote(node: &Node, certified: Height, from: ValidatorIndex, signed: SignedVote) -> Result<SignedVote, Dropped> {
    let SignedVote { vote, by } = signed;
    if vote.height <= certified || is_of_another_epoch(node, vote.epoch) || node.complete.borrow().covers(&vote) {
        return Err(Dropped::Old);
    }
    let is_own = by.validator == from && vote.chain == node.chain;
    if !is_own || !node.is_signed(from, &vote.to_sign(), &by.signature) {
        return Err(Dropped::Invalid("vote"));
    }
    Ok(signed)
}

/// Anyone may show what another one signed, also of a height that is final here.
fn shown(node: &Node, certified: Height, signed: SignedVote) -> Result<SignedVote, Dropped> {
    let SignedVote { vote, by } = signed;
    if vote.height.saturating_add(limits::WITNESS_HEIGHTS) <= certified || is_of_another_epoch(node, vote.epoch) {
        return Err(Dropped::Old);
    }
    if vote.chain != node.chain || !node.is_signed(by.validator, &vote.to_sign(), &by.signature) {
        return Err(Dropped::Invalid("vote of another validator"));
    }
    Ok(signed)
}

/// Anyone may show what another one attested, also of a height that is final here.
fn attestation(node: &Node, certified: Height, from: ValidatorIndex, attest: Attest) -> Result<Attest, Dropped> {
    let Attest { height, by, .. } = attest;
    let until = if by.validator == from { height } else { height.saturating_add(limits::WITNESS_HEIGHTS) };
    // it names no epoch: what lies before or beyond this one is signed by others
    let is_before = height <= node.config.base.height;
    if until <= certified || is_before || height > node.seal.load(Ordering::Relaxed) {
        return Err(Dropped::Old);
    }
    let bytes = block::attestation_bytes(&node.chain, node.config.epoch, height, &attest.header);
    if !node.is_signed(by.validator, &bytes, &by.signature) {
        // the epoch may end a window behind what is executed here: further on nobody can say who signs
        let known = node.heights.borrow().executed.saturating_add(limits::WATERMARK_WINDOW);
        return Err(if height > known { Dropped::Old } else { Dropped::Invalid("attestation") });
    }
    Ok(attest)
}

fn status_of(status: Status) -> Result<Status, Dropped> {
    if status.certified > status.executed || status.executed > status.proposed {
        return Err(Dropped::Invalid("status"));
    }
    Ok(status)
}

fn fetch(node: &Node, certified: Height, from: Height) -> Result<Heard, Dropped> {
    let last = certified.min(from.saturating_add(limits::CATCH_UP_BLOCKS_MAX as u64 - 1));
    // an answer is one frame
    match node.store.blocks(from.max(1)..=last, limits::PEER_FRAME_BYTES_MAX / 2) {
        Ok(blocks) if blocks.is_empty() => Ok(Heard::Nothing),
        Ok(blocks) => Ok(Heard::Answer(Message::Blocks(blocks))),
        Err(StoreError::NotHeld { from }) => Ok(Heard::Answer(Message::BlocksFrom(from))),
        Err(e) => Err(e.into()),
    }
}

/// What this validator can prove, for one who copies the state.
fn offer(node: &Node, certified: Height, nonce: u64) -> Result<Message, Dropped> {
    let checkpoint = node.store.checkpoint(certified, &node.chain)?;
    Ok(Message::Offered(Offer { nonce, epoch: node.config.epoch, checkpoint }))
}

/// While the state is copied everything else is passed over. A full queue loses it: it is asked for again.
fn copied(transfer: &Copier, from: ValidatorIndex, message: Message) -> Result<(), Dropped> {
    let input = match message {
        Message::Offered(offer) => TransferInput::Offered(from, offer),
        Message::Piece(told) => TransferInput::Told(from, told),
        _ => return Err(Dropped::Old),
    };
    if transfer.take(from, input) { Ok(()) } else { Err(Dropped::Old) }
}

fn finals(node: &Node, certified: Height, blocks: Vec<Block>) -> Result<Vec<Block>, Dropped> {
    if blocks.len() > limits::CATCH_UP_BLOCKS_MAX {
        return Err(Dropped::Invalid("list of blocks"));
    }
    let is_news = |block: &Block| block.header.height > certified && !is_of_another_epoch(node, block.header.epoch);
    let news: Vec<Block> = blocks.into_iter().filter(is_news).collect();
    if news.is_empty() {
        return Err(Dropped::Old);
    }
    let are_valid = news.iter().all(|block| verify_finalised_block(&node.validators, block).is_ok());
    are_valid.then_some(news).ok_or(Dropped::Invalid("block"))
}

/// Only its sender says it: whoever resends someone else's gains nothing.
fn view_change(node: &Node, from: ValidatorIndex, signed: SignedViewChange) -> Result<VerifiedViewChange, Dropped> {
    if !node.is_news(signed.change.view) || is_of_another_epoch(node, signed.change.epoch) {
        return Err(Dropped::Old);
    }
    if signed.by.validator != from {
        return Err(Dropped::Invalid("view change"));
    }
    VerifiedViewChange::check(&node.config, signed, node).map_err(|_| Dropped::Invalid("view change"))
}

/// Anyone may pass it on.
fn new_view(node: &Node, message: NewView) -> Result<VerifiedNewView, Dropped> {
    if !node.is_news(message.view) || is_of_another_epoch(node, message.epoch) {
        return Err(Dropped::Old);
    }
    VerifiedNewView::check(&node.config, message, node).map_err(|_| Dropped::Invalid("new view"))
}

/// Its certificate holds an honest validator's admission of every transaction.
fn decided(node: &Node, certified: Height, decision: Decision) -> Result<Decided, Dropped> {
    let Decision { batch, transactions, certificate } = decision;
    if batch.height <= certified || is_of_another_epoch(node, batch.epoch) {
        return Err(Dropped::Old);
    }
    let invalid = || Dropped::Invalid("decision");
    verify_commits(&node.validators, &batch, &certificate).map_err(|_| invalid())?;
    let requests: Result<Vec<_>, _> = transactions.into_iter().map(Request::read).collect();
    let requests = requests.map_err(|_| invalid())?;
    Decided::check(batch, requests, certificate).map_err(|_| invalid())
}
