//! `chartseal bench`: figures with p50 and p99, and beside them what the disk does in the same minute. Starts private services and
//! validators in a temporary folder and stops them. Nothing is switched off for it: what is written is synced, encrypted and verified.
//! A target that is missed is said, and is no failure: the machine may be busy with something else.

mod disclose;
mod ingest;
mod ledger;
mod message;
mod normalise;
mod python;
mod receive;
mod seal;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

use self::ledger::{Full, Target};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, strong};

/// Measures one part of the way, or all of it.
#[derive(clap::Args)]
#[command(
    after_help = "Needs no configuration. receive, ingest and disclose need RabbitMQ's Debian package, the comparison of ledger --full \
etcd's (compose/services install etcd), that of normalise hl7apy (pip install hl7apy; CHARTSEAL_PYTHON names another Python). ledger \
--full takes a quarter of an hour and 20 GB of disk.\n\n\
Example: chartseal bench ingest --seconds 30 --json"
)]
pub struct Args {
    /// What to measure.
    what: What,
    /// Length of the measured steady phase; of `normalise` each of its three parts has a third.
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Cases in one transaction of `ledger`.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    statements: u32,
    /// Validators of `ledger`.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=64))]
    validators: u8,
    /// `ledger` over a large state, against etcd and RocksDB alone, with 7 and 30 validators and a dying primary.
    #[arg(long, conflicts_with_all = ["statements", "validators"])]
    full: bool,
    /// Keys of the large state of `--full`.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, requires = "full", value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    keys: u64,
    /// Transactions of the long run of `--full`.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, requires = "full", value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    transactions: u64,
    /// Folder for data, to measure another disk [default: a temporary folder].
    #[arg(long, value_name = "DIR")]
    home: Option<std::path::PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// HL7 v2 ORU of 2 to 4 KB to canonical FHIR, one core.
    Normalise,
    /// Sealing, signing by the hundred, and the checks before anchoring, one core.
    Seal,
    /// Anchored cases to a quorum's certificate.
    Ledger,
    /// Delivery to synced inbox row and acknowledgement, over MLLP and AMQP.
    Receive,
    /// AMQP delivery to anchored case, everything synced.
    Ingest,
    /// FHIR reads under consent over 32 connections, each logged before its first byte.
    Disclose,
}

/// The figures of one run.
#[derive(Serialize)]
pub struct Figures {
    /// Which bench.
    pub bench: &'static str,
    /// Operations per second in the steady phase.
    pub rate_per_s: f64,
    /// Median latency.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Length of the steady phase.
    pub seconds: f64,
    /// Validators as processes of their own; 0 when the bench needs none.
    pub validators: usize,
    /// Whether everything durable was synced; false where nothing is written.
    pub synced: bool,
    /// Small synced appends per second on the same disk, measured right before.
    pub fsync_per_s: f64,
    /// Their median.
    pub fsync_p50_ms: f64,
    /// Their 99th percentile.
    pub fsync_p99_ms: f64,
    /// Resident memory of all processes.
    pub rss_mb: u64,
    /// Share of time per step.
    pub steps: BTreeMap<String, f64>,
    /// Of `ledger`: what a transaction costs, and what an idle chain needs for one.
    #[serde(flatten)]
    pub ledger: Option<LedgerFigures>,
    /// Of `ledger`: rates by those of what ran in turn with it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ratio: BTreeMap<&'static str, f64>,
    /// Of `ledger`: what must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// Of `ledger --full`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<Full>,
}

/// What only the ledger's bench measures.
#[derive(Serialize)]
pub struct LedgerFigures {
    /// Cases per second in the steady phase.
    pub cases_per_s: f64,
    /// Median latency of a lone transaction.
    pub idle_p50_ms: f64,
    /// Time on a core that all validators together spend on a transaction, in microseconds.
    pub validators_cpu_us: f64,
    /// The same of a lone transaction, which has a block for itself.
    pub validators_cpu_alone_us: f64,
    /// The same of the one client that signs, submits and follows.
    pub client_cpu_us: f64,
}

/// Runs the command.
pub fn run(args: Args, output: Output) -> Outcome {
    if args.full && args.what != What::Ledger {
        return Err(Failure::usage("--full: found it with another bench, expected `bench ledger --full`"));
    }
    let temporary = tempfile::Builder::new().prefix("chartseal-bench-").tempdir().context("a temporary folder")?;
    let home = match &args.home {
        Some(home) => tempfile::Builder::new().prefix("bench-").tempdir_in(home),
        None => tempfile::Builder::new().prefix("home-").tempdir_in(temporary.path()),
    };
    let home = home.context("the folder for data")?;
    let fsync = Fsync::measure(home.path())?;
    output.note(format_args!(
        "fsync: p50 {:.2} ms, p99 {:.2} ms, {:.0} per second",
        fsync.p50_ms, fsync.p99_ms, fsync.per_s
    ));
    let seconds = Duration::from_secs(args.seconds);
    let mut figures = match args.what {
        What::Normalise => normalise::run(home.path(), seconds, output)?,
        What::Seal => seal::run(home.path(), seconds)?,
        What::Ledger if args.full => ledger::run_full(home.path(), seconds, (args.keys, args.transactions), output)?,
        What::Ledger => ledger::run(home.path(), seconds, (args.validators.into(), args.statements), &fsync, output)?,
        What::Receive => receive::run(home.path(), seconds, output)?,
        What::Ingest => ingest::run(home.path(), seconds, output)?,
        What::Disclose => disclose::run(home.path(), seconds, output)?,
    };
    (figures.fsync_p50_ms, figures.fsync_p99_ms) = (round(fsync.p50_ms), round(fsync.p99_ms));
    figures.fsync_per_s = round(fsync.per_s);
    print(&figures, output);
    output.document(&figures)?;
    Ok(Exit::Done)
}

