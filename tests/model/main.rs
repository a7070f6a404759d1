//! Model checks with stateright: every order of events within bounds, not only those that dice draw. `replicas.rs` has the real core
//! of three validators beside one that lies; `recovery.rs` has the rule for a validator that lost its votes, in heights and views
//! alone, and what happens when a part of it is gone.

mod recovery;
mod replicas;

use std::fmt::Debug;
use std::hash::Hash;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use stateright::{Checker, CheckerBuilder, Model};

/// What holds, or why not.
type Verdict = Result<(), String>;

/// A check and its name.
type Check = (&'static str, fn(&str) -> Verdict);

/// Runs all model checks.
///
/// Example: cargo run --release -p tests --bin model
#[derive(Parser)]
#[command(name = "model")]
struct Arguments {
    /// Only those whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> ExitCode {
    let only = Arguments::parse().only;
    let checks = recovery::CHECKS.iter().chain(replicas::CHECKS).filter(|(name, _)| name.contains(&only));
    let (mut run, mut failed) = (0, 0);
    for (name, check) in checks {
        run += 1;
        if let Err(what) = check(name) {
            failed += 1;
            println!("{name}: FAILED: {what}");
        }
    }
    println!("{run} checks, {failed} failed");
    if run > 0 && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Explores all states within the model's bounds, breadth first on all cores, and says how many there are.
fn explored<M>(name: &str, checker: CheckerBuilder<M>) -> impl Checker<M>
where
    M: Model<Action: Clone + PartialEq + Send + Sync> + Send + Sync + 'static,
    M::State: Clone + Hash + PartialEq + Send + Sync + 'static,
{
    let start = Instant::now();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = checker.threads(cores).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    let mut found: Vec<_> = checker.discoveries().into_keys().collect();
    found.sort_unstable();
    println!(
        "{name}: {states} states, depth {depth}, {:.1} s; found: {}",
        start.elapsed().as_secs_f64(),
        found.join(", ")
    );
    checker
}

/// Explores all, and holds every property against it; a model with fewer states than expected explores nothing.
fn holds<M>(name: &str, model: M, states_min: usize) -> Verdict
where
    M: Model<Action: Clone + Debug + PartialEq + Send + Sync> + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
{
    let checker = explored(name, model.checker());
    for property in checker.model().properties() {
        match checker.discovery(property.name) {
            Some(path) if property.expectation.discovery_is_failure() => {
                return Err(format!("{} does not hold after {:?}", property.name, path.into_actions()));
            }
            None if !property.expectation.discovery_is_failure() => return Err(format!("never: {}", property.name)),
            _ => {}
        }
    }
    let states = checker.unique_state_count();
    if states < states_min { Err(format!("{states} states, expected {states_min} at least")) } else { Ok(()) }
}
