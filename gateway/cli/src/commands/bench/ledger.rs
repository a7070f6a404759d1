//! `bench ledger`: AnchorCases transactions to a quorum's certificate, on validators that are processes of their own. Latency is
//! from the submission to the block with enough attestations, as a follower sees it: first of one transaction at a time, then
//! under load. The client signs, submits and follows on the same cores.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gateway_vault::Vault;
use ledger_client::{HttpLedger, Ledger};
use schemas::cbor;
use schemas::envelope::Statement;
use schemas::id::{CaseId, ChainId, Digest, InstitutionId, SubjectTag};
use schemas::limits::CATCH_UP_BLOCKS_MAX;
use schemas::transaction::Transaction;
use tokio::sync::Semaphore;

use super::{Figures, Latencies, LedgerFigures, round};
use crate::children::cpu_ms;
use crate::cluster::{Cluster, Plan};
use crate::commands::run::{load, runtime};
use crate::failure::{Exit, Failure};
use crate::home;
use crate::output::Output;

/// Most transactions that wait for their block.
const IN_FLIGHT_MAX: usize = 256;
/// Tasks that sign and submit.
const SUBMITTERS: usize = 64;
/// Phase that is not measured, in seconds.
const WARM_UP_SECONDS: u64 = 2;
/// Transactions of the idle chain.
const ALONE: usize = 300;

type Waiting = Arc<Mutex<HashMap<Digest, Instant>>>;

/// Runs for `seconds` on so many validators, with transactions of so many statements.
pub fn run(
    folder: &Path,
    seconds: Duration,
    (validators, statements): (usize, u32),
    output: Output,
) -> Result<Figures, Failure> {
    let plan = Plan {
        home: folder,
        validators,
        hospitals: &[("bench", "Bench Hospital")],
        broker: false,
        authorities: &[],
        clients: &[],
        scopes: &[],
        desk: None,
    };
    let mut cluster = Cluster::start(&plan, output)?;
    runtime()?.block_on(measure(&mut cluster, seconds, statements))
}

/// Who submits what.
#[derive(Clone)]
struct Client {
    ledger: Arc<HttpLedger>,
    vault: Arc<Vault>,
    institution: InstitutionId,
    chain: ChainId,
    statements: u32,
    /// The newest block that was seen.
    height: Arc<AtomicU64>,
}

