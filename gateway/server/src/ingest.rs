//! The way in: receive → normalise → seal → store → anchor → index. Each step is one file and one verb; each state is a
//! type that only the step before can build. Three durable points: the inbox row, the intent, the index. Batches flow
//! through in the order of arrival, so every patient's order is kept; within a batch the work is spread over the cores.
//! A step that fails as transient holds everything before it, but for *receive*: that goes on taking and acknowledging until the inbox
//! has as many as may wait there. Nothing is lost.

mod anchor;
mod fold;
mod heads;
mod index;
pub(crate) mod look;
pub mod normalise;
mod plan;
mod receive;
mod resolve;
mod seal;
mod settle;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use connectors_source::Source;
use gateway_vault::{Vault, VaultError};
use ledger_client::{Ledger, LedgerError};
use schemas::id::{ChainId, InstitutionId, TimeMs};
use schemas::{ErrorClass, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::fold::again::Made;
pub use self::receive::{Message, Outcome};

use self::normalise::{Normaliser, media_type};
use self::receive::{Again, Offer, Receiver, Settle};
use crate::dead_letters::Retried;
use crate::follow::Follower;
use crate::objects::{ObjectError, Objects};
use crate::store::dead_letters::Filter;
use crate::store::replays::Restored;
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;

/// Operators' retries and pages of replays that wait.
const RETRIES_WAITING_MAX: usize = 4;
/// Batches waiting between two steps.
const BATCHES_WAITING_MAX: usize = 2;
/// Bodies on their way from a source to their seal, in KiB.
const IN_HAND_KIB_MAX: u32 = 256 << 10;
/// Bodies that one step works on at once, in bytes; a single one may be larger.
const AT_ONCE_BYTES_MAX: usize = 32 << 20;
/// First delay of a step that failed, in milliseconds; doubled up to `limits::RETRY_DELAY_MS_MAX`.
const RETRY_FIRST_MS: u64 = 50;

/// Ends the process at a durable point: only in the test build, only when the test says so.
macro_rules! crash_point {
    ($name:literal) => {
        fail::fail_point!($name, |_| crate::ingest::end_at_once())
    };
}
pub(crate) use crash_point;

/// SIGKILL: nothing is flushed, closed or said.
#[cfg(feature = "failpoints")]
pub(crate) fn end_at_once() -> ! {
    let id = std::process::id().to_string();
    drop(std::process::Command::new("kill").args(["-9", &id]).status());
    std::process::abort()
}

/// What the steps stand on. Cheap to clone.
#[derive(Clone)]
pub struct Foundation {
    /// The database.
    pub store: Store,
    /// The object store.
    pub objects: Objects,
    /// The keys.
    pub vault: Arc<Vault>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// How far the ledger's state is.
    pub follower: Follower,
    /// The chain.
    pub chain: ChainId,
    /// Whose gateway it is.
    pub institution: InstitutionId,
    /// Tables and zone, as they were loaded last.
    pub normaliser: watch::Receiver<Arc<Normaliser>>,
    /// Measures.
    pub metrics: Metrics,
    /// Largest message, in bytes.
    pub message_bytes_max: usize,
}

/// Why a step does not go on.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The object store.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A key or a row.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The ledger refused a transaction that the gateway had checked.
    #[error("the ledger refused an anchor as {0:?}, expected it accepted")]
    Refused(schemas::transaction::Refusal),
    /// The ledger has no word on a transaction yet.
    #[error("the ledger has no word on an anchor yet")]
    Unknown,
    /// What was stored for a step is not what was stored.
    #[error("{0} is not what was stored")]
    Corrupt(&'static str),
    /// A task ended early.
    #[error("a task of the way in ended early")]
    Ended,
}

impl StepError {
    /// The class of the error.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(e) => e.class(),
            Self::Objects(e) => e.class(),
            Self::Ledger(e) => e.class(),
            Self::Vault(e) => e.class(),
            Self::Refused(_) => ErrorClass::Conflict,
            Self::Unknown => ErrorClass::Transient,
            Self::Corrupt(_) => ErrorClass::Corrupt,
            Self::Ended => ErrorClass::Bug,
        }
    }
}

