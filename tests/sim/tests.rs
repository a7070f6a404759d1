//! A short run of the simulator as an ordinary test: nothing is violated, everything is reached, the same seed is the same
//! run, and a seed that fails says how to run it again.

use crate::attackers::Kind;
use crate::run::Verdict;
use crate::{report::Report, run, run_all};
use ::tests::plan::Plan;

/// Seeds of the ordinary test; `tests/run --long` runs a million.
const SEEDS: u64 = 240;

#[test]
fn no_seed_violates_anything_and_all_is_reached() {
    let report = run_all(1, SEEDS, None);
    report.print();
    assert!(report.violations.is_empty(), "{} of {SEEDS} seeds fail", report.violations.len());
    assert_eq!(report.unexplored(), Vec::<String>::new(), "in {SEEDS} seeds");
    // and a simulator that explores little is seen
    let mut poor = run_all(1, 1, None);
    poor.traces.extend((2..=SEEDS).map(|seed| (seed, 0)));
    assert!(poor.unexplored().len() > 10, "{:?}", poor.unexplored());
    poor = report;
    poor.traces.extend((SEEDS..100 * SEEDS).map(|seed| (seed, 0)));
    assert!(poor.unexplored().iter().any(|what| what.starts_with("state_transfers")), "{:?}", poor.unexplored());
}

#[test]
fn whoever_contradicts_himself_before_the_honest_is_blamed() {
    let two_faced = |plan: &Plan| plan.attackers.iter().any(|(_, kind)| *kind == Kind::Equivocating);
    let seeds = (1_000..2_000).filter(|&seed| two_faced(&Plan::of(seed, None))).take(24);
    let (mut contradicted, mut blamed) = (0, 0);
    for seed in seeds {
        let count = run::run(seed, None).count;
        contradicted += u64::from(count.contradictions > 0);
        blamed += u64::from(count.blamed.contains_key("equivocating"));
        println!("seed {seed}: {} contradictions, blamed {:?}", count.contradictions, count.blamed.get("equivocating"));
    }
    assert!(contradicted >= 5, "{contradicted} runs with contradictions");
    assert!(blamed >= contradicted, "{contradicted} runs with contradictions, blamed in {blamed}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let traces = |from| run_all(from, 12, None).traces;
    assert_eq!(traces(64), traces(64));
    let (one, other) = (run::run(3, Some(4)), run::run(4, Some(4)));
    assert_ne!(one.trace, other.trace, "the trace covers the run");
    assert_eq!(run_all(1, 1, None).trace_hash(), run_all(1, 1, None).trace_hash());
}

#[test]
fn a_failing_seed_prints_the_command_that_replays_it() {
    let mut report = Report::default();
    let verdict = Verdict { seed: 77, count: Default::default(), trace: 1, violation: Some("agreement".to_owned()) };
    report.add(verdict, Some(7));
    let replay = "cargo run --release -p tests --bin sim -- --seeds 1 --from 77 --validators 7";
    assert_eq!(report.violations[&77].replay, replay);
    assert_eq!(report.violations[&77].what, "agreement");
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!((&json["seeds"], &json["violations"]), (&1.into(), &1.into()));
}
