//! *normalise*: a received message becomes canonical FHIR, one case per patient. HL7 v2 is mapped by tables, FHIR is kept
//! as sent. Stands between *receive* and *seal*. Pure apart from the vault's pseudonyms: no IO. What is refused names a
//! code and a path, never a value; nothing is dropped, for the raw message stays.

mod fhir;
mod graph;
mod hl7;
mod patients;
mod summary;

use std::collections::BTreeMap;

use connectors_hl7v2::{Cleared, MapOptions, Mapper};
use connectors_source::Hl7Defaults;
use gateway_vault::Vault;
use schemas::json::{JsonError, Value};
use schemas::{ErrorClass, limits};

pub use graph::references_of;
use patients::Patients;
pub use patients::{PatientKey, PatientKeys, client_source};
pub use summary::summarise;

/// Most cases of one message.
const CASES_MAX: usize = 1_000;
/// Most units over all cases of one message.
const UNITS_MAX: usize = 4 * limits::CASE_UNITS_MAX;

/// A message in canonical form. Built here only.
pub struct Canonical {
    message_type: String,
    patients: Vec<PatientKeys>,
    merges: Vec<Merged>,
    cases: Vec<CanonicalCase>,
    unmapped: Vec<String>,
}

/// Two patients of whom a message says that they are one person, or are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Index of the patient whose record goes.
    pub prior: usize,
    /// Index of the patient whose record stays.
    pub surviving: usize,
    /// They are two people after all.
    pub undone: bool,
}

impl Canonical {
    /// `ORU_R01`, or the FHIR type.
    pub fn message_type(&self) -> &str {
        &self.message_type
    }
    /// The patients that the message names, in order of appearance.
    pub fn patients(&self) -> &[PatientKeys] {
        &self.patients
    }
    /// Which of them are said to be one person.
    pub fn merges(&self) -> &[Merged] {
        &self.merges
    }
    /// One case per patient, and at most one about no patient.
    pub fn cases(&self) -> &[CanonicalCase] {
        &self.cases
    }
    pub(super) fn cases_mut(&mut self) -> &mut [CanonicalCase] {
        &mut self.cases
    }
    /// Its cases, to be sealed.
    pub(super) fn take_cases(&mut self) -> Vec<CanonicalCase> {
        std::mem::take(&mut self.cases)
    }
    /// Populated paths that reached no resource.
    pub fn unmapped(&self) -> &[String] {
        &self.unmapped
    }
}

/// What one message said about one patient, or about none.
pub struct CanonicalCase {
    /// Index of the patient; none for an institution case.
    pub patient: Option<usize>,
    /// Its resources.
    pub units: Vec<CanonicalUnit>,
    /// Time of the event, ms.
    pub event_time: Option<i64>,
}

/// One resource.
#[derive(Clone)]
pub struct CanonicalUnit {
    /// The tree.
    pub resource: Value,
    /// Its canonical bytes: what is sealed.
    pub bytes: Vec<u8>,
    /// FHIR type.
    pub resource_type: String,
    /// Which resource it is a version of.
    pub identity: Identity,
    /// What its references mean here.
    pub references: Vec<(String, Meaning)>,
    /// It says a part of what there is to say; none: all of it.
    pub partial: Option<Partial>,
}

/// An HL7 v2 message's word about a patient or a visit: what it leaves out stays as it is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Partial {
    /// What its nulls take away.
    pub cleared: Vec<Cleared>,
    /// It is of an event that moves a visit on, such as an admission.
    pub moves: bool,
}

/// Which resource a unit is a version of.
#[derive(Clone, PartialEq, Eq)]
pub enum Identity {
    /// The patient of this index: the subject.
    Patient(usize),
    /// A logical id.
    Logical(String),
}

/// What a reference means here.
#[derive(Clone, PartialEq, Eq)]
pub enum Meaning {
    /// The patient of this index.
    Patient(usize),
    /// Type and logical id.
    Resource(String, String),
}

/// A message that cannot be taken. Never retried as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused with {code}{}", if path.is_empty() { String::new() } else { format!(" at {path}") })]
pub struct Refusal {
    /// Why: from a fixed set.
    pub code: &'static str,
    /// Where; never a value.
    pub path: String,
    /// Class of the error.
    pub class: ErrorClass,
}

impl Refusal {
    pub(crate) fn caller(code: &'static str, path: impl Into<String>) -> Self {
        Self { code, path: path.into(), class: ErrorClass::Caller }
    }

    pub(crate) fn json(error: &JsonError) -> Self {
        use schemas::json::JsonErrorKind as Kind;
        let code = match error.kind {
            Kind::NotUtf8 => "json-not-utf8",
            Kind::Truncated => "json-truncated",
            Kind::DuplicateName => "json-duplicate-name",
            Kind::TooDeep => "json-too-deep",
            Kind::Unexpected | Kind::BadEscape | Kind::BadNumber | Kind::Trailing => "json-malformed",
        };
        let path = if error.path.is_empty() { format!("byte {}", error.offset) } else { error.path.clone() };
        Self::caller(code, path)
    }
}