/// What holds the way in up: the step and the class of its error.
pub type Trouble = Option<(&'static str, ErrorClass)>;

/// What a step needs to wait and to be stopped.
#[derive(Clone)]
pub(crate) struct Control {
    stop: CancellationToken,
    trouble: watch::Sender<Trouble>,
    /// Number of the last batch whose intents are durable.
    committed: Arc<AtomicU64>,
    /// Cancelled when all that an earlier run intended is indexed.
    recovered: CancellationToken,
}

/// Room for message bodies that are on their way: whoever brings one waits for room. Bounded in bytes, as queues are in items.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

/// Held as long as the body is.
pub(crate) type Held = Arc<OwnedSemaphorePermit>;

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(IN_HAND_KIB_MAX as usize)))
    }
}

impl Room {
    /// Whether what is handed on takes its half: the other half is for what comes, so that neither waits for the other.
    pub(crate) fn is_scarce(&self) -> bool {
        self.0.available_permits() < IN_HAND_KIB_MAX as usize / 2
    }

    /// Room of so many bytes where there is enough.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Held> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, IN_HAND_KIB_MAX / 2);
        if self.is_scarce() {
            return None;
        }
        Arc::clone(&self.0).try_acquire_many_owned(kib).ok().map(Arc::new)
    }

    /// Waits for room of so many bytes. None only when the process ends.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Held> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, IN_HAND_KIB_MAX);
        Arc::clone(&self.0).acquire_many_owned(kib).await.ok().map(Arc::new)
    }
}

/// A step's patience: whatever fails is tried again, for ever, with bounded delay; stopped it leaves the rest to the next
/// start.
pub(crate) struct Patience<'a> {
    control: &'a Control,
    step: &'static str,
    delay_ms: u64,
}

impl Control {
    /// The way in cannot go on before a restart: everything that is durable waits for it.
    pub(crate) fn fail(&self, step: &'static str) {
        tracing::error!(step, "the way in stops; what is durable goes on when the gateway is started again");
        self.trouble.send_replace(Some((step, ErrorClass::Bug)));
        self.stop.cancel();
    }

    /// A step that ends although nobody stops the gateway is a failure that an operator must see.
    fn guard(
        &self,
        step: &'static str,
        run: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let control = self.clone();
        async move {
            let ended = tokio::spawn(run).await;
            if ended.is_err() || !control.stop.is_cancelled() {
                control.fail(step);
            }
        }
    }

    /// A step failed and tries again.
    pub(crate) fn held_up(&self, step: &'static str, error: &StepError, delay_ms: u64) {
        tracing::warn!(step, class = error.class().name(), delay_ms, "{error}");
        self.trouble.send_replace(Some((step, error.class())));
    }

    /// A step went on, after it had failed.
    pub(crate) fn went_on(&self, step: &'static str, had_failed: bool) {
        if had_failed {
            self.trouble.send_if_modified(|trouble| {
                let mine = trouble.is_some_and(|(of, _)| of == step);
                if mine {
                    *trouble = None;
                }
                mine
            });
        }
    }

    pub(crate) fn patience(&self, step: &'static str) -> Patience<'_> {
        Patience { control: self, step, delay_ms: RETRY_FIRST_MS }
    }
}

impl Patience<'_> {
    /// Waits after a failure; false when the gateway stops.
    pub(crate) async fn wait(&mut self, error: &StepError) -> bool {
        self.control.held_up(self.step, error, self.delay_ms);
        tokio::select! {
            () = self.control.stop.cancelled() => return false,
            () = tokio::time::sleep(Duration::from_millis(self.delay_ms)) => {}
        }
        self.delay_ms = (self.delay_ms * 2).min(limits::RETRY_DELAY_MS_MAX);
        true
    }

