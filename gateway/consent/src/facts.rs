//! What a decision needs to know about one unit, computed from its resource at ingest and kept, encrypted, beside it.
//! It is patient data: no `Debug` of its content. Whatever could not be read makes it less known, never less restricted.

mod collect;
mod once;
mod stored;

use std::fmt;

use schemas::json::Value;
use schemas::limits::UNIT_FACTS_MAX;

use self::once::Once;
use crate::coding::Coding;
use crate::reference::Reference;
use crate::time::Span;

/// Code system of FHIR's resource types.
pub(crate) const RESOURCE_TYPES: &str = "http://hl7.org/fhir/resource-types";

/// The facts of one unit.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UnitFacts {
    /// FHIR resource type.
    pub resource_type: Box<str>,
    /// Resource type, profiles and document classes.
    pub classes: Vec<Coding>,
    /// Whether it is a document, whose class says what it is.
    pub is_document: bool,
    /// Codings of its code, type, medication or vaccine.
    pub codes: Vec<Coding>,
    /// Its code is text without a coding: it may mean anything.
    pub uncoded: bool,
    /// Codings of its category.
    pub categories: Vec<Coding>,
    /// All other codings in it.
    pub other_codes: Vec<Coding>,
    /// `meta.security`.
    pub labels: Vec<Coding>,
    /// When it happened; when it was recorded where that is all it says.
    pub date: Option<Span>,
    /// Names under which it may be referred to: its own id, and those that the caller adds (served id, source id).
    pub identity: Vec<Reference>,
    /// What it refers to.
    pub references: Vec<Reference>,
    /// Who authored, performed or recorded it.
    pub authors: Vec<Reference>,
    /// It refers to something that no reference names (contained, text alone).
    pub unresolved: bool,
    /// It holds more than is kept here (`limits::UNIT_FACTS_MAX`), or something that could not be read.
    pub incomplete: bool,
    /// Resources inside it: contained ones, entries, parameters.
    pub inner: Vec<UnitFacts>,
}

impl UnitFacts {
    /// Computes the facts of a FHIR resource as it was sealed.
    pub fn of(resource: &Value) -> Self {
        collect::collect(resource)
    }

    /// Adds what its references mean here. Bounded too: one name as sent and one as meant of each.
    pub fn refer_to(&mut self, names: impl IntoIterator<Item = Reference>) {
        let mut all = Once::new(2 * UNIT_FACTS_MAX);
        for name in std::mem::take(&mut self.references).into_iter().chain(names) {
            self.incomplete |= !all.add(name);
        }
        self.references = all.into_items();
    }

    /// A compact JSON form for the encrypted summary; contains patient data.
    pub fn to_json(&self) -> Value {
        stored::write(self)
    }

    /// Reads what [`to_json`](Self::to_json) wrote; `None` when it is anything else.
    pub fn from_json(stored: &Value) -> Option<Self> {
        stored::read(stored)
    }
}

/// Shape only.
impl fmt::Debug for UnitFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnitFacts({}, {} codes, {} labels)", self.resource_type, self.codes.len(), self.labels.len())
    }
}

/// Security labels with an order.
pub(crate) struct Label;

impl Label {
    /// Codes of v3-Confidentiality, from unrestricted to very restricted.
    pub(crate) const LEVELS: [&'static str; 6] = ["U", "L", "M", "N", "R", "V"];

    /// Rank of a v3-Confidentiality code, from unrestricted to very restricted.
    pub(crate) fn level(label: &Coding) -> Option<usize> {
        if &*label.system != "http://terminology.hl7.org/CodeSystem/v3-Confidentiality" {
            return None;
        }
        Self::LEVELS.iter().position(|code| *code == &*label.code)
    }
}
