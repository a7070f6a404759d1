//! Frames become inputs as in `ledger/node/src/verify.rs`: bounded, signatures verified, transactions admitted; what is old
//! or does not verify is dropped. The core never sees anything else.

use ledger_contract::admit;
use ledger_core::{Complete, Decided, Input, Proposal, Request, TransferInput, VerifiedNewView, VerifiedViewChange};
use ledger_proof::{verify_commits, verify_finalised_block};
use schemas::block::{self, Block, Epoch, Phase, TransactionBytes, ValidatorIndex, View, Vote};
use schemas::id::Height;
use schemas::limits;
use schemas::pbft::{Attest, Decision, Message, PrePrepare, SignedVote, Status};
use schemas::transfer::Asked;
use schemas::view::SignedViewChange;

use crate::frame::Frame;
use crate::keys::Keys;

/// A frame whose signatures are valid.
pub enum Checked {
    /// A transaction: new or known, that depends on the receiver.
    Request(Request),
    /// About one height; old once that is final.
    At(Height, Input),
    /// About a view of an epoch that has not begun; else old.
    View(Epoch, View, Input),
    /// Blocks, each with what its proofs are worth.
    Blocks(Vec<(Block, bool)>),
    /// Asks for blocks.
    Fetch(Height),
    /// Asks how far one is, to copy its state.
    AskOffer(u64),
    /// Asks for a piece of the state.
    AskPiece(Asked),
    /// For one who copies the state.
    Copied(TransferInput),
    /// No blocks below are to be had.
    BlocksFrom(Height),
    /// Whatever else.
    Any(Input),
}

/// Verifies a frame, once for all receivers.
pub fn check<'f>(keys: &Keys, frame: &'f Frame) -> Option<&'f Checked> {
    frame.checked.get_or_init(|| checked(keys, frame.from, &frame.message)).as_ref()
}

/// What readers of a validator know of it: as of its last synced turn.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Certified height.
    pub certified: Height,
    /// Epoch.
    pub epoch: Epoch,
    /// View.
    pub view: View,
    /// It waits for that view to begin.
    pub changing: bool,
    /// What it needs no more votes for.
    pub complete: Complete,
}

/// What a validator makes of it. `None`: dropped.
pub fn input(from: ValidatorIndex, checked: &Checked, published: &Published) -> Option<Input> {
    let Published { certified, epoch, view, changing, .. } = *published;
    match checked {
        Checked::At(_, Input::Voted(signed)) if published.complete.covers(&signed.vote) => None,
        Checked::Request(request) => Some(Input::Request(Some(from), request.clone())),
        Checked::At(height, input) => (*height > certified).then(|| input.clone()),
        Checked::View(in_epoch, of, input) => {
            let is_news = *in_epoch == epoch && (*of > view || (*of == view && changing));
            is_news.then(|| input.clone())
        }
        Checked::Any(input) => Some(input.clone()),
        Checked::Fetch(_)
        | Checked::AskOffer(_)
        | Checked::AskPiece(_)
        | Checked::Copied(_)
        | Checked::BlocksFrom(_) => None,
        Checked::Blocks(blocks) => {
            let is_news = |block: &Block| block.header.height > certified && block.header.epoch == epoch;
            let news: Vec<_> = blocks.iter().filter(|(block, _)| is_news(block)).collect();
            let are_valid = !news.is_empty() && news.iter().all(|(_, valid)| *valid);
            are_valid.then(|| Input::Final(news.into_iter().map(|(block, _)| block.clone()).collect()))
        }
    }
}

