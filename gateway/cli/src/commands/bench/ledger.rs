//! `bench ledger`: small transactions (RegisterSubject) to a quorum's certificate, on four validators as processes of their own.
//! Latency is from the submission to the block with enough attestations, as a follower sees it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gateway_vault::Vault;
use ledger_client::{HttpLedger, Ledger};
use schemas::cbor;
use schemas::id::{Digest, InstitutionId, SubjectId};
use schemas::limits::CATCH_UP_BLOCKS_MAX;
use schemas::transaction::{Body, Core, RegisterSubject, Signer, Transaction};
use tokio::sync::Semaphore;

use super::{Figures, Latencies};
use crate::cluster::{Cluster, Plan};
use crate::commands::run::{load, runtime};
use crate::failure::{Exit, Failure};
use crate::home;
use crate::output::Output;

/// Most transactions that wait for their block.
const IN_FLIGHT_MAX: usize = 1_024;
/// Phase that is not measured, in seconds.
const WARM_UP_SECONDS: u64 = 2;
const VALIDATORS: usize = 4;

type Waiting = Arc<Mutex<HashMap<Digest, Instant>>>;

/// Runs for `seconds`.
pub fn run(folder: &Path, seconds: Duration, output: Output) -> Result<Figures, Failure> {
    let plan = Plan {
        home: folder,
        validators: VALIDATORS,
        hospitals: &[("bench", "Bench Hospital")],
        broker: false,
        authorities: &[],
        clients: &[],
        scopes: &[],
        desk: None,
    };
    let mut cluster = Cluster::start(&plan, output)?;
    runtime()?.block_on(measure(&mut cluster, seconds))
}

async fn measure(cluster: &mut Cluster, seconds: Duration) -> Result<Figures, Failure> {
    let Some(hospital) = cluster.hospitals.first() else { return Err(Failure::new(Exit::Failed, "no hospital")) };
    let config = load(&hospital.config())?;
    let ledger = Arc::new(crate::commands::ledger::open(&config.ledger)?);
    let vault = Arc::new(Vault::open(&config.vault.dir).map_err(Failure::usage)?);
    let institution = config.gateway.institution_id;
    let (waiting, height) = (Waiting::default(), Arc::new(AtomicU64::new(0)));
    let permits = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let chain = cluster.genesis.chain_id();
    let mut submitters = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (ledger, vault, waiting, height, permits) =
            (ledger.clone(), vault.clone(), waiting.clone(), height.clone(), permits.clone());
        submitters.spawn(async move {
            loop {
                let Ok(permit) = permits.clone().acquire_owned().await else { return Ok(()) };
                // Given back by the follower, one for each transaction that it sees.
                permit.forget();
                let transaction = register(&vault, chain, institution, height.load(Ordering::Relaxed) + 1_000)?;
                if let Ok(mut waiting) = waiting.lock() {
                    waiting.insert(transaction.id(), Instant::now());
                }
                ledger.submit(cbor::encode(&transaction)).await.map_err(crate::commands::ledger::failed)?;
            }
        });
    }
    let followed = follow(&ledger, &waiting, &height, &permits, seconds);
    let (latencies, elapsed) = tokio::select! {
        followed = followed => followed?,
        Some(ended) = submitters.join_next() => {
            return Err(match ended {
                Ok(Err(failure)) => failure,
                _ => Failure::new(Exit::Failed, "a submitter ended"),
            });
        }
    };
    submitters.shutdown().await;
    cluster.check()?;
    Ok(Figures::of("ledger", &latencies, elapsed, VALIDATORS, cluster.resident_mb()))
}

fn register(
    vault: &Vault,
    chain: schemas::id::ChainId,
    institution: InstitutionId,
    valid_until: u64,
) -> Result<Transaction, Failure> {
    let subject = SubjectId(home::random()?);
    let body = Body::RegisterSubject(RegisterSubject { subject, institution, key: None, guardians: Vec::new() });
    let signed = vault.sign(Core { chain, valid_until, body }, Signer::Institution(institution));
    signed.map_err(|e| Failure::classed(e.class(), e))
}

async fn follow(
    ledger: &HttpLedger,
    waiting: &Waiting,
    height: &AtomicU64,
    permits: &Semaphore,
    seconds: Duration,
) -> Result<(Latencies, Duration), Failure> {
    let mut latencies = Latencies::new()?;
    let warm = Instant::now() + Duration::from_secs(WARM_UP_SECONDS);
    let mut start = None;
    loop {
        let next = height.load(Ordering::Relaxed) + 1;
        let blocks = ledger.blocks(next, CATCH_UP_BLOCKS_MAX, Duration::from_secs(5)).await;
        let blocks = blocks.map_err(crate::commands::ledger::failed)?;
        let seen = Instant::now();
        if start.is_none() && seen >= warm {
            start = Some(seen);
        } else if start.is_some() {
            for block in &blocks {
                count(block, waiting, permits, Some((&mut latencies, seen)));
            }
        } else {
            blocks.iter().for_each(|block| count(block, waiting, permits, None));
        }
        if start == Some(seen) {
            blocks.iter().for_each(|block| count(block, waiting, permits, None));
        }
        if let Some(last) = blocks.last() {
            height.store(last.header.height, Ordering::Relaxed);
        }
        if let Some(start) = start.filter(|start| start.elapsed() >= seconds) {
            return Ok((latencies, start.elapsed()));
        }
    }
}

fn count(
    block: &schemas::block::Block,
    waiting: &Waiting,
    permits: &Semaphore,
    mut measured: Option<(&mut Latencies, Instant)>,
) {
    let Ok(mut waiting) = waiting.lock() else { return };
    for bytes in &block.transactions {
        let Ok(transaction) = cbor::decode::<Transaction>(bytes.as_ref()) else { continue };
        let Some(submitted) = waiting.remove(&transaction.id()) else { continue };
        permits.add_permits(1);
        if let Some((latencies, seen)) = &mut measured {
            latencies.record(seen.saturating_duration_since(submitted));
        }
    }
}
