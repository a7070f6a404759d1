//! The deterministic simulator of the ledger: the real core over a virtual clock, network and disk, with attackers, checked
//! after every step. A seed is a run; the same seed gives the same run. Prints what was reached, and for each failing seed
//! the one command that replays it.

mod attackers;
mod chain;
mod check;
mod client;
mod count;
mod dice;
mod disk;
#[path = "../../ledger/node/src/votelog/group.rs"]
mod group;
mod keys;
mod network;
mod oracle;
mod plan;
#[cfg(feature = "mutants")]
mod planted;
mod report;
mod run;
mod seat;
mod verify;
mod world;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

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
        let missed = planted::run_all(arguments.from, arguments.seeds, validators, only);
        return if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let report = run_all(arguments.from, arguments.seeds, validators);
    report.print();
    if arguments.json {
        println!("{}", report.to_json());
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Seeds on all cores; the figures do not depend on how many there are.
fn run_all(from: u64, seeds: u64, validators: Option<usize>) -> Report {
    let (start, next) = (Instant::now(), AtomicU64::new(from));
    let end = from.saturating_add(seeds);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut report = Report::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return report;
            }
            report.add(run::run(seed, validators), validators);
        }
    };
    let reports = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("verdicts are caught")).collect::<Vec<_>>()
    });
    let mut all = Report::default();
    reports.into_iter().for_each(|report| all.merge(report));
    all.seconds = start.elapsed().as_secs_f64();
    all
}

#[cfg(test)]
mod tests;
