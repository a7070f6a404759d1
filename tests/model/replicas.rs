//! The real core in every order: three honest replicas of four, a fourth that lies, and wires that lose, delay and reorder. A message
//! that never arrives is lost, so nothing else is needed for loss. Statuses, attestations and what is resent are lost always: they
//! only help. Time passes for one replica at a time, when it loses patience.
//!
//! The liar signs what it likes: as a primary it proposes one of two batches to each, or only the second height, or begins its view
//! from any q view changes; it votes for whatever its listener accepted, or not; its own view change hides all that it knows.

mod liar;
mod state;

use std::sync::Arc;

use ::tests::client;
use ::tests::keys::Keys;
use ledger_core::Request;
use schemas::block::{ValidatorIndex, View};
use schemas::id::Height;
use stateright::{Model, Property};

use crate::{Check, holds};
use state::State;

/// Validators.
const N: usize = 4;

/// What is explored.
#[derive(Clone)]
pub struct Bounds {
    keys: Arc<Keys>,
    /// Transactions that clients made.
    requests: Vec<Request>,
    /// The liar.
    liar: ValidatorIndex,
    /// Whether the liar helps: votes, leaves views.
    helps: bool,
    /// The highest view that anyone honest leaves for.
    view_max: View,
    /// The highest height of which anything arrives.
    height_max: Height,
}

impl Bounds {
    fn new(liar: ValidatorIndex, view_max: View, height_max: Height) -> Self {
        let keys = Keys::new(N, &[], 1, false);
        let make = |number| client::transaction(&keys, number, false, |bytes| keys.sign_as_client(bytes));
        let requests = (0..2).map(|number| Request::read(make(number)).expect("a transaction")).collect();
        Self { keys: Arc::new(keys), requests, liar, helps: true, view_max, height_max }
    }

    fn honest(&self) -> impl Iterator<Item = ValidatorIndex> + '_ {
        (0..N as ValidatorIndex).filter(|&index| index != self.liar)
    }
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message arrives: to whom, and which.
    Arrive(ValidatorIndex, u64),
    /// A turn of an honest primary ends: it proposes.
    Propose(ValidatorIndex),
    /// A replica loses patience.
    Leave(ValidatorIndex),
    /// The liar proposes a transaction (by number) at a height, to one.
    Lie(ValidatorIndex, Height, usize),
    /// The liar votes for all that one accepted.
    Vote(ValidatorIndex),
    /// The liar tells one that it leaves its view and that nothing prepared.
    Hide(ValidatorIndex),
    /// The liar begins its view before one, from the view changes of these.
    Begin(ValidatorIndex, Vec<ValidatorIndex>),
}

impl Model for Bounds {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(state.under_way().map(|(to, message)| Action::Arrive(to, message)));
        for to in self.honest() {
            actions.push(Action::Propose(to));
            actions.push(Action::Leave(to));
            self.lies(state, to, actions);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Arrive(to, message) => state.arrive(self, to, message),
            Action::Propose(who) => state.propose(self, who)?,
            Action::Leave(who) => state.leave(self, who)?,
            lie => self.lie(&mut state, &lie)?,
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("agreement", |_, state: &State| state.agrees()),
            Property::always("validity", |_, state: &State| !state.is_invented),
            Property::always("what was prepared survives", |_, state: &State| state.survives()),
            Property::always("nobody honest is blamed or halts", |_, state: &State| !state.is_wronged),
            Property::sometimes("commits in view 0", |_, state: &State| state.has_committed(0)),
            Property::sometimes("commits in view 1", |_, state: &State| state.has_committed(1)),
            Property::sometimes("a view changes", |_, state: &State| state.view() > 0),
            Property::sometimes("the liar is blamed", |_, state: &State| state.is_liar_blamed),
        ]
    }
}

/// Each with a liar that is the primary of another view.
pub const CHECKS: &[Check] = &[
    ("liar 0", |name| holds(name, Bounds::new(0, 1, 1), 100_000)),
    ("liar 1", |name| holds(name, Bounds::new(1, 1, 1), 100_000)),
];
