//! `chartseal`, the one binary: arguments in, one command run, one exit code out. It stands in front of everything and decides
//! nothing about records; it must never print a value of a patient's record unless the command's purpose is to show it.

mod children;
mod cluster;
mod commands;
mod failure;
mod hands;
mod home;
mod output;
mod patient;
mod publish;
mod sample;
mod services;
mod smart;
mod usage;
mod watch;

use std::io::{ErrorKind, Write as _};

use clap::{Parser, Subcommand};

use failure::{Exit, Outcome};
use output::Output;

/// A message makes thousands of small values; measured, this allocator takes a fifth off normalising.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seals what hospitals emit, anchors the proof in a ledger that they run together, and gives it back under consent.
#[derive(Parser)]
#[command(name = "chartseal", version, propagate_version = true, disable_help_subcommand = true, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 invalid (verify, trace), 4 incomplete, 64 bad usage or \
configuration, 69 a service is unavailable, 75 try again.\n\nExample: chartseal demo --exit")]
struct Cli {
    /// One JSON document for machines instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// Only errors and results, no progress.
    #[arg(long, short, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(commands::demo::Args),
    Init(commands::init::Args),
    Doctor(commands::doctor::Args),
    Run(commands::run::Args),
    Node(commands::node::Args),
    Backup(commands::backup::Args),
    Restore(commands::restore::Args),
    Connector(commands::connector::Args),
    Dlq(commands::dlq::Args),
    Ledger(commands::ledger::Args),
    Consent(commands::consent::Args),
    Wallet(commands::wallet::Args),
    Trace(commands::trace::Args),
    Verify(commands::verify::Args),
    Bench(commands::bench::Args),
    Completions(commands::completions::Args),
}

fn run(cli: Cli) -> Outcome {
    let output = Output::new(cli.json, cli.quiet);
    match cli.command {
        Command::Demo(args) => commands::demo::run(args, output),
        Command::Init(args) => commands::init::run(&args, output),
        Command::Doctor(args) => commands::doctor::run(&args, output),
        Command::Run(args) => commands::run::run(&args, output),
        Command::Node(args) => commands::node::run(&args, output),
        Command::Backup(args) => commands::backup::run(&args, output),
        Command::Restore(args) => commands::restore::run(&args, output),
        Command::Connector(args) => commands::connector::run(args, output),
        Command::Dlq(args) => commands::dlq::run(args, output),
        Command::Ledger(args) => commands::ledger::run(args, output),
        Command::Consent(args) => commands::consent::run(args, output),
        Command::Wallet(args) => commands::wallet::run(args, output),
        Command::Trace(args) => commands::trace::run(&args, output),
        Command::Verify(args) => commands::verify::run(&args, output),
        Command::Bench(args) => commands::bench::run(args, output),
        Command::Completions(args) => commands::completions::run::<Cli>(&args, output),
    }
}

fn main() -> std::process::ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // A closed pipe is no reason to fail: `chartseal --help | head`.
            let is_lost = error.print().is_err_and(|e| e.kind() != ErrorKind::BrokenPipe);
            return if is_lost && exit == Exit::Done { Exit::Failed } else { exit }.into();
        }
    };
    match output::whole(run(cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // where standard error cannot be written either, the exit code says it
            let _ = writeln!(anstream::stderr(), "chartseal: {failure}");
            failure.exit.into()
        }
    }
}
