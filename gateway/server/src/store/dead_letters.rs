//! Dead letters as rows: the messages in quarantine, counted, shown, given back to the inbox, discarded; and the list of what
//! operators did. It knows no content: raw bytes stay sealed.

use schemas::id::Digest;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::application_acks;
use super::inbox::{RawPlace, State, place};
use super::rows::AnyQuery;
use super::subjects::digest;
use super::{Store, StoreError, Write, failed};

/// Which dead letters are meant: all conditions that are there hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Its id.
    pub id: Option<i64>,
    /// Who brought it.
    pub connector: Option<String>,
    /// Why it was refused.
    pub code: Option<String>,
    /// Received at this time or later, ms.
    pub since: Option<i64>,
    /// Received before this time, ms.
    pub until: Option<i64>,
}

impl Filter {
    fn sql(&self) -> String {
        let all = [
            (self.id.is_some(), "id ="),
            (self.connector.is_some(), "connector ="),
            (self.code.is_some(), "code ="),
            (self.since.is_some(), "received >="),
            (self.until.is_some(), "received <"),
        ];
        let mut sql = String::from("1 = 1");
        for (n, (_, condition)) in all.into_iter().filter(|(is, _)| *is).enumerate() {
            sql.push_str(&format!(" AND {condition} ${}", n + 1));
        }
        sql
    }

    fn bind(&self, mut query: AnyQuery<'static>) -> AnyQuery<'static> {
        if let Some(id) = self.id {
            query = query.bind(id);
        }
        for text in [&self.connector, &self.code].into_iter().flatten() {
            query = query.bind(text.clone());
        }
        for time in [self.since, self.until].into_iter().flatten() {
            query = query.bind(time);
        }
        query
    }
}

/// One dead letter, nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Row id.
    pub id: i64,
    /// Who brought it.
    pub connector: String,
    /// Media type as stated.
    pub content_type: String,
    /// When, ms.
    pub received: i64,
    /// Why.
    pub code: String,
    /// Where: `PID-5.1`, never a value.
    pub path: String,
    /// Class of the error.
    pub class: String,
    /// How often it was tried.
    pub attempts: u32,
    /// Whether it has a place in the inbox to go back to; a conflict with another message has none.
    pub known: bool,
}

const COLUMNS: &str = "id, connector, content_type, received, code, path, class, attempts, inbox_id";

/// The oldest that are meant, from an id on.
///
/// # Errors
/// `StoreError`.
pub async fn list(store: &Store, filter: &Filter, after: i64, most: usize) -> Result<Vec<DeadLetter>, StoreError> {
    let sql =
        format!("SELECT {COLUMNS} FROM quarantine WHERE {} AND id > {after} ORDER BY id LIMIT {most}", filter.sql());
    let query = filter.bind(sqlx::query(AssertSqlSafe(sql)));
    let rows = query.fetch_all(store.reader()).await.map_err(failed("quarantine"))?;
    rows.iter().map(letter).collect::<Result<_, _>>().map_err(failed("quarantine"))
}

fn letter(row: &AnyRow) -> Result<DeadLetter, sqlx::Error> {
    Ok(DeadLetter {
        id: row.try_get(0)?,
        connector: row.try_get(1)?,
        content_type: row.try_get(2)?,
        received: row.try_get(3)?,
        code: row.try_get(4)?,
        path: row.try_get(5)?,
        class: row.try_get(6)?,
        attempts: u32::try_from(row.try_get::<i64, _>(7)?).unwrap_or(u32::MAX),
        known: row.try_get::<Option<i64>, _>(8)?.is_some(),
    })
}

/// How many are meant, by connector and code.
///
/// # Errors
/// `StoreError`.
pub async fn count(store: &Store, filter: &Filter) -> Result<Vec<(String, String, u64)>, StoreError> {
    let sql = format!(
        "SELECT connector, code, COUNT(*) FROM quarantine WHERE {} GROUP BY connector, code ORDER BY connector, code",
        filter.sql()
    );
    let query = filter.bind(sqlx::query(AssertSqlSafe(sql)));
    let rows = query.fetch_all(store.reader()).await.map_err(failed("quarantine"))?;
    let line = |row: &AnyRow| -> Result<_, sqlx::Error> {
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get::<i64, _>(2)?.unsigned_abs()))
    };
    rows.iter().map(line).collect::<Result<_, _>>().map_err(failed("quarantine"))
}

