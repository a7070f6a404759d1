//! Indexed messages that may be mapped again, as rows: counted, paged in order of arrival, given back to the inbox, where they wait as they
//! did when they came: the same row under the same key. It knows no content, and touches no message that is a dead letter or on its way.

use schemas::id::Digest;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::inbox::{RawPlace, columns, place};
use super::rows::list;
use super::subjects::digest;
use super::{Store, StoreError, Write, failed};

/// `State::Done` and `State::Empty`.
const AT_REST: &str = "state IN (2, 4)";
/// `State::Received`, `State::Sealed` and `State::Several`.
const ON_THEIR_WAY: &str = "state IN (0, 1, 5)";

/// What one connector received from a time on and before another, ms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Who brought it.
    pub connector: String,
    /// From this time on.
    pub from: i64,
    /// Before this time.
    pub to: i64,
}

/// One message at rest.
#[derive(Clone)]
pub struct Indexed {
    /// Its inbox row.
    pub id: i64,
    /// HMAC of the source's key of it: what its raw bytes are bound to.
    pub source_key: Digest,
    /// Who brought it.
    pub connector: String,
    /// Media type as declared.
    pub content_type: String,
    /// When, ms.
    pub received: i64,
    /// How often it was sent its way again.
    pub attempts: i64,
    /// Sealed raw bytes and their wrapped key, where the custodian keeps them outside of the case.
    pub raw: Option<(RawPlace, Vec<u8>)>,
}

/// One that is to be given back.
#[derive(Clone)]
pub struct Restored {
    /// Its inbox row.
    pub id: i64,
    /// As they were when it was looked at: one that went its way since is not given back.
    pub attempts: i64,
    /// Sealed raw bytes and their wrapped key; none: its row has them.
    pub raw: Option<(RawPlace, Vec<u8>)>,
}

/// How many messages are meant.
///
/// # Errors
/// `StoreError`.
pub async fn count(store: &Store, of: &Range) -> Result<u64, StoreError> {
    let sql =
        format!("SELECT COUNT(*) FROM inbox WHERE connector = $1 AND received >= $2 AND received < $3 AND {AT_REST}");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(of.connector.clone()).bind(of.from).bind(of.to);
    let row = query.fetch_one(store.reader()).await.map_err(failed("inbox"))?;
    row.try_get::<i64, _>(0).map(i64::unsigned_abs).map_err(failed("inbox"))
}

/// The oldest that are meant, of ids behind the first and up to the second.
///
/// # Errors
/// `StoreError`.
pub async fn page(
    store: &Store,
    of: &Range,
    (after, upto): (i64, i64),
    most: usize,
) -> Result<Vec<Indexed>, StoreError> {
    let sql = format!(
        "SELECT id, source_key, connector, content_type, received, attempts, raw_key, inbox_raw.bytes, raw_object FROM inbox \
         LEFT JOIN inbox_raw ON inbox_raw.inbox_id = inbox.id WHERE id > $1 AND id <= $2 AND connector = $3 AND \
         received >= $4 AND received < $5 AND {AT_REST} ORDER BY id LIMIT {most}"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(after).bind(upto).bind(of.connector.clone());
    let rows = query.bind(of.from).bind(of.to).fetch_all(store.reader()).await.map_err(failed("inbox"))?;
    rows.iter().map(indexed).collect()
}

fn indexed(row: &AnyRow) -> Result<Indexed, StoreError> {
    let number = |at: usize| row.try_get::<i64, _>(at).map_err(failed("inbox"));
    let text = |at: usize| row.try_get::<String, _>(at).map_err(failed("inbox"));
    // an object without a key is what is left of one that was destroyed
    let key: Option<Vec<u8>> = row.try_get(6).map_err(failed("inbox.raw_key"))?;
    Ok(Indexed {
        id: number(0)?,
        source_key: digest(row, 1)?,
        connector: text(2)?,
        content_type: text(3)?,
        received: number(4)?,
        attempts: number(5)?,
        raw: place(row, 7)?.zip(key),
    })
}

/// Gives messages back to the inbox; those that went their way since they were looked at stay. Returns which wait again.
///
/// # Errors
/// `StoreError`.
pub async fn restore(write: &mut Write, rows: &[Restored]) -> Result<Vec<i64>, StoreError> {
    let mut restored = Vec::with_capacity(rows.len());
    for row in rows {
        let set = if row.raw.is_some() { ", raw_key = $3, raw_object = $4" } else { "" };
        let sql = format!(
            "UPDATE inbox SET state = 0, attempts = attempts + 1{set} WHERE id = $1 AND attempts = $2 AND {AT_REST}"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(row.id).bind(row.attempts);
        let inline = match &row.raw {
            Some((raw, key)) => {
                let (inline, object) = columns(raw);
                query = query.bind(key.clone()).bind(object);
                inline
            }
            None => None,
        };
        let done = query.execute(&mut **write).await.map_err(failed("inbox.state"))?;
        if done.rows_affected() == 0 {
            continue;
        }
        if let Some(bytes) = inline {
            let query = sqlx::query("INSERT INTO inbox_raw (inbox_id, bytes) VALUES ($1, $2)").bind(row.id).bind(bytes);
            query.execute(&mut **write).await.map_err(failed("inbox_raw"))?;
        }
        restored.push(row.id);
    }
    Ok(restored)
}

/// The first message of an id from the first and up to the second that is on its way.
///
/// # Errors
/// `StoreError`.
pub async fn first_on_its_way(store: &Store, (from, upto): (i64, i64)) -> Result<Option<i64>, StoreError> {
    let sql = format!("SELECT MIN(id) FROM inbox WHERE id >= $1 AND id <= $2 AND {ON_THEIR_WAY}");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(from).bind(upto);
    let row = query.fetch_one(store.reader()).await.map_err(failed("inbox.state"))?;
    row.try_get(0).map_err(failed("inbox.id"))
}

/// Whether one of these is on its way.
///
/// # Errors
/// `StoreError`.
pub async fn are_on_their_way(store: &Store, ids: &[i64]) -> Result<bool, StoreError> {
    let sql = format!("SELECT 1 FROM inbox WHERE id IN ({}) AND {ON_THEIR_WAY} LIMIT 1", list(0, ids.len()));
    let query = ids.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, id| query.bind(*id));
    Ok(query.fetch_optional(store.reader()).await.map_err(failed("inbox.state"))?.is_some())
}
