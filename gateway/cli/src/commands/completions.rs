//! `chartseal completions SHELL`: completions on standard output, made from the arguments themselves.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::failure::{Exit, Outcome};

/// Prints completions for a shell.
#[derive(clap::Args)]
#[command(after_help = "Example: chartseal completions bash > /etc/bash_completion.d/chartseal")]
pub struct Args {
    /// bash, zsh, fish, elvish or powershell.
    shell: Shell,
}

/// Runs the command.
pub fn run<C: CommandFactory>(args: &Args) -> Outcome {
    clap_complete::generate(args.shell, &mut C::command(), "chartseal", &mut std::io::stdout());
    Ok(Exit::Done)
}