    /// The step went on.
    pub(crate) fn over(self) {
        self.control.went_on(self.step, self.delay_ms != RETRY_FIRST_MS);
    }
}

/// The running way in.
pub struct Ingest {
    offers: mpsc::Sender<Offer>,
    retries: mpsc::Sender<Again>,
    room: Room,
    trouble: watch::Receiver<Trouble>,
    control: Control,
    tasks: TaskTracker,
}

impl Ingest {
    /// Starts the steps. What an earlier run left is finished first, in its order.
    pub fn start(foundation: Foundation) -> Self {
        let stop = CancellationToken::new();
        let (to_trouble, trouble) = watch::channel(None);
        let control = Control {
            stop: stop.clone(),
            trouble: to_trouble,
            committed: Arc::default(),
            recovered: CancellationToken::new(),
        };
        let tasks = TaskTracker::new();
        let (offers, offered) = mpsc::channel(limits::INBOX_GROUP_MAX);
        let (retries, retried) = mpsc::channel(RETRIES_WAITING_MAX);
        let (to_seal, received) = mpsc::channel(limits::INBOX_GROUP_MAX);
        let (to_store, sealed) = mpsc::channel(BATCHES_WAITING_MAX);
        let (to_anchor, stored) = mpsc::channel(BATCHES_WAITING_MAX);
        let (to_index, anchoring) = mpsc::channel(anchor::IN_FLIGHT_MAX);
        let room = Room::default();
        let receiver = Receiver::new(foundation.clone(), control.clone(), to_seal, room.clone());
        let (on, of) = (&foundation, &control);
        tasks.spawn(of.guard("receive", receiver.run(offered, retried)));
        tasks.spawn(of.guard("seal", seal::run(on.clone(), of.clone(), received, to_store)));
        tasks.spawn(of.guard("store", seal::store(on.clone(), of.clone(), sealed, to_anchor)));
        tasks.spawn(of.guard("anchor", anchor::run(on.clone(), of.clone(), stored, to_index)));
        tasks.spawn(of.guard("index", index::run(on.clone(), of.clone(), anchoring)));
        tasks.close();
        Self { offers, retries, room, trouble, control, tasks }
    }

    /// Takes from a source until what is given back is cancelled.
    pub fn attach(&self, source: Box<dyn Source>) -> CancellationToken {
        let stop = self.control.stop.child_token();
        self.tasks.spawn(take(source, self.offers.clone(), self.room.clone(), stop.clone()));
        stop
    }

    /// Cancelled when the way in stops; to be cancelled alone too.
    pub fn stop_token(&self) -> CancellationToken {
        self.control.stop.child_token()
    }

    /// Sends some dead letters their way again, of ids behind the first and up to the second; returns once they are in the inbox, with the
    /// last that was looked at.
    ///
    /// # Errors
    /// `StepError`; `Ended` when the gateway is stopping.
    pub async fn retry(&self, filter: Filter, ids: (i64, i64)) -> Result<(Retried, Option<i64>), StepError> {
        let (reply, retried) = oneshot::channel();
        self.retries.send(Again::DeadLetters { filter, ids, reply }).await.map_err(|_| StepError::Ended)?;
        retried.await.map_err(|_| StepError::Ended)?
    }

    /// Sends indexed messages their way again; returns once they wait in the inbox. The same call again, after an error, restores none twice.
    ///
    /// # Errors
    /// `StepError`; `Ended` when the gateway is stopping.
    pub(crate) async fn restore(&self, rows: Arc<[Restored]>) -> Result<(), StepError> {
        let (reply, restored) = oneshot::channel();
        self.retries.send(Again::Indexed { rows, reply }).await.map_err(|_| StepError::Ended)?;
        restored.await.map_err(|_| StepError::Ended)?
    }