/// What a message is said and seen to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// HL7 v2, ER7.
    Hl7v2,
    /// FHIR R4 JSON.
    Fhir,
}

impl Format {
    /// By content type (parameters and `x-` aside); by the first bytes where the type says nothing.
    ///
    /// # Errors
    /// `Refusal` with `unknown-content-type`.
    pub fn of(content_type: &str, body: &[u8]) -> Result<Self, Refusal> {
        let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/hl7-v2+er7"
            | "application/x-hl7-v2+er7"
            | "application/hl7-v2"
            | "x-application/hl7-v2+er7"
            | "application/x-hl7-v2" => Ok(Self::Hl7v2),
            "application/fhir+json" | "application/x-fhir+json" | "application/json+fhir" | "application/json" => {
                Ok(Self::Fhir)
            }
            "" | "text/plain" | "application/octet-stream" => Self::sniff(body),
            _ => Err(Refusal::caller("unknown-content-type", "content type")),
        }
    }

    fn sniff(body: &[u8]) -> Result<Self, Refusal> {
        let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let body = body.trim_ascii_start();
        match body {
            [b'M', b'S', b'H', ..] | [b'F' | b'B', b'H', b'S', ..] | [0x0b, ..] => Ok(Self::Hl7v2),
            [b'{', ..] => Ok(Self::Fhir),
            _ => Err(Refusal::caller("unknown-content-type", "content type")),
        }
    }
}

/// What of a stated content type can be kept in plain: `type/subtype` of RFC 6838, 255 bytes at most. Parameters are text of the sender,
/// which may say anything about anybody; nothing here reads one, since HL7 v2 names its character set in MSH-18 and JSON is UTF-8.
pub fn media_type(stated: &str) -> Option<&str> {
    let essence = stated.split(';').next().unwrap_or("").trim();
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let named = essence.split_once('/').is_some_and(|(of, kind)| is_name(of) && is_name(kind));
    (named && essence.len() <= 255).then_some(essence)
}

/// What normalising needs to know beside the message.
pub struct Normaliser {
    /// The mapping tables.
    pub mapper: Mapper,
    /// Zone of HL7 times that name none, where their source has none of its own.
    pub zone: String,
    /// HL7 assigning authority → FHIR system.
    pub authorities: BTreeMap<String, String>,
    /// What the messages of a connector leave unsaid, by its name.
    pub sources: BTreeMap<String, Hl7Defaults>,
    /// Systems whose numbers a client may tie to patients, by its name as a source.
    pub assigns: BTreeMap<String, Vec<String>>,
}

/// How logical ids are made: HMAC in the gateway, plain in `connector try`.
pub type Ids<'a> = &'a (dyn Fn(&str, &[&str]) -> String + 'a);

impl Normaliser {
    /// With these tables, and nothing of a site's own.
    pub fn new(mapper: Mapper) -> Self {
        let (authorities, sources, assigns) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { mapper, zone: "+00:00".into(), authorities, sources, assigns }
    }

    /// How a message of a source is mapped.
    pub fn options<'a>(
        &'a self,
        source: &str,
        ids: &'a (dyn Fn(&'static str, &[&str]) -> String + 'a),
        explain: bool,
    ) -> MapOptions<'a> {
        let own = self.sources.get(source);
        MapOptions {
            ids,
            default_zone: own.and_then(|own| own.zone.as_deref()).unwrap_or(&self.zone),
            default_charset: own.and_then(|own| own.charset.as_deref()),
            explain,
        }
    }

    /// Normalises with the vault's pseudonyms. `source` is the connector's name.
    ///
    /// # Errors
    /// `Refusal`.
    pub fn normalise(&self, format: Format, source: &str, body: &[u8], vault: &Vault) -> Result<Canonical, Refusal> {
        self.normalise_with(format, source, body, &|resource_type, key| vault.logical_id(resource_type, key))
    }

    /// The same with any ids: for looking at a message without keys.
    ///
    /// # Errors
    /// `Refusal`.
    pub fn normalise_with(
        &self,
        format: Format,
        source: &str,
        body: &[u8],
        ids: Ids<'_>,
    ) -> Result<Canonical, Refusal> {
        let canonical = match format {
            Format::Fhir => fhir::normalise(self, source, body, ids)?,
            Format::Hl7v2 => hl7::normalise(self, source, body, ids)?,
        };
        let units: usize = canonical.cases.iter().map(|case| case.units.len()).sum();
        let too_large = canonical.cases.iter().any(|case| case.units.len() >= limits::CASE_UNITS_MAX);
        if canonical.cases.len() > CASES_MAX || units > UNITS_MAX || too_large {
            return Err(Refusal::caller("too-many-units", canonical.message_type));
        }
        Ok(canonical)
    }
}

/// FHIR instant or dateTime with a time → ms. Anything else is no event time.
fn instant_ms(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests;
