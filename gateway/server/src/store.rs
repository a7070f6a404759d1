//! The database: SQLite embedded, PostgreSQL in production, one set of statements for both. Stands under every step.
//! Only encrypted content, blind tokens and pseudonyms are written through it. It must never decide anything, and its
//! errors never carry a bound value.
//!
//! Writing: `begin` hands out the one writer (SQLite: one connection, `BEGIN IMMEDIATE`, `synchronous=FULL`); a write
//! that was begun is finished in a task that nobody cancels. Statements use `$1` and are built from constants.

pub mod anchors;
pub mod application_acks;
pub mod cases;
pub mod chain;
pub mod claim;
pub mod dead_letters;
pub mod inbox;
pub mod intents;
pub mod markers;
pub mod merges;
pub mod migrations;
pub mod notices;
mod opening;
pub mod replays;
pub mod rows;
pub mod subjects;
pub mod summaries;
pub mod units;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use schemas::ErrorClass;
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// A write that is going on; dropped without `commit` it leaves nothing behind.
pub struct Write {
    engine: Engine,
    /// Whether the hospital's systems are told.
    notices: bool,
    transaction: Transaction<'static, Any>,
    /// SQLite has one writer: the next one begins when this is gone, without polling the file's lock.
    _turn: Option<OwnedMutexGuard<Sync>>,
}

impl Write {
    /// Which engine it goes to.
    pub const fn engine(&self) -> Engine {
        self.engine
    }
}

impl Deref for Write {
    type Target = AnyConnection;
    fn deref(&self) -> &AnyConnection {
        &self.transaction
    }
}

impl DerefMut for Write {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }
}

/// Connections for reading.
const READERS_MAX: u32 = 8;
/// Connections for writing on PostgreSQL; SQLite has one writer.
const POSTGRES_WRITERS_MAX: u32 = 4;
/// Longest wait for a connection.
const ACQUIRE_TIMEOUT_MS: u64 = 10_000;

/// What the database answered. Carries no statement and no bound value.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address is of neither engine.
    #[error("database: found a URL that begins with neither sqlite: nor postgres:, expected one of them")]
    Url,
    /// The database is away, busy or full.
    #[error("database: {doing} failed: the database is away, busy or full")]
    Away {
        /// What was being done.
        doing: &'static str,
    },
    /// It cannot be opened.
    #[error("database {place}: {why}")]
    Opening {
        /// Which: file, or name and host; never a password.
        place: String,
        /// What was found and expected.
        why: String,
        /// Whether it heals by itself.
        class: ErrorClass,
    },
    /// The database refused a statement: our own mistake or a foreign schema.
    #[error("database: {doing} was refused with code {code}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The engine's error code.
        code: String,
    },
    /// A stored value is not what was stored.
    #[error("database: {what} is not what was stored")]
    Corrupt {
        /// Which column.
        what: &'static str,
    },
    /// Another gateway runs on it.
    #[error("database: found another gateway that runs on it, expected one gateway per database")]
    Claimed,
    /// The schema could not be brought up to date.
    #[error("database: migration failed: {0}")]
    Migration(String),
}

impl StoreError {
    /// The class that decides about a retry.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Url | Self::Claimed => ErrorClass::Caller,
            Self::Opening { class, .. } => *class,
            Self::Away { .. } => ErrorClass::Transient,
            Self::Refused { .. } | Self::Migration(_) => ErrorClass::Bug,
            Self::Corrupt { .. } => ErrorClass::Corrupt,
        }
    }
}

/// Names what was being done and drops whatever the driver's error carries.
pub fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |error| match &error {
        sqlx::Error::Database(e) => match e.code() {
            Some(code) if is_permanent(&code) => StoreError::Refused { doing, code: code.into_owned() },
            _ => StoreError::Away { doing },
        },
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Corrupt { what: doing },
        sqlx::Error::ColumnNotFound(_) | sqlx::Error::ColumnIndexOutOfBounds { .. } | sqlx::Error::Encode(_) => {
            StoreError::Refused { doing, code: "column".into() }
        }
        _ => StoreError::Away { doing },
    }
}

/// SQLite: generic, constraint, mismatch, range. PostgreSQL: class 22 (data), 23 (constraint), 42 (syntax, names).
fn is_permanent(code: &str) -> bool {
    if code.len() == 5 {
        return ["22", "23", "42"].iter().any(|class| code.starts_with(class));
    }
    code.parse::<u32>().is_ok_and(|n| matches!(n & 0xff, 1 | 19 | 20 | 25))
}

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Embedded.
    Sqlite,
    /// In production.
    Postgres,
}

impl Engine {
    fn of(url: &str) -> Result<Self, StoreError> {
        match url {
            _ if url.starts_with("sqlite:") => Ok(Self::Sqlite),
            _ if url.starts_with("postgres:") || url.starts_with("postgresql:") => Ok(Self::Postgres),
            _ => Err(StoreError::Url),
        }
    }
}

/// The pools. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
    notices: bool,
    /// May hold a password: never shown.
    url: Arc<str>,
    readers: AnyPool,
    writers: AnyPool,
    /// PostgreSQL's for what the ledger can give again: not synced by itself, synced with the next write that is. SQLite
    /// has one connection for all writes, so that its pages stay in memory.
    replayable: AnyPool,
    /// Who holds it writes to SQLite; how its connection syncs.
    turn: Arc<Mutex<Sync>>,
}

