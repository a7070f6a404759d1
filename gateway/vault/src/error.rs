//! What can go wrong in the vault: one enum per step. No message holds a key, a plaintext or a patient's word; paths are
//! those of key files.

use std::io::ErrorKind;
use std::path::PathBuf;

use schemas::ErrorClass;
use schemas::envelope::ObjectError;

/// Key files, row and key boxes, signing.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The operating system refused a file operation.
    #[error("key file {path}: {source}{}", expected(source))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
        /// Whether that heals by itself.
        class: ErrorClass,
    },
    /// Others may read or write the keys.
    #[error("found mode {found:04o} on {path}, expected {expected:04o}: run `chmod {expected:o} {path}`")]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// Permission bits there.
        found: u32,
        /// Permission bits that are accepted.
        expected: u32,
    },
    /// A symbolic link, or neither file nor folder, where keys are expected.
    #[error("found no plain {expected} at {path}: links and special files are refused for keys")]
    Kind {
        /// The path.
        path: PathBuf,
        /// `file` or `folder`.
        expected: &'static str,
    },
    /// Keys are there already; they are never overwritten.
    #[error("found a key file at {path}, expected none: keys are never overwritten")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is no key of the expected form.
    #[error("found no {expected} in {path}")]
    Form {
        /// The file.
        path: PathBuf,
        /// `PKCS#8 P-256 key in PEM` or `root key`.
        expected: &'static str,
    },
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    Randomness,
    /// A box does not open under this key and context.
    #[error("found a sealed {what} that does not open under its key and context")]
    Box {
        /// `row`, `subject key`, `raw message` or `raw key`.
        what: &'static str,
    },
    /// A signature was asked for in a role whose key is not here.
    #[error("asked to sign in a role whose key this vault does not hold")]
    Role,
    /// Statements that no transaction may carry.
    #[error("found {found} statements to sign, expected {expected}")]
    Statements {
        /// How many.
        found: usize,
        /// What is allowed.
        expected: &'static str,
    },
}

impl VaultError {
    /// What kind of failure it is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::File { class, .. } => *class,
            Self::Randomness => ErrorClass::Transient,
            Self::Mode { .. } | Self::Kind { .. } | Self::Exists { .. } | Self::Form { .. } => ErrorClass::Caller,
            Self::Box { .. } => ErrorClass::Corrupt,
            Self::Role | Self::Statements { .. } => ErrorClass::Bug,
        }
    }
}

fn expected(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::NotFound => "; expected the key that `chartseal init` made, or its copy from your backup",
        ErrorKind::PermissionDenied => "; expected one of this user, who runs the gateway",
        _ => "",
    }
}

/// Why a case could not be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// No unit, or more than `limits::CASE_UNITS_MAX`.
    #[error("found {found} units, expected 1 to {max}")]
    Units {
        /// How many.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// A unit's type is empty, longer than 64 bytes or not plain ASCII letters, digits, `-`.
    #[error("unit {unit}: found a type that is not 1 to 64 letters, digits or hyphens")]
    Kind {
        /// Index of the unit.
        unit: usize,
    },
    /// A unit exceeds `limits::UNIT_BYTES_MAX`.
    #[error("unit {unit}: found {found} bytes, expected at most {max}")]
    TooLarge {
        /// Index of the unit.
        unit: usize,
        /// Its bytes.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// The previous version's number cannot be followed.
    #[error("found a previous version that has no successor")]
    Version,
    /// The patient's bound key is no point of P-256.
    #[error("found a patient key that is no point of P-256")]
    PatientKey,
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    Randomness,
    /// The cipher refused what it never refuses.
    #[error("the cipher refused to seal")]
    Cipher,
}

impl SealError {
    /// What kind of failure it is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Units { .. } | Self::Kind { .. } | Self::TooLarge { .. } => ErrorClass::Caller,
            Self::PatientKey | Self::Version => ErrorClass::Conflict,
            Self::Randomness => ErrorClass::Transient,
            Self::Cipher => ErrorClass::Bug,
        }
    }
}

/// Why a unit is not what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// There is no such unit.
    #[error("there is no such unit")]
    Absent,
    /// A chunk's tag does not verify: flipped, swapped, reordered or truncated.
    #[error("its ciphertext does not verify")]
    Tag,
    /// The plaintext is not laid out as length, type, bytes, zeros.
    #[error("its padding is not the one spelling")]
    Padding,
    /// The salted leaf over the content is another.
    #[error("its salted leaf is another")]
    Leaf,
}

/// Why a case was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The object's digest is not the anchored one.
    #[error("found an object with another digest than the anchored one")]
    Digest,
    /// Layout, header or Merkle root.
    #[error("object: {0}")]
    Object(#[from] ObjectError),
    /// The case is about another subject.
    #[error("found another subject's case")]
    Subject,
    /// No wrap is for this recipient: shredded, or never there.
    #[error("found no wrap for this recipient")]
    NoWrap,
    /// A wrap for this recipient does not open.
    #[error("found a wrap that does not open")]
    Wrap,
    /// The wrap gave a key that the header does not commit to.
    #[error("found a key that the header does not commit to")]
    Commitment,
    /// The permit is for another unit.
    #[error("unit {unit}: found a permit for another unit")]
    Permit {
        /// Index of the unit asked for.
        unit: usize,
    },
    /// One unit.
    #[error("unit {unit}: {error}")]
    Unit {
        /// Index of the unit.
        unit: usize,
        /// What is wrong with it.
        error: UnitError,
    },
}

impl OpenError {
    /// What kind of failure it is.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Unit { error: UnitError::Absent, .. } | Self::Subject | Self::NoWrap => ErrorClass::Conflict,
            Self::Permit { .. } => ErrorClass::Bug,
            _ => ErrorClass::Corrupt,
        }
    }
}

/// Why a case must not be anchored (Algorithm 2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AbandonError {
    /// The transaction does not carry statements as it says.
    #[error("found a transaction whose statements are not what its body says: {0}")]
    Transaction(&'static str),
    /// A signature is missing, superfluous or wrong.
    #[error("found a wrong signature of the {0}")]
    Signature(&'static str),
    /// There is no such statement.
    #[error("there is no statement {index}")]
    Statement {
        /// The index asked for.
        index: usize,
    },
    /// Header and statement, or header and transaction, differ.
    #[error("found a header that differs from its statement in: {0}")]
    Header(&'static str),
    /// The wraps are not those of the statement.
    #[error("found other wraps than the statement names")]
    Wraps,
    /// The case does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl AbandonError {
    /// What kind of failure it is: whatever was sealed is not what is there.
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }
}
