//! A FHIR R4 Consent as a flat tree of provisions. Parsing refuses what contradicts the format (the caller then denies
//! everything) and records what is merely not understood: such a policy permits nothing, and its denials count.

mod criteria;
mod parse;

use std::fmt;

use schemas::ErrorClass;
use schemas::id::TimeMs;
use schemas::json::Value;

use crate::coding::Codes;
use crate::reference::Reference;
use crate::time::Span;

/// What a provision does when it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Allows.
    Permit,
    /// Forbids.
    Deny,
}

/// A parsed Consent.
#[derive(Clone)]
pub struct Policy {
    pub(crate) patient: Reference,
    /// All provisions, each before its children; the root is the first.
    pub(crate) provisions: Vec<Provision>,
    /// Paths of elements that are not understood.
    pub(crate) unknown: Vec<Box<str>>,
}

/// One provision. An absent criterion holds for everything.
#[derive(Clone)]
pub(crate) struct Provision {
    pub(crate) effect: Effect,
    /// FHIRPath below the Consent, `provision.provision[1]`.
    pub(crate) path: Box<str>,
    /// A modifier extension may change what its criteria mean: whether it matches is always unknown.
    pub(crate) modified: bool,
    pub(crate) period: Option<Span>,
    pub(crate) actors: Option<Vec<ActorRule>>,
    pub(crate) actions: Option<Codes>,
    pub(crate) labels: Option<Codes>,
    pub(crate) purposes: Option<Codes>,
    pub(crate) classes: Option<Codes>,
    pub(crate) codes: Option<Codes>,
    pub(crate) data_period: Option<Span>,
    pub(crate) data: Option<Vec<DataRule>>,
    /// Indices of its children in `Policy::provisions`.
    pub(crate) children: Vec<usize>,
}

/// One `actor`: who, in which role.
#[derive(Clone)]
pub(crate) struct ActorRule {
    pub(crate) role: Codes,
    /// `None` when the element has no reference at all: anybody in the role.
    pub(crate) names: Option<Vec<Reference>>,
}

/// One `data`: which instances.
#[derive(Clone)]
pub(crate) struct DataRule {
    pub(crate) meaning: DataMeaning,
    pub(crate) names: Vec<Reference>,
}

/// FHIR consent-data-meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataMeaning {
    /// The resource itself.
    Instance,
    /// It and what it refers to.
    Related,
    /// It and what refers to it.
    Dependents,
    /// What it authored.
    AuthoredBy,
}

/// Why a document is no usable policy, and where. Never a value of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct PolicyError {
    /// FHIRPath of the element.
    pub path: Box<str>,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with an element of a Consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Another resource.
    #[error("found another resource, expected a Consent")]
    NotConsent,
    /// A consent that is not in force.
    #[error("found another status, expected active")]
    NotActive,
    /// A required element is absent.
    #[error("found nothing, expected the element")]
    Absent,
    /// An element of another JSON type, or an empty list.
    #[error("found another shape, expected {0}")]
    Shape(&'static str),
    /// A code outside its required value set.
    #[error("found another code, expected {0}")]
    Code(&'static str),
    /// An element that FHIR forbids to ignore.
    #[error("found an element that may change the meaning of the whole document, expected none")]
    Modifier,
    /// A date or period that is none.
    #[error("found no valid date or period, expected FHIR's form with start before end")]
    Date,
    /// More than is accepted.
    #[error("found more than is accepted, expected at most {0}")]
    TooMany(usize),
}

impl PolicyError {
    pub(crate) fn new(path: &str, problem: Problem) -> Self {
        Self { path: path.into(), problem }
    }

    /// Always the caller's: the document stays wrong.
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Caller
    }
}

impl Policy {
    /// Reads a Consent; URLs in it are foreign.
    ///
    /// # Errors
    /// `PolicyError` with path and problem; whoever meets it at decision time denies everything.
    pub fn parse(consent: &Value) -> Result<Self, PolicyError> {
        Self::parse_under(consent, "")
    }

    /// As [`parse`](Self::parse); absolute references under `own_base`, our FHIR base URL, are our own resources.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_under(consent: &Value, own_base: &str) -> Result<Self, PolicyError> {
        parse::parse(consent, own_base)
    }

    /// The patient that the document names; the caller compares it with the subject.
    pub const fn patient(&self) -> &Reference {
        &self.patient
    }

    /// What the root provision does.
    pub fn effect(&self) -> Effect {
        self.provisions.first().map_or(Effect::Deny, |root| root.effect)
    }

    /// The root provision's period, for the window on the ledger: first and last millisecond, `None` where open.
    pub fn window(&self) -> (Option<TimeMs>, Option<TimeMs>) {
        let Some(period) = self.provisions.first().and_then(|root| root.period) else { return (None, None) };
        let from = (period.first_ms != i64::MIN).then(|| TimeMs::try_from(period.first_ms).unwrap_or(0));
        let until = (period.last_ms != i64::MAX).then(|| TimeMs::try_from(period.last_ms).unwrap_or(0));
        (from, until)
    }

    /// Paths of elements that are not understood; with any, the policy permits nothing. A server refuses such a Consent
    /// when it is created, so that nobody believes in it.
    pub fn not_understood(&self) -> impl Iterator<Item = &str> {
        self.unknown.iter().map(AsRef::as_ref)
    }
}

/// Shape only: what a patient consents to is nobody's business in a log.
impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({} provisions, {} not understood)", self.provisions.len(), self.unknown.len())
    }
}
