//! The whole stack as a newcomer meets it: the demo, its receipts, and what a flipped byte does to them; what the ledger proves; a patient's own key.
//! Needs the services that `tests/run` starts, and the binary that it builds (`CHARTSEAL_BIN`).

mod connectors;
mod demo;
mod documents;
mod ledger;
mod newcomer;
mod wallet;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary under test. Without services these tests are skipped; with them a missing binary is a failure.
fn binary() -> Option<PathBuf> {
    if std::env::var_os("CHARTSEAL_SERVICES").is_none() {
        println!("skipped: no services (run tests/run)");
        return None;
    }
    let path = std::env::var_os("CHARTSEAL_BIN").map(PathBuf::from).expect("CHARTSEAL_BIN names the built binary");
    assert!(path.is_file(), "{} is not there", path.display());
    Some(path)
}

fn run(binary: &Path, arguments: &[&str]) -> Output {
    Command::new(binary).args(arguments).output().expect("the binary starts")
}
