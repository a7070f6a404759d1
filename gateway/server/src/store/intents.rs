//! Intents: the second durable point. The exact signed bytes of a submission, and for each of its cases what *index* will
//! write. Present from before the submission until the index commit; a restart continues from here.

use std::collections::BTreeMap;

use schemas::id::{CaseId, Digest, SubjectId};
use sqlx::Row as _;

use super::rows::insert;
use super::subjects::{digest, subject};
use super::{Store, StoreError, Write, failed};

/// A submission with its cases.
#[derive(Clone)]
pub struct Submission {
    /// Transaction id.
    pub id: Digest,
    /// Order of sealing.
    pub sequence: i64,
    /// The exact signed bytes.
    pub bytes: Vec<u8>,
    /// Last height at which it may be executed.
    pub valid_until: u64,
    /// Its cases, in order of statement.
    pub intents: Vec<Intent>,
}

/// One case of a submission.
#[derive(Clone)]
pub struct Intent {
    /// The case.
    pub case: CaseId,
    /// The message it came with.
    pub inbox_id: i64,
    /// Whose it is.
    pub subject: SubjectId,
    /// CBOR of `ingest::plan::Plan`.
    pub plan: Vec<u8>,
}

/// Writes a submission.
///
/// # Errors
/// `StoreError`.
pub async fn add(write: &mut Write, submission: &Submission) -> Result<(), StoreError> {
    let row = [(submission.id, submission.sequence, &submission.bytes, submission.valid_until)];
    insert(
        write,
        ("submission (tx_id, sequence, bytes, valid_until)", 4, ""),
        &row,
        |query, (id, sequence, bytes, until)| {
            query
                .bind(id.0.to_vec())
                .bind(*sequence)
                .bind(bytes.to_vec())
                .bind(i64::try_from(*until).unwrap_or(i64::MAX))
        },
    )
    .await?;
    let numbered: Vec<_> = submission.intents.iter().enumerate().collect();
    let into = "intent (case_id, tx_id, statement_index, inbox_id, subject, plan)";
    insert(write, (into, 6, ""), &numbered, |query, (index, intent)| {
        query
            .bind(intent.case.0.to_vec())
            .bind(submission.id.0.to_vec())
            .bind(i64::try_from(*index).unwrap_or(i64::MAX))
            .bind(intent.inbox_id)
            .bind(intent.subject.0.to_vec())
            .bind(intent.plan.clone())
    })
    .await
}

/// Replaces the signed bytes of a submission whose absence is proven: same cases, other transaction.
///
/// # Errors
/// `StoreError`.
pub async fn replace(write: &mut Write, old: &Digest, new: &Submission) -> Result<(), StoreError> {
    remove(write, old).await?;
    add(write, new).await
}

/// Whether a submission is not indexed yet.
///
/// # Errors
/// `StoreError`.
pub async fn is_pending(write: &mut Write, id: &Digest) -> Result<bool, StoreError> {
    let query = sqlx::query("SELECT 1 FROM submission WHERE tx_id = $1").bind(id.0.to_vec());
    Ok(query.fetch_optional(&mut **write).await.map_err(failed("submission"))?.is_some())
}

/// Which submission a case is in now: its id, exact bytes and limit.
///
/// # Errors
/// `StoreError`.
pub async fn of_case(write: &mut Write, case: &CaseId) -> Result<Option<(Digest, Vec<u8>, u64)>, StoreError> {
    let sql =
        "SELECT tx_id, bytes, valid_until FROM submission WHERE tx_id = (SELECT tx_id FROM intent WHERE case_id = $1)";
    let query = sqlx::query(sql).bind(case.0.to_vec());
    let row = query.fetch_optional(&mut **write).await.map_err(failed("submission"))?;
    row.map(|row| {
        let until: i64 = row.try_get(2).map_err(failed("submission.valid_until"))?;
        Ok((digest(&row, 0)?, row.try_get(1).map_err(failed("submission.bytes"))?, until.unsigned_abs()))
    })
    .transpose()
}

/// Removes a submission and its intents.
///
/// # Errors
/// `StoreError`.
pub async fn remove(write: &mut Write, id: &Digest) -> Result<(), StoreError> {
    for sql in ["DELETE FROM intent WHERE tx_id = $1", "DELETE FROM submission WHERE tx_id = $1"] {
        sqlx::query(sql).bind(id.0.to_vec()).execute(&mut **write).await.map_err(failed("submission"))?;
    }
    Ok(())
}

/// All submissions whose outcome is not indexed yet, in order of sealing. Bounded by what can be in flight.
///
/// # Errors
/// `StoreError`.
pub async fn pending(store: &Store) -> Result<Vec<Submission>, StoreError> {
    let sql = "SELECT tx_id, sequence, bytes, valid_until FROM submission ORDER BY sequence";
    let rows = sqlx::query(sql).fetch_all(store.reader()).await.map_err(failed("submission"))?;
    let mut by_id = BTreeMap::new();
    let mut pending = Vec::with_capacity(rows.len());
    for row in &rows {
        let id = digest(row, 0)?;
        by_id.insert(id, pending.len());
        let number = |at: usize| row.try_get::<i64, _>(at).map_err(failed("submission"));
        pending.push(Submission {
            id,
            sequence: number(1)?,
            bytes: row.try_get(2).map_err(failed("submission.bytes"))?,
            valid_until: number(3)?.unsigned_abs(),
            intents: Vec::new(),
        });
    }
    let sql = "SELECT tx_id, case_id, inbox_id, subject, plan FROM intent ORDER BY tx_id, statement_index";
    for row in sqlx::query(sql).fetch_all(store.reader()).await.map_err(failed("intent"))? {
        let case: Vec<u8> = row.try_get(1).map_err(failed("intent.case_id"))?;
        let intent = Intent {
            case: CaseId::from_slice(&case).ok_or(StoreError::Corrupt { what: "intent.case_id" })?,
            inbox_id: row.try_get(2).map_err(failed("intent.inbox_id"))?,
            subject: subject(&row, 3)?,
            plan: row.try_get(4).map_err(failed("intent.plan"))?,
        };
        if let Some(submission) = by_id.get(&digest(&row, 0)?).and_then(|at| pending.get_mut(*at)) {
            submission.intents.push(intent);
        }
    }
    Ok(pending)
}
