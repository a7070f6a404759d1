//! Units: which resource each unit of an anchored case is, and which of them are heads. Written by *index* only; the way
//! out reads. It must never hold a value in plain.

use schemas::cbor;
use schemas::envelope::Wrap;
use schemas::id::{CaseId, Digest, SubjectId};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::rows::{AnyQuery, insert, pieces, tuples};
use super::subjects::{digest, subject};
use super::{Engine, Store, StoreError, Write, failed};
use crate::objects::Extent;

/// Most rows that one question reads.
pub const ROWS_MAX: usize = 100_000;
const COLUMNS: &str = "unit.case_id, unit.unit, unit.subject, unit.resource_type, unit.logical_id, \
     unit.is_head, unit.status_rank, unit.event_time, unit.arrived, unit.content";

/// The head of a `wanted` chain: each is one look into the index.
const THE_HEAD: &str = "unit.subject = wanted.subject AND unit.resource_type = wanted.resource_type AND \
     unit.logical_id = wanted.logical_id AND unit.is_head = 1";

/// SQLite's index of logical ids is one per so many rows: a lookup asks each, a new row changes pages of the newest only.
pub(super) const PART_ROWS: u32 = 16_384;

/// The condition that `unit` has the logical id `$1`.
pub fn is_named(engine: Engine) -> String {
    match engine {
        Engine::Postgres => "unit.logical_id = $1".to_owned(),
        Engine::Sqlite => format!(
            "unit.id IN (WITH RECURSIVE part (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM part WHERE n < \
             (SELECT MAX(id) / {PART_ROWS} FROM unit)) SELECT named.id FROM part CROSS JOIN unit named ON \
             named.id / {PART_ROWS} = part.n AND named.logical_id = $1)"
        ),
    }
}

/// One unit of an anchored case, as a version of a resource.
#[derive(Clone)]
pub struct UnitRow {
    /// Its case.
    pub case: CaseId,
    /// Its index in the case.
    pub unit: u32,
    /// Whose it is.
    pub subject: SubjectId,
    /// FHIR type.
    pub resource_type: String,
    /// Logical id: a pseudonym.
    pub logical_id: String,
    /// Whether it is the head of its chain.
    pub is_head: bool,
    /// Rank of its status: a final is above a preliminary.
    pub status_rank: i64,
    /// Time of the event, ms.
    pub event_time: i64,
    /// Arrival: the inbox id.
    pub arrived: i64,
    /// HMAC of its content without `meta`.
    pub content: Digest,
}

impl UnitRow {
    /// The chain that it belongs to.
    pub fn chain(&self) -> Chain {
        (self.resource_type.clone(), self.logical_id.clone(), self.subject)
    }

    /// What decides between versions: the highest is the head.
    pub const fn order(&self) -> (i64, i64, i64) {
        (self.status_rank, self.event_time, self.arrived)
    }
}

/// The heads of one subject, in order of arrival; of one type when given.
///
/// # Errors
/// `StoreError`.
pub async fn heads(store: &Store, of: &SubjectId, resource_type: Option<&str>) -> Result<Vec<UnitRow>, StoreError> {
    let tail = if resource_type.is_some() { "AND unit.resource_type = $2" } else { "" };
    let sql =
        format!("SELECT {COLUMNS} FROM unit WHERE subject = $1 AND is_head = 1 {tail} ORDER BY id LIMIT {ROWS_MAX}");
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(of.0.to_vec());
    if let Some(resource_type) = resource_type {
        query = query.bind(resource_type.to_owned());
    }
    let rows = query.fetch_all(store.reader()).await.map_err(failed("heads"))?;
    rows.iter().map(unit_row).collect()
}

/// The versions of one resource of one subject: type, logical id, subject.
pub type Chain = (String, String, SubjectId);

/// What *index* must know of a chain that it is about to extend: order and content of the head.
pub type Head = ((i64, i64, i64), Digest);

/// The heads of chains; those that are new have none.
///
/// # Errors
/// `StoreError`.
pub async fn chains(write: &mut Write, names: &[&Chain]) -> Result<Vec<(Chain, Head)>, StoreError> {
    let mut found = Vec::new();
    for piece in pieces(names) {
        // the names come first, so that each is one look into the index
        let sql = format!(
            "WITH wanted (resource_type, logical_id, subject) AS (VALUES {}) SELECT unit.resource_type, unit.logical_id, \
             unit.subject, unit.status_rank, unit.event_time, unit.arrived, unit.content FROM wanted CROSS JOIN unit WHERE \
             {THE_HEAD}",
            tuples(write.engine(), piece.len(), 3)
        );
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, name| bind_chain(query, name));
        for row in query.fetch_all(&mut **write).await.map_err(failed("chains"))? {
            let number = |at: usize| row.try_get::<i64, _>(at).map_err(failed("unit"));
            let text = |at: usize| row.try_get::<String, _>(at).map_err(failed("unit"));
            let order = (number(3)?, number(4)?, number(5)?);
            found.push(((text(0)?, text(1)?, subject(&row, 2)?), (order, digest(&row, 6)?)));
        }
    }
    Ok(found)
}

