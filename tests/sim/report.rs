//! Figures of many seeds: for people, and as the JSON line of `commands.md`.

use std::collections::BTreeMap;

use schemas::cbor::sha256;
use serde::Serialize;

use crate::count::{Count, Tally};
use crate::run::Verdict;

/// What a seed that failed came to.
pub struct Violation {
    /// What did not hold.
    pub what: String,
    /// The command that runs it again.
    pub replay: String,
}

/// Sums over seeds.
#[derive(Default)]
pub struct Report {
    /// Traces by seed.
    pub traces: BTreeMap<u64, u64>,
    /// Figures.
    pub count: Count,
    /// Failing seeds.
    pub violations: BTreeMap<u64, Violation>,
    /// Wall time.
    pub seconds: f64,
}

#[derive(Serialize)]
struct Json<'a> {
    seeds: usize,
    seconds: f64,
    steps: u64,
    violations: usize,
    faults: &'a Tally,
    attackers: &'a Tally,
    blamed: &'a Tally,
    reached: Reached,
    trace_hash: String,
}

#[derive(Serialize)]
struct Reached {
    view_changes: u64,
    new_views_with_gaps: u64,
    state_transfers: u64,
    epochs: u64,
}

impl Report {
    /// Adds a seed.
    pub fn add(&mut self, verdict: Verdict, validators: Option<usize>) {
        let Verdict { seed, count, trace, violation } = verdict;
        self.traces.insert(seed, trace);
        self.count.add(&count);
        if let Some(what) = violation {
            let of = validators.map_or(String::new(), |n| format!(" --validators {n}"));
            let replay = format!("cargo run --release -p tests --bin sim -- --seeds 1 --from {seed}{of}");
            eprintln!("seed {seed}: {what}\n  {replay}");
            self.violations.insert(seed, Violation { what, replay });
        }
    }

    /// Adds other seeds.
    pub fn merge(&mut self, other: Self) {
        self.traces.extend(other.traces);
        self.count.add(&other.count);
        self.violations.extend(other.violations);
    }

    /// A state's count.
    pub fn reached(&self, state: &str) -> u64 {
        self.count.reached.get(state).copied().unwrap_or(0)
    }

    /// Hash over the traces in order of seed.
    pub fn trace_hash(&self) -> String {
        let bytes: Vec<u8> =
            self.traces.iter().flat_map(|(seed, trace)| [seed.to_be_bytes(), trace.to_be_bytes()]).flatten().collect();
        sha256(&bytes).to_string()
    }

    /// For people.
    pub fn print(&self) {
        let seeds = self.traces.len();
        let rate = seeds as f64 / self.seconds.max(0.001);
        println!("{seeds} seeds in {:.1} s, {rate:.1} seeds/s, {} steps", self.seconds, self.count.steps);
        let Count { faults, attackers, blamed, reached, .. } = &self.count;
        for (what, tally) in [("faults", faults), ("attackers", attackers), ("blamed", blamed), ("reached", reached)] {
            let list: Vec<String> = tally.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            println!("{what}: {}", list.join(", "));
        }
        println!("trace hash: {}", self.trace_hash());
        println!("violations: {}", self.violations.len());
        for (seed, Violation { what, replay }) in self.violations.iter().take(20) {
            println!("seed {seed}: {what}\n  {replay}");
        }
    }

    /// For machines.
    pub fn to_json(&self) -> String {
        let json = Json {
            seeds: self.traces.len(),
            seconds: (self.seconds * 10.0).round() / 10.0,
            steps: self.count.steps,
            violations: self.violations.len(),
            faults: &self.count.faults,
            attackers: &self.count.attackers,
            blamed: &self.count.blamed,
            reached: Reached {
                view_changes: self.reached("view_changes"),
                new_views_with_gaps: self.reached("new_views_with_gaps"),
                state_transfers: self.reached("state_transfers"),
                epochs: self.reached("epochs"),
            },
            trace_hash: self.trace_hash(),
        };
        serde_json::to_string(&json).expect("names and numbers")
    }
}
