//! How far polled sources are, as rows. Only what a way-in source writes about itself: times and blind tokens.

use sqlx::Row as _;

use super::{Store, StoreError, Write, failed};

/// A row: the time, ms, and the tokens of accepted versions since, each with its time.
pub type Row = (Option<i64>, Vec<(i64, [u8; 16])>);

/// Length of a token with its time.
const SEEN_BYTES: usize = 24;

/// The marker of a connector's type.
///
/// # Errors
/// `StoreError`.
pub async fn get(store: &Store, connector: &str, kind: &str) -> Result<Option<Row>, StoreError> {
    let sql = "SELECT at, seen FROM source_marker WHERE connector = $1 AND kind = $2";
    let query = sqlx::query(sql).bind(connector.to_owned()).bind(kind.to_owned());
    let row = query.fetch_optional(store.reader()).await.map_err(failed("source_marker"))?;
    let Some(row) = row else { return Ok(None) };
    let at: Option<i64> = row.try_get(0).map_err(failed("source_marker.at"))?;
    let seen: Vec<u8> = row.try_get(1).map_err(failed("source_marker.seen"))?;
    let one = |bytes: &[u8]| Some((i64::from_be_bytes(*bytes.first_chunk()?), *bytes.last_chunk()?));
    let seen = seen.chunks(SEEN_BYTES).map(|bytes| one(bytes).filter(|_| bytes.len() == SEEN_BYTES));
    let seen = seen.collect::<Option<Vec<_>>>().ok_or(StoreError::Corrupt { what: "source_marker.seen" })?;
    Ok(Some((at, seen)))
}

/// Replaces it.
///
/// # Errors
/// `StoreError`.
pub async fn set(write: &mut Write, connector: &str, kind: &str, (at, seen): &Row) -> Result<(), StoreError> {
    let sql = "INSERT INTO source_marker (connector, kind, at, seen) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (connector, kind) DO UPDATE SET at = excluded.at, seen = excluded.seen";
    let seen: Vec<u8> = seen.iter().flat_map(|(at, token)| at.to_be_bytes().into_iter().chain(*token)).collect();
    let query = sqlx::query(sql).bind(connector.to_owned()).bind(kind.to_owned()).bind(*at).bind(seen);
    query.execute(&mut **write).await.map_err(failed("source_marker"))?;
    Ok(())
}
