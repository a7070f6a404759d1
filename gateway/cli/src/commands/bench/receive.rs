//! `bench receive`: the first durable point alone. Messages of 2 to 4 KB become encrypted, synced inbox rows and are acknowledged, over
//! MLLP in enhanced mode and from a queue of RabbitMQ. The validators are killed before, so that nothing behind the inbox takes part.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use connectors_mllp::{MllpSender, SenderConfig};
use serde_json::Value;

use super::ledger::Target;
use super::{Figures, Latencies, ingest, message, round};
use crate::cluster::Cluster;
use crate::commands::run::runtime;
use crate::failure::{Exit, Failure};
use crate::hands::Hands;
use crate::home;
use crate::output::Output;
use crate::publish::Publisher;
use crate::sample::HL7;
use crate::watch::{self, Watch};

/// Connections of hospital systems, each with one message under way.
const CONNECTIONS: usize = 32;
/// Messages in the queue for each second of the measured phase.
const QUEUED_PER_SECOND: u64 = 3_000;
/// Longest wait for an acknowledgement, in milliseconds.
const TIMEOUT_MS: u64 = 60_000;
/// Longest time for all that is queued, in seconds.
const SECONDS_MAX: u64 = 600;
const MLLP_TARGET: f64 = 2_500.0;
const AMQP_TARGET: f64 = 4_000.0;

/// Runs for `seconds`, half over MLLP and about half from the broker.
pub fn run(folder: &Path, seconds: Duration, output: Output) -> Result<Figures, Failure> {
    let plan = ingest::plan(folder);
    let mut cluster = Cluster::start(&plan, output)?;
    let port = home::free_ports(1)?[0];
    let Some(hospital) = cluster.hospitals.first() else { return Err(Failure::new(Exit::Failed, "no hospital")) };
    let (connectors, config) = (hospital.folder.join("connectors.d"), hospital.config());
    let text = format!("kind = \"mllp\"\nlisten = \"127.0.0.1:{port}\"\n");
    std::fs::create_dir_all(&connectors)
        .and_then(|()| std::fs::write(connectors.join("wards.toml"), text))
        .map_err(|e| Failure::new(Exit::Failed, format_args!("{}: {e}", connectors.display())))?;
    runtime()?.block_on(async {
        cluster.start_gateways(output).await?;
        for validator in 0..cluster.validators.len() {
            cluster.kill(validator)?;
        }
        let watch = ingest::open(&cluster).await?;
        let (latencies, elapsed) = mllp(port, seconds / 2, output).await?;
        let mut figures = Figures::of("receive", &latencies, elapsed, 0, cluster.resident_mb());
        let of_mllp = figures.rate_per_s;
        let of_amqp = amqp(&cluster, &Hands::of(&config)?, &watch, seconds / 2, output).await?;
        figures.targets = vec![
            Target::at_least("MLLP, 32 connections, CA per second", of_mllp, MLLP_TARGET),
            Target::at_least("AMQP, delivery to acknowledgement, per second", of_amqp, AMQP_TARGET),
        ];
        Ok(figures)
    })
}

/// Each connection sends its next message when the last one is acknowledged.
async fn mllp(port: u16, length: Duration, output: Output) -> Result<(Latencies, Duration), Failure> {
    let next = Arc::new(AtomicU64::new(0));
    let (start, mut all) = (Instant::now(), Vec::new());
    for _ in 0..CONNECTIONS {
        let next = Arc::clone(&next);
        let address = format!("127.0.0.1:{port}");
        all.push(tokio::spawn(async move {
            let config = SenderConfig { address, tls_roots: None, tls_identity: None, timeout_ms: TIMEOUT_MS };
            let mut sender = MllpSender::new(config).map_err(Failure::usage)?;
            let mut latencies = Latencies::new()?;
            while start.elapsed() < length {
                let text = message::oru(next.fetch_add(1, Ordering::Relaxed), ingest::PATIENTS);
                let before = Instant::now();
                let answer = sender.send(text.as_bytes()).await.map_err(|e| Failure::classed(e.class(), e))?;
                if answer.is_none_or(|answer| answer.code != "CA") {
                    return Err(Failure::new(Exit::Failed, "found a message that is not acknowledged, expected CA"));
                }
                latencies.record(before.elapsed());
            }
            Ok(latencies)
        }));
    }
    let mut latencies = Latencies::new()?;
    for one in all {
        latencies.add(&one.await.map_err(|_| Failure::new(Exit::Failed, "a sender ended"))??);
    }
    output.note(format_args!("MLLP: {} acknowledged", latencies.count()));
    Ok((latencies, start.elapsed()))
}

/// What waits in the queue, taken as fast as it goes; messages per second.
async fn amqp(
    cluster: &Cluster,
    hands: &Hands,
    watch: &Watch,
    length: Duration,
    output: Output,
) -> Result<f64, Failure> {
    let drained: Value = hands.post("/connectors/north/drain", &[]).await?;
    if drained["drained"] != Value::Bool(true) {
        return Err(Failure::new(Exit::Failed, "the connector is not drained"));
    }
    let count = QUEUED_PER_SECOND * length.as_secs().max(1);
    let mut publisher = Publisher::connect(cluster.broker_url()).await?;
    for n in 0..count {
        let text = message::oru(500_000_000 + n, ingest::PATIENTS);
        publisher.publish("north.ORU.R01", HL7, text.as_bytes()).await?;
    }
    publisher.settle().await?;
    output.note(format_args!("AMQP: {count} in the queue"));
    let received = async || Ok::<_, Failure>(watch::records(&watch.metrics().await?, "received"));
    let before = received().await?;
    let _: Value = hands.post("/connectors/north/resume", &[]).await?;
    // from the first one on: connecting is not measured
    let mut first: Option<(Instant, u64)> = None;
    let deadline = Instant::now() + Duration::from_secs(SECONDS_MAX);
    while Instant::now() < deadline {
        let now = received().await?;
        if now > before && first.is_none() {
            first = Some((Instant::now(), now));
        }
        if let Some((since, at)) = first.filter(|_| now >= before + count) {
            return Ok(round((now - at) as f64 / since.elapsed().as_secs_f64()));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(Failure::new(Exit::Failed, format_args!("found fewer than {count} messages received in {SECONDS_MAX} s")))
}
