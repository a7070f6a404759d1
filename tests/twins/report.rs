//! What scenarios came to: printed, and held against what an enumeration that explores must reach.

use std::collections::{BTreeMap, BTreeSet};

use schemas::block::View;

/// Figures of one scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Inputs taken by replicas.
    pub steps: u64,
    /// Views in which something committed first.
    pub committed: BTreeSet<View>,
    /// Times that an honest validator left a view.
    pub view_changes: u64,
    /// Views that an honest primary began.
    pub new_views: u64,
    /// Of these, those that kept a batch which had prepared before.
    pub new_views_with_batches: u64,
    /// Heights that a new view filled.
    pub null_blocks: u64,
    /// Proofs that honest validators held against the doubled one.
    pub conflicts: u64,
}

/// Figures of many.
#[derive(Debug, Default)]
pub struct Report {
    /// Scenarios.
    pub scenarios: u64,
    /// Scenarios that committed in a view.
    pub committed: BTreeMap<View, u64>,
    /// Scenarios with proof against the doubled validator.
    pub with_conflicts: u64,
    /// Sums.
    pub sum: Count,
    /// What did not hold, by number of the scenario.
    pub violations: BTreeMap<u64, String>,
    /// Rounds of each scenario.
    pub rounds: u32,
    /// Wall time.
    pub seconds: f64,
}

impl Report {
    /// Adds a scenario.
    pub fn add(&mut self, number: u64, count: &Count, violation: Option<String>) {
        self.scenarios += 1;
        for &view in &count.committed {
            *self.committed.entry(view).or_default() += 1;
        }
        self.with_conflicts += u64::from(count.conflicts > 0);
        self.sum.add(count);
        self.violations.extend(violation.map(|what| (number, what)));
    }

    /// Adds other scenarios.
    pub fn merge(&mut self, other: Self) {
        self.scenarios += other.scenarios;
        for (view, scenarios) in other.committed {
            *self.committed.entry(view).or_default() += scenarios;
        }
        self.with_conflicts += other.with_conflicts;
        self.sum.add(&other.sum);
        self.violations.extend(other.violations);
    }

    /// What was not reached, although every enumeration must.
    pub fn unexplored(&self) -> Vec<String> {
        let views = (0..=u64::from(self.rounds)).filter(|view| !self.committed.contains_key(view));
        let mut missing: Vec<String> = views.map(|view| format!("a commit in view {view}")).collect();
        let Count { new_views, new_views_with_batches, view_changes, conflicts, .. } = self.sum;
        let reached = [
            (view_changes, "a view change"),
            (new_views, "a new view"),
            (new_views_with_batches, "a new view that keeps a batch"),
            (conflicts, "proof against a doubled validator"),
        ];
        missing.extend(reached.iter().filter(|(count, _)| *count == 0).map(|(_, what)| (*what).to_owned()));
        missing
    }

    /// For people.
    pub fn print(&self) {
        let Self { scenarios, rounds, seconds, with_conflicts, sum, .. } = self;
        println!("{scenarios} scenarios of {rounds} rounds in {seconds:.1} s, {} steps", sum.steps);
        let committed: Vec<String> = self.committed.iter().map(|(view, count)| format!("{view}: {count}")).collect();
        println!("scenarios that committed in a view: {}", committed.join(", "));
        let Count { view_changes, new_views, new_views_with_batches, null_blocks, conflicts, .. } = sum;
        println!("view changes {view_changes}, new views {new_views}, of them with batches {new_views_with_batches}");
        println!("null blocks {null_blocks}, proofs {conflicts} in {with_conflicts} scenarios");
        for what in self.unexplored() {
            println!("not reached: {what}");
        }
        println!("violations: {}", self.violations.len());
        for (number, what) in self.violations.iter().take(20) {
            println!("scenario {number}: {what}");
            println!("  cargo run --release -p tests --bin twins -- --rounds {rounds} --only {number}");
        }
    }
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.view_changes += other.view_changes;
        self.new_views += other.new_views;
        self.new_views_with_batches += other.new_views_with_batches;
        self.null_blocks += other.null_blocks;
        self.conflicts += other.conflicts;
    }
}
