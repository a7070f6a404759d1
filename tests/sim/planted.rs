//! Tests of the tests: bugs are planted in the core, and whoever checks it must catch them without knowing any of them.

use ledger_core::mutants;

use crate::spread::spread;

/// What a planted bug was caught by: the number of the run, and what it said.
pub type Caught = Option<(u64, String)>;

/// Plants each bug (those whose name holds `only`), lets `catch` run until something fails, says what happened; how many were
/// planted and how many of them were not caught.
pub fn run_all(only: &str, catch: impl Fn() -> Caught + Sync) -> (usize, usize) {
    let names: Vec<&'static str> = mutants::ALL.iter().copied().filter(|name| name.contains(only)).collect();
    let missed = spread(0..names.len() as u64, |number, missed: &mut usize| {
        let Some(name) = usize::try_from(number).ok().and_then(|number| names.get(number)) else { return };
        mutants::plant(name);
        let what = match catch() {
            Some((run, what)) => format!("caught by {run}: {}", what.chars().take(140).collect::<String>()),
            None => {
                *missed += 1;
                "NOT CAUGHT".to_owned()
            }
        };
        mutants::plant("");
        println!("{name}: {what}");
    });
    let missed = missed.into_iter().sum();
    println!("{} planted, {missed} not caught", names.len());
    (names.len(), missed)
}
