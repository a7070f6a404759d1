//! `chartseal connector validate`: a whole configuration with everything that it names, or connectors alone. Every fault is named, not
//! the first one only. Offline unless asked; it must never print what a secret file holds.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use connectors_amqp::inspect::{inspect, inspect_publisher};
use connectors_amqp::{AmqpConfig, AmqpSource};
use connectors_fhir::{FhirError, Server};
use connectors_source::{Finding, Level, Source as _};
use gateway_server::config::{ConnectorConfig, connector};
use gateway_server::connectors::rehearse;
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
    let (connectors, mut warned) = match (&args.path, &args.config) {
        (Some(path), _) => (alone(path, output)?, false),
        (None, Some(config)) => whole(config, output)?,
        (None, None) => (Vec::new(), false),
    };
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
    let read =
        if path.is_dir() { connector::read_folder(path) } else { vec![(path.to_owned(), connector::read(path))] };
    if read.is_empty() {
        return Err(Failure::usage(format_args!("{}: found no *.toml, expected connectors", path.display())));
    }
    let (mut good_ones, mut faults): (Vec<ConnectorConfig>, Vec<String>) = (Vec::new(), Vec::new());
    for (file, read) in read {
        match read.and_then(|connector| connector::apart(connector, &file, &good_ones)) {
            Ok(connector) => good_ones.push(connector),
            Err(fault) => faults.push(fault.to_string()),
        }
    }
    faults.extend(good_ones.iter().filter_map(|connector| with_files(connector).err()));
    named(&faults, output)?;
    for connector in &good_ones {
        output.line(format_args!("{} {}  {}", good("valid"), connector.name(), connector.kind()));
    }
    Ok(good_ones)
}

/// Prints all faults; one is enough to fail.
fn named(faults: &[String], output: Output) -> Result<(), Failure> {
    faults.iter().for_each(|fault| output.note(format_args!("{} {fault}", bad("error"))));
    match faults.len() {
        0 => Ok(()),
        count => {
            output.document(&json!({ "valid": false, "faults": faults }))?;
            Err(Failure::usage(format_args!("found {count} faults, expected none")))
        }
    }
}

/// Whether a connector's files are there, and fit.
fn with_files(connector: &ConnectorConfig) -> Result<(), String> {
    for file in connector.clone().files_mut() {
        let unreadable = |e: std::io::Error| {
            format!("connector `{}`: {}: found no readable file ({})", connector.name(), file.display(), e.kind())
        };
        std::fs::File::open(&*file).map_err(unreadable)?;
    }
    rehearse(connector)
}

/// A gateway with all that it names, and whether something of it is seldom meant.
fn whole(path: &Path, output: Output) -> Result<(Vec<ConnectorConfig>, bool), Failure> {
    let config = load(path)?;
    let mut faults: Vec<String> = config.faults.iter().map(ToString::to_string).collect();
    faults.extend(config.connectors.iter().filter_map(|connector| with_files(connector).err()));
    named(&faults, output)?;
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
    let doubts = super::name_doubts(&mapper, output);
    Ok((config.connectors, doubts > 0))
}

/// Each connector as the gateway would start it, until it is connected. All are tried.
fn online(connectors: &[ConnectorConfig], output: Output) -> Result<(), Failure> {
    let mut away = 0;
    runtime()?.block_on(async {
        for connector in connectors {
            match reach(connector).await {
                Ok(how) => output.line(format_args!("{} {}", good(how), connector.name())),
                Err(fault) => {
                    away += 1;
                    output.note(format_args!("{} {}: {fault}", bad("error"), connector.name()));
                }
            }
        }
    });
    match away {
        0 => Ok(()),
        away => Err(Failure::unavailable(format_args!("found {away} connectors that cannot do their work"))),
    }
}

async fn reach(connector: &ConnectorConfig) -> Result<&'static str, String> {
    match connector {
        ConnectorConfig::Amqp(amqp) => broker(amqp).await.map(|()| "reached"),
        ConnectorConfig::Mllp(mllp) => port(mllp.listen).map(|()| "free"),
        ConnectorConfig::Bridge(bridge) => {
            port(bridge.mllp.listen)?;
            let missing = "one: messages are published into it, and a bridge makes none";
            first_bad(inspect_publisher(&bridge.name, &bridge.amqp, missing).await).map(|()| "reached")
        }
        ConnectorConfig::Fhir(fhir) => server(Server::new(&fhir.server), &fhir.types).await.map(|()| "reached"),
        ConnectorConfig::FhirHook(hook) => match &hook.server {
            Some(of) => server(Server::new(of), &[]).await.map(|()| "reached"),
            None => Ok("ready"),
        },
    }
}

/// Whether the port can be listened on.
fn port(address: SocketAddr) -> Result<(), String> {
    std::net::TcpListener::bind(address).map(drop).map_err(|e| match e.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "found {address} taken, expected it free; where the gateway runs already, `connector status` tells more"
            )
        }
        kind => format!("found that {address} cannot be listened on ({kind})"),
    })
}

/// Nothing is taken: with a prefetch of one at most one message goes to the broker and back.
async fn broker(amqp: &AmqpConfig) -> Result<(), String> {
    let mut source = AmqpSource::start(AmqpConfig { prefetch: 1, ..amqp.clone() });
    let mut health = source.health();
    let limit = std::time::Duration::from_secs(ONLINE_S_MAX);
    let connected = tokio::time::timeout(limit, health.wait_for(|health| health.connected)).await;
    source.close();
    if matches!(connected, Ok(Ok(_))) {
        return Ok(());
    }
    first_bad(inspect(amqp).await)?;
    Err(format!("found its exchange or queue refused for {ONLINE_S_MAX} s"))
}

fn first_bad(findings: Vec<Finding>) -> Result<(), String> {
    let worst = findings.into_iter().find(|finding| finding.level == Level::Bad);
    worst.map_or(Ok(()), |of| Err(format!("{}: found {}, expected {}", of.about, of.found, of.expected)))
}

/// Asks a FHIR server for one resource of each type.
async fn server(server: Result<Server, FhirError>, types: &[String]) -> Result<(), String> {
    let server = server.map_err(|e| e.to_string())?;
    let limit = std::time::Duration::from_secs(ONLINE_S_MAX);
    let reached = tokio::time::timeout(limit, server.reach(types)).await;
    reached.map_err(|_| format!("found no answer of its server for {ONLINE_S_MAX} s"))?.map_err(|e| e.to_string())
}
