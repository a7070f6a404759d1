//! *query*: the rows that a request may be about, before anything is decided. Reads pseudonyms, sealed summaries and where
//! the sealed bytes are; filters by type, id and subject only, because matching comes after deciding.

use std::collections::HashMap;
use std::sync::Arc;

use schemas::cbor;
use schemas::envelope::Wrap;
use schemas::id::{CaseId, ConsentId, Digest, SubjectId, TimeMs};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

use crate::objects::Extent;
use crate::store::units::is_named;
use crate::store::{Store, StoreError, failed, summaries};

/// Most rows that one request sorts: those it may show. Of one logical id, the most that are looked at.
pub const ROWS_MAX: usize = 20_000;
/// Rows read at once.
const PART_ROWS: usize = 1_024;
/// Where the heads of a subject begin.
pub const FIRST: &str = "";

const COLUMNS: &str = "unit.case_id, unit.unit, unit.subject, unit.logical_id, unit.is_head, unit.event_time, \
     cases.version, cases.anchored_at, cases.object, cases.wraps, cases.extent";

/// Where the content of a row is.
#[derive(Clone)]
pub enum Place {
    /// A unit of an anchored case.
    Unit {
        /// The case.
        case: CaseId,
        /// Its version.
        case_version: u32,
        /// Index of the unit.
        unit: u32,
        /// SHA-256 of the object.
        object: Digest,
        /// Where the object store has it.
        extent: Extent,
        /// Wrapped case keys.
        wraps: Vec<Wrap>,
        /// The sealed summaries of its case.
        summaries: Arc<[u8]>,
    },
    /// A Consent that is enforced here.
    Document {
        /// The consent on the ledger.
        consent: ConsentId,
        /// The document, sealed under the subject's key.
        document: Vec<u8>,
    },
}

/// One version of a resource.
#[derive(Clone)]
pub struct Row {
    /// Whose.
    pub subject: SubjectId,
    /// FHIR type.
    pub resource_type: String,
    /// Logical id.
    pub logical_id: String,
    /// Whether it is the head.
    pub is_head: bool,
    /// Time of the event, ms.
    pub event_time: i64,
    /// When it was anchored.
    pub anchored: TimeMs,
    /// Where the content is.
    pub place: Place,
}

impl Row {
    /// Size of what is known of it, as it is sealed: with that of the other resources of its case.
    pub fn known_bytes(&self) -> usize {
        match &self.place {
            Place::Unit { summaries, .. } => summaries.len(),
            Place::Document { document, .. } => document.len(),
        }
    }
}

