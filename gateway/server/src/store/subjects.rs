//! Subjects and their aliases: who a hospital's identifier means. Written by the way in, read by both ways. Aliases are
//! HMACs, keys are wrapped by the root; it must never see an identifier.

use std::collections::HashMap;

use schemas::cbor;
use schemas::id::{Digest, PublicKey, RawPublicKey, SubjectId};
use schemas::state;
use sqlx::{AssertSqlSafe, Row as _};

use super::rows::{insert, list, pieces};
use super::{Store, StoreError, Write, failed};

/// Aliases asked for in one statement.
const ALIASES_PER_QUERY: usize = 256;

/// One subject.
#[derive(Clone)]
pub struct SubjectRow {
    /// The pseudonym.
    pub id: SubjectId,
    /// Its key, wrapped by the root.
    pub wrapped_key: Vec<u8>,
    /// The patient's own key, when bound.
    pub public_key: Option<PublicKey>,
    /// Height at which it was registered on the ledger.
    pub registered: Option<u64>,
}

/// Which subjects these aliases mean.
///
/// # Errors
/// `StoreError`.
pub async fn by_aliases(store: &Store, aliases: &[Digest]) -> Result<HashMap<Digest, SubjectId>, StoreError> {
    let mut found = HashMap::with_capacity(aliases.len());
    for piece in aliases.chunks(ALIASES_PER_QUERY) {
        let sql = format!("SELECT alias, subject FROM subject_alias WHERE alias IN ({})", list(0, piece.len()));
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |q, alias| q.bind(alias.0.to_vec()));
        for row in query.fetch_all(store.reader()).await.map_err(failed("aliases"))? {
            found.insert(digest(&row, 0)?, subject(&row, 1)?);
        }
    }
    Ok(found)
}

/// One subject.
///
/// # Errors
/// `StoreError`.
pub async fn get(store: &Store, id: &SubjectId) -> Result<Option<SubjectRow>, StoreError> {
    Ok(get_many(store, std::slice::from_ref(id)).await?.pop())
}

/// Subjects by id, in no order.
///
/// # Errors
/// `StoreError`.
pub async fn get_many(store: &Store, ids: &[SubjectId]) -> Result<Vec<SubjectRow>, StoreError> {
    let mut found = Vec::with_capacity(ids.len());
    for piece in pieces(ids) {
        let ids = list(0, piece.len());
        let sql = format!("SELECT id, wrapped_key, public_key, registered FROM subject WHERE id IN ({ids})");
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |q, id| q.bind(id.0.to_vec()));
        for row in query.fetch_all(store.reader()).await.map_err(failed("subject"))? {
            found.push(subject_row(&row)?);
        }
    }
    Ok(found)
}

fn subject_row(row: &sqlx::any::AnyRow) -> Result<SubjectRow, StoreError> {
    let key: Option<Vec<u8>> = row.try_get(2).map_err(failed("subject.public_key"))?;
    let corrupt = || StoreError::Corrupt { what: "subject.public_key" };
    let public_key =
        key.map(|bytes| RawPublicKey::from_slice(&bytes).map(PublicKey).ok_or_else(corrupt)).transpose()?;
    let registered: Option<i64> = row.try_get(3).map_err(failed("subject.registered"))?;
    Ok(SubjectRow {
        id: subject(row, 0)?,
        wrapped_key: row.try_get(1).map_err(failed("subject.wrapped_key"))?,
        public_key,
        registered: registered.and_then(|h| u64::try_from(h).ok()),
    })
}

/// Writes new subjects.
///
/// # Errors
/// `StoreError`.
pub async fn add(write: &mut Write, subjects: &[(SubjectId, Vec<u8>)]) -> Result<(), StoreError> {
    insert(write, ("subject (id, wrapped_key)", 2, ""), subjects, |query, (id, key)| {
        query.bind(id.0.to_vec()).bind(key.clone())
    })
    .await
}

/// Writes new aliases.
///
/// # Errors
/// `StoreError`.
pub async fn add_aliases(write: &mut Write, aliases: &[(Digest, SubjectId)]) -> Result<(), StoreError> {
    insert(write, ("subject_alias (alias, subject)", 2, ""), aliases, |query, (alias, subject)| {
        query.bind(alias.0.to_vec()).bind(subject.0.to_vec())
    })
    .await
}

/// The one subject to which this key is bound; none when it is bound to nobody, or to several.
///
/// # Errors
/// `StoreError`.
pub async fn by_key(store: &Store, key: &PublicKey) -> Result<Option<SubjectId>, StoreError> {
    let sql = "SELECT id FROM subject WHERE public_key = $1 LIMIT 2";
    let rows = sqlx::query(sql).bind(key.as_bytes().to_vec()).fetch_all(store.reader()).await;
    match rows.map_err(failed("subject.public_key"))?.as_slice() {
        [one] => subject(one, 0).map(Some),
        _ => Ok(None),
    }
}

/// Whether some subject here has this key.
///
/// # Errors
/// `StoreError`.
pub async fn is_bound(store: &Store, key: &PublicKey) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM subject WHERE public_key = $1 LIMIT 1";
    let row = sqlx::query(sql).bind(key.as_bytes().to_vec()).fetch_optional(store.reader()).await;
    Ok(row.map_err(failed("subject.public_key"))?.is_some())
}

/// What the ledger says of a subject, in the commit in which its state is followed: height of its newest registration and
/// bound key. Rows of the state that are no subject, and subjects of other hospitals, change nothing.
///
/// # Errors
/// `StoreError`.
pub(super) async fn mirror(write: &mut Write, state_key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let Some(id) = state::subject_of_key(state_key) else { return Ok(()) };
    let known: state::Subject = cbor::decode(value).map_err(|_| StoreError::Corrupt { what: "chain_state subject" })?;
    sqlx::query("UPDATE subject SET registered = $1, public_key = $2 WHERE id = $3")
        .bind(i64::try_from(known.height).unwrap_or(i64::MAX))
        .bind(known.key.map(|key| key.as_bytes().to_vec()))
        .bind(id.0.to_vec())
        .execute(&mut **write)
        .await
        .map_err(failed("subject.registered"))?;
    Ok(())
}

pub(super) fn digest(row: &sqlx::any::AnyRow, at: usize) -> Result<Digest, StoreError> {
    let bytes: Vec<u8> = row.try_get(at).map_err(failed("digest"))?;
    Digest::from_slice(&bytes).ok_or(StoreError::Corrupt { what: "digest" })
}

pub(super) fn subject(row: &sqlx::any::AnyRow, at: usize) -> Result<SubjectId, StoreError> {
    let bytes: Vec<u8> = row.try_get(at).map_err(failed("subject id"))?;
    SubjectId::from_slice(&bytes).ok_or(StoreError::Corrupt { what: "subject id" })
}
