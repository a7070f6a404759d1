//! `chartseal demo`: the main job end to end on this machine, with real components: two hospitals, a private RabbitMQ, four
//! validators. Publishes samples over AMQP, follows every case, reads one back under consent, shows a denial, verifies every
//! receipt. It must fail when anything of this does not happen.

mod consent;
mod follow;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;

use super::run::runtime;
use crate::children::until_told;
use crate::cluster::{Cluster, Plan};
use crate::failure::{Exit, Failure, Outcome};
use crate::home;
use crate::output::{Output, good, strong};
use crate::publish::Publisher;
use crate::sample;

/// Marks a folder as one that the demo may empty.
const MARKER: &str = ".chartseal-demo";
/// Short and full names of the hospitals.
const HOSPITALS: [(&str, &str); 2] = [("north", "Northwick General"), ("south", "Southport Clinic")];
/// HL7 assigning authorities and FHIR systems of the same identifiers.
pub const AUTHORITIES: [(&str, &str); 2] = [("NORTH", "urn:oid:2.999.1.1"), ("SOUTH", "urn:oid:2.999.2.1")];
/// SMART clients of both gateways: id, name, reference by which consents know it.
const CLIENTS: [(&str, &str, &str); 3] = [
    ("office", "Consent office", "Organization/consent-office"),
    ("clinic", "Family practice", "Organization/family-practice"),
    ("insurer", "Insurer", "Organization/insurer"),
];
const SCOPES: [&str; 1] = ["system/*.cruds"];
const VALIDATORS: usize = 4;

/// Shows everything at once on this machine: hospitals, broker, validators, consent, receipts.
#[derive(clap::Args)]
#[command(after_help = "Needs RabbitMQ's Debian package; compose/demo installs it and builds first.\n\n\
Example: chartseal demo --exit --home /tmp/chartseal")]
pub struct Args {
    /// Stops when done; the last line of standard output is one JSON object.
    #[arg(long)]
    exit: bool,
    /// Keeps everything in this folder, among it genesis.json and receipts/*.json [default: a temporary folder, removed at the end].
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
}

/// The last line of `--exit`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tally {
    /// Messages durable in the inboxes.
    pub received: u64,
    /// Cases made of them.
    pub cases: u64,
    /// Cases with a quorum's certificate.
    pub anchored: u64,
    /// Receipts that verify with nothing but the genesis.
    pub verified: u64,
    /// Resources read back under consent.
    pub disclosed: u64,
    /// Requests that were denied, and looked like absence.
    pub denied: u64,
    /// Time from the first message to the last read.
    pub seconds: f64,
    /// Validators.
    pub validators: usize,
}

/// Runs the command.
pub fn run(args: Args, output: Output) -> Outcome {
    let temporary = match &args.home {
        Some(_) => None,
        None => Some(tempfile::Builder::new().prefix("chartseal-demo-").tempdir().context("a temporary folder")?),
    };
    let home = match (&args.home, &temporary) {
        (Some(home), _) => home.clone(),
        (None, Some(folder)) => folder.path().to_owned(),
        (None, None) => PathBuf::from("."),
    };
    prepare(&home)?;
    let home = home.canonicalize().with_context(|| format!("{}", home.display()))?;
    output.line(format_args!("{} in {}", strong("Chartseal demo"), home.display()));
    let plan = Plan {
        home: &home,
        validators: VALIDATORS,
        hospitals: &HOSPITALS,
        watched: false,
        broker: true,
        authorities: &AUTHORITIES,
        clients: &CLIENTS,
        scopes: &SCOPES,
        desk: Some("office"),
    };
    let mut cluster = Cluster::start(&plan, output)?;
    runtime()?.block_on(async {
        let outcome = show(&mut cluster, output).await;
        if let Ok(tally) = &outcome {
            finish(&cluster, tally, &args, output).await?;
        }
        outcome.map(|_| Exit::Done)
    })
}

/// Makes the folder, or empties one that an earlier demo left; anything else is not touched.
fn prepare(home: &Path) -> Result<(), Failure> {
    let is_ours = home.join(MARKER).exists();
    if !is_ours && home.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        let found = "found a folder with files of others in it, expected an empty one, a new one or an earlier demo's";
        return Err(Failure::usage(format_args!("{}: {found}", home.display())));
    }
    std::fs::create_dir_all(home).with_context(|| format!("{}", home.display()))?;
    for entry in home.read_dir().with_context(|| format!("{}", home.display()))?.flatten() {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|t| t.is_dir());
        let removed = if is_folder { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.with_context(|| format!("{}", path.display()))?;
    }
    home::write(&home.join(MARKER), "An earlier run of chartseal demo; the next one empties this folder.\n")
}

async fn show(cluster: &mut Cluster, output: Output) -> Result<Tally, Failure> {
    cluster.start_gateways(output).await?;
    let start = Instant::now();
    let first = crate::watch::now_ms();
    let published = publish(cluster, output).await?;
    let mut tally = Tally { validators: VALIDATORS, ..Tally::default() };
    follow::follow(cluster, &published, first, &mut tally, output).await?;
    consent::show(cluster, &mut tally, output).await?;
    cluster.check()?;
    tally.seconds = (start.elapsed().as_secs_f64() * 100.0).round() / 100.0;
    Ok(tally)
}

/// Publishes the samples of every hospital; returns how many each sent.
async fn publish(cluster: &Cluster, output: Output) -> Result<Vec<u64>, Failure> {
    let mut publisher = Publisher::connect(cluster.broker_url()).await?;
    let mut published = Vec::new();
    for hospital in &cluster.hospitals {
        let short = Cluster::short_name(hospital);
        let samples = sample::of(short);
        for sample in &samples {
            let key = format!("{short}.{}", sample.kind.replace(['^', ' '], "."));
            publisher.publish(&key, sample.content_type, sample.text.as_bytes()).await?;
        }
        let hl7 = samples.iter().filter(|s| s.content_type == sample::HL7).count();
        output.line(format_args!(
            "{} published {} messages over AMQP: {hl7} HL7 v2, {} FHIR",
            hospital.name,
            samples.len(),
            samples.len() - hl7
        ));
        published.push(samples.len() as u64);
    }
    publisher.settle().await?;
    Ok(published)
}

async fn finish(cluster: &Cluster, tally: &Tally, args: &Args, output: Output) -> Result<(), Failure> {
    output.line("");
    output.line(format_args!(
        "{} {} messages, {} cases, {} anchored, {} receipts verified, {} resources disclosed, {} requests denied \
         in {} s; {} MB of memory for everything",
        good("done:"),
        tally.received,
        tally.cases,
        tally.anchored,
        tally.verified,
        tally.disclosed,
        tally.denied,
        tally.seconds,
        cluster.resident_mb()
    ));
    if args.exit {
        return Output::new(true, output.quiet).last_line(tally);
    }
    output.line("");
    for hospital in &cluster.hospitals {
        let (base, operators) = (hospital.base(), &hospital.operators);
        output.line(format_args!("{:18}  FHIR {base}/fhir  operators http://{operators}/readyz", hospital.name));
    }
    output.line(format_args!("receipts            {}", cluster.home.join("receipts").display()));
    output.line("Ctrl-C stops everything.");
    output.document(tally)?;
    until_told(false).await;
    Ok(())
}
