//! The plan of a case: what *index* will write once the case is anchored. Made at *seal*, durable with the intent, so that
//! a restart indexes what was sealed and not what newer tables would make of it. Holds ciphertext, pseudonyms and hashes.

use minicbor::{Decode, Encode};
use schemas::envelope::{Statement, Wrap};
use schemas::id::Digest;

use crate::store::units::UnitRow;
use schemas::id::{CaseId, SubjectId};

/// One case.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct Plan {
    /// Who brought the message.
    #[n(0)]
    pub connector: String,
    /// When it was received, ms.
    #[n(1)]
    pub received: i64,
    /// What is anchored.
    #[n(2)]
    pub statement: Statement,
    /// Wrapped case keys.
    #[n(3)]
    pub wraps: Vec<Wrap>,
    /// Its resources.
    #[n(4)]
    pub units: Vec<PlannedUnit>,
}

/// One resource of a case.
#[derive(Clone, Encode, Decode)]
#[cbor(map)]
pub struct PlannedUnit {
    /// Index in the case.
    #[n(0)]
    pub unit: u32,
    /// FHIR type.
    #[n(1)]
    pub resource_type: String,
    /// Logical id.
    #[n(2)]
    pub logical_id: String,
    /// Rank of its status.
    #[n(3)]
    pub status_rank: i64,
    /// Time of the event, ms.
    #[n(4)]
    pub event_time: i64,
    /// HMAC of its content without `meta`.
    #[n(5)]
    pub content: Digest,
    /// Sealed summary.
    #[cbor(n(6), with = "minicbor::bytes")]
    pub summary: Vec<u8>,
}

impl PlannedUnit {
    /// The row, before version and head are decided.
    pub fn row(&self, case: CaseId, subject: SubjectId, arrived: i64) -> UnitRow {
        UnitRow {
            case,
            unit: self.unit,
            subject,
            resource_type: self.resource_type.clone(),
            logical_id: self.logical_id.clone(),
            version: 0,
            is_head: false,
            status_rank: self.status_rank,
            event_time: self.event_time,
            arrived,
            content: self.content,
            summary: self.summary.clone(),
        }
    }
}
