//! The inbox: the first durable point and the only deduplicator. Raw bytes in it are sealed under a key of their own,
//! which is destroyed once the message's cases are anchored. It must never be written outside *receive*, *seal* and *index*.

use std::collections::HashMap;

use schemas::id::Digest;
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::rows::{insert, list, pieces, tuples};
use super::subjects::digest;
use super::{Store, StoreError, Write, failed};
use super::{application_acks, notices};

/// Keys asked for in one statement.
const KEYS_PER_QUERY: usize = 256;

/// How far a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub enum State {
    /// Durable, not yet sealed.
    Received = 0,
    /// Its cases are intents.
    Sealed = 1,
    /// Its cases are indexed.
    Done = 2,
    /// It is in quarantine.
    Quarantined = 3,
    /// It held nothing to seal (a Bundle without resources); raw bytes are kept.
    Empty = 4,
    /// As `Sealed`, about several patients: the raw object stays when it is done.
    Several = 5,
}

/// Where the sealed raw bytes are.
#[derive(Clone, PartialEq, Eq)]
pub enum RawPlace {
    /// In the row.
    Inline(Vec<u8>),
    /// In the object store.
    Object(Digest),
}

/// One message as it is kept.
#[derive(Clone)]
pub struct Message {
    /// HMAC of the source's key of it.
    pub source_key: Digest,
    /// HMAC of its bytes.
    pub content_hash: Digest,
    /// Who brought it.
    pub connector: String,
    /// Media type as declared.
    pub content_type: String,
    /// When, ms.
    pub received: i64,
    /// Sealed raw bytes.
    pub raw: RawPlace,
    /// Their key, wrapped by the root.
    pub raw_key: Vec<u8>,
    /// Cases of it are sealed already: it is mapped again.
    pub is_again: bool,
    /// W3C traceparent.
    pub trace: Option<String>,
}

/// A refused message that is in no inbox row.
#[derive(Clone)]
pub struct Quarantined {
    /// The message.
    pub message: Message,
    /// Why: from a fixed set.
    pub code: &'static str,
    /// Where: `PID-5.1`, `Bundle.entry[3].resource.status`.
    pub path: String,
    /// Class of the error.
    pub class: &'static str,
}

/// Adds messages whose key is new; gives the id of each that was added, by key.
///
/// # Errors
/// `StoreError`.
pub async fn add(write: &mut Write, messages: &[Message]) -> Result<HashMap<Digest, i64>, StoreError> {
    let mut ids = HashMap::with_capacity(messages.len());
    for piece in pieces(messages) {
        let sql = format!(
            "INSERT INTO inbox (source_key, content_hash, connector, content_type, received, raw_object, raw_key, \
             trace, state) VALUES {} ON CONFLICT (source_key) DO NOTHING RETURNING id, source_key",
            tuples(write.engine(), piece.len(), 9)
        );
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, m| {
            query
                .bind(m.source_key.0.to_vec())
                .bind(m.content_hash.0.to_vec())
                .bind(m.connector.clone())
                .bind(m.content_type.clone())
                .bind(m.received)
                .bind(columns(&m.raw).1)
                .bind(m.raw_key.clone())
                .bind(m.trace.clone())
                .bind(State::Received as i64)
        });
        for row in query.fetch_all(&mut **write).await.map_err(failed("inbox"))? {
            ids.insert(digest(&row, 1)?, row.try_get(0).map_err(failed("inbox.id"))?);
        }
    }
    let mut inline: Vec<(i64, &Vec<u8>)> = messages.iter().filter_map(|m| inline(&ids, m)).collect();
    inline.sort_unstable_by_key(|(id, _)| *id);
    insert(write, ("inbox_raw (inbox_id, bytes)", 2, ""), &inline, |query, (id, bytes)| {
        query.bind(*id).bind(bytes.to_vec())
    })
    .await?;
    Ok(ids)
}

fn inline<'m>(ids: &HashMap<Digest, i64>, message: &'m Message) -> Option<(i64, &'m Vec<u8>)> {
    let RawPlace::Inline(bytes) = &message.raw else { return None };
    ids.get(&message.source_key).map(|id| (*id, bytes))
}

pub(super) fn columns(raw: &RawPlace) -> (Option<Vec<u8>>, Option<String>) {
    match raw {
        RawPlace::Inline(bytes) => (Some(bytes.clone()), None),
        RawPlace::Object(key) => (None, Some(key.to_string())),
    }
}

