//! The follower: takes certified blocks from the ledger, executes the contract on them itself, compares the log root and samples the state,
//! so that presence and absence at a height come from our own execution and not from a validator's word. Stands beside
//! both ways: consents and freshness for the way out, outcomes for the way in. It must never advance past a block whose
//! execution disagrees with its certified header.

mod execute;
mod sample;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ledger_client::{Epochs, Ledger, LedgerError};
use ledger_contract::StateError;
use schemas::block::{Block, Epoch, Header, SignedHead};
use schemas::genesis::Genesis;
use schemas::id::{Digest, Height, TimeMs};
use schemas::merkle::Frontier;
use schemas::state::EpochRecord;
use schemas::{ErrorClass, cbor, limits, state};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::sample::Sampler;
use crate::store::{self, Store, StoreError, chain, notices};
use crate::telemetry::Metrics;

/// Longest wait for new blocks in one question, in milliseconds.
const BLOCKS_WAIT_MS: u64 = 2_000;
/// First delay after a failure, in milliseconds; doubled up to `limits::RETRY_DELAY_MS_MAX`.
const RETRY_FIRST_MS: u64 = 100;

/// Why following stopped for now.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The state could not be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// Execution disagrees with the certified header, or the block does not follow ours.
    #[error("block {height}: found another {what} than the certified header's, expected equal")]
    Disagrees {
        /// The block.
        height: Height,
        /// What differs.
        what: &'static str,
    },
    /// A commit whose answer was lost happened, or one that was not synced is undone.
    #[error("found the stored state at another block than the one that was executed on, expected the same; read again")]
    Moved,
    /// The executing task ended early.
    #[error("the task that executes blocks ended early")]
    Ended,
}

impl FollowError {
    /// The class that decides about a retry.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Store(e) => e.class(),
            Self::Ledger(e) => e.class(),
            Self::State(e) => e.class(),
            Self::Disagrees { .. } => ErrorClass::Corrupt,
            Self::Moved => ErrorClass::Transient,
            Self::Ended => ErrorClass::Bug,
        }
    }
}

/// How far the state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainView {
    /// Height of the last executed block, 0 at genesis.
    pub height: Height,
    /// Effective time of that block.
    pub time: TimeMs,
    /// Hash of its header.
    pub header: Digest,
    /// The epoch of the next block, by the state.
    pub epoch: Epoch,
}

/// A handle. Cheap to clone.
#[derive(Clone)]
pub struct Follower {
    store: Store,
    view: watch::Receiver<ChainView>,
    freshest: watch::Receiver<Freshest>,
}

/// What the newest heads prove: signatures are checked once when they come, not for every request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Freshest {
    /// The height that the state must have reached; none before the first heads.
    height: Option<Height>,
    /// Until when the heads that prove it are young enough.
    until: TimeMs,
}

impl Freshest {
    /// By heads of the epoch that the state is in, or of a later one: what validators say who left proves nothing. `None` when the
    /// heads of no quorum are young enough at `now`.
    fn of(epochs: &Epochs, from: Epoch, heads: &[SignedHead], now: TimeMs) -> Option<Self> {
        let fresh = epochs.proved_fresh(from, heads, now)?;
        Some(Self { height: Some(fresh.height), until: fresh.until })
    }
}

