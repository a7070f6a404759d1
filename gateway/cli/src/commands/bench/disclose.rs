//! `bench disclose`: reads of single Observations under consent over 32 connections; each is decided anew and in the synced access
//! log before its first byte. Anything but a 200 fails the run.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_server::store::units;

use super::ingest::{Feed, PATIENTS, open, plan, step_shares};
use super::{Figures, Latencies, message};
use crate::cluster::{CLIENT_KEY_ID, Cluster};
use crate::commands::consent::permit;
use crate::commands::run::{load, runtime};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::patient::Custody;
use crate::smart::Client;

/// Messages in the store before reading begins: about 13 resources each.
const MESSAGES: u64 = 1_000;
/// Patients whose records are read.
const READ_PATIENTS: u64 = 64;
const CONNECTIONS: usize = 32;
/// Phase that is not measured, in seconds.
const WARM_UP_SECONDS: u64 = 2;
const STEPS: [&str; 5] = ["query", "decide", "log", "open", "disclose"];

/// Runs for `seconds`.
pub fn run(folder: &Path, seconds: Duration, output: Output) -> Result<Figures, Failure> {
    let plan = plan(folder);
    let validators = plan.validators;
    let mut cluster = Cluster::start(&plan, output)?;
    runtime()?.block_on(async {
        cluster.start_gateways(output).await?;
        let ids = prepare(&mut cluster, output).await?;
        measure(&mut cluster, ids, validators, seconds).await
    })
}

/// Fills the store, grants consents, returns the ids of the Observations that may be read.
async fn prepare(cluster: &mut Cluster, output: Output) -> Result<Vec<String>, Failure> {
    let mut watch = open(cluster).await?;
    let mut feed = Feed::open(cluster).await?;
    while feed.done() < MESSAGES {
        cluster.check()?;
        feed.top_up(200.min(MESSAGES - feed.done())).await?;
        feed.arrived(watch.new_cases().await?.len() as u64)?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    output.note(format_args!("{} messages are in the store", feed.done()));
    let Some(hospital) = cluster.hospitals.first() else { return Err(Failure::new(Exit::Failed, "no hospital")) };
    let custody = Custody::open(&load(&hospital.config())?).await?;
    let office = client(cluster, "office")?;
    let mut ids = Vec::new();
    for n in 0..READ_PATIENTS {
        let patient = custody.patient(&format!("{}|{}", message::SYSTEM, message::patient(n, PATIENTS))).await?;
        let id = patient.logical_id.ok_or_else(|| Failure::new(Exit::Failed, "found no Patient resource"))?;
        let answer =
            office.send(reqwest::Method::POST, "Consent", &permit(&id, "Organization/family-practice")).await?;
        if answer.status != 201 {
            let found = format!("granting: found status {}: {}", answer.status, answer.reason());
            return Err(Failure::new(Exit::Failed, found));
        }
        let heads = units::heads(&custody.store, &patient.subject, Some("Observation")).await;
        let heads = heads.map_err(|e| Failure::classed(e.class(), e))?;
        ids.extend(heads.into_iter().map(|unit| unit.logical_id));
    }
    output.note(format_args!("{READ_PATIENTS} consents granted, {} Observations may be read", ids.len()));
    Ok(ids)
}

async fn measure(
    cluster: &mut Cluster,
    ids: Vec<String>,
    validators: usize,
    seconds: Duration,
) -> Result<Figures, Failure> {
    let (clinic, ids, watch) = (Arc::new(client(cluster, "clinic")?), Arc::new(ids), open(cluster).await?);
    read_all(&clinic, &ids, Duration::from_secs(WARM_UP_SECONDS)).await?;
    let before = watch.metrics().await?;
    let start = Instant::now();
    let latencies = read_all(&clinic, &ids, seconds).await?;
    let elapsed = start.elapsed();
    cluster.check()?;
    let mut figures = Figures::of("disclose", &latencies, elapsed, validators, cluster.resident_mb());
    figures.steps = step_shares(&before, &watch.metrics().await?, &STEPS);
    Ok(figures)
}

async fn read_all(client: &Arc<Client>, ids: &Arc<Vec<String>>, seconds: Duration) -> Result<Latencies, Failure> {
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..CONNECTIONS {
        let (client, ids) = (client.clone(), ids.clone());
        readers.spawn(async move {
            let mut latencies = Latencies::new()?;
            let start = Instant::now();
            // A stride of its own for each reader, so that no two read the same one after the other.
            for id in ids.iter().cycle().skip(reader * 37).step_by(CONNECTIONS + 1) {
                let before = Instant::now();
                let answer = client.get(&format!("Observation/{id}")).await?;
                latencies.record(before.elapsed());
                if answer.status != 200 {
                    let found = format!("a read: found status {}, expected 200: {}", answer.status, answer.reason());
                    return Err(Failure::new(Exit::Failed, found));
                }
                if start.elapsed() >= seconds {
                    break;
                }
            }
            Ok(latencies)
        });
    }
    let mut all = Latencies::new()?;
    while let Some(read) = readers.join_next().await {
        all.add(&read.map_err(|e| Failure::new(Exit::Failed, e))??);
    }
    Ok(all)
}

fn client(cluster: &Cluster, id: &str) -> Result<Client, Failure> {
    let Some(hospital) = cluster.hospitals.first() else { return Err(Failure::new(Exit::Failed, "no hospital")) };
    Client::new(&hospital.base(), id, CLIENT_KEY_ID, &Cluster::client_key(hospital, id), "system/*.cruds")
}
