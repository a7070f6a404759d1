//! What the liar may do: every choice that its key allows and that can make a difference to whoever hears it. What it says is not
//! put on the wires: it arrives when it is said.

use ledger_core::Sign;
use schemas::block::{Batch, Phase, ValidatorIndex, ValidatorSignature, View, Vote, primary_of, transactions_root};
use schemas::id::{Digest, Height, Signature};
use schemas::pbft::{Message, PrePrepare, SignedVote};
use schemas::view::{Checkpoint, NewView, SignedViewChange, ViewChange};

use super::state::State;
use super::{Action, Bounds, N};

/// Kinds of lies, as they are remembered.
const PROPOSED: u8 = 0;
const VOTED: u8 = 1;
const HIDDEN: u8 = 2;
const BEGAN: u8 = 3;

impl Bounds {
    /// What it may say to one now.
    pub(super) fn lies(&self, state: &State, to: ValidatorIndex, actions: &mut Vec<Action>) {
        let (view, changing) = (state.replica(to).view(), state.replica(to).is_changing());
        if primary_of(view, N) == self.liar && !changing {
            for height in 1..=self.height_max {
                actions.extend((0..self.requests.len()).map(|number| Action::Lie(to, height, number)));
            }
        }
        actions.push(Action::Vote(to));
        if changing || view < self.view_max {
            actions.push(Action::Hide(to));
        }
        let next = if changing { view } else { view + 1 };
        if primary_of(next, N) == self.liar && next <= self.view_max {
            let others: Vec<ValidatorIndex> = self.honest().collect();
            actions.push(Action::Begin(to, others.clone()));
            for left_out in 0..others.len() {
                let mut these = others.clone();
                these[left_out] = self.liar;
                actions.push(Action::Begin(to, these));
            }
        }
    }

    /// Says it.
    pub(super) fn lie(&self, state: &mut State, action: &Action) -> Option<()> {
        match action {
            &Action::Lie(to, height, number) => {
                let view = state.replica(to).view();
                state.lies.insert((to, view, height, PROPOSED)).then_some(())?;
                let proposal = self.proposal(view, height, number);
                state.hear(self, to, self.liar, Message::PrePrepare(proposal));
            }
            &Action::Vote(to) => self.vote(state, to)?,
            &Action::Hide(to) => {
                let (view, changing) = (state.replica(to).view(), state.replica(to).is_changing());
                let view = if changing { view } else { view + 1 };
                state.lies.insert((to, view, 0, HIDDEN)).then_some(())?;
                state.hear(self, to, self.liar, Message::ViewChange(self.view_change(view)));
            }
            Action::Begin(to, from) => {
                let (view, changing) = (state.replica(*to).view(), state.replica(*to).is_changing());
                let view = if changing { view } else { view + 1 };
                let changes = from.iter().map(|by| {
                    if *by == self.liar {
                        Some(self.view_change(view))
                    } else {
                        state.leaves.get(&(view, *by)).map(|l| l.as_ref().clone())
                    }
                });
                let changes: Vec<_> = changes.collect::<Option<_>>()?;
                state.lies.insert((*to, view, 0, BEGAN)).then_some(())?;
                state.hear(self, *to, self.liar, Message::NewView(self.new_view(view, changes)));
            }
            Action::Arrive(..) | Action::Propose(_) | Action::Leave(_) => unreachable!("the honest do that"),
        }
        Some(())
    }

    /// For everything that one accepted in its view: the prepare, unless it is the primary's, and the commit.
    fn vote(&self, state: &mut State, to: ValidatorIndex) -> Option<()> {
        let view = state.replica(to).view();
        let of = |height| {
            state.accepted.get(&(to, height)).filter(|(of, _)| *of == view).map(|&(_, digest)| (height, digest))
        };
        let accepted: Vec<(Height, Digest)> = (1..=self.height_max).filter_map(of).collect();
        let mut is_new = false;
        for (height, digest) in accepted {
            if !state.lies.insert((to, view, height, VOTED)) {
                continue;
            }
            is_new = true;
            for phase in [Phase::Prepare, Phase::Commit] {
                let vote = Vote { chain: self.keys.chain, epoch: 0, view, height, phase, digest };
                let by = ValidatorSignature { validator: self.liar, signature: self.sign(&vote.to_sign()) };
                state.hear(self, to, self.liar, Message::Vote(SignedVote { vote, by }));
            }
        }
        is_new.then_some(())
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

    fn view_change(&self, view: View) -> SignedViewChange {
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
