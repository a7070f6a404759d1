//! What a session decides about one unit. A `Permit` can be built only here and names the unit that it opens, so that
//! nothing else can be opened with it; neither it nor a `Denial` carries anything of the record.

use schemas::id::{CaseId, ConsentId, Height};

use crate::policy::PolicyError;

/// One unit of one version of one case: what a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UnitId {
    /// The case.
    pub case: CaseId,
    /// Its version: the same index of another version holds other content.
    pub version: u32,
    /// Index of the unit in the case.
    pub index: u32,
}

/// The answer about one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be opened.
    Permit(Permit),
    /// It may not, and must look absent.
    Deny(Denial),
}

/// Leave to open one unit, once decided at a height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    unit: UnitId,
    consent: ConsentId,
    path: Box<str>,
    height: Height,
}

impl Permit {
    pub(crate) fn new(unit: UnitId, consent: ConsentId, path: &str, height: Height) -> Self {
        Self { unit, consent, path: path.into(), height }
    }

    /// The one unit that may be opened.
    pub const fn unit(&self) -> UnitId {
        self.unit
    }

    /// The consent that allows it.
    pub const fn consent(&self) -> ConsentId {
        self.consent
    }

    /// The provision that allows it, as a FHIRPath of the Consent.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The finalised ledger height at which it was decided.
    pub const fn height(&self) -> Height {
        self.height
    }
}

/// A refusal and its cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub(crate) reason: Reason,
    pub(crate) consent: Option<ConsentId>,
    pub(crate) height: Height,
}

/// Why a unit may not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No consent in force applies; the default decides.
    NoneApplies,
    /// A provision denies.
    Provision {
        /// FHIRPath of the provision in the Consent.
        path: Box<str>,
        /// Whether all of its criteria hold for sure; otherwise some are unknown.
        certain: bool,
    },
    /// A live consent's document is missing or does not match its commitment: everything is denied.
    DocumentMissing,
    /// A live consent's document cannot be understood: everything is denied.
    DocumentUnusable(PolicyError),
}

impl Denial {
    /// Why.
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The consent that denies, where one does.
    pub const fn consent(&self) -> Option<ConsentId> {
        self.consent
    }

    /// The finalised ledger height at which it was decided.
    pub const fn height(&self) -> Height {
        self.height
    }
}

impl Decision {
    /// Whether the unit may be opened.
    pub const fn is_permit(&self) -> bool {
        matches!(self, Self::Permit(_))
    }

    /// Which provision decided and why, for the access log and for people. Names ids and paths only.
    pub fn explain(&self) -> String {
        match self {
            Self::Permit(p) => format!("permitted by consent {}, {}, at height {}", p.consent, p.path, p.height),
            Self::Deny(d) => {
                let consent = d.consent.map(|c| format!(" by consent {c}")).unwrap_or_default();
                let why = match &d.reason {
                    Reason::NoneApplies => ": no consent in force applies, the default denies".to_owned(),
                    Reason::Provision { path, certain: true } => format!(", {path}"),
                    Reason::Provision { path, certain: false } => {
                        format!(", {path}: it cannot be excluded that this denial applies")
                    }
                    Reason::DocumentMissing => ": its document is missing or not the one committed to".to_owned(),
                    Reason::DocumentUnusable(error) => format!(": its document cannot be used: {error}"),
                };
                format!("denied{consent}{why}, at height {}", d.height)
            }
        }
    }
}
