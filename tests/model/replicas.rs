//! The real core in every order: three honest replicas of four, a fourth that lies, and wires on which everything may be lost, late and
//! out of order. What never arrives is lost. Time passes for one replica at a time, when it loses patience.
//!
//! Votes that complete nothing where they arrive change nothing there: they are left on the wires until they complete a quorum, so
//! a vote arrives with all others of its phase, and with the liar's where that is needed. Statuses, attestations and what is resent
//! only help: they are lost always.

mod liar;
mod state;

use std::sync::Arc;

use ::tests::client;
use ::tests::keys::Keys;
use ledger_core::Request;
use schemas::block::{Phase, ValidatorIndex, View, primary_of};
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
    /// The highest view that anyone honest leaves for.
    view_max: View,
    /// The highest height of which anything is proposed.
    height_max: Height,
}

impl Bounds {
    fn new(liar: ValidatorIndex, view_max: View, height_max: Height) -> Self {
        let keys = Keys::new(N, &[], 1, false);
        let make = |number| client::transaction(&keys, number, false, |bytes| keys.sign_as_client(bytes));
        let requests = (0..2).map(|number| Request::read(make(number)).expect("a transaction")).collect();
        Self { keys: Arc::new(keys), requests, liar, view_max, height_max }
    }

    fn honest(&self) -> impl Iterator<Item = ValidatorIndex> + '_ {
        (0..N as ValidatorIndex).filter(|&index| index != self.liar)
    }
}

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A proposal or NEW-VIEW arrives: where, and which.
    Arrive(ValidatorIndex, u64),
    /// Votes arrive that complete a phase of a height.
    Complete(ValidatorIndex, Phase, Height),
    /// A turn of an honest primary ends: it proposes.
    Propose(ValidatorIndex),
    /// A replica loses patience.
    Leave(ValidatorIndex),
    /// The view changes of these reach the primary that waits for them.
    Renew(ValidatorIndex, [ValidatorIndex; 2]),
    /// The liar, as the primary, proposes a transaction (by number) at a height, to one.
    Lie(ValidatorIndex, Height, usize),
    /// The liar, as the primary, begins a view before one, from the view changes of these.
    Begin(ValidatorIndex, [ValidatorIndex; 3]),
}

impl Model for Bounds {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(state.arriving().map(|(to, message)| Action::Arrive(to, message)));
        for who in self.honest() {
            let (view, changing) = (state.replica(who).view(), state.replica(who).is_changing());
            let is_primary = primary_of(view, N) == who;
            for height in (1..=self.height_max).filter(|&height| state.accepts(who, view, height)) {
                actions.extend([Phase::Prepare, Phase::Commit].map(|phase| Action::Complete(who, phase, height)));
            }
            if !changing && view < self.view_max {
                actions.push(Action::Leave(who));
            }
            if is_primary && !changing {
                actions.push(Action::Propose(who));
            }
            let mut others = (0..N as ValidatorIndex).filter(|&other| other != who);
            if let (true, Some(a), Some(b), Some(c)) =
                (is_primary && changing, others.next(), others.next(), others.next())
            {
                actions.extend([[a, b], [a, c], [b, c]].map(|these| Action::Renew(who, these)));
            }
            self.lies(state, who, actions);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Arrive(to, message) => state.arrive(self, to, message)?,
            Action::Complete(to, phase, height) => state.complete(self, to, phase, height)?,
            Action::Propose(who) => state.propose(self, who)?,
            Action::Leave(who) => state.leave(self, who)?,
            Action::Renew(who, from) => state.renew(self, who, from)?,
            Action::Lie(to, height, number) => self.propose(&mut state, to, height, number)?,
            Action::Begin(to, from) => self.begin(&mut state, to, from)?,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("agreement", |_, state: &State| state.agrees()),
            Property::always("validity", |_, state: &State| !state.is_invented),
            Property::always("what was prepared survives", |_, state: &State| state.survives()),
            Property::always("nobody honest is blamed or halts", |_, state: &State| !state.is_wronged),
            Property::sometimes("a commit in view 0", |_, state: &State| state.has_committed(0)),
            Property::sometimes("a commit in view 1", |_, state: &State| state.has_committed(1)),
            Property::sometimes("a view change", |_, state: &State| state.view() > 0),
            Property::sometimes("proof against the liar", |_, state: &State| state.is_liar_blamed),
        ]
    }
}

/// Each with a liar that is the primary of another view.
pub const CHECKS: &[Check] = &[
    ("liar 0", |name| holds(name, Bounds::new(0, 1, 1), 10_000)),
    ("liar 1", |name| holds(name, Bounds::new(1, 1, 1), 10_000)),
];
