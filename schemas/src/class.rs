//! The class of an error decides whether it is retried and which HTTP status it becomes. Every error enum of the project
//! maps to exactly one of these; nothing else may decide about a retry.

/// What kind of failure an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The input is wrong and stays wrong: 400, quarantine, never retried.
    Caller,
    /// The input is well formed but contradicts what is there: 409, quarantine, never retried as it is.
    Conflict,
    /// A service is away or slow: 503, retried with backoff, nothing acknowledged meanwhile.
    Transient,
    /// Stored bytes are not what was stored: 500, never served, an operator must look.
    Corrupt,
    /// Our own mistake: 500, logged with its place.
    Bug,
}

impl ErrorClass {
    /// Whether trying again later can help.
    pub const fn is_retried(self) -> bool {
        matches!(self, Self::Transient)
    }

    /// The HTTP status of an error of this class.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Caller => 400,
            Self::Conflict => 409,
            Self::Transient => 503,
            Self::Corrupt | Self::Bug => 500,
        }
    }

    /// A low-cardinality name for metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Conflict => "conflict",
            Self::Transient => "transient",
            Self::Corrupt => "corrupt",
            Self::Bug => "bug",
        }
    }
}
