//! `bench ingest`: ORU messages from the broker to anchored, visible cases: four validators, one gateway, RabbitMQ, everything synced.
//! Latency is from the gateway's receipt to the moment an outsider sees the case in the database, certificate and all.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Figures, Latencies, message, shares};
use crate::cluster::{Cluster, Plan};
use crate::commands::run::runtime;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::publish::Publisher;
use crate::sample::HL7;
use crate::watch::{Series, Watch, now_ms, sum};

/// Messages under way at once: enough to fill two anchor transactions, few enough for a p99 that means something.
const UNDER_WAY_MAX: u64 = 400;
/// Patients of the messages.
pub const PATIENTS: u64 = 500;
/// Phase that is not measured, in seconds.
const WARM_UP_SECONDS: u64 = 3;
/// Longest time without a new case, in seconds.
const STILL_SECONDS_MAX: u64 = 30;
const VALIDATORS: usize = 4;
const STEPS: [&str; 6] = ["receive", "normalise", "seal", "store", "anchor", "index"];

/// What ingest and disclose start.
pub fn plan<'a>(folder: &'a Path) -> Plan<'a> {
    Plan {
        home: folder,
        validators: VALIDATORS,
        hospitals: &[("north", "Bench Hospital")],
        watched: false,
        broker: true,
        authorities: &[("NORTH", message::SYSTEM)],
        clients: &[
            ("office", "Consent office", "Organization/consent-office"),
            ("clinic", "Family practice", "Organization/family-practice"),
        ],
        scopes: &["system/*.cruds"],
        desk: None,
    }
}

/// Runs for `seconds`.
pub fn run(folder: &Path, seconds: Duration, output: Output) -> Result<Figures, Failure> {
    let mut cluster = Cluster::start(&plan(folder), output)?;
    runtime()?.block_on(async {
        cluster.start_gateways(output).await?;
        measure(&mut cluster, seconds, output).await
    })
}

async fn measure(cluster: &mut Cluster, seconds: Duration, output: Output) -> Result<Figures, Failure> {
    let mut watch = open(cluster).await?;
    let mut feed = Feed::open(cluster).await?;
    let mut latencies = Latencies::new()?;
    let warm = Instant::now() + Duration::from_secs(WARM_UP_SECONDS);
    let mut start: Option<(Instant, Series)> = None;
    loop {
        cluster.check()?;
        feed.top_up(UNDER_WAY_MAX).await?;
        let cases = watch.new_cases().await?;
        let seen = now_ms();
        feed.arrived(cases.len() as u64)?;
        if start.is_some() {
            for case in &cases {
                latencies.record(Duration::from_millis((seen - case.received).max(0).unsigned_abs()));
            }
        } else if Instant::now() >= warm {
            output.note("warm; measuring");
            start = Some((Instant::now(), watch.metrics().await?));
        }
        if let Some((since, before)) = start.as_ref().filter(|(since, _)| since.elapsed() >= seconds) {
            let elapsed = since.elapsed();
            let mut figures = Figures::of("ingest", &latencies, elapsed, VALIDATORS, cluster.resident_mb());
            figures.steps = step_shares(before, &watch.metrics().await?, &STEPS);
            return Ok(figures);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A watch on the only gateway.
pub async fn open(cluster: &Cluster) -> Result<Watch, Failure> {
    match cluster.hospitals.first() {
        Some(hospital) => Watch::open(hospital).await,
        None => Err(Failure::new(Exit::Failed, "no hospital")),
    }
}

/// Publishes as fast as cases come out, never more than a number under way.
pub struct Feed {
    publisher: Publisher,
    published: u64,
    arrived: u64,
    last: Instant,
}

impl Feed {
    /// Connects to the broker.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn open(cluster: &Cluster) -> Result<Self, Failure> {
        let publisher = Publisher::connect(cluster.broker_url()).await?;
        Ok(Self { publisher, published: 0, arrived: 0, last: Instant::now() })
    }

    /// Publishes until `under_way` messages are on their way.
    ///
    /// # Errors
    /// When the broker is lost.
    pub async fn top_up(&mut self, under_way: u64) -> Result<(), Failure> {
        while self.published - self.arrived < under_way {
            let text = message::oru(self.published, PATIENTS);
            self.publisher.publish("north.ORU.R01", HL7, text.as_bytes()).await?;
            self.published += 1;
        }
        Ok(())
    }

    /// Notes cases that came out.
    ///
    /// # Errors
    /// When none came for too long.
    pub fn arrived(&mut self, cases: u64) -> Result<(), Failure> {
        self.arrived += cases;
        if cases > 0 {
            self.last = Instant::now();
        }
        if self.last.elapsed() > Duration::from_secs(STILL_SECONDS_MAX) {
            let (found, expected) = (self.arrived, self.published);
            let found = format!("found {found} cases of {expected} messages and none new for {STILL_SECONDS_MAX} s");
            return Err(Failure::new(Exit::Failed, found));
        }
        Ok(())
    }

    /// Cases that came out.
    pub const fn done(&self) -> u64 {
        self.arrived
    }
}

/// Each step's share of the time that all steps took between two looks.
pub fn step_shares(before: &Series, after: &Series, steps: &[&str]) -> std::collections::BTreeMap<String, f64> {
    let time =
        |series: &Series, step: &str| sum(series, "chartseal_step_duration_seconds_sum", &format!("step=\"{step}\""));
    shares(steps.iter().map(|step| ((*step).to_owned(), time(after, step) - time(before, step))))
}