/// What is known of these keys: inbox id and content hash.
///
/// # Errors
/// `StoreError`.
pub async fn known(write: &mut Write, keys: &[Digest]) -> Result<HashMap<Digest, (i64, Digest)>, StoreError> {
    let mut found = HashMap::with_capacity(keys.len());
    for piece in keys.chunks(KEYS_PER_QUERY) {
        let sql =
            format!("SELECT source_key, id, content_hash FROM inbox WHERE source_key IN ({})", list(0, piece.len()));
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |q, key| q.bind(key.0.to_vec()));
        for row in query.fetch_all(&mut **write).await.map_err(failed("inbox"))? {
            let id = row.try_get(1).map_err(failed("inbox.id"))?;
            found.insert(digest(&row, 0)?, (id, digest(&row, 2)?));
        }
    }
    Ok(found)
}

/// Messages that wait to be sealed, after an id, in order of arrival.
///
/// # Errors
/// `StoreError`.
pub async fn waiting(store: &Store, after: i64, most: usize) -> Result<Vec<(i64, Message)>, StoreError> {
    let sql = format!(
        "SELECT id, source_key, content_hash, connector, content_type, received, inbox_raw.bytes, raw_object, raw_key, \
         trace, (SELECT COUNT(*) FROM cases WHERE cases.inbox_id = inbox.id) FROM inbox LEFT JOIN inbox_raw ON \
         inbox_raw.inbox_id = inbox.id WHERE state = 0 AND id > $1 \
         ORDER BY id LIMIT {most}"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(after).fetch_all(store.reader()).await.map_err(failed("inbox"))?;
    rows.iter().map(message_row).collect()
}

fn message_row(row: &AnyRow) -> Result<(i64, Message), StoreError> {
    let raw = place(row, 6)?.ok_or(StoreError::Corrupt { what: "inbox.raw" })?;
    let raw_key: Option<Vec<u8>> = row.try_get(8).map_err(failed("inbox.raw_key"))?;
    let message = Message {
        source_key: digest(row, 1)?,
        content_hash: digest(row, 2)?,
        connector: row.try_get(3).map_err(failed("inbox.connector"))?,
        content_type: row.try_get(4).map_err(failed("inbox.content_type"))?,
        received: row.try_get(5).map_err(failed("inbox.received"))?,
        raw,
        raw_key: raw_key.ok_or(StoreError::Corrupt { what: "inbox.raw_key" })?,
        trace: row.try_get(9).map_err(failed("inbox.trace"))?,
        is_again: row.try_get::<i64, _>(10).map_err(failed("cases"))? > 0,
    };
    Ok((row.try_get(0).map_err(failed("inbox.id"))?, message))
}

/// Whether a message waits to be sealed.
///
/// # Errors
/// `StoreError`.
pub async fn is_waiting(write: &mut Write, id: i64) -> Result<bool, StoreError> {
    let query = sqlx::query("SELECT 1 FROM inbox WHERE id = $1 AND state = 0").bind(id);
    Ok(query.fetch_optional(&mut **write).await.map_err(failed("inbox.state"))?.is_some())
}

/// Notes how far messages are.
///
/// # Errors
/// `StoreError`.
pub async fn mark(write: &mut Write, ids: &[i64], state: State) -> Result<(), StoreError> {
    for piece in pieces(ids) {
        let sql = format!("UPDATE inbox SET state = $1 WHERE id IN ({})", list(1, piece.len()));
        let query = sqlx::query(AssertSqlSafe(sql)).bind(state as i64);
        let query = piece.iter().fold(query, |q, id| q.bind(*id));
        query.execute(&mut **write).await.map_err(failed("inbox.state"))?;
    }
    // nothing in it waits for the ledger
    if state == State::Empty { application_acks::settle(write, ids).await } else { Ok(()) }
}

/// Marks messages done whose last intent is gone, and destroys what was kept of their raw bytes: those are a unit of the
/// case now. Messages about several patients are marked `several` before: their sealed raw object stays with the custodian.
///
/// # Errors
/// `StoreError`.
pub async fn finish(write: &mut Write, ids: &[i64]) -> Result<(), StoreError> {
    for piece in pieces(ids) {
        let sql = format!(
            "UPDATE inbox SET state = $1, raw_key = CASE WHEN state = $2 THEN raw_key ELSE NULL END \
             WHERE id IN ({}) AND NOT EXISTS (SELECT 1 FROM intent WHERE intent.inbox_id = inbox.id)",
            list(2, piece.len())
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(State::Done as i64).bind(State::Several as i64);
        let query = piece.iter().fold(query, |q, id| q.bind(*id));
        query.execute(&mut **write).await.map_err(failed("inbox.state"))?;
        let sql = format!(
            "DELETE FROM inbox_raw WHERE inbox_id IN ({}) \
             AND NOT EXISTS (SELECT 1 FROM intent WHERE intent.inbox_id = inbox_raw.inbox_id)",
            list(0, piece.len())
        );
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |q, id| q.bind(*id));
        query.execute(&mut **write).await.map_err(failed("inbox_raw"))?;
    }
    application_acks::settle(write, ids).await
}

/// Moves the sealed raw bytes of messages about several patients to where they stay: an object of the custodian alone.
///
/// # Errors
/// `StoreError`.
pub async fn keep_raw(write: &mut Write, kept: &[(i64, Digest)]) -> Result<(), StoreError> {
    for (id, object) in kept {
        sqlx::query("UPDATE inbox SET state = $1, raw_object = $2 WHERE id = $3")
            .bind(State::Several as i64)
            .bind(object.to_string())
            .bind(*id)
            .execute(&mut **write)
            .await
            .map_err(failed("inbox.raw_object"))?;
        drop_raw(write, *id).await?;
    }
    Ok(())
}

async fn drop_raw(write: &mut Write, id: i64) -> Result<(), StoreError> {
    let query = sqlx::query("DELETE FROM inbox_raw WHERE inbox_id = $1").bind(id);
    query.execute(&mut **write).await.map_err(failed("inbox_raw"))?;
    Ok(())
}

/// Puts messages into quarantine that were never in the inbox.
///
/// # Errors
/// `StoreError`.
pub async fn quarantine(write: &mut Write, refused: &[Quarantined]) -> Result<(), StoreError> {
    let into = "quarantine (connector, content_type, received, code, path, class, raw, raw_key, raw_object, source_key, \
                content_hash)";
    insert(write, (into, 11, ""), refused, |query, q| {
        let (inline, object) = columns(&q.message.raw);
        query
            .bind(q.message.connector.clone())
            .bind(q.message.content_type.clone())
            .bind(q.message.received)
            .bind(q.code)
            .bind(q.path.clone())
            .bind(q.class)
            .bind(inline)
            .bind(q.message.raw_key.clone())
            .bind(object)
            .bind(q.message.source_key.0.to_vec())
            .bind(q.message.content_hash.0.to_vec())
    })
    .await?;
    for q in refused {
        let about = (q.message.connector.as_str(), q.message.received, None);
        notices::refused(write, about, (q.code, &q.path, q.class)).await?;
    }
    Ok(())
}

/// Moves an inbox message into quarantine: its raw bytes with it, its key stays known. Code, path and class say why.
///
/// # Errors
/// `StoreError`.
pub async fn set_aside(
    write: &mut Write,
    id: i64,
    (code, path, class): (&'static str, &str, &'static str),
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO quarantine (inbox_id, connector, content_type, received, code, path, class, raw, raw_key, \
         raw_object, source_key, content_hash, attempts) SELECT id, connector, content_type, received, $1, $2, $3, \
         inbox_raw.bytes, raw_key, raw_object, source_key, content_hash, attempts FROM inbox LEFT JOIN inbox_raw ON inbox_raw.inbox_id = inbox.id \
         WHERE id = $4 AND state <> $5 RETURNING connector, received",
    );
    let query = query.bind(code).bind(path.to_owned()).bind(class).bind(id).bind(State::Quarantined as i64);
    if let Some(row) = query.fetch_optional(&mut **write).await.map_err(failed("quarantine"))? {
        let connector: String = row.try_get(0).map_err(failed("quarantine.connector"))?;
        let received = row.try_get(1).map_err(failed("quarantine.received"))?;
        notices::refused(write, (&connector, received, Some(id)), (code, path, class)).await?;
    }
    sqlx::query("UPDATE inbox SET state = $1, raw_key = NULL, raw_object = NULL WHERE id = $2")
        .bind(State::Quarantined as i64)
        .bind(id)
        .execute(&mut **write)
        .await
        .map_err(failed("inbox.state"))?;
    // behind the row's own change, for which whoever notes what is owed about it waits
    application_acks::refuse(write, id, (code, path)).await?;
    drop_raw(write, id).await
}

