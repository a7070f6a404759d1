//! The load of `bench ledger`: one client that makes AnchorCases transactions, signs and submits them, and follows the blocks,
//! which it verifies. Latency is from the submission to the block with enough attestations. It runs on the same cores as what
//! it measures, and says what it used of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gateway_vault::Vault;
use indicatif::ProgressBar;
use ledger_client::{Answer, HttpLedger, Ledger, LedgerError};
use schemas::ErrorClass;
use schemas::block::Block;
use schemas::cbor;
use schemas::envelope::Statement;
use schemas::id::{CaseId, ChainId, Digest, Height, InstitutionId, SubjectTag};
use schemas::limits::CATCH_UP_BLOCKS_MAX;
use schemas::transaction::signed_hash;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::steps::{Meter, Used};
use crate::cluster::Cluster;
use crate::commands::bench::Latencies;
use crate::commands::ledger::{failed, open};
use crate::commands::run::load;
use crate::failure::{Exit, Failure};
use crate::home;

/// Most transactions that wait for their block.
pub const IN_FLIGHT_MAX: usize = 256;
/// Most cases of transactions that wait for their block, where a transaction holds many.
const CASES_IN_FLIGHT_MAX: usize = 6_400;
/// Up to so many validators get the full load.
const FULL_LOAD_VALIDATORS: usize = 7;
/// Transactions under way at least.
const IN_FLIGHT_MIN: usize = 4;
/// Tasks that sign and submit.
const SUBMITTERS: usize = 64;
/// Longest wait for a block in one request.
const WAIT: Duration = Duration::from_secs(5);
/// Longest time without an answer, and for the last transactions of a phase: thirty validators on a few cores are slow, not dead.
const PATIENCE: Duration = Duration::from_secs(120);
/// Until one that is slow or full is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// Who submits what.
#[derive(Clone)]
pub struct Client {
    ledger: Arc<HttpLedger>,
    vault: Arc<Vault>,
    institution: InstitutionId,
    chain: ChainId,
    seen: Arc<Seen>,
    /// How many validators share the machine.
    validators: usize,
}

/// What the blocks held so far.
#[derive(Default)]
struct Seen {
    height: AtomicU64,
    keys: AtomicU64,
}

/// How much to submit.
pub struct Load<'a> {
    /// Cases in one transaction.
    pub statements: u32,
    /// Not measured; nothing where transactions are counted.
    pub warm_up: Duration,
    /// When the measured part ends.
    pub until: Until,
    /// Whose cores are looked at; nobody's without it.
    pub meter: Option<&'a Meter>,
    /// Shows how many of the transactions are done.
    pub bar: &'a ProgressBar,
}

/// The end of a measured part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After so much time.
    Elapsed(Duration),
    /// After so many transactions.
    Transactions(u64),
}

/// What was measured.
pub struct Phase {
    /// Of every transaction.
    pub latencies: Latencies,
    /// Length of the measured part.
    pub elapsed: Duration,
    /// Cases in one transaction.
    pub statements: u32,
    /// Blocks that held one of ours.
    pub blocks: u64,
    /// Bytes of all transactions.
    pub bytes: u64,
    /// Longest time without a block that held one of ours.
    pub longest_gap: Duration,
    /// Time on cores, and of the loops for the disk.
    pub used: Used,
}

impl Phase {
    fn new(statements: u32) -> Result<Self, Failure> {
        Ok(Self {
            latencies: Latencies::new()?,
            elapsed: Duration::ZERO,
            statements,
            blocks: 0,
            bytes: 0,
            longest_gap: Duration::ZERO,
            used: Used::default(),
        })
    }

    /// Transactions.
    pub fn transactions(&self) -> u64 {
        self.latencies.count()
    }

