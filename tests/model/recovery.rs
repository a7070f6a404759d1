//! The rule of `ledger/core/src/replica/recover.rs`, model-checked: a validator that lost its votes is silent until every height at
//! which it may have voted is final, and then speaks only in views for which it never asked. Heights and views are all that the
//! rule is about, so they are all that is here: three honest validators of four, of whom the first may lose everything once, and
//! a fourth that votes for anything and leaves out of its view changes whatever it likes.
//!
//! What is said stays said: it may arrive at any time or never. Every view's primary proposes one batch per height and begins its
//! view once: who equivocates is the business of the other model and of twins. Left out is what could only make a break rarer: an
//! honest validator that waits with its prepare, answers to the one that lost its votes later than at once (heights and views
//! only grow, so it would wait for longer), and what it hears while silent, but for the checkpoint with which it speaks again.

mod state;

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::{Check, Verdict, explored, holds};
use state::{FORGETFUL, HEIGHTS, OPEN, Silence, State, VIEWS, Validator};

/// The rule, or what is left of it.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Waits for heights.
    heights: bool,
    /// Waits for views.
    views: bool,
    /// Asks for executed heights; else for certified ones, which may lag behind what it certified itself.
    asks_executed: bool,
}

const RULE: Rule = Rule { heights: true, views: true, asks_executed: true };

impl Rule {
    /// What the others' answers come to. The faulty one answers with nothing, so of three answers the q-th lowest, the highest, is
    /// an honest one's.
    fn silence(self, others: &[Validator]) -> Option<Silence> {
        let certified = |other: &Validator| other.checkpoint.min(other.executed);
        let height = |other: &Validator| if self.asks_executed { other.executed } else { certified(other) };
        let until = others.iter().map(height).max()? + OPEN;
        let above = others.iter().map(|other| other.view).max()? + 1;
        Some(Silence { until, above })
    }

    /// Whether a validator may speak in a view.
    fn may_speak(self, validator: &Validator, view: usize) -> bool {
        validator.silence.is_none_or(|Silence { until, above }| {
            let is_high = validator.executed >= until || !self.heights;
            is_high && (view > above || !self.views)
        })
    }
}

/// The validator comes first, then the height or view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Holds a prepared certificate.
    Commit(usize, usize),
    /// Executes the next height, and attests it.
    Execute(usize),
    /// Learns the checkpoint of a height.
    Learn(usize, usize),
    /// VIEW-CHANGE.
    Leave(usize, usize),
    /// NEW-VIEW without the view change of one honest validator, or with all.
    Begin(usize, Option<usize>),
    /// Hears the NEW-VIEW.
    Enter(usize, usize),
    /// The first loses its votes; the others answer.
    Lose,
    /// The silent one has a checkpoint.
    CatchUp(usize),
}

impl Model for Rule {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (who, validator) in state.validators.iter().enumerate() {
            if validator.silence.is_none() {
                actions.extend((0..HEIGHTS).map(|height| Action::Commit(who, height)));
                actions.extend((validator.checkpoint..HEIGHTS).map(|height| Action::Learn(who, height)));
                actions.push(Action::Execute(who));
            }
            actions.extend((validator.view + 1..VIEWS).map(|view| Action::Leave(who, view)));
            actions.extend((validator.view..VIEWS).map(|view| Action::Enter(who, view)));
        }
        let left_out = [None, Some(0), Some(1), Some(2)];
        actions.extend((1..VIEWS).flat_map(|view| left_out.map(|without| Action::Begin(view, without))));
        actions.push(Action::Lose);
        actions.extend((0..HEIGHTS).map(Action::CatchUp));
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Commit(who, height) => state.commit(who, height)?,
            Action::Execute(who) => state.execute(who)?,
            Action::Learn(who, height) => state.learn(who, height)?,
            Action::Leave(who, view) => {
                self.may_speak(&state.validators[who], view).then_some(())?;
                state.leave(who, view)?;
            }
            Action::Begin(view, without) => state.begin(view, without)?,
            Action::Enter(who, view) => {
                self.may_speak(&state.validators[who], view).then_some(())?;
                state.enter(who, view)?;
            }
            Action::Lose => {
                let silence = self.silence(&state.validators[FORGETFUL + 1..])?;
                state.lose(silence)?;
            }
            Action::CatchUp(height) => state.catch_up(height)?,
        }
        state.settle();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("agreement", |_, state: &State| state.agrees()),
            Property::always("one story", |_, state: &State| !state.is_contradicted),
            Property::sometimes("a silent one speaks", |_, state: &State| {
                state.is_lost && state.validators[FORGETFUL].silence.is_none()
            }),
            Property::sometimes("its commit decides", |_, state: &State| state.decides_again()),
        ]
    }
}

/// The rule, and what is left of it when a part is gone: then two batches are committed at one height.
pub const CHECKS: &[Check] = &[
    ("recovery", |name| holds(name, RULE, 1_000_000)),
    ("recovery without waiting for heights", |name| breaks(name, Rule { heights: false, ..RULE })),
    ("recovery without waiting for views", |name| breaks(name, Rule { views: false, ..RULE })),
    ("recovery that asks for certified heights", |name| breaks(name, Rule { asks_executed: false, ..RULE })),
];

fn breaks(name: &str, rule: Rule) -> Verdict {
    let checker = explored(name, rule.checker().finish_when(HasDiscoveries::AnyOf(["agreement"].into())));
    let Some(path) = checker.discovery("agreement") else { return Err("everyone still agrees".to_owned()) };
    let actions = path.into_actions();
    println!("  two batches at one height after {actions:?}");
    if actions.contains(&Action::Lose) { Ok(()) } else { Err("agreement breaks without a loss".to_owned()) }
}
