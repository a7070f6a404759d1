//! Summaries: what deciding and matching read of an anchored case's resources instead of its object. Those of a case are
//! sealed together, in pieces, since they repeat each other: compressed they are a fifth. Written by *index* with the case's
//! row; the way out opens the piece that it needs. It must never hold a value in plain.

use std::collections::HashMap;

use gateway_vault::{SubjectKey, VaultError};
use minicbor::bytes::ByteVec;
use schemas::cbor::{self, Parts};
use schemas::id::CaseId;
use schemas::json::{self, Object, Value};
use sqlx::{AssertSqlSafe, Row as _};

use super::rows::{list, pieces};
use super::{Store, StoreError, failed};

/// Summaries that are sealed as one.
const PIECE_UNITS: usize = 32;

/// What deciding and matching read of one resource, and what its references mean here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// `gateway_consent::UnitFacts::to_json`, with the served id and meanings of references added.
    pub facts: Value,
    /// The elements of the resource that search parameters match, as sent.
    pub matched: Value,
    /// Reference as it was sent → `Type/logical-id` here. What is absent is served as it was sent.
    pub references: Vec<(String, String)>,
}

impl Summary {
    /// Canonical JSON of the three members.
    fn encode(&self) -> Vec<u8> {
        let references = self.references.iter().map(|(from, to)| (from.clone().into(), Value::from(to.clone())));
        let references = Value::from(references.collect::<Object>());
        // put together from the members' bytes: the trees need not be copied
        let mut out = b"{\"facts\":".to_vec();
        out.extend(self.facts.canonical());
        out.extend_from_slice(b",\"matched\":");
        out.extend(self.matched.canonical());
        out.extend_from_slice(b",\"references\":");
        out.extend(references.canonical());
        out.push(b'}');
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let Ok(Value::Object(mut members)) = json::parse(bytes) else { return None };
        let parts = (members.remove("facts"), members.remove("matched"), members.remove("references"));
        let (Some(facts), Some(matched), Some(Value::Object(references))) = parts else { return None };
        let references = references.iter().filter_map(|(from, to)| Some((from.to_owned(), to.as_str()?.to_owned())));
        Some(Self { facts, matched, references: references.collect() })
    }
}

/// Seals the summaries of a case, in the order of its units.
///
/// # Errors
/// `VaultError::Randomness`.
pub fn seal(key: &SubjectKey, case: &CaseId, summaries: impl Iterator<Item = Summary>) -> Result<Vec<u8>, VaultError> {
    let plain: Vec<ByteVec> = summaries.map(|summary| summary.encode().into()).collect();
    let sealed = (0..).zip(plain.chunks(PIECE_UNITS)).map(|(piece, of)| {
        let packed = lz4_flex::compress_prepend_size(&cbor::encode(&of));
        key.seal_row(&context(case, piece), &packed).map(ByteVec::from)
    });
    Ok(cbor::encode(&sealed.collect::<Result<Vec<_>, _>>()?))
}

/// What a piece is bound to: label, case, piece.
fn context(case: &CaseId, piece: u64) -> Vec<u8> {
    Parts::new("cs1/summaries").part(case).part(&piece).finish()
}

/// Opens summaries of one subject; what is open stays open as long as it lives.
pub struct Reader<'k> {
    key: &'k SubjectKey,
    open: HashMap<(CaseId, usize), Vec<ByteVec>>,
}

impl<'k> Reader<'k> {
    /// With the subject's key.
    pub fn new(key: &'k SubjectKey) -> Self {
        Self { key, open: HashMap::new() }
    }

    /// The summary of one unit. `sealed` is what `seal` gave for its case.
    ///
    /// # Errors
    /// `StoreError::Corrupt` when it is not what was stored, or of another subject.
    pub fn read(&mut self, case: &CaseId, unit: u32, sealed: &[u8]) -> Result<Summary, StoreError> {
        let corrupt = || StoreError::Corrupt { what: "cases.summaries" };
        let (piece, at) = (unit as usize / PIECE_UNITS, unit as usize % PIECE_UNITS);
        if !self.open.contains_key(&(*case, piece)) {
            let opened = self.piece(case, piece, sealed).ok_or_else(corrupt)?;
            self.open.insert((*case, piece), opened);
        }
        let summary = self.open.get(&(*case, piece)).and_then(|of| of.get(at)).ok_or_else(corrupt)?;
        Summary::decode(summary).ok_or_else(corrupt)
    }

    fn piece(&self, case: &CaseId, piece: usize, sealed: &[u8]) -> Option<Vec<ByteVec>> {
        let pieces: Vec<ByteVec> = cbor::decode(sealed).ok()?;
        let packed = self.key.open_row(&context(case, piece as u64), pieces.get(piece)?).ok()?;
        cbor::decode(&lz4_flex::decompress_size_prepended(&packed).ok()?).ok()
    }
}

/// The sealed summaries of cases.
///
/// # Errors
/// `StoreError`.
pub async fn get(store: &Store, cases: &[CaseId]) -> Result<HashMap<CaseId, Vec<u8>>, StoreError> {
    let mut found = HashMap::with_capacity(cases.len());
    for piece in pieces(cases) {
        let sql = format!("SELECT case_id, summaries FROM cases WHERE case_id IN ({})", list(0, piece.len()));
        let query = piece.iter().fold(sqlx::query(AssertSqlSafe(sql)), |q, id| q.bind(id.0.to_vec()));
        for row in query.fetch_all(store.reader()).await.map_err(failed("cases.summaries"))? {
            let case: Vec<u8> = row.try_get(0).map_err(failed("cases.case_id"))?;
            let case = CaseId::from_slice(&case).ok_or(StoreError::Corrupt { what: "cases.case_id" })?;
            found.insert(case, row.try_get(1).map_err(failed("cases.summaries"))?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
