//! Notices for the hospital's systems, as rows: written in the commit of what they are about, read and removed by `notify`. No more of them
//! than cases, dead letters and consents. Where no `[notify]` is configured none are written.

use schemas::cbor;
use schemas::id::{CaseId, Height};
use schemas::state::{ConsentSet, subject_of_consent_set_key};
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::cases::CaseRow;
use super::rows::{insert, list, pieces};
use super::{Store, StoreError, Write, failed};
use crate::ingest::now_ms;

/// One that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Row id: raised with every notice, and never given twice.
    pub id: i64,
    /// Routing key.
    pub routing: String,
    /// JSON, without what only the sender adds.
    pub document: String,
    /// Whose receipt's digest goes with it.
    pub case: Option<CaseId>,
}

/// Cases that became visible.
///
/// # Errors
/// `StoreError`.
pub async fn anchored(write: &mut Write, cases: &[(CaseRow, &[u8])]) -> Result<(), StoreError> {
    if !write.notices {
        return Ok(());
    }
    let due = now_ms().cast_signed();
    insert(write, ("notice (due, routing, document, case_id)", 4, ""), cases, |query, (row, _)| {
        let document = json!({
            "event": "case-anchored", "connector": row.connector, "message": row.inbox_id, "case": row.case.to_string(),
            "version": row.version, "height": row.height, "transaction": row.transaction.to_string(),
            "received": row.received, "anchored": row.anchored_at,
        });
        query
            .bind(due)
            .bind(format!("case.anchored.{}", row.connector))
            .bind(document.to_string())
            .bind(row.case.0.to_vec())
    })
    .await
}

/// A message that was refused, and is kept. `message`: its row in the inbox, where it has one.
///
/// # Errors
/// `StoreError`.
pub async fn refused(
    write: &mut Write,
    (connector, received, message): (&str, i64, Option<i64>),
    (code, path, class): (&'static str, &str, &'static str),
) -> Result<(), StoreError> {
    if !write.notices {
        return Ok(());
    }
    let document = json!({
        "event": "case-refused", "connector": connector, "message": message, "code": code, "path": path, "class": class,
        "received": received,
    });
    sqlx::query("INSERT INTO notice (due, routing, document) VALUES ($1, $2, $3)")
        .bind(now_ms().cast_signed())
        .bind(format!("case.refused.{connector}"))
        .bind(document.to_string())
        .execute(&mut **write)
        .await
        .map_err(failed("notice"))?;
    Ok(())
}

/// Consents that the ledger changed, of subjects that this gateway knows.
///
/// # Errors
/// `StoreError`.
pub async fn consents<'a>(
    write: &mut Write,
    changes: impl Iterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
    height: Height,
) -> Result<(), StoreError> {
    if !write.notices {
        return Ok(());
    }
    for (key, value) in changes {
        let Some((subject, value)) = subject_of_consent_set_key(key).zip(value.as_ref()) else { continue };
        let corrupt = |_| StoreError::Corrupt { what: "chain_state consents" };
        let set: ConsentSet = cbor::decode(value).map_err(corrupt)?;
        let live: Vec<String> = set.live.iter().map(|live| live.consent.to_string()).collect();
        let document = json!({
            "event": "consent-changed", "subject": subject.to_string(), "version": set.version, "inForce": live,
            "height": height,
        });
        let sql = "INSERT INTO notice (due, routing, document) SELECT $1, $2, $3 FROM subject WHERE id = $4";
        sqlx::query(sql)
            .bind(now_ms().cast_signed())
            .bind("consent.changed")
            .bind(document.to_string())
            .bind(subject.0.to_vec())
            .execute(&mut **write)
            .await
            .map_err(failed("notice"))?;
    }
    Ok(())
}

/// Those that are due, the longest first.
///
/// # Errors
/// `StoreError`.
pub async fn due(store: &Store, now: i64, most: usize) -> Result<Vec<Notice>, StoreError> {
    let sql =
        format!("SELECT id, routing, document, case_id FROM notice WHERE due <= $1 ORDER BY due, id LIMIT {most}");
    let query = sqlx::query(AssertSqlSafe(sql)).bind(now);
    let rows = query.fetch_all(store.reader()).await.map_err(failed("notice"))?;
    let notice = |row: &AnyRow| -> Result<_, sqlx::Error> {
        let case: Option<Vec<u8>> = row.try_get(3)?;
        let (id, routing, document) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(Notice { id, routing, document, case: case.and_then(|case| CaseId::from_slice(&case)) })
    };
    rows.iter().map(notice).collect::<Result<_, _>>().map_err(failed("notice"))
}

/// Removes what was confirmed.
///
/// # Errors
/// `StoreError`.
pub async fn remove(write: &mut Write, ids: &[i64]) -> Result<(), StoreError> {
    for piece in pieces(ids) {
        let sql = format!("DELETE FROM notice WHERE id IN ({})", list(0, piece.len()));
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, id| query.bind(*id));
        query.execute(&mut **write).await.map_err(failed("notice"))?;
    }
    Ok(())
}

/// Puts off what no queue takes now.
///
/// # Errors
/// `StoreError`.
pub async fn put_off(write: &mut Write, ids: &[i64], until: i64) -> Result<(), StoreError> {
    for piece in pieces(ids) {
        let sql = format!("UPDATE notice SET due = $1 WHERE id IN ({})", list(1, piece.len()));
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)).bind(until), |query, id| query.bind(*id));
        query.execute(&mut **write).await.map_err(failed("notice.due"))?;
    }
    Ok(())
}
