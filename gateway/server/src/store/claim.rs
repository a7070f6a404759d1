//! One gateway per database: two would take the same messages from the inbox and anchor them twice. The gateway holds a
//! claim while it runs. SQLite: a locked file beside the database's, freed by the system when the process ends.
//! PostgreSQL: an advisory lock of a connection of its own, taken again when the server comes back. It must never be
//! taken by commands that only read.

use std::fs::{File, TryLockError};
use std::time::{Duration, Instant};

use sqlx::{AnyConnection, Connection as _, Row as _};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Engine, Store, StoreError, failed};

/// Key of the advisory lock: `chartse` in ASCII.
const KEY: i64 = 0x0063_6861_7274_7365;
/// Pause between looks at a lock that is held, or at one's own, in milliseconds.
const LOOK_MS: u64 = 1_000;
/// How long a server that came back may still hold the lock for our own lost connection, in milliseconds.
const COME_BACK_MS: u64 = 60_000;
/// The server finds a connection whose peer is gone within about half a minute.
const SETTINGS: [&str; 3] =
    ["SET tcp_keepalives_idle = 10", "SET tcp_keepalives_interval = 5", "SET tcp_keepalives_count = 3"];

/// The right to run a gateway on a database; gone when dropped.
pub struct Claim {
    lost: CancellationToken,
    _file: Option<File>,
    _kept: Option<DropGuard>,
}

impl Claim {
    /// Cancelled when another gateway has taken the database over: nothing may be written any more.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl Store {
    /// Claims the database for one gateway; waits up to `wait` for one that is ending.
    ///
    /// # Errors
    /// `StoreError::Claimed` when another holds it, `Away` when that cannot be found out.
    pub async fn claim(&self, wait: Duration) -> Result<Claim, StoreError> {
        let lost = CancellationToken::new();
        if self.engine == Engine::Sqlite {
            let file = lock_file(&self.url, wait).await?;
            return Ok(Claim { lost, _file: Some(file), _kept: None });
        }
        let connection = lock_server(&self.url, wait).await?;
        let stop = CancellationToken::new();
        tokio::spawn(keep(self.url.to_string(), connection, lost.clone(), stop.clone()));
        Ok(Claim { lost, _file: None, _kept: Some(stop.drop_guard()) })
    }
}

async fn lock_file(url: &str, wait: Duration) -> Result<File, StoreError> {
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).unwrap_or(url);
    let path = format!("{}.lock", path.split('?').next().unwrap_or(path));
    let away = StoreError::Away { doing: "claim" };
    let Ok(file) = File::options().create(true).truncate(false).write(true).open(path) else { return Err(away) };
    let from = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if from.elapsed() < wait => {
                tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::Claimed),
            Err(TryLockError::Error(_)) => return Err(away),
        }
    }
}

async fn lock_server(url: &str, wait: Duration) -> Result<AnyConnection, StoreError> {
    let mut connection = AnyConnection::connect(url).await.map_err(failed("claim"))?;
    for setting in SETTINGS {
        sqlx::raw_sql(setting).execute(&mut connection).await.map_err(failed("claim"))?;
    }
    let from = Instant::now();
    loop {
        let query = sqlx::query("SELECT pg_try_advisory_lock($1)").bind(KEY);
        let row = query.fetch_one(&mut connection).await.map_err(failed("claim"))?;
        match row.try_get::<bool, _>(0).map_err(failed("claim"))? {
            true => return Ok(connection),
            false if from.elapsed() < wait => tokio::time::sleep(Duration::from_millis(LOOK_MS)).await,
            false => return Err(StoreError::Claimed),
        }
    }
}

/// The lock goes with its connection: looks at it, and takes it again when the server comes back.
async fn keep(url: String, mut connection: AnyConnection, lost: CancellationToken, stop: CancellationToken) {
    let look = Duration::from_millis(LOOK_MS);
    while tokio::time::timeout(look, stop.cancelled()).await.is_err() {
        if matches!(tokio::time::timeout(look * 10, connection.ping()).await, Ok(Ok(()))) {
            continue;
        }
        tracing::warn!("found the connection that claims the database lost; connecting again");
        match lock_server(&url, Duration::from_millis(COME_BACK_MS)).await {
            Ok(again) => connection = again,
            Err(StoreError::Claimed) => {
                tracing::error!("found another gateway on the database, expected one; this one writes no more");
                return lost.cancel();
            }
            Err(error) => tracing::warn!(class = error.class().name(), "{error}"),
        }
    }
    drop(connection.close().await);
}