impl Follower {
    /// Starts following; the tasks end with `stop`.
    ///
    /// # Errors
    /// `FollowError` when the stored state cannot be read.
    pub async fn start(
        store: Store,
        ledger: Arc<dyn Ledger>,
        genesis: Arc<Genesis>,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<Self, FollowError> {
        let position = Position::read(&store, &genesis).await?;
        let (to_view, view) = watch::channel(position.view());
        let (to_freshest, freshest) = watch::channel(Freshest::default());
        let chasing =
            Chase { store: store.clone(), ledger: Arc::clone(&ledger), genesis, metrics, sampler: Sampler::default() };
        let follower = Self { store, view, freshest };
        tokio::spawn(chasing.run(position, to_view, stop.clone()));
        tokio::spawn(watch_heads(ledger, follower.clone(), to_freshest, stop));
        Ok(follower)
    }

    /// Height of the last executed block.
    pub fn height(&self) -> Height {
        self.view.borrow().height
    }

    /// Effective time of the last executed block.
    pub fn time(&self) -> TimeMs {
        self.view.borrow().time
    }

    /// How far the state is, as a watched value.
    pub fn view(&self) -> watch::Receiver<ChainView> {
        self.view.clone()
    }

    /// Waits until the state has reached `height`; false when it did not in time.
    pub async fn reach(&self, height: Height, wait: Duration) -> bool {
        let mut view = self.view.clone();
        let reached = view.wait_for(|view| view.height >= height);
        matches!(tokio::time::timeout(wait, reached).await, Ok(Ok(_)))
    }

    /// A height that is proved fresh (formats.md §4): heads of a quorum are younger than 5 s, and the state is not below
    /// the highest of them. Waits up to `wait` for that.
    pub async fn fresh(&self, wait: Duration) -> Option<Height> {
        let proved = async {
            let (mut view, mut freshest) = (self.view.clone(), self.freshest.clone());
            loop {
                let proved = *freshest.borrow_and_update();
                let height = view.borrow_and_update().height;
                if now_ms() < proved.until && proved.height.is_some_and(|wanted| height >= wanted) {
                    return Some(height);
                }
                let changed = tokio::select! {
                    changed = view.changed() => changed,
                    changed = freshest.changed() => changed,
                };
                changed.ok()?;
            }
        };
        tokio::time::timeout(wait, proved).await.ok().flatten()
    }

    /// The height at which a transaction was accepted, if it was by the height that is returned beside it.
    ///
    /// # Errors
    /// `StoreError`.
    pub async fn transaction_height(&self, id: &Digest) -> Result<(Option<Height>, Height), StoreError> {
        let (found, at) = chain::get_at(&self.store, &state::transaction_key(id)).await?;
        let corrupt = StoreError::Corrupt { what: "chain_state transaction" };
        let found = found.map(|bytes| cbor::decode::<Height>(&bytes).map_err(|_| corrupt)).transpose()?;
        Ok((found, at))
    }
}

/// Where execution stands.
#[derive(Clone)]
pub(crate) struct Position {
    chain: Digest,
    header: Option<Header>,
    log: Frontier,
    /// Of the next block.
    epoch: Epoch,
}

impl Position {
    async fn read(store: &Store, genesis: &Genesis) -> Result<Self, StoreError> {
        let chain = Digest(genesis.chain_id().0);
        let Some((header, log)) = chain::cursor(store).await? else {
            let mut write = store.begin().await?;
            chain::apply(&mut write, ledger_contract::genesis_changes(genesis).0.iter()).await?;
            store::commit(write).await?;
            return Ok(Self { chain, header: None, log: Frontier::default(), epoch: 0 });
        };
        let corrupt = || StoreError::Corrupt { what: "chain_cursor.log" };
        let log: Frontier = cbor::decode(&log).map_err(|_| corrupt())?;
        let fits = log.is_consistent() && log.size() == header.log_size && Digest(header.chain.0) == chain;
        if !fits {
            return Err(corrupt());
        }
        let epoch = epoch_of(store, header.height + 1).await?;
        Ok(Self { chain, header: Some(header), log, epoch })
    }