fn print(figures: &Figures, output: Output) {
    output.line(format_args!(
        "{} {} per second for {} s, p50 {} ms, p99 {} ms",
        strong(figures.bench),
        figures.rate_per_s,
        figures.seconds,
        figures.p50_ms,
        figures.p99_ms
    ));
    output.line(format_args!(
        "fsync p50 {} ms, p99 {} ms ({} per second), {}; {} validators, {} MB of memory",
        figures.fsync_p50_ms,
        figures.fsync_p99_ms,
        figures.fsync_per_s,
        if figures.synced { "everything synced" } else { "nothing written" },
        figures.validators,
        figures.rss_mb
    ));
    if let Some(ledger) = &figures.ledger {
        output.line(format_args!(
            "{} cases per second, idle p50 {} ms; per transaction {} µs on the validators' cores, alone {} µs; client {} µs",
            ledger.cases_per_s,
            ledger.idle_p50_ms,
            ledger.validators_cpu_us,
            ledger.validators_cpu_alone_us,
            ledger.client_cpu_us
        ));
    }
    for (step, share) in &figures.steps {
        output.line(format_args!("  {step:<10} {:>5.1} %", share * 100.0));
    }
    figures.full.iter().for_each(|full| ledger::print_full(full, output));
    for (other, ratio) in &figures.ratio {
        output.line(format_args!("  {ratio:>6} of the rate of {other}"));
    }
    ledger::print_targets(&figures.targets, output);
}

/// Latencies, in microseconds up to an hour.
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// Never with these bounds.
    pub fn new() -> Result<Self, Failure> {
        Ok(Self(Histogram::new_with_bounds(1, 3_600_000_000, 3).context("a histogram")?))
    }

    /// Adds one.
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// A quantile in milliseconds.
    pub fn ms(&self, quantile: f64) -> f64 {
        round(self.0.value_at_quantile(quantile) as f64 / 1000.0)
    }
}

impl Figures {
    /// Figures of a phase that took `elapsed`.
    pub fn of(bench: &'static str, latencies: &Latencies, elapsed: Duration, validators: usize, rss_mb: u64) -> Self {
        let seconds = elapsed.as_secs_f64();
        Self {
            bench,
            rate_per_s: round(latencies.count() as f64 / seconds),
            p50_ms: latencies.ms(0.5),
            p99_ms: latencies.ms(0.99),
            seconds: round(seconds),
            validators,
            synced: true,
            fsync_per_s: 0.0,
            fsync_p50_ms: 0.0,
            fsync_p99_ms: 0.0,
            rss_mb,
            steps: BTreeMap::new(),
            ledger: None,
            ratio: BTreeMap::new(),
            targets: vec![],
            full: None,
        }
    }
}

/// Shares of a whole.
pub fn shares(times: impl IntoIterator<Item = (String, f64)>) -> BTreeMap<String, f64> {
    let times: Vec<_> = times.into_iter().filter(|(_, t)| *t > 0.0).collect();
    let whole: f64 = times.iter().map(|(_, t)| t).sum();
    times.into_iter().map(|(step, t)| (step, (t / whole * 1000.0).round() / 1000.0)).collect()
}

/// As many digits as a figure of a bench has.
pub fn round(value: f64) -> f64 {
    if value >= 100.0 { value.round() } else { (value * 1000.0).round() / 1000.0 }
}

/// Small synced appends: what one costs here and now.
#[derive(Clone, Copy, Debug)]
pub struct Fsync {
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// How many in a second.
    pub per_s: f64,
}

impl Fsync {
    /// Looks for half a second.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn measure(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("fsync");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = file.context("the file of the fsync measure")?;
        let mut latencies = Latencies::new()?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) {
            let before = Instant::now();
            file.write_all(&[0x5a; 4096]).and_then(|()| file.sync_data()).context("fsync")?;
            latencies.record(before.elapsed());
        }
        let per_s = latencies.count() as f64 / start.elapsed().as_secs_f64();
        std::fs::remove_file(&path).context("the file of the fsync measure")?;
        Ok(Self { p50_ms: latencies.ms(0.5), p99_ms: latencies.ms(0.99), per_s })
    }
}