impl Store {
    /// Connects, sets durability and brings the schema up to date. `url`: `sqlite:PATH` or `postgres://…`.
    ///
    /// # Errors
    /// `StoreError::Url`, `Away`, `Migration`.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let engine = Engine::of(url)?;
        let (url, writers_max) = match engine {
            Engine::Sqlite if url.contains('?') => (url.to_owned(), 1),
            Engine::Sqlite => (format!("{url}?mode=rwc"), 1),
            Engine::Postgres => (url.to_owned(), POSTGRES_WRITERS_MAX),
        };
        let writers = pool(engine, &url, writers_max, Sync::Full).await?;
        migrations::run(engine, &writers).await?;
        let readers = pool(engine, &url, READERS_MAX, Sync::Full).await?;
        let replayable = match engine {
            Engine::Sqlite => writers.clone(),
            Engine::Postgres => pool(engine, &url, 1, Sync::Later).await?,
        };
        let turn = Arc::new(Mutex::new(Sync::Full));
        Ok(Self { engine, notices: false, url: url.into(), readers, writers, replayable, turn })
    }

    /// With notices of what is written, for `notify` to send.
    #[must_use]
    pub const fn with_notices(mut self) -> Self {
        self.notices = true;
        self
    }

    /// Which engine it is.
    pub const fn engine(&self) -> Engine {
        self.engine
    }

    /// For reading. Sees committed rows only.
    pub const fn reader(&self) -> &AnyPool {
        &self.readers
    }

    /// Takes the writer. Must be committed in a task that nobody cancels.
    ///
    /// # Errors
    /// `StoreError::Away` when no connection can be had.
    pub async fn begin(&self) -> Result<Write, StoreError> {
        self.begin_on(&self.writers, Sync::Full).await
    }

    /// As `begin`, for what the ledger can give again: atomic, in order with every other write, but a power loss may undo
    /// it until the next synced commit.
    ///
    /// # Errors
    /// `StoreError::Away` when no connection can be had.
    pub async fn begin_replayable(&self) -> Result<Write, StoreError> {
        self.begin_on(&self.replayable, Sync::Later).await
    }

    async fn begin_on(&self, pool: &AnyPool, sync: Sync) -> Result<Write, StoreError> {
        let (turn, begin) = match self.engine {
            Engine::Sqlite => {
                let mut turn = Arc::clone(&self.turn).lock_owned().await;
                if *turn != sync {
                    // whoever is dropped on the way leaves `Later` behind: the connection may sync more than that, never less
                    *turn = Sync::Later;
                    sqlx::raw_sql(sync.setting(self.engine)).execute(pool).await.map_err(failed("synchronous"))?;
                    *turn = sync;
                }
                (Some(turn), "BEGIN IMMEDIATE")
            }
            Engine::Postgres => (None, "BEGIN"),
        };
        let transaction = pool.begin_with(begin).await.map_err(failed("begin"))?;
        Ok(Write { engine: self.engine, notices: self.notices, transaction, _turn: turn })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// `StoreError::Away`.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.readers).await.map_err(failed("ping"))?;
        Ok(())
    }

    /// Closes all connections, after which a SQLite file stands alone.
    pub async fn close(&self) {
        self.readers.close().await;
        self.replayable.close().await;
        self.writers.close().await;
    }
}

/// Makes a write durable.
///
/// # Errors
/// `StoreError::Away`: the outcome is unknown and the caller must look.
pub async fn commit(write: Write) -> Result<(), StoreError> {
    write.transaction.commit().await.map_err(failed("commit"))
}

/// When a commit reaches the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    /// Before it returns.
    Full,
    /// With the next synced one.
    Later,
}

impl Sync {
    const fn setting(self, engine: Engine) -> &'static str {
        match (engine, self) {
            (Engine::Sqlite, Self::Full) => "PRAGMA synchronous = FULL",
            (Engine::Sqlite, Self::Later) => "PRAGMA synchronous = NORMAL",
            (Engine::Postgres, Self::Full) => "SET synchronous_commit = on",
            (Engine::Postgres, Self::Later) => "SET synchronous_commit = off",
        }
    }
}

async fn pool(engine: Engine, url: &str, max: u32, sync: Sync) -> Result<AnyPool, StoreError> {
    let opened = AnyPoolOptions::new()
        .max_connections(max)
        .acquire_timeout(Duration::from_millis(ACQUIRE_TIMEOUT_MS))
        .test_before_acquire(engine == Engine::Postgres)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                let settings: &[&'static str] = match engine {
                    Engine::Sqlite => &[
                        "PRAGMA journal_mode = WAL",
                        "PRAGMA busy_timeout = 5000",
                        // 64 MiB: a page that many commits change is written to the file once
                        "PRAGMA wal_autocheckpoint = 16000",
                        "PRAGMA cache_size = -24000",
                        // what a statement of many rows needs to undo itself stays out of temporary files
                        "PRAGMA temp_store = MEMORY",
                        // keys lie in the rows' own pages and are overwritten; freed pages hold ciphertext only
                        "PRAGMA secure_delete = FAST",
                    ],
                    Engine::Postgres => &[],
                };
                for setting in settings.iter().copied().chain([sync.setting(engine)]) {
                    sqlx::raw_sql(setting).execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
        .connect(url)
        .await;
    match opened {
        Ok(pool) => Ok(pool),
        Err(error) => Err(opening::fault(engine, url, error).await),
    }
}
