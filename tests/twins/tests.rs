//! A part of the enumeration as an ordinary test, and that it is one: every choice once, the same number the same run.

use std::collections::BTreeSet;

use crate::scenario::{REPLICAS, Scenario};
use crate::{run, run_all};

/// Every so many-th scenario of three rounds; odd, so that all values of all choices occur. `tests/run` has all of them.
const EVERY: u64 = 31;

#[test]
fn twins_break_nothing_and_all_is_reached() {
    let report = run_all(3, EVERY);
    report.print();
    assert!(report.violations.is_empty(), "{} of {} scenarios fail", report.violations.len(), report.scenarios);
    assert_eq!(report.unexplored(), Vec::<String>::new());
}

#[test]
fn every_choice_occurs_once() {
    assert_eq!((Scenario::all(3), Scenario::all(4)), (16_384, 262_144));
    let choices: BTreeSet<String> = (0..Scenario::all(2)).map(|n| format!("{:?}", Scenario::of(n, 2))).collect();
    assert_eq!(choices.len() as u64, Scenario::all(2));
    let sides: BTreeSet<Vec<u64>> =
        (0..64).map(|n| (0..REPLICAS).map(|replica| Scenario::of(n, 1).side(0, replica)).collect()).collect();
    assert_eq!(sides.len(), 16, "of 32 ways to split five, half are mirrors of the others");
}

#[test]
fn the_same_number_is_the_same_run() {
    for number in [0, 4_711, 16_383] {
        let scenario = Scenario::of(number, 3);
        assert_eq!(run(number, &scenario), run(number, &scenario));
    }
}

#[test]
fn an_enumeration_that_explores_nothing_is_seen() {
    let empty = crate::report::Report { rounds: 3, ..Default::default() };
    assert_eq!(empty.unexplored().len(), 4 + 4);
}