    fn view(&self) -> ChainView {
        match &self.header {
            None => ChainView { height: 0, time: 0, header: self.chain, epoch: self.epoch },
            Some(header) => {
                let (height, time) = (header.height, header.time);
                ChainView { height, time, header: header.hash(), epoch: self.epoch }
            }
        }
    }
}

/// The epoch of the block behind the stored state.
async fn epoch_of(store: &Store, height: Height) -> Result<Epoch, StoreError> {
    let corrupt = || StoreError::Corrupt { what: "chain_state epoch" };
    let newest = chain::get(store, &state::newest_epoch_key()).await?.ok_or_else(corrupt)?;
    let newest: Epoch = cbor::decode(&newest).map_err(|_| corrupt())?;
    let record = chain::get(store, &state::epoch_key(newest)).await?.ok_or_else(corrupt)?;
    let record: EpochRecord = cbor::decode(&record).map_err(|_| corrupt())?;
    // the next one is decided while the one before still runs
    Ok(if record.first <= height { newest } else { newest.saturating_sub(1) })
}

struct Chase {
    store: Store,
    ledger: Arc<dyn Ledger>,
    genesis: Arc<Genesis>,
    metrics: Metrics,
    sampler: Sampler,
}

impl Chase {
    async fn run(mut self, mut position: Position, to: watch::Sender<ChainView>, stop: CancellationToken) {
        let mut delay_ms = RETRY_FIRST_MS;
        loop {
            let from = position.view().height + 1;
            let wait = Duration::from_millis(BLOCKS_WAIT_MS);
            let blocks = tokio::select! {
                () = stop.cancelled() => return,
                blocks = self.ledger.blocks(from, limits::CATCH_UP_BLOCKS_MAX, wait) => blocks,
            };
            let advanced = match blocks {
                Ok(blocks) if blocks.is_empty() => Ok(position.clone()),
                Ok(blocks) => self.advance(&position, blocks).await,
                Err(error) => Err(error.into()),
            };
            let (next, error) = match advanced {
                Ok(next) => (next, None),
                // the state may be elsewhere: a commit whose answer was lost, a database that came back from a crash
                Err(error) => (Position::read(&self.store, &self.genesis).await.unwrap_or(position), Some(error)),
            };
            let view = next.view();
            position = next;
            self.metrics.height(view.height);
            to.send_if_modified(|old| std::mem::replace(old, view) != view);
            if let Some(error) = error {
                tracing::warn!(class = error.class().name(), "follower: {error}");
                if view.height >= from {
                    // a commit whose answer was lost is progress all the same
                    delay_ms = RETRY_FIRST_MS;
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(Duration::from_millis(delay_ms)) => {}
                }
                delay_ms = (delay_ms * 2).min(limits::RETRY_DELAY_MS_MAX);
            } else {
                delay_ms = RETRY_FIRST_MS;
            }
        }
    }

    /// Executes a group of blocks and writes state and cursor in one commit.
    async fn advance(&mut self, position: &Position, blocks: Vec<Block>) -> Result<Position, FollowError> {
        let known = execute::prefetch(&self.store, &self.genesis.chain_id(), &blocks).await?;
        let (store, before) = (self.store.clone(), position.header.as_ref());
        let position = position.clone();
        let runtime = tokio::runtime::Handle::current();
        let executed = tokio::task::spawn_blocking(move || execute::run(store, runtime, known, position, &blocks));
        let (next, changes) = executed.await.map_err(|_| FollowError::Ended)??;
        let Some(header) = &next.header else { return Ok(next) };
        self.sampler.check(&*self.ledger, header, &changes).await?;
        // state and cursor in one commit: what a power loss undoes is executed again
        let mut write = self.store.begin_replayable().await?;
        if !chain::is_at(&mut write, before).await? {
            return Err(FollowError::Moved);
        }
        chain::apply(&mut write, changes.0.iter()).await?;
        notices::consents(&mut write, changes.0.iter(), header.height).await?;
        chain::advance(&mut write, header, &cbor::encode(&next.log)).await?;
        store::commit(write).await?;
        Ok(next)
    }
}

/// Keeps signed heads. New ones are shown once the state has caught up with them, while the old still count.
async fn watch_heads(
    ledger: Arc<dyn Ledger>,
    follower: Follower,
    to: watch::Sender<Freshest>,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(Duration::from_millis(limits::HEAD_INTERVAL_MS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let heads = tokio::select! {
            () = stop.cancelled() => return,
            heads = ledger.heads() => heads,
        };
        let from = follower.view.borrow().epoch;
        if let Some(freshest) = Freshest::of(&ledger.validators(), from, &heads, now_ms()) {
            let wait = Duration::from_millis(limits::HEAD_INTERVAL_MS);
            follower.reach(freshest.height.unwrap_or(0), wait).await;
            to.send_replace(freshest);
        }
    }
}

fn now_ms() -> TimeMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