/// Where the sealed bytes of one are, their wrapped key, and what they are bound to.
///
/// # Errors
/// `StoreError`.
pub async fn raw(store: &Store, id: i64) -> Result<Option<(RawPlace, Vec<u8>, Digest)>, StoreError> {
    let sql = "SELECT raw, raw_object, raw_key, source_key FROM quarantine WHERE id = $1";
    let row = sqlx::query(sql).bind(id).fetch_optional(store.reader()).await.map_err(failed("quarantine.raw"))?;
    let Some(row) = row else { return Ok(None) };
    let key: Option<Vec<u8>> = row.try_get(2).map_err(failed("quarantine.raw_key"))?;
    place(&row, 0)?.zip(key).map(|(raw, key)| digest(&row, 3).map(|bound| (raw, key, bound))).transpose()
}

/// What `give_back` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenBack {
    /// Inbox rows that wait again.
    pub inbox: Vec<i64>,
    /// Dead letters that could not go back: their key is another message's.
    pub left: usize,
    /// The last dead letter that was looked at; none: there are no more.
    pub last: Option<i64>,
}

/// Gives those that are meant back to the inbox, oldest first, where they wait again: of ids behind the first and up to the second. One
/// that has no row there gets one, unless its key is another's.
///
/// # Errors
/// `StoreError`.
pub async fn give_back(
    write: &mut Write,
    filter: &Filter,
    (after, upto): (i64, i64),
    most: usize,
) -> Result<GivenBack, StoreError> {
    let sql = format!(
        "SELECT id, inbox_id FROM quarantine WHERE {} AND id > {after} AND id <= {upto} ORDER BY id LIMIT {most}",
        filter.sql()
    );
    let query = filter.bind(sqlx::query(AssertSqlSafe(sql)));
    let rows = query.fetch_all(&mut **write).await.map_err(failed("quarantine"))?;
    let mut done = GivenBack::default();
    for row in rows {
        let id: i64 = row.try_get(0).map_err(failed("quarantine.id"))?;
        let inbox: Option<i64> = row.try_get(1).map_err(failed("quarantine.inbox_id"))?;
        let inbox = match inbox {
            Some(inbox) => Some(inbox),
            None => new_place(write, id).await?,
        };
        match inbox {
            Some(inbox) => {
                give_one_back(write, id, inbox).await?;
                done.inbox.push(inbox);
            }
            None => done.left += 1,
        }
        done.last = Some(id);
    }
    Ok(done)
}

/// The highest id that was given.
///
/// # Errors
/// `StoreError`.
pub async fn last_id(store: &Store) -> Result<i64, StoreError> {
    let sql = "SELECT COALESCE(MAX(id), 0) FROM quarantine";
    let row = sqlx::query(sql).fetch_one(store.reader()).await.map_err(failed("quarantine.id"))?;
    row.try_get(0).map_err(failed("quarantine.id"))
}

/// A row in the inbox for one that never had one; none where its key is another message's.
async fn new_place(write: &mut Write, id: i64) -> Result<Option<i64>, StoreError> {
    let sql = "INSERT INTO inbox (source_key, content_hash, connector, content_type, received, state) \
               SELECT source_key, content_hash, connector, content_type, received, $1 FROM quarantine WHERE id = $2 \
               ON CONFLICT (source_key) DO NOTHING RETURNING id";
    let query = sqlx::query(sql).bind(State::Quarantined as i64).bind(id);
    let row = query.fetch_optional(&mut **write).await.map_err(failed("inbox"))?;
    row.map(|row| row.try_get(0).map_err(failed("inbox.id"))).transpose()
}

