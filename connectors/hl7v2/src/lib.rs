//! HL7 v2 → FHIR R4: tokenizer, character sets, and an engine that runs the tables of `schemas/mappings/`. The step
//! *normalise* of the way in, for messages.
//!
//! Pure: no IO, no clock, no randomness, no keys (logical ids come from the caller). It never puts a value of a message
//! into an error, and never drops a populated field in silence: what reaches no resource is listed by its path.

mod batch;
mod bounds;
mod charset;
mod error;
mod hash;
mod map;
mod run;
mod structure;
mod table;
mod time;
mod token;

use schemas::json::Value;

pub use batch::{is_empty_batch, miscounted};
pub use error::{MapError, TableError};
pub use map::{Mapper, message_ranges, patient_identifier, source_key};

/// What the caller decides about a mapping.
pub struct MapOptions<'a> {
    /// Type and business key → logical id (`[A-Za-z0-9.-]{1,64}`); the same key must give the same id.
    pub ids: &'a (dyn Fn(&'static str, &[&str]) -> String + 'a),
    /// Zone of stamps where neither they nor MSH-7 name one: `+01:00`, `Z` or an IANA name.
    pub default_zone: &'a str,
    /// Character set where MSH-18 is empty; UTF-8 when absent.
    pub default_charset: Option<&'a str>,
    /// Keep, per element, the rule and field that made it.
    pub explain: bool,
}

/// What became of one input.
#[derive(Default)]
pub struct Mapped {
    /// Of the first message, `ORU_R01`.
    pub message_type: Option<String>,
    /// One per patient and message.
    pub cases: Vec<MappedCase>,
    /// Populated fields that reached no resource, by path (`OBX-17`, `PID-3.4`, `ZDS-1`, `line 7`), each once.
    pub unmapped: Vec<String>,
    /// Messages that were refused.
    pub errors: Vec<MapError>,
    /// With `explain`: what made each element.
    pub explained: Vec<Explained>,
}

/// What one message says about one patient.
pub struct MappedCase {
    /// `ORU_R01`.
    pub message_type: String,
    /// A FHIR Bundle of type `message`; references are `Type/id` and stay inside it.
    pub bundle: Value,
    /// The patient's identifiers; empty for a case of the institution.
    pub patients: Vec<PatientIdentifier>,
    /// Patients whose records were merged into this one's: the identifiers of each, and its reference in the bundle.
    pub replaced: Vec<(String, Vec<PatientIdentifier>)>,
    /// What HL7's null (`""`) takes away of what was known before.
    pub cleared: Vec<Cleared>,
    /// FHIR instant of the event.
    pub event_time: Option<String>,
    /// Identity of the message.
    pub source_key: SourceKey,
}

/// An element that a message takes away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// `Type/id` in the bundle.
    pub resource: String,
    /// The member of the resource.
    pub element: &'static str,
    /// Of `extension`: which one.
    pub url: Option<&'static str>,
    /// Of a list: only members that have these values at these paths; all of them when there is none.
    pub only: Vec<(Vec<&'static str>, &'static str)>,
}

/// Whether a text names a zone that times can be read with: `+01:00`, `Z` or an IANA name.
pub fn is_zone(name: &str) -> bool {
    time::Zone::named(name).is_some()
}

/// Whether a text names a character set that can be read: one of HL7 table 0211 or a WHATWG label.
pub fn is_charset(name: &str) -> bool {
    charset::Charset::named(name).is_some()
}

/// A patient's identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientIdentifier {
    /// FHIR system where there is one, else the name of the assigning authority, else empty.
    pub authority: String,
    /// Whether `authority` is a FHIR system, which is one everywhere. A name means something at the sending facility only: two hospitals
    /// call theirs `MRN`.
    pub is_system: bool,
    pub value: String,
    /// Code of HL7 table 0203, or empty.
    pub type_code: String,
}

/// MSH-3, 4, 7, 10: what makes a message the same message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceKey {
    pub sending_application: String,
    pub sending_facility: String,
    pub time: String,
    pub control_id: String,
}

/// Why an element is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// `Patient.name[].family`.
    pub element: String,
    /// `segments/PID.map:12`.
    pub rule: String,
    /// `PID-5.1`.
    pub field: String,
}