/// A head, and where its content is.
pub struct HeadPlace {
    /// Of which chain.
    pub chain: Chain,
    /// What decides between versions.
    pub order: (i64, i64, i64),
    /// Its index in its case.
    pub unit: u32,
    /// Who may open the case.
    pub wraps: Vec<Wrap>,
    /// The digest of the case's object.
    pub object: Digest,
    /// Where the object is.
    pub extent: Extent,
}

/// The heads of chains, to be opened; those that are new have none.
///
/// # Errors
/// `StoreError`.
pub async fn head_places(store: &Store, names: &[&Chain]) -> Result<Vec<HeadPlace>, StoreError> {
    let mut found = Vec::new();
    for piece in pieces(names) {
        let sql = format!(
            "WITH wanted (resource_type, logical_id, subject) AS (VALUES {}) SELECT unit.resource_type, unit.logical_id, \
             unit.subject, unit.status_rank, unit.event_time, unit.arrived, unit.unit, cases.wraps, cases.object, cases.extent \
             FROM wanted CROSS JOIN unit JOIN cases ON cases.case_id = unit.case_id WHERE {THE_HEAD}",
            tuples(store.engine(), piece.len(), 3)
        );
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, name| bind_chain(query, name));
        for row in query.fetch_all(store.reader()).await.map_err(failed("head_places"))? {
            found.push(head_place(&row)?);
        }
    }
    Ok(found)
}

fn head_place(row: &AnyRow) -> Result<HeadPlace, StoreError> {
    let number = |at: usize| row.try_get::<i64, _>(at).map_err(failed("unit"));
    let text = |at: usize| row.try_get::<String, _>(at).map_err(failed("unit"));
    let bytes = |at: usize| row.try_get::<Vec<u8>, _>(at).map_err(failed("cases"));
    Ok(HeadPlace {
        chain: (text(0)?, text(1)?, subject(row, 2)?),
        order: (number(3)?, number(4)?, number(5)?),
        unit: u32::try_from(number(6)?).map_err(|_| StoreError::Corrupt { what: "unit.unit" })?,
        wraps: cbor::decode(&bytes(7)?).map_err(|_| StoreError::Corrupt { what: "cases.wraps" })?,
        object: digest(row, 8)?,
        extent: cbor::decode(&bytes(9)?).map_err(|_| StoreError::Corrupt { what: "cases.extent" })?,
    })
}

/// The versions of a chain, in the order in which they were indexed.
///
/// # Errors
/// `StoreError`.
pub async fn versions(store: &Store, chain: &Chain) -> Result<Vec<UnitRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM unit WHERE {} ORDER BY id LIMIT {ROWS_MAX}", of_chain(store.engine()));
    let query = bind_named(sqlx::query(AssertSqlSafe(sql)), chain);
    let rows = query.fetch_all(store.reader()).await.map_err(failed("versions"))?;
    rows.iter().map(unit_row).collect()
}

/// The content of the newest version that a message gave a chain.
///
/// # Errors
/// `StoreError`.
pub async fn said(write: &mut Write, chain: &Chain, arrived: i64) -> Result<Option<Digest>, StoreError> {
    let sql = format!(
        "SELECT content FROM unit WHERE {} AND unit.arrived = $4 ORDER BY id DESC LIMIT 1",
        of_chain(write.engine())
    );
    let query = bind_named(sqlx::query(AssertSqlSafe(sql)), chain).bind(arrived);
    let row = query.fetch_optional(&mut **write).await.map_err(failed("unit.content"))?;
    row.map(|row| digest(&row, 0)).transpose()
}