/// Every version of one resource, oldest first. A shared resource has a chain per subject.
///
/// # Errors
/// `StoreError`.
pub async fn versions(store: &Store, resource_type: &str, logical_id: &str) -> Result<Vec<Row>, StoreError> {
    if resource_type == "Consent" {
        let tail = "logical_id = $1 AND height IS NOT NULL ORDER BY version";
        return documents(store, tail, logical_id.to_owned()).await;
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM unit JOIN cases ON cases.case_id = unit.case_id WHERE {} AND \
         unit.resource_type = $2 ORDER BY unit.id LIMIT {ROWS_MAX}",
        is_named(store.engine())
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(logical_id.to_owned()).bind(resource_type.to_owned());
    let rows = query.fetch_all(store.reader()).await.map_err(failed("unit"))?;
    units(store, &rows, resource_type).await
}

/// The heads of one subject and type, for an operator.
///
/// # Errors
/// `StoreError`.
pub async fn heads(store: &Store, of: &SubjectId, resource_type: &str) -> Result<Vec<Row>, StoreError> {
    let (mut rows, mut after) = (Vec::new(), Some(FIRST.to_owned()));
    while let Some(from) = after.filter(|_| rows.len() < ROWS_MAX) {
        let (part, next) = heads_after(store, of, resource_type, &from).await?;
        rows.extend(part);
        after = next;
    }
    Ok(rows)
}

/// A part of the heads of one subject and type, in order of logical id, and where the next part begins.
///
/// # Errors
/// `StoreError`.
pub async fn heads_after(
    store: &Store,
    of: &SubjectId,
    resource_type: &str,
    after: &str,
) -> Result<(Vec<Row>, Option<String>), StoreError> {
    if resource_type == "Consent" {
        let tail = "subject = $1 AND height IS NOT NULL ORDER BY logical_id, version";
        let all = documents(store, tail, of.0.to_vec()).await?;
        return Ok((all.into_iter().filter(|row| row.is_head).collect(), None));
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM unit JOIN cases ON cases.case_id = unit.case_id WHERE unit.subject = $1 AND \
         unit.is_head = 1 AND unit.resource_type = $2 AND unit.logical_id > $3 ORDER BY unit.logical_id LIMIT {PART_ROWS}"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(of.0.to_vec()).bind(resource_type.to_owned());
    let rows = query.bind(after.to_owned()).fetch_all(store.reader()).await.map_err(failed("unit"))?;
    let rows = units(store, &rows, resource_type).await?;
    let next = rows.last().filter(|_| rows.len() == PART_ROWS).map(|row| row.logical_id.clone());
    Ok((rows, next))
}

/// How many heads one subject has of a type.
///
/// # Errors
/// `StoreError`.
pub async fn count_heads(store: &Store, of: &SubjectId, resource_type: &str) -> Result<u64, StoreError> {
    let query = if resource_type == "Consent" {
        let sql = "SELECT COUNT(DISTINCT logical_id) FROM consent_document WHERE subject = $1 AND height IS NOT NULL";
        sqlx::query(sql).bind(of.0.to_vec())
    } else {
        let sql = "SELECT COUNT(*) FROM unit WHERE subject = $1 AND is_head = 1 AND resource_type = $2";
        sqlx::query(sql).bind(of.0.to_vec()).bind(resource_type.to_owned())
    };
    let row = query.fetch_one(store.reader()).await.map_err(failed("unit"))?;
    row.try_get::<i64, _>(0).map(i64::unsigned_abs).map_err(failed("unit"))
}

/// Whose Patient has this logical id.
///
/// # Errors
/// `StoreError`.
pub async fn subject_of(store: &Store, patient: &str) -> Result<Option<SubjectId>, StoreError> {
    let named = is_named(store.engine());
    let sql = format!("SELECT subject FROM unit WHERE {named} AND resource_type = 'Patient' LIMIT 1");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(patient.to_owned())
        .fetch_optional(store.reader())
        .await
        .map_err(failed("unit"))?;
    row.map(|row| id(&row, 0)).transpose()
}

async fn documents<'q, T>(store: &Store, tail: &'static str, key: T) -> Result<Vec<Row>, StoreError>
where
    T: 'q + sqlx::Encode<'q, sqlx::Any> + sqlx::Type<sqlx::Any>,
{
    let sql = format!(
        "SELECT consent, subject, logical_id, document, anchored FROM consent_document WHERE {tail} \
         LIMIT {ROWS_MAX}"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(key).fetch_all(store.reader()).await;
    let rows = rows.map_err(failed("consent_document"))?;
    let mut out: Vec<Row> = rows.iter().map(document).collect::<Result<_, _>>()?;
    let next: Vec<Option<String>> = out.iter().skip(1).map(|row| Some(row.logical_id.clone())).chain([None]).collect();
    for (row, next) in out.iter_mut().zip(next) {
        row.is_head = next.as_deref() != Some(&row.logical_id);
    }
    Ok(out)
}

/// The rows of units, with the summaries of their cases.
async fn units(store: &Store, rows: &[AnyRow], resource_type: &str) -> Result<Vec<Row>, StoreError> {
    let mut cases = rows.iter().map(case).collect::<Result<Vec<_>, _>>()?;
    cases.sort_unstable();
    cases.dedup();
    let sealed = summaries::get(store, &cases).await?.into_iter().map(|(case, sealed)| (case, sealed.into()));
    let sealed: HashMap<CaseId, Arc<[u8]>> = sealed.collect();
    rows.iter().map(|row| unit(row, resource_type, &sealed)).collect()
}

fn case(row: &AnyRow) -> Result<CaseId, StoreError> {
    let bytes: Vec<u8> = row.try_get(0).map_err(failed("unit.case_id"))?;
    CaseId::from_slice(&bytes).ok_or(StoreError::Corrupt { what: "unit.case_id" })
}

fn unit(row: &AnyRow, resource_type: &str, sealed: &HashMap<CaseId, Arc<[u8]>>) -> Result<Row, StoreError> {
    let number = |at: usize| row.try_get::<i64, _>(at).map_err(failed("unit"));
    let bytes = |at: usize| row.try_get::<Vec<u8>, _>(at).map_err(failed("unit"));
    let corrupt = |what| StoreError::Corrupt { what };
    let case = case(row)?;
    let place = Place::Unit {
        case,
        case_version: u32::try_from(number(6)?).map_err(|_| corrupt("cases.version"))?,
        unit: u32::try_from(number(1)?).map_err(|_| corrupt("unit.unit"))?,
        object: Digest::from_slice(&bytes(8)?).ok_or(corrupt("cases.object"))?,
        wraps: cbor::decode(&bytes(9)?).map_err(|_| corrupt("cases.wraps"))?,
        extent: cbor::decode(&bytes(10)?).map_err(|_| corrupt("cases.extent"))?,
        summaries: sealed.get(&case).ok_or(corrupt("cases.summaries"))?.clone(),
    };
    Ok(Row {
        subject: id(row, 2)?,
        resource_type: resource_type.to_owned(),
        logical_id: row.try_get(3).map_err(failed("unit.logical_id"))?,
        is_head: number(4)? == 1,
        event_time: number(5)?,
        anchored: number(7)?.unsigned_abs(),
        place,
    })
}

fn document(row: &AnyRow) -> Result<Row, StoreError> {
    let number = |at: usize| row.try_get::<i64, _>(at).map_err(failed("consent_document"));
    let bytes = |at: usize| row.try_get::<Vec<u8>, _>(at).map_err(failed("consent_document"));
    let corrupt = |what| StoreError::Corrupt { what };
    let anchored = number(4)?;
    Ok(Row {
        subject: id(row, 1)?,
        resource_type: "Consent".to_owned(),
        logical_id: row.try_get(2).map_err(failed("consent_document"))?,
        is_head: false,
        event_time: anchored,
        anchored: anchored.unsigned_abs(),
        place: Place::Document {
            consent: ConsentId::from_slice(&bytes(0)?).ok_or(corrupt("consent_document.consent"))?,
            document: bytes(3)?,
        },
    })
}

fn id(row: &AnyRow, at: usize) -> Result<SubjectId, StoreError> {
    let bytes: Vec<u8> = row.try_get(at).map_err(failed("subject id"))?;
    SubjectId::from_slice(&bytes).ok_or(StoreError::Corrupt { what: "subject id" })
}
