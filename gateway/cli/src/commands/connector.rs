//! `chartseal connector …`: makes connectors, checks them and tries messages, without keys or database; steers those of a running
//! gateway (`control`). `try` prints patients' data, since that is its purpose;
//! errors still name paths only.

mod attempt;
mod control;
mod create;
mod golden;
mod import;
mod replay;
mod send;
mod tap;
mod validate;

use std::path::{Path, PathBuf};

use connectors_hl7v2::Mapper;
use connectors_mllp::MllpConfig;
use gateway_server::config::{Config, ConnectorConfig};
use serde_json::json;

pub use control::at;

use super::run::load_with_connectors;
use crate::failure::{Exit, Failure, Outcome, read_text};
use crate::output::{Output, strong};

/// Looks at connectors and at what they make of a message.
#[derive(clap::Args)]
#[command(after_help = "Example: chartseal connector try hl7v2 message.hl7 --json")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Maps one message and writes nothing.
    #[command(
        after_help = "Exit codes: 0 something was accepted (or there was nothing to accept), 1 nothing was, 64 bad usage.\n\n\
    Example: chartseal connector try hl7v2 message.hl7 --json --explain"
    )]
    Try(attempt::Args),
    /// Writes the file of a new connector, commented, and the schema that editors check it with.
    #[command(after_help = "Example: chartseal connector new mllp ward-3 --dir connectors.d")]
    New(create::Args),
    /// Prints the JSON Schema of a connector's file.
    #[command(after_help = "Example: chartseal connector schema > connector.schema.json")]
    Schema,
    /// Maps every message of a folder and compares with what is expected beside it.
    #[command(
        after_help = "MESSAGE.hl7 or MESSAGE.json, and MESSAGE.expected.json with the document of `connector try --json`.\n\
    Exit codes: 0 all as expected, 1 not, 64 bad usage.\n\n\
    Example: chartseal connector test connectors.d/ward-3 --config gateway.toml"
    )]
    Test(golden::Args),
    /// Sends messages over MLLP and prints each acknowledgement.
    #[command(after_help = "Exit codes: 0 all acknowledged, 1 one was refused, 75 the receiver cannot be reached.\n\n\
    Example: chartseal connector send 127.0.0.1:2575 message.hl7")]
    Send(send::Args),
    /// Shows the connectors of a running gateway.
    #[command(after_help = "Example: chartseal connector status --config gateway.toml")]
    Status(control::Gateway),
    /// Shows what a connector brought and how far each message is; never what is in it. Who looks is written down.
    #[command(after_help = "Example: chartseal connector tap ward-3 --follow --config gateway.toml")]
    Tap(tap::Args),
    /// Stops a running connector from taking messages until it is resumed; a restart does not resume it.
    #[command(after_help = "Example: chartseal connector pause ward-3 --config gateway.toml")]
    Pause(control::Args),
    /// Lets a paused connector take messages again.
    #[command(after_help = "Example: chartseal connector resume ward-3 --config gateway.toml")]
    Resume(control::Args),
    /// Pauses a connector and waits until everything that it took is settled: acknowledged to its sender, or given back.
    #[command(after_help = "Exit codes: 0 drained, 75 not yet.\n\n\
    Example: chartseal connector drain ward-3 --config gateway.toml")]
    Drain(control::Args),
    /// Makes a running gateway read its connectors and mapping tables again; on a fault the old ones go on.
    #[command(after_help = "Exit codes: 0 done, 64 a fault: nothing changed.\n\n\
    Example: chartseal connector reload --config gateway.toml")]
    Reload(control::Gateway),
    /// Takes everything that a polled FHIR server exports in bulk into the running gateway, and shows how far that is.
    #[command(
        after_help = "What is there already is recognised: run it again after anything went wrong. It goes on when this command ends;\n\
    the same command shows it again.\n\n\
    Exit codes: 0 done, 1 failed or stopped, 64 bad usage, 69 the gateway cannot be reached.\n\n\
    Example: chartseal connector import ehr --level patient --since 2026-01-01T00:00:00Z --config gateway.toml"
    )]
    Import(import::Args),
    /// Maps again what a connector received in some time, after a mapping table was mended and reloaded: what says something else now
    /// becomes a new version, what does not adds nothing. Counts first; nothing is done without --yes.
    #[command(
        after_help = "Run it again after anything went wrong: it finds done what is done. It goes on when this command ends; the same\n\
    command shows it again. A resource that another connector's messages changed later shows it once that connector is replayed too.\n\n\
    Exit codes: 0 done, 1 failed, 64 bad usage, 69 the gateway cannot be reached.\n\n\
    Example: chartseal connector replay ward-3 --from 2026-11-01T00:00:00Z --to 2026-11-27T00:00:00Z --dry-run --config gateway.toml"
    )]
    Replay(replay::Args),
    /// Lists the connectors of a configuration and the message types that have tables.
    #[command(after_help = "Example: chartseal connector list --config gateway.toml")]
    List {
        /// A gateway's configuration.
        #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Checks a configuration with everything that it names, or one connector's file, or a folder of them. Opens no connection.
    #[command(after_help = "Exit codes: 0 good, 64 not; every fault names file, line, found and expected.\n\n\
    Examples:\n  chartseal connector validate --config gateway.toml\n  chartseal connector validate connectors.d/ward-3.toml --online")]
    Validate(validate::Args),
}

