//! Faults between a gateway and a FHIR server. Each says what was found and expected in words of our own: never an address, an id,
//! a byte of an answer or a credential.

use std::path::PathBuf;

use schemas::ErrorClass;

/// Why a FHIR server was not asked, or its answer not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FhirError {
    /// A file of the configuration that cannot be used.
    #[error("{}: found {found}, expected {expected}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What was found.
        found: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The connection was lost, or there was none, or no whole answer in time.
    #[error("the FHIR server did not answer while {doing}")]
    Away {
        /// What was being done.
        doing: &'static str,
    },
    /// The server asks for patience.
    #[error("the FHIR server asked to wait {after_ms} ms")]
    Busy {
        /// How long, within bounds.
        after_ms: u64,
    },
    /// An answer that is no success.
    #[error("found HTTP status {status} while {doing}, expected success")]
    Status {
        /// The status.
        status: u16,
        /// What was being done.
        doing: &'static str,
    },
    /// An answer that is larger than is taken.
    #[error("found an answer of more than {most} bytes while {doing}")]
    TooLarge {
        /// What was being done.
        doing: &'static str,
        /// The bound.
        most: usize,
    },
    /// An answer that is not what FHIR says.
    #[error("found {found}, expected {expected}")]
    Shape {
        /// What was found.
        found: &'static str,
        /// What was expected.
        expected: &'static str,
    },
    /// A link or redirect to another server.
    #[error("found {0} to another origin, expected that of the configured base")]
    Origin(&'static str),
    /// How far the poll is cannot be read or written.
    #[error("the store of markers is away")]
    Markers,
}

impl FhirError {
    /// The class that decides about a retry.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::File { .. } => ErrorClass::Caller,
            Self::Away { .. } | Self::Busy { .. } | Self::Markers => ErrorClass::Transient,
            Self::Status { status, .. } if *status >= 500 => ErrorClass::Transient,
            Self::Status { .. } | Self::Origin(_) | Self::TooLarge { .. } | Self::Shape { .. } => ErrorClass::Conflict,
        }
    }
}
