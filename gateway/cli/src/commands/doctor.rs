//! `chartseal doctor`: one table of what was found, of what was expected where it is not so, and of what nobody could look at. What is
//! looked at is `gateway_server::doctor`'s; here is what only the binary knows: its version and the disk. Changes nothing.

use std::path::{Path, PathBuf};

use connectors_source::{Finding, Level};
use gateway_server::doctor;
use serde_json::json;

use super::bench::Fsync;
use super::run::{load, runtime};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, bad, good, strong};

/// Looks whether everything that a gateway stands on is as it must be. Changes nothing.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 no error, 1 an error was found, 64 bad usage or configuration.\n\n\
Example: chartseal doctor --config /etc/chartseal/gateway.toml")]
pub struct Args {
    /// The gateway's configuration, with the connectors beside it; without it only this machine is looked at.
    #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG")]
    config: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let config = args.config.as_deref().map(load).transpose()?;
    let version = format!("chartseal {} on {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let mut findings = vec![Finding::good("version", version)];
    findings.push(disk(config.as_ref().map_or(Path::new("."), |config| config.gateway.home.as_path())));
    match &config {
        Some(config) => findings.extend(runtime()?.block_on(doctor::examine(config))),
        None => findings.push(Finding::not_checked("gateway", "no configuration was named", "--config F")),
    }
    let width = findings.iter().map(|finding| finding.about.chars().count()).max().unwrap_or(0);
    findings.iter().for_each(|finding| print(finding, width, output));
    let count = |level: Level| findings.iter().filter(|finding| finding.level == level).count();
    let (errors, warnings, not_checked) = (count(Level::Bad), count(Level::Warning), count(Level::NotChecked));
    output.line(format_args!("{errors} errors, {warnings} warnings, {not_checked} not checked"));
    output.document(&json!({
        "errors": errors, "warnings": warnings, "notChecked": not_checked,
        "findings": findings.iter().map(document).collect::<Vec<_>>(),
    }))?;
    Ok(if errors == 0 { Exit::Done } else { Exit::Failed })
}

/// Of the folder that a gateway writes to.
fn disk(folder: &Path) -> Finding {
    let folder: &Path = &folder.components().collect::<PathBuf>();
    // a folder of its own in there: nothing of a gateway's is touched
    let measured = tempfile::Builder::new().prefix("doctor-").tempdir_in(folder).map_err(|e| e.to_string());
    let measured = measured.and_then(|own| Fsync::measure(own.path()).map_err(|failure: Failure| failure.to_string()));
    match measured {
        Ok(fsync) => doctor::disk(folder, fsync.per_s, fsync.p99_ms),
        Err(why) => {
            Finding::not_checked("disk", format!("{}: {why}", folder.display()), "a folder that can be written")
        }
    }
}

fn print(finding: &Finding, width: usize, output: Output) {
    let name = format!("{:<11}", finding.level.name());
    let name = match finding.level {
        Level::Good => good(name),
        Level::NotChecked => name,
        Level::Warning => strong(name),
        Level::Bad => bad(name),
    };
    output.line(format_args!("{name}  {:<width$}  {}", finding.about, finding.found));
    if !finding.expected.is_empty() {
        output.line(format_args!("{:<11}  {:<width$}  expected {}", "", "", finding.expected));
    }
}

fn document(finding: &Finding) -> serde_json::Value {
    json!({
        "level": finding.level.name(), "about": finding.about,
        "found": finding.found, "expected": finding.expected,
    })
}
