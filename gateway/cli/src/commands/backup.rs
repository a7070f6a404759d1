//! `chartseal backup --config F --to DIR`: the blocks of a validator, running or not. Everything it does is `ledger-node`'s; it must never
//! take a vote log along.

use std::path::PathBuf;

use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, strong};

/// Backs up the blocks of a validator, which may run meanwhile.
#[derive(clap::Args)]
#[command(
    after_help = "The vote log is not in a backup: an older one is worse than none. The key is only with --with-key.\n\n\
Example: chartseal backup --config /etc/chartseal/validators/validator-1/node.toml --to /backup/2026-11-26"
)]
pub struct Args {
    /// The validator's configuration.
    #[arg(long, value_name = "F")]
    config: PathBuf,
    /// An empty or new folder.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Takes the validator's key along, too.
    #[arg(long)]
    with_key: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let config = super::node::load(&args.config)?;
    let backup = ledger_node::backup(&config, &args.to, args.with_key).map_err(|e| Failure::starting(e.class(), e))?;
    let bytes: u64 = backup.files.iter().map(|file| file.bytes).sum();
    output.line(format_args!("{}  {}", strong("height"), backup.height));
    output.line(format_args!("{}  {}", strong("header"), backup.header));
    output.line(format_args!("{}  {} in {} files", strong("bytes "), bytes, backup.files.len()));
    output.document(&serde_json::json!({
        "to": args.to,
        "chain": backup.chain,
        "height": backup.height,
        "header": backup.header,
        "bytes": bytes,
        "files": backup.files.len(),
    }))?;
    Ok(Exit::Done)
}
