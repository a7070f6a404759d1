//! Application acknowledgements that are owed, as rows: opened in the inbox commit, decided in the commit of what they are about, removed
//! once the sender's system has taken them. Where no connector sends any, there are none.

use connectors_mllp::Wanted;
use schemas::id::Digest;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::inbox::State;
use super::rows::{insert, list, pieces};
use super::subjects::digest;
use super::{Store, StoreError, Write, failed};
use crate::ingest::now_ms;

/// What a message's sender is owed.
#[derive(Clone)]
pub struct Owed {
    /// Key of the message; what the header is sealed for.
    pub source_key: Digest,
    /// Who brought it.
    pub connector: String,
    /// When it is told.
    pub wanted: Wanted,
    /// Its MSH, sealed.
    pub head: Vec<u8>,
}

/// One whose outcome is known.
#[derive(Clone)]
pub struct Due {
    /// Row id: never given twice.
    pub id: i64,
    /// When the outcome was known, ms.
    pub decided: i64,
    /// Key of the message; what the header is sealed for.
    pub source_key: Digest,
    /// Its MSH, sealed.
    pub head: Vec<u8>,
    /// Code and place of what is wrong with the message, where it was refused.
    pub error: Option<(String, String)>,
}

/// When the outcome was known, ms, and code and place where the message was refused; none while it is not known.
type Decided<'d> = Option<(i64, Option<(&'d str, &'d str)>)>;

