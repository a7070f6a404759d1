//! *log*: the access log. An entry, permit or deny, is on disk before a byte of its answer leaves. Many requests share one
//! commit: whatever waits when the writer comes round is written together. Entries are sealed; their salted leaves go to
//! the ledger in batches (`record.rs`). A request whose entry could not be written gets no answer but 503.

use std::sync::Arc;
use std::time::Instant;

use gateway_vault::Vault;
use minicbor::{Decode, Encode};
use schemas::ErrorClass;
use schemas::cbor::{self, Parts};
use schemas::id::{CaseId, ConsentId, Digest, Height, SubjectId, TimeMs};
use schemas::{limits, merkle};
use sqlx::Row as _;
use tokio::sync::{mpsc, oneshot};

use crate::store::rows::insert;
use crate::store::{self, Store, StoreError};
use crate::telemetry::{Metrics, Step};

/// What was done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Deed {
    /// Read, vread, history.
    #[n(0)]
    Read,
    /// Search.
    #[n(1)]
    Search,
    /// `$verify`.
    #[n(2)]
    Verify,
    /// Consent granted or narrowed.
    #[n(3)]
    Grant,
    /// Consent revoked.
    #[n(4)]
    Revoke,
    /// Resources handed in.
    #[n(5)]
    Create,
    /// A patient was invited to bind a key of her own.
    #[n(6)]
    Invite,
    /// A patient's key was bound.
    #[n(7)]
    Bind,
    /// A patient's wallet was told what there is.
    #[n(8)]
    Inbox,
    /// A patient's wallet got a sealed case; opened by its key alone.
    #[n(9)]
    Collect,
}

/// One disclosed unit and the consent that allowed it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DisclosedUnit {
    /// The case.
    #[n(0)]
    pub case: CaseId,
    /// Its version.
    #[n(1)]
    pub version: u32,
    /// The unit.
    #[n(2)]
    pub unit: u32,
    /// The consent.
    #[n(3)]
    pub consent: ConsentId,
    /// The provision in it.
    #[n(4)]
    pub provision: String,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// When it was decided.
    #[n(0)]
    pub time: TimeMs,
    /// The finalised height at which it was decided.
    #[n(1)]
    pub height: Height,
    /// The registered client, or `(wallet)` for a request that the patient's own key signed.
    #[n(2)]
    pub client: String,
    /// What it did.
    #[n(3)]
    pub deed: Deed,
    /// With which FHIR type.
    #[n(4)]
    pub resource_type: String,
    /// About whom; none when the request named nobody who is known here.
    #[n(5)]
    pub subject: Option<SubjectId>,
    /// What left.
    #[n(6)]
    pub disclosed: Vec<DisclosedUnit>,
    /// How many units were looked at and withheld.
    #[n(7)]
    pub withheld: u64,
    /// Purposes of use, `system|code`.
    #[n(8)]
    pub purposes: Vec<String>,
}

/// A salted entry: what is sealed, and what the leaf covers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Salted {
    /// The entry.
    #[n(0)]
    pub entry: Entry,
    /// Random, so that an entry cannot be guessed from its leaf.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub salt: [u8; 16],
}

impl Salted {
    /// RFC 9162 leaf hash over the labelled, salted entry.
    pub fn leaf(&self, sequence: u64) -> Digest {
        let bytes = Parts::new("cs1/access").part(&sequence).bytes(&self.salt).part(&self.entry).finish();
        merkle::leaf_hash(&bytes)
    }
}

/// What the sealed entry is bound to.
pub fn context(sequence: u64) -> Vec<u8> {
    Parts::new("cs1/access-log").part(&sequence).finish()
}

/// An entry that is not on disk. The request must not be answered.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// More entries wait than are accepted, or the writer has ended.
    #[error("access log: the writer is behind or has ended; nothing may be answered")]
    Behind,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gave no randomness.
    #[error("access log: the system gave no randomness")]
    Randomness,
}

impl LogError {
    /// The class that decides about the status: without a log there is no service.
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Transient
    }
}

/// Proof that an entry is on disk. Only the log makes one; `answer` demands one.
#[derive(Clone, Debug)]
pub struct Logged(u64);

impl Logged {
    /// The entry's sequence number.
    pub const fn sequence(&self) -> u64 {
        self.0
    }
}

type Waiting = (Entry, oneshot::Sender<Result<Logged, LogError>>);

/// The log's front: cheap to clone.
#[derive(Clone)]
pub struct AccessLog {
    queue: mpsc::Sender<Waiting>,
    metrics: Metrics,
}

