//! `chartseal run --config F`: a gateway with its connectors, until SIGTERM. Assembly and rules are `gateway-server`'s.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use gateway_server::config::Config;
use gateway_server::gateway::{Gateway, GatewayError};
use gateway_server::http::listen::ListenError;

use super::node::listening;
use crate::children::until_told;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, bad};

/// Runs a gateway and its connectors until it is told to stop.
#[derive(clap::Args)]
#[command(
    after_help = "Stops on SIGTERM or Ctrl-C after what is under way. It prints nothing: its log goes to standard error \
(CHARTSEAL_LOG=debug, CHARTSEAL_LOG=error); --json and --quiet change nothing.\n\n\
Example: chartseal run --config /etc/chartseal/gateway.toml"
)]
pub struct Args {
    /// The gateway's configuration.
    #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG")]
    config: PathBuf,
    /// Stops when standard input ends.
    #[arg(long, hide = true)]
    until_input_ends: bool,
}

/// Reads a configuration; a bad one is exit 64.
///
/// # Errors
/// Usage, with file, line, column, found and expected.
pub fn load(path: &std::path::Path) -> Result<Config, Failure> {
    Config::load(path).map_err(Failure::usage)
}

/// The same, with a note of every connector that is left out because its file is wrong.
///
/// # Errors
/// As `load`.
pub fn load_with_connectors(path: &std::path::Path, output: Output) -> Result<Config, Failure> {
    let config = load(path)?;
    config.faults.iter().for_each(|fault| output.note(format_args!("{} {fault}; it is left out", bad("error"))));
    Ok(config)
}

/// A runtime for a command.
///
/// # Errors
/// When the system has no threads left.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    use anyhow::Context;
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting threads")?)
}

/// The allocator's own switch: how long it keeps freed pages, in milliseconds. It reads it once, when a process begins.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// Begins anew, as the same process, with an allocator that gives freed pages back at once, unless the environment says otherwise. A
/// document of 15 MB is in several buffers one after the other within a second, and all of them would count at once (measured: six times the
/// document and not under four; `bench ingest` is as fast with it as without).
fn begin_with_little_memory() {
    if std::env::var_os(PURGE_DELAY).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // comes back only where it failed; then it goes on as it is
    let error = Command::new(program).args(std::env::args_os().skip(1)).env(PURGE_DELAY, "0").exec();
    anstream::eprintln!("chartseal: keeps freed memory for a while: {error}");
}

/// Runs the command.
pub fn run(args: &Args, _: Output) -> Outcome {
    // first: a configuration that comes through a pipe is read once
    begin_with_little_memory();
    let config = load(&args.config)?;
    let _traces = gateway_server::telemetry::traces::start(&config.telemetry).map_err(Failure::usage)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let (listen, operators) = (config.gateway.listen.clone(), config.gateway.operators.clone());
        let settings = [("gateway.listen", listen.as_str()), ("gateway.operators", operators.as_str())];
        let gateway = Gateway::start(config).await.map_err(|error| match error {
            GatewayError::Listen(ListenError::Bind { address, source }) => listening(&settings, &address, &source),
            error => Failure::starting(error.class(), error),
        })?;
        until_told(args.until_input_ends).await;
        gateway.stop().await;
        Ok(Exit::Done)
    })
}