    /// Transactions per second.
    pub fn rate_per_s(&self) -> f64 {
        self.transactions() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Bytes of one transaction, on average.
    pub fn transaction_bytes(&self) -> usize {
        (self.bytes / self.transactions().max(1)) as usize
    }

    /// Transactions of one block, on average.
    pub fn block_transactions(&self) -> usize {
        (self.transactions() / self.blocks.max(1)).max(1) as usize
    }
}

/// What submitters and the follower of one phase share.
struct Flight {
    /// Submitted and not seen in a block yet, by the hash of its bytes.
    waiting: Mutex<HashMap<Digest, Instant>>,
    permits: Semaphore,
    /// Still to be submitted.
    left: AtomicU64,
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Instant>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a question that is asked again while everyone is slow or full.
async fn patiently<'a, T>(ask: impl Fn() -> Answer<'a, Result<T, LedgerError>>) -> Result<T, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(e) if e.class() == ErrorClass::Transient && Instant::now() < deadline => {
                tokio::time::sleep(AGAIN).await
            }
            answer => return answer.map_err(failed),
        }
    }
}

/// A submitter ends when there is nothing more to submit.
fn whole(ended: Result<Result<(), Failure>, tokio::task::JoinError>) -> Result<(), Failure> {
    ended.map_err(|_| Failure::new(Exit::Failed, "a submitter ended"))?
}