/// Runs the command.
pub fn run(args: Args, output: Output) -> Outcome {
    match args.command {
        Command::Try(args) => attempt::run(&args, output),
        Command::List { config } => list(config.as_deref(), output),
        Command::Validate(args) => validate::run(&args, output),
        Command::New(args) => create::run(&args, output),
        Command::Schema => create::schema(output),
        Command::Test(args) => golden::run(&args, output),
        Command::Send(args) => send::run(&args, output),
        Command::Status(gateway) => control::status(&gateway, output),
        Command::Tap(args) => tap::run(&args, output),
        Command::Pause(args) => control::change(&args, "pause", output),
        Command::Resume(args) => control::change(&args, "resume", output),
        Command::Drain(args) => control::change(&args, "drain", output),
        Command::Reload(gateway) => control::reload(&gateway, output),
        Command::Import(args) => import::run(&args, output),
        Command::Replay(args) => replay::run(&args, output),
    }
}

/// The tables: embedded, and the site's own where the configuration names a folder.
///
/// # Errors
/// Usage, with file, line, found and expected.
pub fn mapper(config: Option<&Config>) -> Result<Mapper, Failure> {
    let Some(folder) = config.and_then(|c| c.gateway.mappings.as_deref()) else { return Ok(Mapper::embedded()) };
    let mut tables = Vec::new();
    collect(folder, folder, &mut tables)?;
    Mapper::with_tables(&tables).map_err(|e| Failure::usage(format_args!("{}: {e}", folder.display())))
}

/// Prints what of a site's tables is seldom meant; how much that is.
fn name_doubts(mapper: &Mapper, output: Output) -> usize {
    mapper.doubts().iter().for_each(|doubt| output.note(format_args!("{} {doubt}", strong("warning"))));
    mapper.doubts().len()
}

/// Every file below a folder, by its path from there.
fn collect(root: &Path, folder: &Path, tables: &mut Vec<(String, String)>) -> Result<(), Failure> {
    let at = |e: std::io::Error| Failure::usage(format_args!("{}: {e}; expected a folder of tables", folder.display()));
    for entry in folder.read_dir().map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.is_dir() {
            collect(root, &path, tables)?;
        } else if path.extension().is_some_and(|e| e == "map") {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            tables.push((name, read_text(&path)?));
        }
    }
    Ok(())
}

fn tls_of(mllp: &MllpConfig) -> &'static str {
    match (&mllp.tls_certificate, &mllp.tls_clients) {
        (None, _) => "plain",
        (Some(_), None) => "TLS",
        (Some(_), Some(_)) => "mutual TLS",
    }
}

fn list(config: Option<&Path>, output: Output) -> Outcome {
    let config = config.map(|path| load_with_connectors(path, output)).transpose()?;
    let mapper = mapper(config.as_ref())?;
    let types = mapper.message_types();
    let mut connectors = Vec::new();
    for connector in config.iter().flat_map(|c| &c.connectors) {
        let (what, about) = match connector {
            ConnectorConfig::Amqp(amqp) => (
                format!(
                    "exchange {}, queue {}, bindings {}",
                    amqp.exchange,
                    amqp.queue_name(),
                    amqp.bindings.join(" ")
                ),
                json!({ "exchange": amqp.exchange, "queue": amqp.queue_name(), "bindings": amqp.bindings }),
            ),
            ConnectorConfig::Mllp(mllp) => (
                format!("listens on {}, {}", mllp.listen, tls_of(mllp)),
                json!({ "listen": mllp.listen, "tls": tls_of(mllp) }),
            ),
            ConnectorConfig::Bridge(bridge) => {
                let (mllp, amqp) = (&bridge.mllp, &bridge.amqp);
                let into = format!("exchange {}, routing key {}", amqp.exchange, amqp.routing_key);
                let about = json!({ "listen": mllp.listen, "tls": tls_of(mllp), "exchange": amqp.exchange });
                (format!("listens on {}, {}; into {into}", mllp.listen, tls_of(mllp)), about)
            }
            ConnectorConfig::Fhir(fhir) => (
                format!("polls {} for {}", fhir.server.base, fhir.types.join(" ")),
                json!({ "base": fhir.server.base, "types": fhir.types, "interval_ms": fhir.interval_ms }),
            ),
            ConnectorConfig::FhirHook(hook) => (
                format!("takes notifications at /hooks/{}", hook.name),
                json!({ "path": format!("/hooks/{}", hook.name) }),
            ),
        };
        output.line(format_args!("{}  {}  {what}", strong(connector.name()), connector.kind()));
        let mut about = about;
        about["name"] = connector.name().into();
        about["kind"] = connector.kind().into();
        connectors.push(about);
    }
    output.line(format_args!("HL7 v2 messages with tables: {}", types.join(" ")));
    output.line("FHIR R4: every resource, and Bundles of any type");
    output.document(&json!({ "connectors": connectors, "hl7v2": types }))?;
    Ok(Exit::Done)
}
