//! What the liar may do: every choice that its key allows and that can make a difference to whoever hears it. As a primary it
//! proposes one of two batches to each, and begins its view from any q view changes, before each another
//! one; it votes for whatever its listener accepted; its own view change hides all that it knows.

use ledger_core::Sign;
use schemas::block::{Batch, Phase, ValidatorIndex, ValidatorSignature, View, Vote, primary_of, transactions_root};
use schemas::id::{Digest, Height, Signature};
use schemas::pbft::{Message, PrePrepare, SignedVote};
use schemas::view::{Checkpoint, NewView, SignedViewChange, ViewChange};

use super::state::State;
use super::{Action, Bounds, N};

impl Bounds {
    /// What it may say to one now.
    pub(super) fn lies(&self, state: &State, to: ValidatorIndex, actions: &mut Vec<Action>) {
        let (view, changing) = (state.replica(to).view(), state.replica(to).is_changing());
        if primary_of(view, N) == self.liar && !changing {
            let places = (1..=self.height_max).flat_map(|height| (0..self.requests.len()).map(move |n| (height, n)));
            actions.extend(places.map(|(height, number)| Action::Lie(to, height, number)));
        }
        let next = if changing { view } else { view + 1 };
        if primary_of(next, N) == self.liar && next <= self.view_max {
            let quorums = [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]];
            actions.extend(quorums.map(|these| Action::Begin(to, these)));
        }
    }

    /// Proposes a transaction to one: once in a view and height.
    pub(super) fn propose(&self, state: &mut State, to: ValidatorIndex, height: Height, number: usize) -> Option<()> {
        let view = state.replica(to).view();
        state.lies.insert((to, view, height)).then_some(())?;
        let message = Message::PrePrepare(self.proposal(view, height, number));
        state.hear(self, to, self.liar, message);
        state.accepts(to, view, height).then_some(())
    }

    /// Begins its view before one.
    pub(super) fn begin(&self, state: &mut State, to: ValidatorIndex, from: [ValidatorIndex; 3]) -> Option<()> {
        let (view, changing) = (state.replica(to).view(), state.replica(to).is_changing());
        let view = if changing { view } else { view + 1 };
        let changes = from.map(|by| state.view_change(self, view, by)).into_iter().collect::<Option<Vec<_>>>()?;
        state.hear(self, to, self.liar, Message::NewView(self.new_view(view, changes)));
        (state.replica(to).view() == view && !state.replica(to).is_changing()).then_some(())
    }

    /// Its vote.
    pub(super) fn vote(&self, view: View, height: Height, phase: Phase, digest: Digest) -> Message {
        let vote = Vote { chain: self.keys.chain, epoch: 0, view, height, phase, digest };
        let by = ValidatorSignature { validator: self.liar, signature: self.sign(&vote.to_sign()) };
        Message::Vote(SignedVote { vote, by })
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        self.keys.signer(0, self.liar).sign(bytes)
    }

    fn proposal(&self, view: View, height: Height, number: usize) -> PrePrepare {
        let transactions = vec![self.requests[number].bytes().clone()];
        let (chain, epoch, time) = (self.keys.chain, 0, 100_000);
        let batch = Batch { chain, epoch, height, transactions_root: transactions_root(&transactions), time };
        let vote = Vote { chain, epoch, view, height, phase: Phase::PrePrepare, digest: batch.digest() };
        PrePrepare { view, batch, transactions, signature: self.sign(&vote.to_sign()) }
    }

    /// Its view change, which says nothing.
    pub(super) fn view_change(&self, view: View) -> SignedViewChange {
        let chain = self.keys.chain;
        let change = ViewChange { chain, epoch: 0, view, checkpoint: Checkpoint::genesis(&chain), prepared: vec![] };
        let by = ValidatorSignature { validator: self.liar, signature: self.sign(&change.to_sign()) };
        SignedViewChange { change, by }
    }

    fn new_view(&self, view: View, mut changes: Vec<SignedViewChange>) -> NewView {
        changes.sort_by_key(|signed| signed.by.validator);
        let chain = self.keys.chain;
        let assigned = ::tests::oracle::assignment(chain, &changes);
        let vote = |(height, digest)| Vote { chain, epoch: 0, view, height, phase: Phase::PrePrepare, digest };
        let pre_prepares = assigned.into_iter().map(|place| self.sign(&vote(place).to_sign())).collect();
        let mut message = NewView { chain, epoch: 0, view, changes, pre_prepares, signature: self.sign(b"") };
        message.signature = self.sign(&message.to_sign());
        message
    }
}