impl Client {
    /// The first hospital's.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn open(cluster: &Cluster) -> Result<Self, Failure> {
        let Some(hospital) = cluster.hospitals.first() else { return Err(Failure::new(Exit::Failed, "no hospital")) };
        let config = load(&hospital.config())?;
        Ok(Self {
            ledger: Arc::new(open(&config.ledger)?),
            vault: Arc::new(Vault::open(&config.vault.dir).map_err(Failure::usage)?),
            institution: config.gateway.institution_id,
            chain: cluster.genesis.chain_id(),
            seen: Arc::default(),
            validators: cluster.validators.len(),
        })
    }

    /// The ledger.
    pub fn ledger(&self) -> &HttpLedger {
        &self.ledger
    }

    /// Keys that the state holds at least: one for each case and one for each transaction.
    pub fn keys(&self) -> u64 {
        self.seen.keys.load(Ordering::Relaxed)
    }

    /// The newest block that was seen.
    fn height(&self) -> Height {
        self.seen.height.load(Ordering::Relaxed)
    }

    /// One transaction of one case after the other, each when the one before is final.
    ///
    /// # Errors
    /// When the ledger does not answer.
    pub async fn alone(&self, transactions: usize) -> Result<Latencies, Failure> {
        let mut latencies = Latencies::new()?;
        for _ in 0..transactions {
            let (id, bytes) = self.transaction(1)?;
            let submitted = Instant::now();
            patiently(|| self.ledger.submit(bytes.clone())).await?;
            let mut is_seen = false;
            while !is_seen {
                for block in self.next_blocks().await? {
                    is_seen |= block.transactions.iter().any(|bytes| signed_hash(bytes.as_ref()) == id);
                }
            }
            self.seen.keys.fetch_add(2, Ordering::Relaxed);
            latencies.record(submitted.elapsed());
        }
        Ok(latencies)
    }

    /// As many as the ledger takes, a bounded number at a time. Ends when every one that was submitted is in a block.
    ///
    /// # Errors
    /// When the ledger does not answer, or one of them is in no block.
    pub async fn load(&self, load: Load<'_>) -> Result<Phase, Failure> {
        let in_flight = (CASES_IN_FLIGHT_MAX / load.statements.max(1) as usize).clamp(1, IN_FLIGHT_MAX);
        // votes grow with the square of the validators: more under way than their cores carry would be handed on, waited for and
        // change views, and nothing would be measured but that
        let most = (in_flight * FULL_LOAD_VALIDATORS.pow(2) / self.validators.pow(2).max(1)).max(IN_FLIGHT_MIN);
        let in_flight = in_flight.min(most);
        let left = match load.until {
            Until::Transactions(transactions) => transactions,
            Until::Elapsed(_) => u64::MAX,
        };
        let flight = Arc::new(Flight {
            waiting: Mutex::default(),
            permits: Semaphore::new(in_flight),
            left: AtomicU64::new(left),
        });
        let mut submitters = JoinSet::new();
        for _ in 0..SUBMITTERS {
            submitters.spawn(self.clone().submit(Arc::clone(&flight), load.statements));
        }
        let mut followed = std::pin::pin!(self.follow(&load, &flight));
        let phase = loop {
            tokio::select! {
                phase = followed.as_mut() => break phase?,
                Some(ended) = submitters.join_next() => whole(ended)?,
            }
        };
        flight.permits.close();
        while let Some(ended) = submitters.join_next().await {
            whole(ended)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while !flight.lock().is_empty() {
            if Instant::now() > deadline {
                let found = format!("found {} transactions in no block after {PATIENCE:?}", flight.lock().len());
                return Err(Failure::new(Exit::Failed, found));
            }
            let blocks = self.next_blocks().await?;
            self.count(&blocks, load.statements, &flight, None);
        }
        Ok(phase)
    }

    async fn submit(self, flight: Arc<Flight>, statements: u32) -> Result<(), Failure> {
        while let Ok(permit) = flight.permits.acquire().await {
            // given back by the follower, one for each transaction that it sees
            permit.forget();
            let take_one = |left: u64| left.checked_sub(1);
            if flight.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one).is_err() {
                break;
            }
            let (id, bytes) = self.transaction(statements)?;
            flight.lock().insert(id, Instant::now());
            patiently(|| self.ledger.submit(bytes.clone())).await?;
        }
        Ok(())
    }

    async fn follow(&self, load: &Load<'_>, flight: &Flight) -> Result<Phase, Failure> {
        let is_timed = matches!(load.until, Until::Elapsed(_));
        let warm = Instant::now() + if is_timed { load.warm_up } else { Duration::ZERO };
        while Instant::now() < warm {
            let blocks = self.next_blocks().await?;
            self.count(&blocks, load.statements, flight, None);
        }
        let before = Used::until_now(load.meter).await?;
        let (mut phase, start) = (Phase::new(load.statements)?, Instant::now());
        let mut last = start;
        loop {
            let blocks = self.next_blocks().await?;
            if self.count(&blocks, load.statements, flight, Some(&mut phase)) {
                phase.longest_gap = phase.longest_gap.max(last.elapsed());
                last = Instant::now();
            }
            load.bar.set_position(phase.transactions());
            let is_done = match load.until {
                Until::Elapsed(elapsed) => start.elapsed() >= elapsed,
                Until::Transactions(transactions) => phase.transactions() >= transactions,
            };
            if is_done {
                phase.elapsed = start.elapsed();
                phase.used = Used::until_now(load.meter).await?.since(&before);
                return Ok(phase);
            }
        }
    }

    /// The blocks after the newest one that was seen.
    async fn next_blocks(&self) -> Result<Vec<Block>, Failure> {
        let blocks = patiently(|| self.ledger.blocks(self.height() + 1, CATCH_UP_BLOCKS_MAX, WAIT)).await?;
        if let Some(last) = blocks.last() {
            self.seen.height.store(last.header.height, Ordering::Relaxed);
        }
        Ok(blocks)
    }

    /// Counts ours; whether there were any.
    fn count(&self, blocks: &[Block], statements: u32, flight: &Flight, mut measured: Option<&mut Phase>) -> bool {
        let (seen, mut any) = (Instant::now(), false);
        for block in blocks {
            let mut ours = 0;
            for bytes in &block.transactions {
                let Some(submitted) = flight.lock().remove(&signed_hash(bytes.as_ref())) else { continue };
                ours += 1;
                if let Some(phase) = &mut measured {
                    phase.latencies.record(seen.saturating_duration_since(submitted));
                    phase.bytes += bytes.as_ref().len() as u64;
                }
            }
            flight.permits.add_permits(ours);
            self.seen.keys.fetch_add(ours as u64 * u64::from(statements + 1), Ordering::Relaxed);
            if let Some(phase) = measured.as_mut().filter(|_| ours > 0) {
                phase.blocks += 1;
            }
            any |= ours > 0;
        }
        any
    }

    /// New cases, signed: the hash of the signed bytes, and the bytes.
    fn transaction(&self, statements: u32) -> Result<(Digest, Vec<u8>), Failure> {
        let statements = (0..statements).map(|_| self.statement()).collect::<Result<Vec<_>, _>>()?;
        let valid_until = self.height() + 1_000;
        let signed = self.vault.sign_anchor(self.chain, self.institution, valid_until, statements, vec![]);
        let bytes = cbor::encode(&signed.map_err(|e| Failure::classed(e.class(), e))?);
        Ok((signed_hash(&bytes), bytes))
    }

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
