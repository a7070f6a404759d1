//! `chartseal restore --config F [--from DIR]`: a validator that lost its disk, or whose files are damaged, begins anew. Everything it
//! does is `ledger-node`'s; it must never bring votes back.

use std::path::PathBuf;

use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;

/// Lets a validator begin anew, from a backup or from what the others have.
#[derive(clap::Args)]
#[command(
    after_help = "What lies in the data folder is put aside (votes.before, blocks.before). At its next start the validator \
fetches what it lacks from the others and says nothing until that is safe.\n\n\
Examples: chartseal restore --config node.toml --from /backup/2026-11-26\n          chartseal restore --config node.toml"
)]
pub struct Args {
    /// The configuration of a validator that does not run.
    #[arg(long, value_name = "F")]
    config: PathBuf,
    /// A backup. Without it everything comes from the other validators.
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let config = super::node::load(&args.config)?;
    if let Some(from) = &args.from {
        let list = from.join("backup.json");
        if let Err(error) = std::fs::metadata(&list) {
            let expected = "expected a folder that `chartseal backup --to DIR` wrote, or no --from: then all comes from the others";
            return Err(Failure::usage(format_args!("--from: {}: {error}; {expected}", list.display())));
        }
    }
    let height = ledger_node::restore(&config, args.from.as_deref()).map_err(|e| Failure::starting(e.class(), e))?;
    match &args.from {
        Some(_) => {
            output.line(format_args!("restored up to height {height}; the rest comes from the other validators"))
        }
        None => output.line("nothing is kept; everything comes from the other validators"),
    }
    output.line(format_args!("start it: chartseal node --config {}", args.config.display()));
    output.line("it has no vote until it was helped over what it may have said: restore no other one before");
    output.line("`chartseal ledger status` says when it speaks again");
    output.document(&serde_json::json!({ "height": height, "from": args.from }))?;
    Ok(Exit::Done)
}
