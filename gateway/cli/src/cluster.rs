//! A whole small world on one machine, for demo and bench: broker, validators and gateways as processes of their own, on free
//! loopback ports, in one folder. Production runs the same commands one per host; nothing here is used by them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use schemas::genesis::Genesis;

use crate::children::Process;
use crate::failure::{Exit, Failure};
use crate::home::config::{AmqpPlan, ClientPlan, GatewayPlan};
use crate::home::{self, Hospital, ValidatorHome, config};
use crate::output::Output;
use crate::services::Service;
use crate::smart;
use crate::usage::resident_kb;

/// Longest wait for a process to become ready, in seconds.
const READY_SECONDS_MAX: u64 = 60;
/// Key id of every client made here.
pub const CLIENT_KEY_ID: &str = "key-1";

/// What to build.
pub struct Plan<'a> {
    /// Folder, made when missing.
    pub home: &'a Path,
    /// Number of validators.
    pub validators: usize,
    /// Short names of the hospitals (folder, connector, routing key) and their names for people.
    pub hospitals: &'a [(&'a str, &'a str)],
    /// Whether the validators answer at `/metrics`.
    pub watched: bool,
    /// Whether a broker is needed.
    pub broker: bool,
    /// HL7 assigning authorities and FHIR systems.
    pub authorities: &'a [(&'a str, &'a str)],
    /// SMART clients of every gateway: id, name for people, reference.
    pub clients: &'a [(&'a str, &'a str, &'a str)],
    /// Their scopes.
    pub scopes: &'a [&'a str],
    /// The one of them that may invite patients to bind keys of their own.
    pub desk: Option<&'a str>,
}

/// The running world. Dropping it stops everything, gateways first.
pub struct Cluster {
    /// The folder.
    pub home: PathBuf,
    /// The genesis.
    pub genesis: Genesis,
    /// The hospitals.
    pub hospitals: Vec<Hospital>,
    /// The validators.
    pub validators: Vec<ValidatorHome>,
    // Dropped in this order.
    gateways: Vec<Process>,
    nodes: Vec<Process>,
    /// The broker, where one was asked for.
    pub broker: Option<Service>,
}

impl Cluster {
    /// Writes everything and starts broker and validators; gateways are started by `start_gateways`.
    ///
    /// # Errors
    /// What could not be made or did not become ready.
    pub fn start(plan: &Plan<'_>, output: Output) -> Result<Self, Failure> {
        // The broker takes longest and needs nothing of the rest.
        let broker_home = plan.home.join("broker");
        let broker = plan.broker.then(|| std::thread::spawn(move || Service::broker(&broker_home)));
        let ports = home::free_ports(plan.validators * 3 + plan.hospitals.len() * 2)?;
        let (for_validators, for_others) = ports.split_at(plan.validators * 2);
        let (for_operators, for_gateways) = for_others.split_at(plan.validators);
        let mut validators = home::create_validators(&plan.home.join("validators"), for_validators)?;
        for (validator, port) in validators.iter_mut().zip(for_operators).filter(|_| plan.watched) {
            validator.operators = Some(format!("127.0.0.1:{port}"));
        }
        let mut hospitals = Vec::new();
        for ((short, name), pair) in plan.hospitals.iter().zip(for_gateways.chunks_exact(2)) {
            let (listen, operators) = (format!("127.0.0.1:{}", pair[0]), format!("127.0.0.1:{}", pair[1]));
            hospitals.push(home::create_hospital(&plan.home.join(short), name, &listen, &operators)?);
        }
        let genesis = home::write_genesis(&plan.home.join("genesis.json"), &validators, &hospitals)?;
        let mut nodes = Vec::new();
        for validator in &validators {
            home::write(&validator.config(), &config::node(validator, &validators, "../../genesis.json"))?;
            nodes.push(start("node", &validator.name, &validator.config())?);
        }
        let mut cluster = Self {
            home: plan.home.to_owned(),
            genesis,
            hospitals,
            validators,
            gateways: Vec::new(),
            nodes,
            broker: None,
        };
        cluster.wait_for_validators()?;
        output.note(format_args!("{} validators are up", plan.validators));
        cluster.broker = match broker.map(std::thread::JoinHandle::join) {
            Some(Ok(broker)) => Some(broker?),
            Some(Err(_)) => return Err(Failure::unavailable("the thread that starts RabbitMQ ended")),
            None => None,
        };
        if cluster.broker.is_some() {
            output.note("RabbitMQ is up (a private node on loopback)");
        }
        cluster.configure_gateways(plan)?;
        Ok(cluster)
    }

