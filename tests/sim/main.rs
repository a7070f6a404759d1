//! The deterministic simulator of the ledger: the real core over a virtual clock, network and disk, with attackers, checked
//! after every step. A seed is a run; the same seed gives the same run. Prints what was reached, and for each failing seed
//! the one command that replays it.

mod explored;
mod report;

use std::process::ExitCode;
use std::time::Instant;

#[cfg(feature = "mutants")]
use ::tests::planted;
use ::tests::{attackers, count, run, spread};
use clap::Parser;

use report::Report;

/// Runs seeds of the ledger simulator.
///
/// Example: cargo run --release -p tests --bin sim -- --seeds 1000
#[derive(Parser)]
#[command(name = "sim")]
struct Arguments {
    /// How many seeds.
    #[arg(long)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Validators, 4 to 30; drawn from the seed when absent.
    #[arg(long, value_parser = clap::value_parser!(u16).range(4..=30))]
    validators: Option<u16>,
    /// Ends with one JSON object.
    #[arg(long)]
    json: bool,
    /// Plants bugs in the core, those whose name holds this, and runs seeds until each is caught.
    #[cfg(feature = "mutants")]
    #[arg(long, num_args = 0..=1, default_missing_value = "")]
    mutants: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let validators = arguments.validators.map(usize::from);
    #[cfg(feature = "mutants")]
    if let Some(only) = &arguments.mutants {
        let (from, end) = (arguments.from, arguments.from.saturating_add(arguments.seeds));
        let catch = || (from..end).find_map(|seed| Some((seed, run::run(seed, validators).violation?)));
        let (_, missed) = planted::run_all(only, catch);
        return if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let report = run_all(arguments.from, arguments.seeds, validators);
    report.print();
    if arguments.json {
        println!("{}", report.to_json());
    }
    // a number of validators that somebody chose cannot reach all
    let unexplored = if validators.is_none() { report.unexplored() } else { vec![] };
    if !unexplored.is_empty() {
        eprintln!("too little was reached: {}", unexplored.join(", "));
    }
    if report.violations.is_empty() && unexplored.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Seeds on all cores; the figures do not depend on how many there are.
fn run_all(from: u64, seeds: u64, validators: Option<usize>) -> Report {
    let start = Instant::now();
    let seeds = from..from.saturating_add(seeds);
    let reports = spread::spread(seeds, |seed, report: &mut Report| report.add(run::run(seed, validators), validators));
    let mut all = Report::default();
    reports.into_iter().for_each(|report| all.merge(report));
    all.seconds = start.elapsed().as_secs_f64();
    all
}

#[cfg(test)]
mod tests;
