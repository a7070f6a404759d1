//! Twins (Bano et al., arXiv 2004.10617), enumerated: of four validators one is there twice, with one key and correct code, and
//! in every round the five replicas are on at most two sides that do not hear each other. Three rounds are 16,384 scenarios, four
//! 262,144. In each, whatever the twins say together, the others agree, and once all is heard everything becomes final.

mod arena;
mod report;
mod scenario;

use std::process::ExitCode;
use std::time::Instant;

use ::tests::keys::Keys;
use ::tests::{caught, spread};
use clap::Parser;

use arena::Arena;
use report::{Count, Report};
use scenario::{Scenario, VALIDATORS};

/// Runs every scenario of twins.
///
/// Example: cargo run --release -p tests --bin twins
#[derive(Parser)]
#[command(name = "twins")]
struct Arguments {
    /// Rounds: each has a partition and ends with a view change.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=5))]
    rounds: u32,
    /// Runs this scenario alone.
    #[arg(long)]
    only: Option<u64>,
    /// Plants bugs in the core, those whose name holds this, and says which of them a scenario catches.
    #[cfg(feature = "mutants")]
    #[arg(long, num_args = 0..=1, default_missing_value = "")]
    mutants: Option<String>,
}

fn main() -> ExitCode {
    let Arguments { rounds, only, .. } = Arguments::parse();
    #[cfg(feature = "mutants")]
    if let Some(only) = Arguments::parse().mutants {
        return if are_enough_caught(&only, rounds) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let Some(number) = only {
        let (count, violation) = run(number, &Scenario::of(number % Scenario::all(rounds), rounds));
        println!("{count:?}\n{}", violation.as_deref().unwrap_or("holds"));
        return if violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let report = run_all(rounds, 1);
    report.print();
    let is_good = report.violations.is_empty() && report.unexplored().is_empty();
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Every scenario whose number is a multiple of `every`, on all cores.
fn run_all(rounds: u32, every: u64) -> Report {
    let start = Instant::now();
    let reports = spread::spread(0..Scenario::all(rounds) / every, |number, report: &mut Report| {
        let number = number * every;
        let (count, violation) = run(number, &Scenario::of(number, rounds));
        report.add(number, &count, violation);
    });
    let mut all = Report { rounds, ..Report::default() };
    reports.into_iter().for_each(|report| all.merge(report));
    all.seconds = start.elapsed().as_secs_f64();
    all
}

fn run(number: u64, scenario: &Scenario) -> (Count, Option<String>) {
    let keys = Keys::new(VALIDATORS, &[], number, false);
    let mut arena = Arena::new(scenario, &keys);
    let violation = caught::violation(|| arena.play());
    (arena.count, violation)
}

/// Of all planted bugs at least as many are caught as scenarios without crashes can be asked for.
#[cfg(feature = "mutants")]
fn are_enough_caught(only: &str, rounds: u32) -> bool {
    /// Most planted bugs need a crash, a lie or a full window, which twins have not.
    const CAUGHT_MIN: usize = 12;
    // neighbours differ in their last round only: a stride through all of them meets different ones sooner
    let all = Scenario::all(rounds);
    let numbers = (0..all).map(move |number| number.wrapping_mul(7_919) % all);
    let catch = || numbers.clone().find_map(|number| Some((number, run(number, &Scenario::of(number, rounds)).1?)));
    let (planted, missed) = ::tests::planted::run_all(only, catch);
    planted - missed >= CAUGHT_MIN.min(planted)
}

#[cfg(test)]
mod tests;
