//! `bench ledger`: AnchorCases transactions to a quorum's certificate, on validators that are processes of their own, first one
//! transaction at a time, then under load. `--full` goes on to a large state, other numbers of validators, a dying primary, and
//! what else replicates or syncs on the same disk.

mod etcd;
mod floor;
mod full;
mod load;
mod report;
mod steps;

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;

pub use self::full::run as run_full;
use self::load::{Client, Load, Phase, Until};
pub use self::report::{Full, Target, print_full, print_targets};
use self::steps::{Meter, Used};
use super::{Figures, Fsync, Latencies, LedgerFigures, round};
use crate::cluster::{Cluster, Plan};
use crate::commands::run::runtime;
use crate::failure::Failure;
use crate::output::Output;

/// Phase that is not measured.
const WARM_UP: Duration = Duration::from_secs(2);
/// Transactions of the idle chain; fewer where validators are many, each of which verifies the votes of all others.
const fn alone(validators: usize) -> usize {
    if validators > 7 { 30 } else { 300 }
}
/// Transactions per second that four validators must reach, of one case each.
const RATE_PER_S: f64 = 2_500.0;
/// The same in cases per second, of a hundred cases each.
const CASES_PER_S: f64 = 10_000.0;

/// Runs for `seconds` on so many validators, with transactions of so many statements.
pub fn run(
    folder: &Path,
    seconds: Duration,
    (validators, statements): (usize, u32),
    fsync: &Fsync,
    output: Output,
) -> Result<Figures, Failure> {
    let mut cluster = start(folder, validators, output)?;
    runtime()?.block_on(async {
        let (client, meter) = (Client::open(&cluster)?, Meter::of(&cluster));
        let alone = Alone::measure(&client, &meter).await?;
        let phase = client.load(Load { statements, until: Until::Elapsed(seconds), ..load(&meter) }).await?;
        cluster.check()?;
        let mut figures = figures(&cluster, &alone, &phase);
        if validators == 4 {
            figures.targets = targets(&alone, &phase, fsync);
        }
        Ok(figures)
    })
}

/// Validators and one hospital in a folder of their own.
fn start(folder: &Path, validators: usize, output: Output) -> Result<Cluster, Failure> {
    let plan = Plan {
        home: folder,
        validators,
        hospitals: &[("bench", "Bench Hospital")],
        watched: true,
        broker: false,
        authorities: &[],
        clients: &[],
        scopes: &[],
        desk: None,
    };
    Cluster::start(&plan, output)
}

/// One case in each transaction, as usual, and nothing shown; until when is the caller's.
fn load(meter: &Meter) -> Load<'_> {
    static HIDDEN: std::sync::LazyLock<ProgressBar> = std::sync::LazyLock::new(ProgressBar::hidden);
    let until = Until::Elapsed(Duration::ZERO);
    Load { statements: 1, warm_up: WARM_UP, until, meter: Some(meter), bar: &HIDDEN }
}

/// Transactions that have the chain for themselves.
struct Alone {
    latencies: Latencies,
    elapsed: Duration,
    used: Used,
}

impl Alone {
    async fn measure(client: &Client, meter: &Meter) -> Result<Self, Failure> {
        let (before, start) = (Used::until_now(Some(meter)).await?, Instant::now());
        let latencies = client.alone(alone(meter.validators())).await?;
        let elapsed = start.elapsed();
        Ok(Self { latencies, elapsed, used: Used::until_now(Some(meter)).await?.since(&before) })
    }
}

fn figures(cluster: &Cluster, alone: &Alone, phase: &Phase) -> Figures {
    let validators = cluster.validators.len();
    let mut figures = Figures::of("ledger", &phase.latencies, phase.elapsed, validators, cluster.resident_mb());
    let each_us = |ms: f64| round(ms * 1000.0 / phase.transactions().max(1) as f64);
    figures.steps = phase.used.shares();
    figures.ledger = Some(LedgerFigures {
        cases_per_s: round(phase.rate_per_s() * f64::from(phase.statements)),
        idle_p50_ms: alone.latencies.ms(0.5),
        validators_cpu_us: each_us(phase.used.validators_ms),
        validators_cpu_alone_us: round(alone.used.validators_ms * 1000.0 / alone.latencies.count().max(1) as f64),
        client_cpu_us: each_us(phase.used.client_ms),
    });
    figures
}

/// What four validators must reach.
fn targets(alone: &Alone, phase: &Phase, fsync: &Fsync) -> Vec<Target> {
    let (idle, cases_per_s) = (alone.latencies.ms(0.5), phase.rate_per_s() * f64::from(phase.statements));
    let mut targets = vec![];
    match phase.statements {
        1 => targets.push(Target::at_least("transactions of one case per second", phase.rate_per_s(), RATE_PER_S)),
        100 => targets.push(Target::at_least("cases per second, 100 in a transaction", cases_per_s, CASES_PER_S)),
        _ => {}
    }
    targets.push(Target::idle(idle, fsync));
    if phase.statements == 1 {
        targets.push(Target::loaded(phase.latencies.ms(0.99), fsync));
    }
    targets
}