/// The first message that waits to be sealed.
///
/// # Errors
/// `StoreError`.
pub async fn first_waiting(store: &Store) -> Result<Option<i64>, StoreError> {
    let row = sqlx::query("SELECT MIN(id) FROM inbox WHERE state = 0").fetch_one(store.reader()).await;
    row.map_err(failed("inbox"))?.try_get(0).map_err(failed("inbox.id"))
}

/// The highest id that was given.
///
/// # Errors
/// `StoreError`.
pub async fn last_id(store: &Store) -> Result<i64, StoreError> {
    let sql = "SELECT COALESCE(MAX(id), 0) FROM inbox";
    let row = sqlx::query(sql).fetch_one(store.reader()).await.map_err(failed("inbox.id"))?;
    row.try_get(0).map_err(failed("inbox.id"))
}

/// Where the sealed raw bytes of a row are.
///
/// # Errors
/// `StoreError`.
pub async fn raw_place(store: &Store, id: i64) -> Result<Option<RawPlace>, StoreError> {
    let sql = "SELECT inbox_raw.bytes, raw_object FROM inbox LEFT JOIN inbox_raw ON inbox_raw.inbox_id = inbox.id WHERE id = $1";
    let row = sqlx::query(sql).bind(id).fetch_optional(store.reader()).await.map_err(failed("inbox.raw"))?;
    row.map_or(Ok(None), |row| place(&row, 0))
}