    /// Takes one message that came another way than through a source; returns once it is durable.
    ///
    /// # Errors
    /// `StepError::Ended` when the gateway is stopping: nothing was kept.
    pub async fn take(&self, message: Message) -> Result<Outcome, StepError> {
        let (reply, outcome) = oneshot::channel();
        let room = self.room.take(message.body.len()).await;
        let offer = offer(message, Settle::Reply(reply), room);
        self.offers.send(offer).await.map_err(|_| StepError::Ended)?;
        outcome.await.map_err(|_| StepError::Ended)
    }

    /// What holds the way in up, if anything.
    pub fn trouble(&self) -> Trouble {
        *self.trouble.borrow()
    }

    /// Stops at once and for good: the gateway must be started again.
    pub fn halt(&self, why: &'static str) {
        self.control.fail(why);
    }

    /// Stops taking and waits for what is under way; what is not done is durable and goes on at the next start.
    pub async fn stop(&self, patience: Duration) {
        self.control.stop.cancel();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!("the way in did not stop in time; it goes on from its durable points at the next start");
        }
    }
}

/// Moves deliveries of one source into the inbox's queue. A full queue holds the source back.
async fn take(mut source: Box<dyn Source>, offers: mpsc::Sender<Offer>, room: Room, stop: CancellationToken) {
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => break,
            next = source.next() => next,
        };
        let mut delivery = match next {
            Ok(Some(delivery)) => delivery,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(connector = source.name(), class = error.class().name(), "{error}");
                break;
            }
        };
        let message = Message {
            connector: delivery.connector.clone(),
            content_type: delivery.content_type.clone(),
            body: delivery.take_body(),
            trace: delivery.trace.parent.clone(),
            received: delivery.received,
            tells_outcome: delivery.tells_outcome,
        };
        // dropped here, the delivery goes back to its peer
        let room = tokio::select! {
            () = stop.cancelled() => break,
            room = room.take(message.body.len()) => room,
        };
        let offer = offer(message, Settle::Delivery(delivery), room);
        tokio::select! {
            () = stop.cancelled() => break,
            sent = offers.send(offer) => if sent.is_err() { break },
        }
    }
    source.close();
}

/// What goes into the inbox's queue: of what a sender says in plain, no more than is needed (`media_type`).
fn offer(mut message: Message, settle: Settle, room: Option<Held>) -> Offer {
    message.content_type = media_type(&message.content_type).unwrap_or_default().into();
    Offer { message, settle, room }
}

/// Spreads work over the cores, off the async threads; results in the order of the items.
pub(crate) async fn spread<T, R>(
    items: Vec<T>,
    work: impl Fn(T) -> R + Send + Sync + 'static,
) -> Result<Vec<R>, StepError>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let size = items.len().div_ceil(cores).max(1);
    let work = Arc::new(work);
    let mut tasks = Vec::with_capacity(cores);
    let mut items = items.into_iter();
    loop {
        let piece: Vec<T> = items.by_ref().take(size).collect();
        if piece.is_empty() {
            break;
        }
        let work = Arc::clone(&work);
        tasks.push(tokio::task::spawn_blocking(move || piece.into_iter().map(|item| work(item)).collect::<Vec<R>>()));
    }
    let mut results = Vec::new();
    for task in tasks {
        results.extend(task.await.map_err(|_| StepError::Ended)?);
    }
    Ok(results)
}

/// How many of the first ones are worked on at once: at least one.
pub(crate) fn within(sizes: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0_usize;
    let fits = sizes.take_while(|size| {
        sum = sum.saturating_add(*size);
        sum <= AT_ONCE_BYTES_MAX
    });
    fits.count().max(1)
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> TimeMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// Time since `from`, spread over `n` items.
pub(crate) fn share(from: Instant, n: usize) -> Duration {
    from.elapsed() / u32::try_from(n.max(1)).unwrap_or(u32::MAX)
}
