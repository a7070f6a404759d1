//! One request as the consent engine sees it: who asks, for what purpose, to do what, under which live consents.
//! SMART scopes are no part of it; they narrow before.

use std::sync::Arc;

use schemas::id::{ConsentId, Height, TimeMs};

use crate::coding::Coding;
use crate::policy::{Policy, PolicyError};
use crate::reference::Reference;

/// Who asks. What is not listed is not known, and an unknown recipient is nobody's permitted one.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The registered client; for explanations only, policies do not name it.
    pub client_id: String,
    /// The client's organization, under every name by which consents may know it.
    pub organizations: Vec<Reference>,
    /// The person behind the request, likewise; empty when nobody is named.
    pub practitioners: Vec<Reference>,
    /// Roles that the client or the person holds.
    pub roles: Vec<Coding>,
}

/// What the actor wants to do with the data (FHIR consentaction).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read or search.
    Access,
    /// Use what is held.
    Use,
    /// Hand over to somebody else.
    Disclose,
    /// Add.
    Collect,
    /// Amend.
    Correct,
}

impl Action {
    /// Code in `http://terminology.hl7.org/CodeSystem/consentaction`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Use => "use",
            Self::Disclose => "disclose",
            Self::Collect => "collect",
            Self::Correct => "correct",
        }
    }

    /// Whether the data leaves, or is used, through this action. Access, use and disclosure cannot be told apart from
    /// the outside: a policy that names one of them leaves the others unknown.
    pub(crate) const fn is_outward(self) -> bool {
        matches!(self, Self::Access | Self::Use | Self::Disclose)
    }
}

/// A request before any unit is looked at.
#[derive(Clone, Debug)]
pub struct AccessRequest {
    /// Who asks.
    pub actor: Actor,
    /// Purposes of use, all of them (v3-ActReason). None stated: unknown.
    pub purpose: Vec<Coding>,
    /// What for.
    pub action: Action,
}

/// What happens when no consent in force applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DefaultRule {
    /// Nothing is disclosed. There is no other default in this version.
    #[default]
    Deny,
}

/// The document behind a live consent of the ledger.
#[derive(Clone, Debug)]
pub enum Document {
    /// Found, equal to its commitment, parsed. Shared, so that it is parsed once.
    Usable(Arc<Policy>),
    /// Found and equal to its commitment, but not understood.
    Unusable(PolicyError),
    /// Not found, or not what the ledger committed to, or of another patient.
    Missing,
}

impl From<Result<Policy, PolicyError>> for Document {
    fn from(parsed: Result<Policy, PolicyError>) -> Self {
        parsed.map_or_else(Self::Unusable, |policy| Self::Usable(Arc::new(policy)))
    }
}

/// One member of the subject's live set on the ledger.
#[derive(Clone, Debug)]
pub struct LiveConsent {
    /// The consent.
    pub id: ConsentId,
    /// Its document.
    pub document: Document,
    /// Height at which it was granted.
    pub height: Height,
    /// First millisecond of its window on the ledger.
    pub from: Option<TimeMs>,
    /// Last millisecond of its window on the ledger.
    pub until: Option<TimeMs>,
}

impl LiveConsent {
    /// Whether the ledger's window holds `now`.
    pub fn is_in_force(&self, now: TimeMs) -> bool {
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now <= until)
    }
}
