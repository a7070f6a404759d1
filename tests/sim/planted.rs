//! Tests of the tests: every bug that can be planted in the core is caught by some seed, by checkers that know none of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use ledger_core::mutants;

use crate::run;

/// What became of one planted bug: the seed that caught it, and by what.
pub type Caught = Option<(u64, String)>;

/// Plants each bug (those whose name holds `only`), runs seeds until one fails, says what happened; how many were not caught.
pub fn run_all(from: u64, seeds: u64, validators: Option<usize>, only: &str) -> usize {
    let names: Vec<&'static str> = mutants::ALL.iter().copied().filter(|name| name.contains(only)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut missed = 0;
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let what = match run_one(name, from, seeds, validators) {
                Some((seed, what)) => format!("caught by seed {seed}: {}", what.chars().take(140).collect::<String>()),
                None => {
                    missed += 1;
                    format!("NOT CAUGHT by {seeds} seeds")
                }
            };
            println!("{name}: {what}");
        }
        missed
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let missed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("verdicts are caught")).sum()
    });
    println!("{} planted, {missed} not caught", names.len());
    missed
}

fn run_one(name: &'static str, from: u64, seeds: u64, validators: Option<usize>) -> Caught {
    mutants::plant(name);
    let caught = (from..from.saturating_add(seeds)).find_map(|seed| {
        let violation = run::run(seed, validators).violation?;
        Some((seed, violation))
    });
    mutants::plant("");
    caught
}
