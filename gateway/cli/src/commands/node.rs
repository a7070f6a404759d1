//! `chartseal node --config F`: one validator, until SIGTERM. Everything it does is `ledger-node`'s.

use std::path::PathBuf;

use gateway_server::config::TelemetryConfig;
use gateway_server::telemetry::traces;
use ledger_node::NodeConfig;
use tokio_util::sync::CancellationToken;

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
    let input_ends = args.until_input_ends;
    let _traces = traces::start(&TelemetryConfig::default()).map_err(Failure::usage)?;
    runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        let told = shutdown.clone();
        tokio::spawn(async move {
            until_told(input_ends).await;
            told.cancel();
        });
        ledger_node::run(config, shutdown).await.map_err(|e| Failure::classed(e.class(), e))
    })?;
    Ok(Exit::Done)
}