async fn give_one_back(write: &mut Write, id: i64, inbox: i64) -> Result<(), StoreError> {
    let raw = "INSERT INTO inbox_raw (inbox_id, bytes) SELECT inbox.id, raw FROM quarantine, inbox \
               WHERE quarantine.id = $1 AND inbox.id = $2 AND raw IS NOT NULL";
    let row = "UPDATE inbox SET state = 0, (raw_key, raw_object, attempts) = \
               (SELECT raw_key, raw_object, quarantine.attempts + 1 FROM quarantine WHERE quarantine.id = $1) WHERE id = $2";
    for sql in [raw, row] {
        let query = sqlx::query(sql).bind(id).bind(inbox);
        query.execute(&mut **write).await.map_err(failed("quarantine to inbox"))?;
    }
    application_acks::reopen(write, inbox).await?;
    let query = sqlx::query("DELETE FROM quarantine WHERE id = $1").bind(id);
    query.execute(&mut **write).await.map_err(failed("quarantine"))?;
    Ok(())
}

/// Discards those that are meant for good: their raw bytes and keys go. Their keys stay known, so that they do not come again.
/// Returns how many.
///
/// # Errors
/// `StoreError`.
pub async fn discard(write: &mut Write, filter: &Filter) -> Result<u64, StoreError> {
    // who hears of success alone will not hear of it
    let sql = "DELETE FROM application_ack WHERE due IS NULL AND inbox_id IN (SELECT inbox_id FROM quarantine WHERE";
    let query = filter.bind(sqlx::query(AssertSqlSafe(format!("{sql} {})", filter.sql()))));
    query.execute(&mut **write).await.map_err(failed("application_ack"))?;
    let sql = format!("DELETE FROM quarantine WHERE {}", filter.sql());
    let query = filter.bind(sqlx::query(AssertSqlSafe(sql)));
    Ok(query.execute(&mut **write).await.map_err(failed("quarantine"))?.rows_affected())
}

/// What an operator did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorDeed {
    /// When, ms.
    pub at: i64,
    /// Who.
    pub operator: String,
    /// `show`, `retry`, …
    pub deed: String,
    /// About what.
    pub about: String,
}

/// Writes down what an operator does, in the same commit.
///
/// # Errors
/// `StoreError`.
pub async fn note(write: &mut Write, deed: &OperatorDeed) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO operator_deed (at, operator, deed, about) VALUES ($1, $2, $3, $4)")
        .bind(deed.at)
        .bind(deed.operator.clone())
        .bind(deed.deed.clone())
        .bind(deed.about.clone())
        .execute(&mut **write)
        .await
        .map_err(failed("operator_deed"))?;
    Ok(())
}

/// The newest deeds.
///
/// # Errors
/// `StoreError`.
pub async fn deeds(store: &Store, most: usize) -> Result<Vec<OperatorDeed>, StoreError> {
    let sql = format!("SELECT at, operator, deed, about FROM operator_deed ORDER BY id DESC LIMIT {most}");
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(store.reader()).await.map_err(failed("operator_deed"))?;
    let deed = |row: &AnyRow| -> Result<_, sqlx::Error> {
        Ok(OperatorDeed {
            at: row.try_get(0)?,
            operator: row.try_get(1)?,
            deed: row.try_get(2)?,
            about: row.try_get(3)?,
        })
    };
    rows.iter().map(deed).collect::<Result<_, _>>().map_err(failed("operator_deed"))
}

/// Which connectors operators stopped.
///
/// # Errors
/// `StoreError`.
pub async fn paused(store: &Store) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT name FROM connector_paused ORDER BY name";
    let rows = sqlx::query(sql).fetch_all(store.reader()).await.map_err(failed("connector_paused"))?;
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(failed("connector_paused"))
}

/// Notes that a connector is stopped, or is no more.
///
/// # Errors
/// `StoreError`.
pub async fn set_paused(write: &mut Write, name: &str, since: Option<i64>) -> Result<(), StoreError> {
    let query = match since {
        Some(since) => {
            let sql = "INSERT INTO connector_paused (name, since) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
            sqlx::query(sql).bind(name.to_owned()).bind(since)
        }
        None => sqlx::query("DELETE FROM connector_paused WHERE name = $1").bind(name.to_owned()),
    };
    query.execute(&mut **write).await.map_err(failed("connector_paused"))?;
    Ok(())
}
