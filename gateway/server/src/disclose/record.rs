//! Anchors the access log: at most every ten seconds the entries that came since go to the ledger as one RecordAccess,
//! contiguous, each batch naming the one before. The signed bytes are on disk before they are submitted, so a restart goes
//! on with the same batch; it is signed again only when it can no longer be executed and its absence is proved.

use std::sync::Arc;
use std::time::Duration;

use gateway_vault::Vault;
use ledger_client::{Ledger, LedgerError};
use schemas::ErrorClass;
use schemas::cbor;
use schemas::id::{ChainId, Digest, Height, InstitutionId};
use schemas::state;
use schemas::transaction::{Body, Core, Outcome, RecordAccess, Refusal, Signer, Transaction, signed_hash};
use schemas::{limits, merkle};
use sqlx::Row as _;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use crate::store::{self, Store, StoreError};
use crate::telemetry::Metrics;

/// Pause between looks at the log; with the ledger's latency well below `limits::ACCESS_BATCH_AGE_MS_MAX`.
const LOOK_MS: u64 = 3_000;
/// Blocks until a batch can no longer be executed.
const VALID_BLOCKS: u64 = 1_000;
/// Longest wait for a proof in one look-up.
const PROOF_WAIT_MS: u64 = 5_000;

const PENDING: i64 = 0;
const ACCEPTED: i64 = 1;

/// Why a batch is not anchored yet.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger has given no word yet.
    #[error("access log: the ledger has not executed batch {first} yet")]
    Waiting {
        /// First sequence number.
        first: u64,
    },
    /// The vault does not sign.
    #[error("access log: the gateway's key did not sign")]
    Sign,
    /// The ledger refused a batch: the log on the ledger and here contradict each other.
    #[error("access log: the ledger refused batch {first} as {refusal:?}; was the database restored from a backup?")]
    Refused {
        /// First sequence number.
        first: u64,
        /// Why.
        refusal: Refusal,
    },
}

impl RecordError {
    /// The class that decides about the retry.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Store(e) => e.class(),
            Self::Ledger(e) => e.class(),
            Self::Waiting { .. } => ErrorClass::Transient,
            Self::Sign => ErrorClass::Bug,
            Self::Refused { .. } => ErrorClass::Conflict,
        }
    }
}

/// The task's parts.
pub struct Recorder {
    /// The database.
    pub store: Store,
    /// Signs as the gateway.
    pub vault: Arc<Vault>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// How far the state is.
    pub follower: Arc<dyn Progress>,
    /// The chain.
    pub chain: ChainId,
    /// The gateway's institution.
    pub institution: InstitutionId,
    /// Measures.
    pub metrics: Metrics,
}

/// A batch on disk.
struct Batch {
    first: u64,
    tx: Digest,
    bytes: Vec<u8>,
    valid_until: Height,
}

/// What the ledger says about a batch.
enum Word {
    /// Accepted at this height.
    Accepted(Height),
    /// It was not executed and cannot be any more.
    Never,
}

