//! Anchored cases: wraps, where the object is, and what anchored them. Written by *index* only. Wraps are purgeable: they live here
//! and nowhere else.

use schemas::cbor;
use schemas::envelope::Wrap;
use schemas::id::{CaseId, Digest, SubjectId};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::rows::{insert, list};
use super::subjects::{digest, subject};
use super::{Store, StoreError, Write, failed};
use crate::objects::Extent;

/// Case ids asked for in one statement.
const IDS_PER_QUERY: usize = 256;
const COLUMNS: &str = "case_id, version, subject, inbox_id, connector, received, sealed, height, anchored_at, tx_id, \
     statement_index, wraps, object, extent";

/// An anchored case.
#[derive(Clone)]
pub struct CaseRow {
    /// Its id.
    pub case: CaseId,
    /// Its version.
    pub version: u32,
    /// Whose it is.
    pub subject: SubjectId,
    /// The message it came with.
    pub inbox_id: i64,
    /// The connector that brought it: the `source` of FHIR logical ids.
    pub connector: String,
    /// When it was received, ms.
    pub received: i64,
    /// When it was sealed, ms.
    pub sealed: i64,
    /// Height of its block.
    pub height: u64,
    /// Effective time of the block, ms.
    pub anchored_at: i64,
    /// What anchored it.
    pub transaction: Digest,
    /// Its place among the statements of that.
    pub statement: u32,
    /// Wrapped case keys.
    pub wraps: Vec<Wrap>,
    /// SHA-256 of the object.
    pub object: Digest,
    /// Where the object store has it.
    pub extent: Extent,
}

/// Cases by id, in no order.
///
/// # Errors
/// `StoreError`.
pub async fn get(store: &Store, ids: &[CaseId]) -> Result<Vec<CaseRow>, StoreError> {
    let mut found = Vec::with_capacity(ids.len());
    for piece in ids.chunks(IDS_PER_QUERY) {
        let sql = format!("SELECT {COLUMNS} FROM cases WHERE case_id IN ({})", list(0, piece.len()));
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |q, id| q.bind(id.0.to_vec()));
        for row in query.fetch_all(store.reader()).await.map_err(failed("cases"))? {
            found.push(case_row(&row)?);
        }
    }
    Ok(found)
}

/// One subject's cases, newest first.
///
/// # Errors
/// `StoreError`.
pub async fn of_subject(store: &Store, of: &SubjectId, most: usize) -> Result<Vec<CaseRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM cases WHERE subject = $1 ORDER BY inbox_id DESC LIMIT {most}");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(of.0.to_vec());
    let rows = query.fetch_all(store.reader()).await.map_err(failed("cases"))?;
    rows.iter().map(case_row).collect()
}

/// The cases of one message, oldest first: more than one of a subject where it was mapped again.
///
/// # Errors
/// `StoreError`.
pub async fn of_message(store: &Store, inbox_id: i64) -> Result<Vec<CaseRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM cases WHERE inbox_id = $1 ORDER BY height, sealed");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(inbox_id);
    let rows = query.fetch_all(store.reader()).await.map_err(failed("cases"))?;
    rows.iter().map(case_row).collect()
}

/// The newest cases, oldest of them first; `after` is an inbox id.
///
/// # Errors
/// `StoreError`.
pub async fn after(store: &Store, after: i64, most: usize) -> Result<Vec<CaseRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM cases WHERE inbox_id > $1 ORDER BY inbox_id LIMIT {most}");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(after).fetch_all(store.reader()).await.map_err(failed("cases"))?;
    rows.iter().map(case_row).collect()
}

/// How many cases there are.
///
/// # Errors
/// `StoreError`.
pub async fn count(store: &Store) -> Result<u64, StoreError> {
    let row = sqlx::query("SELECT COUNT(*) FROM cases").fetch_one(store.reader()).await.map_err(failed("cases"))?;
    row.try_get::<i64, _>(0).map(i64::unsigned_abs).map_err(failed("cases"))
}

/// Writes anchored cases with their sealed summaries (`store::summaries`).
///
/// # Errors
/// `StoreError`.
pub async fn add(write: &mut Write, cases: &[(CaseRow, &[u8])]) -> Result<(), StoreError> {
    let into = "cases (case_id, version, subject, inbox_id, connector, received, sealed, height, anchored_at, tx_id, \
                statement_index, wraps, object, extent, summaries)";
    insert(write, (into, 15, ""), cases, |query, (row, summaries)| {
        query
            .bind(row.case.0.to_vec())
            .bind(i64::from(row.version))
            .bind(row.subject.0.to_vec())
            .bind(row.inbox_id)
            .bind(row.connector.clone())
            .bind(row.received)
            .bind(row.sealed)
            .bind(i64::try_from(row.height).unwrap_or(i64::MAX))
            .bind(row.anchored_at)
            .bind(row.transaction.0.to_vec())
            .bind(i64::from(row.statement))
            .bind(cbor::encode(&row.wraps))
            .bind(row.object.0.to_vec())
            .bind(cbor::encode(&row.extent))
            .bind(summaries.to_vec())
    })
    .await
}

fn case_row(row: &AnyRow) -> Result<CaseRow, StoreError> {
    let bytes = |at: usize| row.try_get::<Vec<u8>, _>(at).map_err(failed("cases"));
    let number = |at: usize| row.try_get::<i64, _>(at).map_err(failed("cases"));
    let text = |at: usize| row.try_get::<String, _>(at).map_err(failed("cases"));
    Ok(CaseRow {
        case: CaseId::from_slice(&bytes(0)?).ok_or(StoreError::Corrupt { what: "cases.case_id" })?,
        version: u32::try_from(number(1)?).map_err(|_| StoreError::Corrupt { what: "cases.version" })?,
        subject: subject(row, 2)?,
        inbox_id: number(3)?,
        connector: text(4)?,
        received: number(5)?,
        sealed: number(6)?,
        height: number(7)?.unsigned_abs(),
        anchored_at: number(8)?,
        transaction: digest(row, 9)?,
        statement: u32::try_from(number(10)?).map_err(|_| StoreError::Corrupt { what: "cases.statement_index" })?,
        wraps: cbor::decode(&bytes(11)?).map_err(|_| StoreError::Corrupt { what: "cases.wraps" })?,
        object: digest(row, 12)?,
        extent: cbor::decode(&bytes(13)?).map_err(|_| StoreError::Corrupt { what: "cases.extent" })?,
    })
}
