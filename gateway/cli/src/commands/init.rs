//! `chartseal init DIR`: a commented configuration, keys and a genesis of one institution and its validators on this machine.
//! Writes into an empty folder only; it must never overwrite a key.

use std::path::PathBuf;

use anyhow::Context;

use crate::failure::{Exit, Failure, Outcome};
use crate::home::{self, config};
use crate::output::{Output, strong};

/// Writes a commented configuration, keys and a genesis.
#[derive(clap::Args)]
#[command(after_help = "Example: chartseal init /etc/chartseal --name 'Northwick General'\n\n\
Then start each validator and the gateway:\n  chartseal node --config /etc/chartseal/validators/validator-1/node.toml\n  \
chartseal run --config /etc/chartseal/gateway.toml")]
pub struct Args {
    /// An empty or new folder.
    dir: PathBuf,
    /// The institution's name, for people.
    #[arg(long, default_value = "Our hospital")]
    name: String,
    /// Number of validators; fewer than 4 tolerate no fault and are for development.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    validators: u16,
    /// First of the ports on 127.0.0.1: gateway, operators, then two for each validator.
    #[arg(long, default_value_t = 7400, value_parser = clap::value_parser!(u16).range(1024..=65000))]
    port: u16,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    if args.dir.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::usage(format_args!(
            "{}: found a folder with files in it, expected an empty or new one",
            args.dir.display()
        )));
    }
    home::make_private_folder(&args.dir)?;
    home::close_folder(&args.dir)?;
    let dir = args.dir.canonicalize().with_context(|| format!("{}", args.dir.display()))?;
    let ports: Vec<u16> = (args.port + 2..).take(usize::from(args.validators) * 2).collect();
    let validators = home::create_validators(&dir.join("validators"), &ports)?;
    let listen = format!("127.0.0.1:{}", args.port);
    let operators = format!("127.0.0.1:{}", args.port + 1);
    let hospital = home::create_hospital(&dir, &args.name, &listen, &operators)?;
    let genesis = home::write_genesis(&dir.join("genesis.json"), &validators, std::slice::from_ref(&hospital))?;
    let plan = config::GatewayPlan { genesis: "genesis.json", ..Default::default() };
    home::write(&hospital.config(), &config::gateway(&hospital, &validators, &plan))?;
    for validator in &validators {
        home::write(&validator.config(), &config::node(validator, &validators, "../../genesis.json"))?;
    }
    output.line(format_args!("{}  {}", strong("gateway   "), hospital.config().display()));
    for validator in &validators {
        output.line(format_args!("{}  {}", strong("validator "), validator.config().display()));
    }
    output.line(format_args!("{}  {}", strong("genesis   "), dir.join("genesis.json").display()));
    output.line(format_args!("{}  {}", strong("chain     "), genesis.chain_id()));
    output.document(&serde_json::json!({
        "config": hospital.config(),
        "genesis": dir.join("genesis.json"),
        "chain": genesis.chain_id(),
        "institution": hospital.registered.register.institution,
        "validators": validators.iter().map(home::ValidatorHome::config).collect::<Vec<_>>(),
    }))?;
    Ok(Exit::Done)
}
