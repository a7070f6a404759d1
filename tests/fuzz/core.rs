//! The ledger's core in the simulator's world, with its checkers: the first byte is the run's plan, those behind it are its luck, so that
//! whoever looks at what code an input reaches steers faults, attackers and times. Small runs of four: a fuzzer makes many.

use tests::dice::Dice;
use tests::plan::Plan;
use tests::run::run_with;

use crate::targets::{Target, target};

/// Transactions of a run.
const TRANSACTIONS: u64 = 24;
/// Bytes of luck in a sample.
const LUCK_BYTES: usize = 512;

pub fn core() -> Target {
    let sample = |plan: u8| {
        let mut dice = Dice::new(u64::from(plan));
        std::iter::once(plan).chain((0..LUCK_BYTES).map(|_| dice.below(256) as u8)).collect()
    };
    target("core", (0..8).map(sample).collect(), |input| {
        let Some((&number, luck)) = input.split_first() else { return false };
        let mut plan = Plan::of(u64::from(number), Some(4));
        plan.transactions = TRANSACTIONS;
        plan.changes.clear();
        plan.real = false;
        let verdict = run_with(plan, Dice::scripted(u64::from(number), luck.to_vec()));
        assert_eq!(verdict.violation, None, "plan {number}");
        true
    })
}
