//! What an inspection of a connector's surroundings found: `chartseal doctor` prints it. What could not be looked at is said so and is
//! never a good finding. No text of it holds an address with a password, or anything of a message.

/// How good a finding is, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// Nobody looked; why is in `found`.
    NotChecked,
    /// Works, and yet should be looked at.
    Warning,
    /// Loses messages or stops them.
    Bad,
}

impl Level {
    /// `ok`, `not checked`, `warning` or `error`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::NotChecked => "not checked",
            Self::Warning => "warning",
            Self::Bad => "error",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How good it is.
    pub level: Level,
    /// Of what: `ehr: queue`.
    pub about: String,
    /// What was found.
    pub found: String,
    /// What was expected, and what to do; empty where it is good.
    pub expected: String,
}

impl Finding {
    /// As it should be.
    pub fn good(about: impl Into<String>, found: impl Into<String>) -> Self {
        Self { level: Level::Good, about: about.into(), found: found.into(), expected: String::new() }
    }

    /// Nobody looked.
    pub fn not_checked(about: impl Into<String>, why: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { level: Level::NotChecked, about: about.into(), found: why.into(), expected: expected.into() }
    }

    /// Should be looked at.
    pub fn warning(about: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { level: Level::Warning, about: about.into(), found: found.into(), expected: expected.into() }
    }

    /// Loses or stops messages.
    pub fn bad(about: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { level: Level::Bad, about: about.into(), found: found.into(), expected: expected.into() }
    }
}