impl Recorder {
    /// Anchors batches until told to stop; a last look is taken then. Failures are logged and tried again.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            let stopped = tokio::time::timeout(Duration::from_millis(LOOK_MS), stop.cancelled()).await.is_ok();
            if let Err(error) = self.look().await {
                tracing::warn!(class = error.class().name(), "{error}");
            }
            if stopped {
                return;
            }
        }
    }

    /// One look: settles the pending batch, or makes the next one and settles it. Returns how many entries are anchored
    /// by it.
    ///
    /// # Errors
    /// `RecordError`; what is on disk stays and the next look goes on.
    pub async fn look(&self) -> Result<u64, RecordError> {
        let mut anchored = 0;
        loop {
            let batch = match self.pending().await? {
                Some(batch) => batch,
                None => match self.cut().await? {
                    Some(batch) => batch,
                    None => return Ok(anchored),
                },
            };
            anchored += self.settle(batch).await?;
        }
    }

    async fn pending(&self) -> Result<Option<Batch>, StoreError> {
        let sql = "SELECT first, tx_id, bytes, valid_until FROM access_batch WHERE state = $1 ORDER BY first LIMIT 1";
        let row = sqlx::query(sql).bind(PENDING).fetch_optional(self.store.reader()).await.map_err(failed())?;
        row.map(|row| {
            let tx: Vec<u8> = row.try_get(1).map_err(failed())?;
            Ok(Batch {
                first: row.try_get::<i64, _>(0).map_err(failed())?.unsigned_abs(),
                tx: Digest::from_slice(&tx).ok_or(StoreError::Corrupt { what: "access_batch.tx_id" })?,
                bytes: row.try_get(2).map_err(failed())?,
                valid_until: row.try_get::<i64, _>(3).map_err(failed())?.unsigned_abs(),
            })
        })
        .transpose()
    }

    /// Where the next batch begins and what it names as the one before.
    async fn end(&self) -> Result<(u64, Digest), StoreError> {
        let sql = "SELECT first + count, root FROM access_batch ORDER BY first DESC LIMIT 1";
        let row = sqlx::query(sql).fetch_optional(self.store.reader()).await.map_err(failed())?;
        let Some(row) = row else { return Ok((0, Digest::ZERO)) };
        let root: Vec<u8> = row.try_get(1).map_err(failed())?;
        let root = Digest::from_slice(&root).ok_or(StoreError::Corrupt { what: "access_batch.root" })?;
        Ok((row.try_get::<i64, _>(0).map_err(failed())?.unsigned_abs(), root))
    }

    /// Cuts the next batch, signs it and writes it down.
    async fn cut(&self) -> Result<Option<Batch>, RecordError> {
        let (first, previous) = self.end().await?;
        self.write_batch(first, previous, limits::ACCESS_BATCH_MAX).await
    }

    async fn write_batch(&self, first: u64, previous: Digest, most: usize) -> Result<Option<Batch>, RecordError> {
        let (leaves, heights) = self.leaves(first, most).await?;
        let (Some(&height_min), Some(&height_max)) = (heights.iter().min(), heights.iter().max()) else {
            return Ok(None);
        };
        let root = merkle::root(&leaves);
        let gateway = self.vault.gateway_key();
        let body = Body::RecordAccess(RecordAccess {
            institution: self.institution,
            gateway,
            first,
            count: u32::try_from(leaves.len()).unwrap_or(u32::MAX),
            root,
            previous,
            height_min,
            height_max,
            break_glass: Vec::new(),
        });
        let valid_until = self.follower.height() + VALID_BLOCKS;
        let core = Core { chain: self.chain, valid_until, body };
        let signed: Transaction = self.vault.sign(core, Signer::Gateway(gateway)).map_err(|_| RecordError::Sign)?;
        let batch = Batch { first, tx: signed.id(), bytes: cbor::encode(&signed), valid_until };
        let mut write = self.store.begin().await?;
        sqlx::query(
            "INSERT INTO access_batch (first, count, root, tx_id, bytes, valid_until, state) VALUES ($1, $2, $3, $4, $5, \
             $6, $7) ON CONFLICT (first) DO UPDATE SET count = excluded.count, root = excluded.root, tx_id = \
             excluded.tx_id, bytes = excluded.bytes, valid_until = excluded.valid_until",
        )
        .bind(first.cast_signed())
        .bind(i64::try_from(leaves.len()).unwrap_or(i64::MAX))
        .bind(root.0.to_vec())
        .bind(batch.tx.0.to_vec())
        .bind(batch.bytes.clone())
        .bind(valid_until.cast_signed())
        .bind(PENDING)
        .execute(&mut *write)
        .await
        .map_err(failed())?;
        store::commit(write).await?;
        Ok(Some(batch))
    }

    async fn leaves(&self, first: u64, most: usize) -> Result<(Vec<Digest>, Vec<Height>), StoreError> {
        let sql = "SELECT leaf, height FROM access_log WHERE sequence >= $1 ORDER BY sequence LIMIT $2";
        let rows = sqlx::query(sql)
            .bind(first.cast_signed())
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_all(self.store.reader())
            .await
            .map_err(failed())?;
        let (mut leaves, mut heights) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for row in &rows {
            let leaf: Vec<u8> = row.try_get(0).map_err(failed())?;
            leaves.push(Digest::from_slice(&leaf).ok_or(StoreError::Corrupt { what: "access_log.leaf" })?);
            heights.push(row.try_get::<i64, _>(1).map_err(failed())?.unsigned_abs());
        }
        Ok((leaves, heights))
    }

    /// Submits a batch and waits for the ledger's word. Returns its number of entries.
    async fn settle(&self, batch: Batch) -> Result<u64, RecordError> {
        let wait = Duration::from_millis(PROOF_WAIT_MS);
        // looked up first: after a restart it may be there already
        let mut word = self.word(&batch, Duration::ZERO).await?;
        if word.is_none() {
            self.ledger.submit(batch.bytes.clone()).await?;
            word = self.word(&batch, wait).await?;
        }
        match word {
            Some(Word::Accepted(height)) => self.accepted(&batch, height).await,
            Some(Word::Never) => self.renew(&batch).await.map(|()| 0),
            None => Err(RecordError::Waiting { first: batch.first }),
        }
    }

    /// The ledger's word on a batch; none yet: it may still be executed.
    async fn word(&self, batch: &Batch, wait: Duration) -> Result<Option<Word>, RecordError> {
        // a stranger's copy that was refused says nothing about our bytes
        let signed = signed_hash(&batch.bytes);
        let proof = self.ledger.proof(&batch.tx, wait).await?.filter(|proof| proof.decides(&signed));
        match proof.map(|proof| (proof.entry.outcome, proof.entry.height)) {
            Some((Outcome::Accepted, height)) => Ok(Some(Word::Accepted(height))),
            // executed again after it was accepted, or past its time: the state says which
            Some((Outcome::Refused(Refusal::Expired | Refusal::Duplicate), _)) | None => {
                let (known, at) = store::chain::get_at(&self.store, &state::transaction_key(&batch.tx)).await?;
                let corrupt = |_| StoreError::Corrupt { what: "chain_state transaction" };
                let accepted = known.map(|bytes| cbor::decode::<Height>(&bytes).map_err(corrupt)).transpose()?;
                Ok(accepted.map(Word::Accepted).or((at > batch.valid_until).then_some(Word::Never)))
            }
            Some((Outcome::Refused(refusal), _)) => Err(RecordError::Refused { first: batch.first, refusal }),
        }
    }

    async fn accepted(&self, batch: &Batch, height: Height) -> Result<u64, RecordError> {
        let mut write = self.store.begin().await?;
        sqlx::query("UPDATE access_batch SET state = $1, height = $2 WHERE first = $3")
            .bind(ACCEPTED)
            .bind(height.cast_signed())
            .bind(batch.first.cast_signed())
            .execute(&mut *write)
            .await
            .map_err(failed())?;
        store::commit(write).await?;
        let row = sqlx::query("SELECT count FROM access_batch WHERE first = $1")
            .bind(batch.first.cast_signed())
            .fetch_one(self.store.reader())
            .await
            .map_err(failed())?;
        Ok(row.try_get::<i64, _>(0).map_err(failed())?.unsigned_abs())
    }

    /// The batch can never be executed any more: the same range is signed anew, and may now hold more entries.
    async fn renew(&self, batch: &Batch) -> Result<(), RecordError> {
        let sql = "SELECT root FROM access_batch WHERE first + count = $1";
        let row = sqlx::query(sql)
            .bind(batch.first.cast_signed())
            .fetch_optional(self.store.reader())
            .await
            .map_err(failed())?;
        let previous = match row {
            Some(row) => {
                let root: Vec<u8> = row.try_get(0).map_err(failed())?;
                Digest::from_slice(&root).ok_or(StoreError::Corrupt { what: "access_batch.root" })?
            }
            None => Digest::ZERO,
        };
        self.write_batch(batch.first, previous, limits::ACCESS_BATCH_MAX).await?;
        Ok(())
    }
}

fn failed() -> impl FnOnce(sqlx::Error) -> StoreError {
    store::failed("access_batch")
}