impl AccessLog {
    /// Starts the writer. It ends when the last front is dropped, with everything written.
    pub fn start(store: Store, vault: Arc<Vault>, metrics: Metrics) -> (Self, tokio::task::JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel(limits::ACCESS_QUEUE_MAX);
        let writer = Writer { store, vault, metrics: metrics.clone(), next: None };
        (Self { queue, metrics }, tokio::spawn(writer.run(waiting)))
    }

    /// Returns once the entry is on disk.
    ///
    /// # Errors
    /// `LogError`: then nothing of the answer may leave.
    pub async fn append(&self, entry: Entry) -> Result<Logged, LogError> {
        let from = Instant::now();
        let (answer, written) = oneshot::channel();
        self.queue.try_send((entry, answer)).map_err(|_| LogError::Behind)?;
        let logged = written.await.map_err(|_| LogError::Behind)?;
        self.metrics.step(Step::Log, from.elapsed());
        logged
    }
}

struct Writer {
    store: Store,
    vault: Arc<Vault>,
    metrics: Metrics,
    /// Next sequence number; unknown at start and after a failure, then read again.
    next: Option<u64>,
}

impl Writer {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        let mut group = Vec::with_capacity(limits::ACCESS_GROUP_MAX);
        while waiting.recv_many(&mut group, limits::ACCESS_GROUP_MAX).await > 0 {
            self.metrics.waiting("access-log", waiting.len() as u64);
            match self.write(group.iter().map(|(entry, _)| entry)).await {
                Ok(first) => {
                    for (at, (_, answer)) in (first..).zip(group.drain(..)) {
                        // a client that hung up hears nothing; its entry stays
                        let _ = answer.send(Ok(Logged(at)));
                    }
                }
                Err(error) => {
                    self.next = None;
                    tracing::error!(class = error.class().name(), "access log: {error}");
                    for (_, answer) in group.drain(..) {
                        let _ = answer.send(Err(LogError::Behind));
                    }
                }
            }
        }
    }

    async fn write(&mut self, entries: impl Iterator<Item = &Entry>) -> Result<u64, LogError> {
        let first = match self.next {
            Some(next) => next,
            None => next_sequence(&self.store).await?,
        };
        let mut rows = Vec::new();
        for (sequence, entry) in (first..).zip(entries) {
            let salt = gateway_vault::random().map_err(|_| LogError::Randomness)?;
            let salted = Salted { entry: entry.clone(), salt };
            let sealed = self.vault.seal_row(&context(sequence), &cbor::encode(&salted));
            rows.push(Row {
                sequence,
                time: entry.time,
                sealed: sealed.map_err(|_| LogError::Randomness)?,
                leaf: salted.leaf(sequence),
                height: entry.height,
            });
        }
        let mut write = self.store.begin().await?;
        let into = ("access_log (sequence, time, entry, leaf, height)", 5, "");
        insert(&mut write, into, &rows, |query, row| {
            query
                .bind(row.sequence.cast_signed())
                .bind(row.time.cast_signed())
                .bind(row.sealed.clone())
                .bind(row.leaf.0.to_vec())
                .bind(row.height.cast_signed())
        })
        .await?;
        store::commit(write).await?;
        self.next = Some(first + rows.len() as u64);
        Ok(first)
    }
}

struct Row {
    sequence: u64,
    time: TimeMs,
    sealed: Vec<u8>,
    leaf: Digest,
    height: Height,
}

/// The sequence number after the last entry on disk.
async fn next_sequence(store: &Store) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT COALESCE(MAX(sequence) + 1, 0) FROM access_log")
        .fetch_one(store.reader())
        .await
        .map_err(store::failed("access_log"))?;
    row.try_get::<i64, _>(0).map(i64::unsigned_abs).map_err(store::failed("access_log"))
}

/// Entries from `first` on, opened: for the operator's report and trace.
///
/// # Errors
/// `StoreError`.
pub async fn read(store: &Store, vault: &Vault, first: u64, most: usize) -> Result<Vec<(u64, Entry)>, StoreError> {
    let sql = "SELECT sequence, entry FROM access_log WHERE sequence >= $1 ORDER BY sequence LIMIT $2";
    let rows = sqlx::query(sql)
        .bind(first.cast_signed())
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(store.reader())
        .await
        .map_err(store::failed("access_log"))?;
    let corrupt = || StoreError::Corrupt { what: "access_log.entry" };
    rows.iter()
        .map(|row| {
            let sequence = row.try_get::<i64, _>(0).map_err(store::failed("access_log"))?.unsigned_abs();
            let sealed: Vec<u8> = row.try_get(1).map_err(store::failed("access_log"))?;
            let plain = vault.open_row(&context(sequence), &sealed).map_err(|_| corrupt())?;
            let salted: Salted = cbor::decode(&plain).map_err(|_| corrupt())?;
            Ok((sequence, salted.entry))
        })
        .collect()
}