/// Gives the head's mark of a chain to the version of the highest order; of one message its newest version counts.
///
/// # Errors
/// `StoreError`.
pub async fn crown(write: &mut Write, chain: &Chain) -> Result<(), StoreError> {
    behead(write, std::slice::from_ref(chain)).await?;
    let sql = format!(
        "UPDATE unit SET is_head = 1 WHERE id = (SELECT id FROM unit WHERE id IN (SELECT MAX(id) FROM unit WHERE {} \
         GROUP BY unit.arrived) ORDER BY status_rank DESC, event_time DESC, arrived DESC LIMIT 1)",
        of_chain(write.engine())
    );
    let query = bind_named(sqlx::query(AssertSqlSafe(sql)), chain);
    query.execute(&mut **write).await.map_err(failed("unit.is_head"))?;
    Ok(())
}

/// The condition that `unit` is of the chain that `bind_named` binds.
fn of_chain(engine: Engine) -> String {
    format!("{} AND unit.resource_type = $2 AND unit.subject = $3", is_named(engine))
}

fn bind_named(query: AnyQuery<'static>, (resource_type, logical_id, of): &Chain) -> AnyQuery<'static> {
    query.bind(logical_id.clone()).bind(resource_type.clone()).bind(of.0.to_vec())
}

/// Notes of heads when they were said last, in ms: what was said before that is below them.
///
/// # Errors
/// `StoreError`.
pub async fn raise(write: &mut Write, heads: &[(Chain, i64)]) -> Result<(), StoreError> {
    for piece in pieces(heads) {
        let sql = format!(
            "WITH wanted (resource_type, logical_id, subject, event_time) AS (VALUES {}) UPDATE unit SET event_time = \
             (SELECT MAX(wanted.event_time) FROM wanted WHERE wanted.logical_id = unit.logical_id AND \
             wanted.resource_type = unit.resource_type AND wanted.subject = unit.subject) WHERE id IN \
             (SELECT unit.id FROM wanted CROSS JOIN unit WHERE {THE_HEAD})",
            tuples(write.engine(), piece.len(), 4)
        );
        let bind = |query, (chain, time): &(Chain, i64)| bind_chain(query, chain).bind(*time);
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), bind);
        query.execute(&mut **write).await.map_err(failed("unit.event_time"))?;
    }
    Ok(())
}

/// Takes the head's mark from these chains.
///
/// # Errors
/// `StoreError`.
pub async fn behead(write: &mut Write, chains: &[Chain]) -> Result<(), StoreError> {
    for piece in pieces(chains) {
        let sql = format!(
            "UPDATE unit SET is_head = 0 WHERE id IN (WITH wanted (resource_type, logical_id, subject) AS (VALUES {}) \
             SELECT unit.id FROM wanted CROSS JOIN unit WHERE {THE_HEAD})",
            tuples(write.engine(), piece.len(), 3)
        );
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), bind_chain);
        query.execute(&mut **write).await.map_err(failed("unit.is_head"))?;
    }
    Ok(())
}

fn bind_chain(query: AnyQuery<'static>, (resource_type, logical_id, of): &Chain) -> AnyQuery<'static> {
    query.bind(resource_type.clone()).bind(logical_id.clone()).bind(of.0.to_vec())
}

/// Writes versions.
///
/// # Errors
/// `StoreError`.
pub async fn add(write: &mut Write, units: &[UnitRow]) -> Result<(), StoreError> {
    let into = "unit (case_id, unit, subject, resource_type, logical_id, is_head, status_rank, event_time, \
                arrived, content)";
    insert(write, (into, 10, ""), units, |query, row| {
        query
            .bind(row.case.0.to_vec())
            .bind(i64::from(row.unit))
            .bind(row.subject.0.to_vec())
            .bind(row.resource_type.clone())
            .bind(row.logical_id.clone())
            .bind(i64::from(row.is_head))
            .bind(row.status_rank)
            .bind(row.event_time)
            .bind(row.arrived)
            .bind(row.content.0.to_vec())
    })
    .await
}

fn unit_row(row: &AnyRow) -> Result<UnitRow, StoreError> {
    let case: Vec<u8> = row.try_get(0).map_err(failed("unit.case_id"))?;
    let number = |at: usize| row.try_get::<i64, _>(at).map_err(failed("unit"));
    Ok(UnitRow {
        case: CaseId::from_slice(&case).ok_or(StoreError::Corrupt { what: "unit.case_id" })?,
        unit: u32::try_from(number(1)?).map_err(|_| StoreError::Corrupt { what: "unit.unit" })?,
        subject: subject(row, 2)?,
        resource_type: row.try_get(3).map_err(failed("unit.resource_type"))?,
        logical_id: row.try_get(4).map_err(failed("unit.logical_id"))?,
        is_head: number(5)? == 1,
        status_rank: number(6)?,
        event_time: number(7)?,
        arrived: number(8)?,
        content: digest(row, 9)?,
    })
}
