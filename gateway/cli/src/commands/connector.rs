//! `chartseal connector try|list|validate`: looks at one message or at a configuration without keys, broker or database. `try`
//! prints patients' data, since that is its purpose; errors still name paths only.

mod attempt;

use std::path::{Path, PathBuf};

use connectors_hl7v2::Mapper;
use gateway_server::config::{Config, ConnectorConfig};
use serde_json::json;

use super::run::load;
use crate::failure::{Exit, Failure, Outcome, read_text};
use crate::output::{Output, good, strong};

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
    /// Lists the connectors of a configuration and the message types that have tables.
    #[command(after_help = "Example: chartseal connector list --config gateway.toml")]
    List {
        /// A gateway's configuration.
        #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Checks a configuration with everything that it names: files, keys, tables; opens no connection.
    #[command(after_help = "Exit codes: 0 good, 64 not; every fault names file, line, found and expected.\n\n\
    Example: chartseal connector validate --config gateway.toml")]
    Validate {
        /// A gateway's configuration.
        #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG")]
        config: PathBuf,
    },
}

/// Runs the command.
pub fn run(args: Args, output: Output) -> Outcome {
    match args.command {
        Command::Try(args) => attempt::run(&args, output),
        Command::List { config } => list(config.as_deref(), output),
        Command::Validate { config } => validate(&config, output),
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

/// Every file below a folder, by its path from there.
fn collect(root: &Path, folder: &Path, tables: &mut Vec<(String, String)>) -> Result<(), Failure> {
    let at = |e: std::io::Error| Failure::usage(format_args!("{}: {e}; expected a folder of tables", folder.display()));
    for entry in folder.read_dir().map_err(at)? {
        let path = entry.map_err(at)?.path();
        if path.is_dir() {
            collect(root, &path, tables)?;
        } else {
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            tables.push((name, read_text(&path)?));
        }
    }
    Ok(())
}

fn list(config: Option<&Path>, output: Output) -> Outcome {
    let config = config.map(load).transpose()?;
    let mapper = mapper(config.as_ref())?;
    let types = mapper.message_types();
    let mut connectors = Vec::new();
    for ConnectorConfig::Amqp(amqp) in config.iter().flat_map(|c| &c.connectors) {
        output.line(format_args!(
            "{}  amqp  exchange {}, queue {}, bindings {}",
            strong(&amqp.name),
            amqp.exchange,
            amqp.queue_name(),
            amqp.bindings.join(" ")
        ));
        connectors.push(json!({
            "name": amqp.name, "kind": "amqp", "exchange": amqp.exchange, "queue": amqp.queue_name(),
            "bindings": amqp.bindings,
        }));
    }
    output.line(format_args!("HL7 v2 messages with tables: {}", types.join(" ")));
    output.line("FHIR R4: every resource, and Bundles of any type");
    output.document(&json!({ "connectors": connectors, "hl7v2": types }))?;
    Ok(Exit::Done)
}

fn validate(path: &Path, output: Output) -> Outcome {
    let config = load(path)?;
    let mapper = mapper(Some(&config))?;
    let genesis = super::verify::read_genesis(&config.ledger.genesis)?;
    let own = genesis.institutions.iter().find(|i| i.register.institution == config.gateway.institution_id);
    let Some(own) = own else {
        return Err(Failure::usage(format_args!(
            "{}: found an institution_id that the genesis {} does not have",
            path.display(),
            config.ledger.genesis.display()
        )));
    };
    let vault = gateway_vault::Vault::open(&config.vault.dir).map_err(Failure::usage)?;
    if vault.institution_key() != own.register.key || !own.register.gateways.contains(&vault.gateway_key()) {
        return Err(Failure::usage(format_args!(
            "{}: found keys that are not those of {} in the genesis",
            config.vault.dir.display(),
            own.name
        )));
    }
    super::ledger::open(&config.ledger)?;
    config.database_url().map_err(Failure::usage)?;
    let tls = config.gateway.tls_certificate.as_deref().zip(config.gateway.tls_key.as_deref());
    tls.map_or(Ok(()), |(chain, key)| gateway_server::http::listen::check_tls(chain, key)).map_err(Failure::usage)?;
    for ConnectorConfig::Amqp(amqp) in &config.connectors {
        if let Some(file) = &amqp.url_file {
            gateway_server::config::secret(file, "an AMQP URL").map_err(Failure::usage)?;
        }
    }
    let base = config.gateway.base_url.clone().unwrap_or_default();
    gateway_server::smart::Clients::load(&config.clients, &base).map_err(Failure::usage)?;
    output.line(format_args!(
        "{} {}: {} connectors, {} clients, {} message types",
        good("valid"),
        path.display(),
        config.connectors.len(),
        config.clients.len(),
        mapper.message_types().len()
    ));
    output.document(&json!({ "valid": true, "config": path }))?;
    Ok(Exit::Done)
}
