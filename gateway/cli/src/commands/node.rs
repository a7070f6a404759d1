//! `chartseal node --config F`: one validator, until SIGTERM. Everything it does is `ledger-node`'s; here its errors get their exit
//! codes, and words about the file that they are about.

use std::path::{Path, PathBuf};

use gateway_server::config::TelemetryConfig;
use gateway_server::telemetry::traces;
use ledger_node::{NodeConfig, NodeError};
use tokio_util::sync::CancellationToken;

use super::run::runtime;
use crate::children::until_told;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::Output;

/// Runs a validator alone until it is told to stop.
#[derive(clap::Args)]
#[command(
    after_help = "Stops on SIGTERM or Ctrl-C. It prints nothing: its log goes to standard error (CHARTSEAL_LOG=debug, \
CHARTSEAL_LOG=error); --json and --quiet change nothing.\n\n\
Example: chartseal node --config /etc/chartseal/validators/validator-1/node.toml"
)]
pub struct Args {
    /// The validator's configuration.
    #[arg(long, value_name = "F")]
    config: PathBuf,
    /// Stops when standard input ends.
    #[arg(long, hide = true)]
    until_input_ends: bool,
}

/// Reads a validator's configuration; a bad one is exit 64.
///
/// # Errors
/// Usage, with file, line, column, found and expected.
pub fn load(path: &Path) -> Result<NodeConfig, Failure> {
    NodeConfig::load(path).map_err(|error| match error {
        NodeError::Config { place, message } => Failure::usage(format_args!("{place}: {}", helpful(&message))),
        error => Failure::usage(error),
    })
}

/// A TOML reader's word about an unknown key, with what was probably meant.
fn helpful(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(found) = quoted.next().filter(|_| message.starts_with("unknown field")) else { return message.to_owned() };
    let message = message.replacen("unknown field", "found unknown key", 1);
    let distance = |name: &&str| strsim::levenshtein(found, name);
    match quoted.min_by_key(distance).filter(|name| distance(name) <= name.len().max(3) / 3) {
        Some(meant) => format!("{message}; did you mean `{meant}`?"),
        None => message,
    }
}

/// The settings of a file that an address is in.
pub fn listening(settings: &[(&str, &str)], address: &str, cause: &std::io::Error) -> Failure {
    let named: Vec<&str> = settings.iter().filter(|(_, of)| *of == address).map(|(name, _)| *name).collect();
    let expected = match (named.len(), cause.kind()) {
        (2.., _) => "each with an address of its own",
        (_, std::io::ErrorKind::AddrInUse) => {
            "an address that nobody listens on: stop who does (`ss -ltnp` names it), or take another port"
        }
        (_, std::io::ErrorKind::PermissionDenied) => "a port that this user may listen on, from 1024",
        _ => "`host:port` of this machine",
    };
    let named = if named.is_empty() { "listener".to_owned() } else { named.join(" and ") };
    Failure::usage(format_args!("{named}: cannot listen on {address}: {cause}; expected {expected}"))
}

/// Why a validator does not start or stops.
fn failed(error: NodeError, settings: &[(&str, &str)]) -> Failure {
    match error {
        NodeError::Listen { address, cause } => listening(settings, &address, &cause),
        error => Failure::starting(error.class(), error),
    }
}

/// Runs the command.
pub fn run(args: &Args, _: Output) -> Outcome {
    let config = load(&args.config)?;
    let input_ends = args.until_input_ends;
    let _traces = traces::start(&TelemetryConfig::default()).map_err(Failure::usage)?;
    let mut settings = vec![("listen", config.listen.clone()), ("rpc", config.rpc.clone())];
    settings.extend(config.operators.clone().map(|address| ("operators", address)));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, address)| (*name, address.as_str())).collect();
    runtime()?.block_on(async {
        let shutdown = CancellationToken::new();
        let told = shutdown.clone();
        tokio::spawn(async move {
            until_told(input_ends).await;
            told.cancel();
        });
        ledger_node::run(config, shutdown).await.map_err(|error| failed(error, &settings))
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::helpful;

    #[test]
    fn a_misspelt_key_is_named_with_what_was_meant() {
        let message = helpful("unknown field `lissten`, expected one of `genesis`, `listen`, `rpc`");
        assert!(message.starts_with("found unknown key `lissten`") && message.ends_with("did you mean `listen`?"));
        assert!(!helpful("unknown field `zzzzzz`, expected one of `genesis`, `rpc`").contains("did you mean"));
        assert_eq!(helpful("missing field `rpc`"), "missing field `rpc`");
    }
}