    /// Starts the gateways and waits until every part of each is ready.
    ///
    /// # Errors
    /// When one ends or is not ready in time; says which part.
    pub async fn start_gateways(&mut self, output: Output) -> Result<(), Failure> {
        for hospital in &self.hospitals {
            self.gateways.push(start("run", &hospital.name, &hospital.config())?);
        }
        let http = reqwest::Client::new();
        let deadline = Instant::now() + Duration::from_secs(READY_SECONDS_MAX);
        for (hospital, process) in self.hospitals.iter().zip(&mut self.gateways) {
            let url = format!("http://{}/readyz", hospital.operators);
            loop {
                process.check()?;
                let found = match http.get(&url).send().await {
                    Ok(answer) if answer.status().is_success() => break,
                    Ok(answer) => answer.text().await.unwrap_or_default(),
                    Err(_) => "no answer yet".into(),
                };
                if Instant::now() > deadline {
                    let name = &hospital.name;
                    let found = format!("{name}: not ready after {READY_SECONDS_MAX} s; {url} says: {found}");
                    return Err(Failure::new(Exit::Unavailable, found));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            output.note(format_args!("gateway of {} is ready", hospital.name));
        }
        Ok(())
    }

    /// An error when a process has ended by itself.
    ///
    /// # Errors
    /// Which one, with the end of its log.
    pub fn check(&mut self) -> Result<(), Failure> {
        self.nodes.iter_mut().chain(&mut self.gateways).try_for_each(Process::check)
    }

    /// The URL of the broker.
    pub fn broker_url(&self) -> &str {
        self.broker.as_ref().map_or("", |b| &b.address)
    }

    /// The broker's exchange and a hospital's routing key are enough for a publisher; this is its folder's short name.
    pub fn short_name(hospital: &Hospital) -> &str {
        hospital.folder.file_name().and_then(|n| n.to_str()).unwrap_or("")
    }

    /// The key file of a client.
    pub fn client_key(hospital: &Hospital, id: &str) -> PathBuf {
        hospital.folder.join(format!("{id}.key"))
    }

    /// Resident memory of everything, this process included, in megabytes.
    pub fn resident_mb(&self) -> u64 {
        resident_kb(std::process::id()) / 1024
    }

    /// The validators' process ids, in order.
    pub fn processes(&self) -> Vec<u32> {
        self.nodes.iter().map(Process::id).collect()
    }

    /// Kills a validator as a power cut would: no word of farewell, nothing flushed.
    ///
    /// # Errors
    /// When there is none of this number, or it cannot be killed.
    pub fn kill(&mut self, validator: usize) -> Result<(), Failure> {
        let found = self.nodes.get_mut(validator);
        found.ok_or_else(|| Failure::new(Exit::Failed, format_args!("no validator {validator}")))?.kill()
    }

    /// Starts a validator again in its folder.
    ///
    /// # Errors
    /// When there is none of this number, or it cannot be started.
    pub fn restart(&mut self, validator: usize) -> Result<(), Failure> {
        let (Some(home), Some(process)) = (self.validators.get(validator), self.nodes.get_mut(validator)) else {
            return Err(Failure::new(Exit::Failed, format_args!("no validator {validator}")));
        };
        *process = start("node", &home.name, &home.config())?;
        Ok(())
    }

    fn wait_for_validators(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(READY_SECONDS_MAX);
        for (validator, process) in self.validators.iter().zip(&mut self.nodes) {
            while std::net::TcpStream::connect(&validator.rpc).is_err() {
                process.check()?;
                if Instant::now() > deadline {
                    let found = format!("{}: does not listen after {READY_SECONDS_MAX} s", validator.name);
                    return Err(Failure::unavailable(found));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn configure_gateways(&self, plan: &Plan<'_>) -> Result<(), Failure> {
        for hospital in &self.hospitals {
            let short = Self::short_name(hospital);
            let mut clients = Vec::new();
            let files: Vec<_> = plan.clients.iter().map(|(id, _, _)| format!("{id}.jwks.json")).collect();
            let desk_scopes = [plan.scopes, &["system/PatientKey.c"]].concat();
            for ((id, name, reference), file) in plan.clients.iter().zip(&files) {
                let keys = smart::create_key(&Self::client_key(hospital, id), CLIENT_KEY_ID)?;
                home::write(&hospital.folder.join(file), &keys)?;
                clients.push(ClientPlan {
                    id,
                    name,
                    jwks_file: file,
                    scopes: if plan.desk == Some(*id) { &desk_scopes } else { plan.scopes },
                    references: std::slice::from_ref(reference),
                    purposes: &["http://terminology.hl7.org/CodeSystem/v3-ActReason|TREAT"],
                });
            }
            if let Some(broker) = &self.broker {
                home::write_secret(&hospital.folder.join("amqp.url"), broker.address.as_bytes())?;
            }
            let routing_key = format!("{short}.#");
            let amqp = self.broker.as_ref().map(|_| AmqpPlan {
                url_file: "amqp.url",
                name: short,
                bindings: std::slice::from_ref(&routing_key).iter().map(String::as_str).collect(),
            });
            let plan =
                GatewayPlan { genesis: "../genesis.json", amqp, authorities: plan.authorities, clients: &clients };
            home::write(&hospital.config(), &config::gateway(hospital, &self.validators, &plan))?;
        }
        Ok(())
    }
}

fn start(command: &str, name: &str, config: &Path) -> Result<Process, Failure> {
    let folder = config.parent().unwrap_or(Path::new("."));
    let file = config.to_string_lossy();
    Process::start(name, &[command, "--config", &file], &folder.join("log"))
}
