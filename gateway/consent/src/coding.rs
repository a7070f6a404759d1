//! Codings and lists of them as criteria. A coding without a system equals nothing for sure: codes are compared, and the
//! answer is at best unknown. Code systems are never translated here; that belongs to ingest.

use crate::truth::Truth;
use schemas::json::Value;

/// A code of a code system; an empty system means that none was given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Coding {
    /// URI of the code system, or empty.
    pub system: Box<str>,
    /// The code.
    pub code: Box<str>,
}

impl Coding {
    /// From system and code.
    pub fn new(system: &str, code: &str) -> Self {
        Self { system: system.into(), code: code.into() }
    }

    /// From a FHIR Coding; `None` without a code.
    pub fn of(value: &Value) -> Option<Self> {
        value.text("code").filter(|c| !c.is_empty()).map(|code| Self::new(value.text("system").unwrap_or(""), code))
    }

    /// Whether both mean the same code.
    pub fn equals(&self, other: &Self) -> Truth {
        if self.code != other.code {
            Truth::False
        } else if self.system.is_empty() || other.system.is_empty() {
            Truth::Unknown
        } else {
            (self.system == other.system).into()
        }
    }
}

/// A list of a policy: any of these codings, sorted by code for speed.
#[derive(Clone, Default)]
pub(crate) struct Codes {
    sorted: Vec<Coding>,
    /// An item of the list could not be read as a coding (text only): it may mean anything.
    pub(crate) opaque: bool,
}

impl Codes {
    /// Sorts the codings; `opaque` when some item was no coding.
    pub(crate) fn new(mut codings: Vec<Coding>, opaque: bool) -> Self {
        codings.sort_by(|a, b| (&a.code, &a.system).cmp(&(&b.code, &b.system)));
        codings.dedup();
        Self { sorted: codings, opaque }
    }

    /// The codings.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Coding> {
        self.sorted.iter()
    }

    /// Whether the list names `coding`.
    pub(crate) fn names(&self, coding: &Coding) -> Truth {
        let from = self.sorted.partition_point(|c| c.code < coding.code);
        let same_code = self.sorted[from..].iter().take_while(|c| c.code == coding.code);
        same_code.map(|c| c.equals(coding)).max().unwrap_or(Truth::False)
    }

    /// Whether the list names one of `codings`.
    pub(crate) fn name_any<'a>(&self, codings: impl IntoIterator<Item = &'a Coding>) -> Truth {
        codings.into_iter().map(|c| self.names(c)).max().unwrap_or(Truth::False)
    }
}
