//! `chartseal connector validate`: a whole configuration with everything that it names, or connectors alone. Every fault is named, not
//! the first one only. Offline unless asked; it must never print what a secret file holds.

use std::path::{Path, PathBuf};

use connectors_amqp::AmqpSource;
use connectors_fhir::{FhirError, HookSource, Server};
use connectors_mllp::MllpSource;
use connectors_source::Source;
use gateway_server::config::connector::BridgeConfig;
use gateway_server::config::{ConfigError, ConnectorConfig, connector};
use serde_json::json;

use crate::commands::run::{load, runtime};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, bad, good, strong};

/// Longest wait for a broker, in seconds.
const ONLINE_S_MAX: u64 = 10;

/// Arguments of `connector validate`.
#[derive(clap::Args)]
pub struct Args {
    /// One connector's file, or a folder of them.
    #[arg(required_unless_present = "config")]
    path: Option<PathBuf>,
    /// A gateway's configuration, with the connectors beside it.
    #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG")]
    config: Option<PathBuf>,
    /// What is allowed and yet seldom meant is a fault too.
    #[arg(long)]
    deny_warnings: bool,
    /// Connects too: brokers are reached, ports can be listened on.
    #[arg(long)]
    online: bool,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let connectors = match (&args.path, &args.config) {
        (Some(path), _) => alone(path, output)?,
        (None, Some(config)) => whole(config, output)?,
        (None, None) => Vec::new(),
    };
    let mut warned = false;
    for connector in &connectors {
        for warning in connector.warnings() {
            warned = true;
            output.note(format_args!("{} {}: {warning}", strong("warning"), connector.name()));
        }
    }
    if warned && args.deny_warnings {
        return Err(Failure::usage("found warnings, expected none (--deny-warnings)"));
    }
    if args.online {
        online(&connectors, output)?;
    }
    output.document(&json!({ "valid": true, "connectors": connectors.len() }))?;
    Ok(Exit::Done)
}

/// Connectors without the gateway that they belong to.
fn alone(path: &Path, output: Output) -> Result<Vec<ConnectorConfig>, Failure> {
    let read = if path.is_dir() { connector::read_folder(path) } else { vec![connector::read(path)] };
    if read.is_empty() {
        return Err(Failure::usage(format_args!("{}: found no *.toml, expected connectors", path.display())));
    }
    let mut good_ones = Vec::new();
    let mut faults = Vec::new();
    for connector in read {
        match connector.map_err(|e: ConfigError| e.to_string()).and_then(with_files) {
            Ok(connector) => {
                output.line(format_args!("{} {}  {}", good("valid"), connector.name(), connector.kind()));
                good_ones.push(connector);
            }
            Err(fault) => faults.push(fault),
        }
    }
    faults.iter().for_each(|fault| output.note(format_args!("{} {fault}", bad("error"))));
    match faults.len() {
        0 => Ok(good_ones),
        count => Err(Failure::usage(format_args!("found {count} faults, expected none"))),
    }
}

/// A connector whose files are there.
fn with_files(mut connector: ConnectorConfig) -> Result<ConnectorConfig, String> {
    for file in connector.files_mut() {
        std::fs::metadata(&*file).map_err(|e| format!("{}: found no readable file ({})", file.display(), e.kind()))?;
    }
    Ok(connector)
}

/// A gateway with all that it names.
fn whole(path: &Path, output: Output) -> Result<Vec<ConnectorConfig>, Failure> {
    let config = load(path)?;
    let mapper = super::mapper(Some(&config))?;
    let genesis = crate::commands::verify::read_genesis(&config.ledger.genesis)?;
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
    crate::commands::ledger::open(&config.ledger)?;
    config.database_url().map_err(Failure::usage)?;
    let tls = config.gateway.tls_certificate.as_deref().zip(config.gateway.tls_key.as_deref());
    tls.map_or(Ok(()), |(chain, key)| gateway_server::http::listen::check_tls(chain, key)).map_err(Failure::usage)?;
    for connector in &config.connectors {
        if let ConnectorConfig::Amqp(amqp) = connector
            && let Some(file) = &amqp.url_file
        {
            gateway_server::config::secret(file, "an AMQP URL").map_err(Failure::usage)?;
        }
        with_files(connector.clone()).map_err(Failure::usage)?;
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
    Ok(config.connectors)
}

/// Each connector as the gateway would start it, until it is connected.
fn online(connectors: &[ConnectorConfig], output: Output) -> Result<(), Failure> {
    runtime()?.block_on(async {
        for connector in connectors {
            let mut source: Box<dyn Source> = match connector {
                // nothing is taken: with a prefetch of one at most one message goes to the broker and back
                ConnectorConfig::Amqp(amqp) => {
                    Box::new(AmqpSource::start(connectors_amqp::AmqpConfig { prefetch: 1, ..amqp.clone() }))
                }
                ConnectorConfig::Mllp(mllp) | ConnectorConfig::Bridge(BridgeConfig { mllp, .. }) => {
                    Box::new(MllpSource::start(mllp.clone()).map_err(Failure::usage)?)
                }
                ConnectorConfig::Fhir(fhir) => {
                    reach(connector, Server::new(&fhir.server), &fhir.types, output).await?;
                    continue;
                }
                ConnectorConfig::FhirHook(hook) => {
                    HookSource::start(hook).map_err(Failure::usage)?;
                    match &hook.server {
                        Some(server) => reach(connector, Server::new(server), &[], output).await?,
                        None => output.line(format_args!("{} {}", good("ready"), connector.name())),
                    }
                    continue;
                }
            };
            let mut health = source.health();
            let limit = std::time::Duration::from_secs(ONLINE_S_MAX);
            let connected = tokio::time::timeout(limit, health.wait_for(|health| health.connected)).await;
            source.close();
            if !matches!(connected, Ok(Ok(_))) {
                let what = match connector {
                    ConnectorConfig::Amqp(_) => "found the broker not reachable or its exchange or queue refused",
                    _ => "found its port taken",
                };
                return Err(Failure::unavailable(format_args!("{}: {what} for {ONLINE_S_MAX} s", connector.name())));
            }
            output.line(format_args!("{} {}", good("reached"), connector.name()));
        }
        Ok(())
    })
}

/// Asks a FHIR server for one resource of each type.
async fn reach(
    connector: &ConnectorConfig,
    server: Result<Server, FhirError>,
    types: &[String],
    output: Output,
) -> Result<(), Failure> {
    let server = server.map_err(Failure::usage)?;
    let limit = std::time::Duration::from_secs(ONLINE_S_MAX);
    match tokio::time::timeout(limit, server.reach(types)).await {
        Ok(Ok(())) => output.line(format_args!("{} {}", good("reached"), connector.name())),
        Ok(Err(error)) => return Err(Failure::unavailable(format_args!("{}: {error}", connector.name()))),
        Err(_) => {
            let name = connector.name();
            return Err(Failure::unavailable(format_args!(
                "{name}: found no answer of its server for {ONLINE_S_MAX} s"
            )));
        }
    }
    Ok(())
}