fn checked(keys: &Keys, from: ValidatorIndex, message: &Message) -> Option<Checked> {
    match message.clone() {
        Message::Request(bytes) => request(keys, bytes).map(Checked::Request),
        Message::PrePrepare(pre_prepare) => {
            let height = pre_prepare.batch.height;
            proposal(keys, pre_prepare).map(|proposal| Checked::At(height, Input::Proposed(proposal)))
        }
        Message::Vote(signed) => {
            vote(keys, from, &signed).then_some(Checked::At(signed.vote.height, Input::Voted(signed)))
        }
        Message::Shown(signed) => {
            let is_valid = signed.vote.chain == keys.chain && is_vote(keys, &signed);
            let height = signed.vote.height.saturating_add(limits::WITNESS_HEIGHTS);
            is_valid.then_some(Checked::At(height, Input::Shown(signed)))
        }
        Message::Attest(attest) => {
            // anyone may show what another one attested, also of a height that is final here
            let shown = if attest.by.validator == from { 0 } else { limits::WITNESS_HEIGHTS };
            let until = attest.height.saturating_add(shown);
            attestation(keys, &attest).then_some(Checked::At(until, Input::Attested(attest)))
        }
        Message::Status(status) => is_status(&status).then_some(Checked::Any(Input::Told(from, status))),
        Message::Ask(nonce, waits_for) => Some(Checked::Any(Input::Asked(from, nonce, waits_for))),
        Message::Answer(answer) => Some(Checked::Any(Input::Answered(from, answer))),
        Message::HandOver(hand_over) => Some(Checked::Any(Input::HandsOver(from, hand_over))),
        Message::Fetch(height) => Some(Checked::Fetch(height)),
        Message::AskOffer(nonce) => Some(Checked::AskOffer(nonce)),
        Message::AskPiece(asked) => Some(Checked::AskPiece(asked)),
        Message::Offered(offer) => Some(Checked::Copied(TransferInput::Offered(from, offer))),
        Message::Piece(told) => Some(Checked::Copied(TransferInput::Told(from, told))),
        Message::BlocksFrom(height) => Some(Checked::BlocksFrom(height)),
        Message::Blocks(blocks) => finals(keys, blocks).map(Checked::Blocks),
        Message::ViewChange(signed) => {
            let (epoch, view) = (signed.change.epoch, signed.change.view);
            view_change(keys, from, signed).map(|verified| Checked::View(epoch, view, Input::ViewChanged(verified)))
        }
        Message::NewView(message) => {
            let (epoch, view, config) = (message.epoch, message.view, keys.config(message.epoch)?);
            let verified = VerifiedNewView::check(&config, message, &verify_with(keys, epoch)).ok()?;
            Some(Checked::View(epoch, view, Input::Renewed(verified)))
        }
        Message::Decided(decision) => {
            let height = decision.batch.height;
            decided(keys, decision).map(|decided| Checked::At(height, Input::Decided(decided)))
        }
    }
}

/// An admitted transaction.
pub fn request(keys: &Keys, bytes: TransactionBytes) -> Option<Request> {
    let transaction = admit(bytes.as_ref(), &keys.chain).ok()?;
    Some(Request::of(&transaction, bytes))
}

fn proposal(keys: &Keys, pre_prepare: PrePrepare) -> Option<Proposal> {
    let PrePrepare { view, batch, transactions, signature } = pre_prepare;
    let too_many =
        transactions.len() > limits::BATCH_TRANSACTIONS_MAX || block::bytes_of(&transactions) > limits::BATCH_BYTES_MAX;
    let vote = Vote {
        chain: keys.chain,
        epoch: batch.epoch,
        view,
        height: batch.height,
        phase: Phase::PrePrepare,
        digest: batch.digest(),
    };
    let primary = block::primary_of(view, keys.validators(batch.epoch));
    if too_many || batch.chain != keys.chain || !keys.is_signed(batch.epoch, primary, &vote.to_sign(), &signature) {
        return None;
    }
    let requests: Option<Vec<_>> = transactions.into_iter().map(|bytes| request(keys, bytes)).collect();
    Proposal::check(view, batch, requests?, signature).ok()
}

/// Verifies signatures of an epoch's validators.
pub fn verify_with(keys: &Keys, epoch: Epoch) -> impl Fn(ValidatorIndex, &[u8], &schemas::id::Signature) -> bool {
    move |by, bytes, signature| keys.is_signed(epoch, by, bytes, signature)
}

fn view_change(keys: &Keys, from: ValidatorIndex, signed: SignedViewChange) -> Option<VerifiedViewChange> {
    if signed.by.validator != from {
        return None;
    }
    let epoch = signed.change.epoch;
    VerifiedViewChange::check(&keys.config(epoch)?, signed, &verify_with(keys, epoch)).ok()
}

fn decided(keys: &Keys, decision: Decision) -> Option<Decided> {
    let Decision { batch, transactions, certificate } = decision;
    verify_commits(keys, &batch, &certificate).ok()?;
    let requests: Result<Vec<_>, _> = transactions.into_iter().map(Request::read).collect();
    Decided::check(batch, requests.ok()?, certificate).ok()
}

fn vote(keys: &Keys, from: ValidatorIndex, signed: &SignedVote) -> bool {
    signed.by.validator == from && signed.vote.chain == keys.chain && is_vote(keys, signed)
}

fn is_vote(keys: &Keys, SignedVote { vote, by }: &SignedVote) -> bool {
    keys.is_signed(vote.epoch, by.validator, &vote.to_sign(), &by.signature)
}

fn attestation(keys: &Keys, attest: &Attest) -> bool {
    let epoch = keys.epoch_of(attest.height);
    let bytes = block::attestation_bytes(&keys.chain, epoch, attest.height, &attest.header);
    keys.is_signed(epoch, attest.by.validator, &bytes, &attest.by.signature)
}

const fn is_status(status: &Status) -> bool {
    status.certified <= status.executed && status.executed <= status.proposed
}

fn finals(keys: &Keys, blocks: Vec<Block>) -> Option<Vec<(Block, bool)>> {
    if blocks.len() > limits::CATCH_UP_BLOCKS_MAX {
        return None;
    }
    let check = |block: Block| {
        let is_valid = verify_finalised_block(keys, &block).is_ok();
        (block, is_valid)
    };
    Some(blocks.into_iter().map(check).collect())
}
