//! `chartseal node --config F`: one validator, until SIGTERM. Everything it does is `ledger-node`'s.

use std::path::PathBuf;

use ledger_node::NodeConfig;

use super::run::runtime;
use crate::children::until_told;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;

/// Runs a validator alone until it is told to stop.
#[derive(clap::Args)]
#[command(after_help = "Example: chartseal node --config /etc/chartseal/validators/validator-1/node.toml")]
pub struct Args {
    /// The validator's configuration.
    #[arg(long, value_name = "F")]
    config: PathBuf,
    /// Stops when standard input ends.
    #[arg(long, hide = true)]
    until_input_ends: bool,
}

/// Runs the command.
pub fn run(args: &Args, _: Output) -> Outcome {
    let config = NodeConfig::load(&args.config).map_err(Failure::usage)?;
    let stop = until_told(args.until_input_ends);
    runtime()?.block_on(async { ledger_node::run(config, stop).await }).map_err(|e| Failure::classed(e.class(), e))?;
    Ok(Exit::Done)
}
