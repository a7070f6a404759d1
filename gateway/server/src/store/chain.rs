//! The contract's state as the follower executed it, and how far it is. Written by `follow` only, state and cursor in one
//! commit, so that presence and absence at a height can be trusted.

use std::collections::HashMap;

use schemas::block::Header;
use schemas::cbor;
use schemas::id::Height;
use sqlx::{AssertSqlSafe, Row as _};

use super::rows::{insert, list, pieces};
use super::{Store, StoreError, Write, failed, subjects};

/// The value of one key.
///
/// # Errors
/// `StoreError`.
pub async fn get(store: &Store, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let sql = "SELECT value FROM chain_state WHERE key = $1";
    let row =
        sqlx::query(sql).bind(key.to_vec()).fetch_optional(store.reader()).await.map_err(failed("chain_state"))?;
    row.map(|row| row.try_get(0).map_err(failed("chain_state"))).transpose()
}

/// The value of one key and the height of the state it was read from: one statement sees one state, so what is absent was
/// absent at that height.
///
/// # Errors
/// `StoreError`.
pub async fn get_at(store: &Store, key: &[u8]) -> Result<(Option<Vec<u8>>, Height), StoreError> {
    let sql = "SELECT (SELECT value FROM chain_state WHERE key = $1), \
               COALESCE((SELECT height FROM chain_cursor WHERE id = 1), 0)";
    let row = sqlx::query(sql).bind(key.to_vec()).fetch_one(store.reader()).await.map_err(failed("chain_state"))?;
    let height: i64 = row.try_get(1).map_err(failed("chain_cursor"))?;
    Ok((row.try_get(0).map_err(failed("chain_state"))?, height.unsigned_abs()))
}

/// The values of many keys; none where the state has none.
///
/// # Errors
/// `StoreError`.
pub async fn get_all(store: &Store, keys: &[Vec<u8>]) -> Result<HashMap<Vec<u8>, Option<Vec<u8>>>, StoreError> {
    let mut values: HashMap<_, _> = keys.iter().map(|key| (key.clone(), None)).collect();
    for piece in pieces(keys) {
        let sql = format!("SELECT key, value FROM chain_state WHERE key IN ({})", list(0, piece.len()));
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |q, key| q.bind(key.clone()));
        for row in query.fetch_all(store.reader()).await.map_err(failed("chain_state"))? {
            let key: Vec<u8> = row.try_get(0).map_err(failed("chain_state"))?;
            values.insert(key, Some(row.try_get(1).map_err(failed("chain_state"))?));
        }
    }
    Ok(values)
}

/// How far the state is: the last executed header (none at genesis) and the log's frontier.
///
/// # Errors
/// `StoreError`.
pub async fn cursor(store: &Store) -> Result<Option<(Header, Vec<u8>)>, StoreError> {
    let sql = "SELECT header, log FROM chain_cursor WHERE id = 1";
    let row = sqlx::query(sql).fetch_optional(store.reader()).await.map_err(failed("chain_cursor"))?;
    row.map(|row| {
        let header: Vec<u8> = row.try_get(0).map_err(failed("chain_cursor"))?;
        let header = cbor::decode(&header).map_err(|_| StoreError::Corrupt { what: "chain_cursor.header" })?;
        Ok((header, row.try_get(1).map_err(failed("chain_cursor"))?))
    })
    .transpose()
}

/// Whether the stored state is the one after this block; none: genesis.
///
/// # Errors
/// `StoreError`.
pub async fn is_at(write: &mut Write, header: Option<&Header>) -> Result<bool, StoreError> {
    let sql = "SELECT header FROM chain_cursor WHERE id = 1";
    let row = sqlx::query(sql).fetch_optional(&mut **write).await.map_err(failed("chain_cursor"))?;
    let stored = row.map(|row| row.try_get::<Vec<u8>, _>(0).map_err(failed("chain_cursor"))).transpose()?;
    Ok(stored == header.map(cbor::encode))
}

/// Writes changes; `None` removes.
///
/// # Errors
/// `StoreError`.
pub async fn apply<'a>(
    write: &mut Write,
    changes: impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
) -> Result<(), StoreError> {
    let (set, removed): (Vec<_>, Vec<_>) = changes.partition(|(_, value)| value.is_some());
    let tail = "ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    insert(write, ("chain_state (key, value)", 2, tail), &set, |query, (key, value)| {
        query.bind(key.to_vec()).bind(value.as_deref().unwrap_or_default().to_vec())
    })
    .await?;
    for (key, value) in &set {
        subjects::mirror(write, key, value.as_deref().unwrap_or_default()).await?;
    }
    for piece in pieces(&removed) {
        let sql = format!("DELETE FROM chain_state WHERE key IN ({})", list(0, piece.len()));
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |q, (key, _)| q.bind(key.to_vec()));
        query.execute(&mut **write).await.map_err(failed("chain_state"))?;
    }
    Ok(())
}

/// Moves the cursor.
///
/// # Errors
/// `StoreError`.
pub async fn advance(write: &mut Write, header: &Header, log: &[u8]) -> Result<(), StoreError> {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    sqlx::query(
        "INSERT INTO chain_cursor (id, height, header, time, log) VALUES (1, $1, $2, $3, $4) ON CONFLICT (id) DO UPDATE \
         SET height = excluded.height, header = excluded.header, time = excluded.time, log = excluded.log",
    )
    .bind(number(header.height))
    .bind(cbor::encode(header))
    .bind(number(header.time))
    .bind(log.to_vec())
    .execute(&mut **write)
    .await
    .map_err(failed("chain_cursor"))?;
    Ok(())
}