/// Messages that have just become rows of the inbox.
///
/// # Errors
/// `StoreError`.
pub async fn open(write: &mut Write, owed: &[(i64, &Owed)]) -> Result<(), StoreError> {
    let rows: Vec<(Option<i64>, &Owed, Decided<'_>)> = owed.iter().map(|(id, owed)| (Some(*id), *owed, None)).collect();
    add(write, &rows).await
}

/// A message that was refused before it had a row. Nothing where the same is on its way already.
///
/// # Errors
/// `StoreError`.
pub async fn refused(write: &mut Write, owed: &Owed, (code, path): (&str, &str)) -> Result<(), StoreError> {
    if !owed.wanted.covers(true) {
        return Ok(());
    }
    let sql = "SELECT 1 FROM application_ack WHERE connector = $1 AND due IS NOT NULL AND source_key = $2 AND code = $3 LIMIT 1";
    let query = sqlx::query(sql).bind(owed.connector.clone()).bind(owed.source_key.0.to_vec()).bind(code.to_owned());
    if query.fetch_optional(&mut **write).await.map_err(failed("application_ack"))?.is_some() {
        return Ok(());
    }
    add(write, &[(None, owed, Some((now_ms().cast_signed(), Some((code, path)))))]).await
}

/// A message that came again: its sender may have missed what it was told. Nothing where that is on its way.
///
/// # Errors
/// `StoreError`.
pub async fn again(write: &mut Write, inbox_id: i64, owed: &Owed) -> Result<(), StoreError> {
    // whoever decides about the message waits for this row, and finds what is added here
    let sql = "UPDATE inbox SET state = state WHERE id = $1 RETURNING state";
    let row = sqlx::query(sql).bind(inbox_id).fetch_one(&mut **write).await.map_err(failed("inbox.state"))?;
    let state: i64 = row.try_get(0).map_err(failed("inbox.state"))?;
    let sql = "SELECT 1 FROM application_ack WHERE inbox_id = $1 AND connector = $2 LIMIT 1";
    let query = sqlx::query(sql).bind(inbox_id).bind(owed.connector.clone());
    if query.fetch_optional(&mut **write).await.map_err(failed("application_ack"))?.is_some() {
        return Ok(());
    }
    let now = now_ms().cast_signed();
    if state == State::Done as i64 || state == State::Empty as i64 {
        if owed.wanted.covers(false) {
            add(write, &[(Some(inbox_id), owed, Some((now, None)))]).await?;
        }
        return Ok(());
    }
    if state != State::Quarantined as i64 {
        return add(write, &[(Some(inbox_id), owed, None)]).await;
    }
    if !owed.wanted.covers(true) {
        return Ok(());
    }
    let sql = "SELECT quarantine.code, quarantine.path FROM inbox JOIN quarantine ON quarantine.source_key = inbox.source_key \
               AND quarantine.content_hash = inbox.content_hash WHERE inbox.id = $1 LIMIT 1";
    let row = sqlx::query(sql).bind(inbox_id).fetch_optional(&mut **write).await.map_err(failed("quarantine"))?;
    let column = |row: &AnyRow| -> Result<(String, String), sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
    let found = row.as_ref().map(column).transpose().map_err(failed("quarantine.code"))?;
    // one that operators discarded has no code any more
    let (code, path) = found.unwrap_or_else(|| ("discarded".into(), "message".into()));
    add(write, &[(Some(inbox_id), owed, Some((now, Some((&code, &path)))))]).await
}

async fn add(write: &mut Write, rows: &[(Option<i64>, &Owed, Decided<'_>)]) -> Result<(), StoreError> {
    let into = "application_ack (inbox_id, connector, wanted, source_key, head, decided, due, code, path)";
    insert(write, (into, 9, ""), rows, |query, (inbox_id, owed, decided)| {
        let error = decided.and_then(|(_, error)| error);
        query
            .bind(*inbox_id)
            .bind(owed.connector.clone())
            .bind(number(owed.wanted))
            .bind(owed.source_key.0.to_vec())
            .bind(owed.head.clone())
            .bind(decided.map(|(at, _)| at))
            .bind(decided.map(|(at, _)| at))
            .bind(error.map(|(code, _)| code.to_owned()))
            .bind(error.map(|(_, path)| path.to_owned()))
    })
    .await
}

/// Messages whose last intent is gone: all that was in them is anchored, or nothing was.
///
/// # Errors
/// `StoreError`.
pub async fn settle(write: &mut Write, inbox_ids: &[i64]) -> Result<(), StoreError> {
    for piece in pieces(inbox_ids) {
        let (now, ids) = (now_ms().cast_signed(), list(3, piece.len()));
        let sql = format!(
            "UPDATE application_ack SET decided = $1, due = $2 WHERE due IS NULL AND wanted <> $3 AND inbox_id IN ({ids}) \
             AND NOT EXISTS (SELECT 1 FROM intent WHERE intent.inbox_id = application_ack.inbox_id)"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(now).bind(now).bind(number(Wanted::OnError));
        let query = piece.iter().fold(query, |query, id| query.bind(*id));
        query.execute(&mut **write).await.map_err(failed("application_ack.due"))?;
        // of those that are told nobody nothing is kept
        let sql = format!(
            "DELETE FROM application_ack WHERE due IS NULL AND wanted = $1 AND inbox_id IN ({}) \
             AND NOT EXISTS (SELECT 1 FROM intent WHERE intent.inbox_id = application_ack.inbox_id)",
            list(1, piece.len())
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(number(Wanted::OnError));
        let query = piece.iter().fold(query, |query, id| query.bind(*id));
        query.execute(&mut **write).await.map_err(failed("application_ack"))?;
    }
    Ok(())
}

/// A message that went into quarantine. Who hears of success alone waits for what becomes of it there.
///
/// # Errors
/// `StoreError`.
pub async fn refuse(write: &mut Write, inbox_id: i64, (code, path): (&str, &str)) -> Result<(), StoreError> {
    let sql = "UPDATE application_ack SET decided = $1, due = $2, code = $3, path = $4 \
               WHERE inbox_id = $5 AND due IS NULL AND wanted <> $6";
    let now = now_ms().cast_signed();
    let query = sqlx::query(sql).bind(now).bind(now).bind(code.to_owned()).bind(path.to_owned());
    let query = query.bind(inbox_id).bind(number(Wanted::OnSuccess));
    query.execute(&mut **write).await.map_err(failed("application_ack.due"))?;
    Ok(())
}

/// A message that goes its way again: what nobody has heard yet is open once more.
///
/// # Errors
/// `StoreError`.
pub async fn reopen(write: &mut Write, inbox_id: i64) -> Result<(), StoreError> {
    let sql = "UPDATE application_ack SET decided = NULL, due = NULL, code = NULL, path = NULL WHERE inbox_id = $1";
    let query = sqlx::query(sql).bind(inbox_id);
    query.execute(&mut **write).await.map_err(failed("application_ack.due"))?;
    Ok(())
}

/// A connector's that are due, the longest first.
///
/// # Errors
/// `StoreError`.
pub async fn due(store: &Store, connector: &str, now: i64, most: usize) -> Result<Vec<Due>, StoreError> {
    let sql = format!(
        "SELECT id, decided, source_key, head, code, path FROM application_ack \
         WHERE connector = $1 AND due <= $2 ORDER BY due, id LIMIT {most}"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(connector.to_owned()).bind(now);
    let rows = query.fetch_all(store.reader()).await.map_err(failed("application_ack"))?;
    let one = |row: &AnyRow| -> Result<Due, StoreError> {
        let source_key = digest(row, 2)?;
        let rest = || -> Result<Due, sqlx::Error> {
            let (code, path): (Option<String>, Option<String>) = (row.try_get(4)?, row.try_get(5)?);
            let (id, decided, head) = (row.try_get(0)?, row.try_get(1)?, row.try_get(3)?);
            Ok(Due { id, decided, source_key, head, error: code.zip(path) })
        };
        rest().map_err(failed("application_ack"))
    };
    rows.iter().map(one).collect()
}

const fn number(wanted: Wanted) -> i64 {
    match wanted {
        Wanted::Always => 0,
        Wanted::OnError => 1,
        Wanted::OnSuccess => 2,
    }
}

/// Removes what was taken, unless it was opened again meanwhile.
///
/// # Errors
/// `StoreError`.
pub async fn remove(write: &mut Write, told: &[&Due]) -> Result<(), StoreError> {
    for due in told {
        let query = sqlx::query("DELETE FROM application_ack WHERE id = $1 AND decided = $2").bind(due.id);
        query.bind(due.decided).execute(&mut **write).await.map_err(failed("application_ack"))?;
    }
    Ok(())
}

/// Puts one off that was not taken, unless it was opened again meanwhile.
///
/// # Errors
/// `StoreError`.
pub async fn put_off(write: &mut Write, due: &Due, until: i64) -> Result<(), StoreError> {
    let query = sqlx::query("UPDATE application_ack SET due = $1 WHERE id = $2 AND decided = $3").bind(until);
    let query = query.bind(due.id).bind(due.decided);
    query.execute(&mut **write).await.map_err(failed("application_ack.due"))?;
    Ok(())
}

/// Gives up what nobody took in time; how many those were.
///
/// # Errors
/// `StoreError`.
pub async fn expire(write: &mut Write, connector: &str, before: i64) -> Result<u64, StoreError> {
    let query = sqlx::query("DELETE FROM application_ack WHERE connector = $1 AND decided < $2");
    let query = query.bind(connector.to_owned()).bind(before);
    Ok(query.execute(&mut **write).await.map_err(failed("application_ack"))?.rows_affected())
}

/// Removes all of connectors that send none, or are no more.
///
/// # Errors
/// `StoreError`.
pub async fn keep_only(store: &Store, connectors: &[&str]) -> Result<(), StoreError> {
    let mut write = store.begin_replayable().await?;
    let sql = match connectors.len() {
        0 => "DELETE FROM application_ack".to_owned(),
        count => format!("DELETE FROM application_ack WHERE connector NOT IN ({})", list(0, count)),
    };
    let query = connectors.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, name| query.bind((*name).to_owned()));
    query.execute(&mut *write).await.map_err(failed("application_ack"))?;
    super::commit(write).await
}
