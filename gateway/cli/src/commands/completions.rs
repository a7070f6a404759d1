//! `chartseal completions SHELL`: completions on standard output, made from the arguments themselves.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::failure::Outcome;
use crate::output::Output;

/// Prints completions for a shell.
#[derive(clap::Args)]
#[command(after_help = "Example: chartseal completions bash > /etc/bash_completion.d/chartseal")]
pub struct Args {
    /// bash, zsh, fish, elvish or powershell.
    shell: Shell,
}

/// Runs the command.
pub fn run<C: CommandFactory>(args: &Args, output: Output) -> Outcome {
    // clap's writer panics on an output that takes nothing: into memory first
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut C::command(), "chartseal", &mut script);
    output.bytes(&script)
}