async fn measure(cluster: &mut Cluster, seconds: Duration, statements: u32) -> Result<Figures, Failure> {
    let Some(hospital) = cluster.hospitals.first() else { return Err(Failure::new(Exit::Failed, "no hospital")) };
    let config = load(&hospital.config())?;
    let client = Client {
        ledger: Arc::new(crate::commands::ledger::open(&config.ledger)?),
        vault: Arc::new(Vault::open(&config.vault.dir).map_err(Failure::usage)?),
        institution: config.gateway.institution_id,
        chain: cluster.genesis.chain_id(),
        statements,
        height: Arc::default(),
    };
    let before = cluster.validators_cpu_ms();
    let idle = client.alone().await?;
    let alone = cluster.validators_cpu_ms() - before;
    let (waiting, permits) = (Waiting::default(), Arc::new(Semaphore::new(IN_FLIGHT_MAX)));
    let mut submitters = tokio::task::JoinSet::new();
    for _ in 0..SUBMITTERS {
        let (client, waiting, permits) = (client.clone(), waiting.clone(), permits.clone());
        submitters.spawn(async move {
            loop {
                let Ok(permit) = permits.clone().acquire_owned().await else { return Ok(()) };
                // Given back by the follower, one for each transaction that it sees.
                permit.forget();
                let (id, bytes) = client.transaction()?;
                if let Ok(mut waiting) = waiting.lock() {
                    waiting.insert(id, Instant::now());
                }
                client.ledger.submit(bytes).await.map_err(crate::commands::ledger::failed)?;
            }
        });
    }
    let cpu = || (cluster.validators_cpu_ms(), cpu_ms(std::process::id()));
    let followed = follow(&client.ledger, &waiting, &client.height, &permits, seconds, cpu);
    let (latencies, elapsed, used) = tokio::select! {
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
    let mut figures = Figures::of("ledger", &latencies, elapsed, cluster.validators.len(), cluster.resident_mb());
    let each = |ms: u64| round(ms as f64 * 1000.0 / latencies.count().max(1) as f64);
    figures.ledger = Some(LedgerFigures {
        cases_per_s: round(figures.rate_per_s * f64::from(statements)),
        idle_p50_ms: idle.ms(0.5),
        validators_cpu_us: each(used.0),
        validators_cpu_alone_us: round(alone as f64 * 1000.0 / ALONE as f64),
        client_cpu_us: each(used.1),
    });
    Ok(figures)
}

impl Client {
    /// One transaction after the other.
    async fn alone(&self) -> Result<Latencies, Failure> {
        let mut latencies = Latencies::new()?;
        for _ in 0..ALONE {
            let (id, bytes) = self.transaction()?;
            let submitted = Instant::now();
            self.ledger.submit(bytes).await.map_err(crate::commands::ledger::failed)?;
            let mut is_seen = false;
            while !is_seen {
                let next = self.height.load(Ordering::Relaxed) + 1;
                let blocks = self.ledger.blocks(next, CATCH_UP_BLOCKS_MAX, Duration::from_secs(5)).await;
                for block in blocks.map_err(crate::commands::ledger::failed)? {
                    is_seen |= ids(&block).any(|found| found == id);
                    self.height.store(block.header.height, Ordering::Relaxed);
                }
            }
            latencies.record(submitted.elapsed());
        }
        Ok(latencies)
    }

    /// New cases, signed: the transaction's id and bytes.
    fn transaction(&self) -> Result<(Digest, Vec<u8>), Failure> {
        let statements = (0..self.statements).map(|_| self.statement()).collect::<Result<Vec<_>, _>>()?;
        let valid_until = self.height.load(Ordering::Relaxed) + 1_000;
        let signed = self.vault.sign_anchor(self.chain, self.institution, valid_until, statements, vec![]);
        let transaction = signed.map_err(|e| Failure::classed(e.class(), e))?;
        Ok((transaction.id(), cbor::encode(&transaction)))
    }

    /// A case that nobody sealed: to the ledger all digests are alike.
    fn statement(&self) -> Result<Statement, Failure> {
        let random: [u8; 16] = home::random()?;
        let digest = cbor::sha256(&random);
        Ok(Statement {
            case: CaseId(random),
            version: 1,
            previous: None,
            institution: self.institution,
            header: digest,
            root: digest,
            object: digest,
            subject_tag: SubjectTag(digest.0),
            wraps: digest,
            time: 0,
        })
    }
}

/// The ids of a block's transactions.
fn ids(block: &schemas::block::Block) -> impl Iterator<Item = Digest> + '_ {
    let transactions = block.transactions.iter().filter_map(|bytes| cbor::decode::<Transaction>(bytes.as_ref()).ok());
    transactions.map(|transaction| transaction.id())
}

/// Latencies of the measured phase, its length, and the `cpu` milliseconds in it.
async fn follow(
    ledger: &HttpLedger,
    waiting: &Waiting,
    height: &AtomicU64,
    permits: &Semaphore,
    seconds: Duration,
    cpu: impl Fn() -> (u64, u64),
) -> Result<(Latencies, Duration, (u64, u64)), Failure> {
    let mut latencies = Latencies::new()?;
    let warm = Instant::now() + Duration::from_secs(WARM_UP_SECONDS);
    let (mut start, mut before) = (None, (0, 0));
    loop {
        let next = height.load(Ordering::Relaxed) + 1;
        let blocks = ledger.blocks(next, CATCH_UP_BLOCKS_MAX, Duration::from_secs(5)).await;
        let blocks = blocks.map_err(crate::commands::ledger::failed)?;
        let seen = Instant::now();
        for block in &blocks {
            count(block, waiting, permits, start.map(|_| (&mut latencies, seen)));
        }
        if start.is_none() && seen >= warm {
            (start, before) = (Some(seen), cpu());
        }
        if let Some(last) = blocks.last() {
            height.store(last.header.height, Ordering::Relaxed);
        }
        if let Some(start) = start.filter(|start| start.elapsed() >= seconds) {
            let (elapsed, after) = (start.elapsed(), cpu());
            return Ok((latencies, elapsed, (after.0 - before.0, after.1 - before.1)));
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
    for id in ids(block) {
        let Some(submitted) = waiting.remove(&id) else { continue };
        permits.add_permits(1);
        if let Some((latencies, seen)) = &mut measured {
            latencies.record(seen.saturating_duration_since(submitted));
        }
    }
}