/// Where sealed raw bytes are: in the row from this column on, or in the object that the next one names.
pub(super) fn place(row: &AnyRow, at: usize) -> Result<Option<RawPlace>, StoreError> {
    let inline: Option<Vec<u8>> = row.try_get(at).map_err(failed("inbox.raw"))?;
    let object: Option<String> = row.try_get(at + 1).map_err(failed("inbox.raw_object"))?;
    match (inline, object) {
        (Some(bytes), _) => Ok(Some(RawPlace::Inline(bytes))),
        (None, Some(key)) => key
            .parse()
            .map(|key| Some(RawPlace::Object(key)))
            .map_err(|_| StoreError::Corrupt { what: "inbox.raw_object" }),
        (None, None) => Ok(None),
    }
}

/// Which of these (source key, content hash) pairs are in quarantine already.
///
/// # Errors
/// `StoreError`.
pub async fn is_quarantined(write: &mut Write, key: &Digest, content: &Digest) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM quarantine WHERE source_key = $1 AND content_hash = $2 LIMIT 1";
    let query = sqlx::query(sql).bind(key.0.to_vec()).bind(content.0.to_vec());
    Ok(query.fetch_optional(&mut **write).await.map_err(failed("quarantine"))?.is_some())
}

/// One message on its way; nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passing {
    /// Inbox row.
    pub id: i64,
    /// When it came, ms.
    pub received: i64,
    /// How far it is: `State`.
    pub state: i64,
    /// How often it was sent its way again.
    pub attempts: i64,
    /// Why it is in quarantine.
    pub code: Option<String>,
}

/// Which messages of a connector are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// The newest.
    Newest,
    /// The oldest behind a row.
    After(i64),
    /// These rows.
    These(&'a [i64]),
}

/// What a connector brought, in order.
///
/// # Errors
/// `StoreError`.
pub async fn passing(
    store: &Store,
    connector: &str,
    which: Which<'_>,
    most: usize,
) -> Result<Vec<Passing>, StoreError> {
    let (condition, order) = match which {
        Which::Newest => (String::new(), "DESC"),
        Which::After(id) => (format!("AND id > {id}"), "ASC"),
        Which::These([]) => return Ok(Vec::new()),
        Which::These(ids) => {
            let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
            (format!("AND id IN ({})", ids.join(", ")), "ASC")
        }
    };
    // by the source key, which has an index there
    let code = "(SELECT code FROM quarantine WHERE quarantine.source_key = inbox.source_key AND \
                quarantine.inbox_id = inbox.id ORDER BY quarantine.id DESC LIMIT 1)";
    let sql = format!(
        "SELECT id, received, state, attempts, CASE WHEN state = {} THEN {code} END FROM inbox WHERE connector = $1 \
         {condition} ORDER BY id {order} LIMIT {most}",
        State::Quarantined as i64
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(connector.to_owned());
    let rows = query.fetch_all(store.reader()).await.map_err(failed("inbox"))?;
    let one = |row: &AnyRow| -> Result<Passing, sqlx::Error> {
        let (id, received, state, attempts) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        Ok(Passing { id, received, state, attempts, code: row.try_get(4)? })
    };
    let mut all: Vec<Passing> = rows.iter().map(one).collect::<Result<_, _>>().map_err(failed("inbox"))?;
    all.sort_unstable_by_key(|passing| passing.id);
    Ok(all)
}

/// Whether anything of this name ever brought a message: a connector that is no more, a client of the FHIR API.
///
/// # Errors
/// `StoreError`.
pub async fn has_brought(store: &Store, connector: &str) -> Result<bool, StoreError> {
    Ok(!passing(store, connector, Which::Newest, 1).await?.is_empty())
}

/// How many messages are in each state: waiting, sealed, done, in quarantine.
///
/// # Errors
/// `StoreError`.
pub async fn counts(store: &Store) -> Result<HashMap<i64, u64>, StoreError> {
    let sql = "SELECT state, COUNT(*) FROM inbox GROUP BY state";
    let rows = sqlx::query(sql).fetch_all(store.reader()).await.map_err(failed("inbox"))?;
    let pair = |row: &AnyRow| -> Result<(i64, u64), sqlx::Error> {
        Ok((row.try_get(0)?, row.try_get::<i64, _>(1)?.unsigned_abs()))
    };
    rows.iter().map(pair).collect::<Result<_, _>>().map_err(failed("inbox"))
}
