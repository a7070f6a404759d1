//! How a command ends: exit codes (commands.md) and failures with a text of the form found, expected, what to do. Every
//! library error becomes one of these here; its class decides the exit code, never its text.

use std::fmt;

use schemas::ErrorClass;

/// Exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// `verify`: the proof does not hold.
    Invalid = 2,
    /// `verify`: something is missing that the proof needs.
    Incomplete = 4,
    /// Bad arguments or configuration.
    Usage = 64,
    /// A service that is needed cannot be reached.
    Unavailable = 69,
    /// Not now: the same command may succeed later.
    TryAgain = 75,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What every command returns.
pub type Outcome = Result<Exit, Failure>;

/// Why a command could not do what was asked.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    message: String,
}

impl Failure {
    /// A failure with its code and text.
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// Bad arguments or configuration.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A service that is needed cannot be reached.
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self::new(Exit::Unavailable, message)
    }

    /// A library's error: its class decides the code.
    pub fn classed(class: ErrorClass, error: impl fmt::Display) -> Self {
        let exit = match class {
            ErrorClass::Transient => Exit::TryAgain,
            ErrorClass::Caller | ErrorClass::Conflict | ErrorClass::Corrupt | ErrorClass::Bug => Exit::Failed,
        };
        Self::new(exit, error)
    }

    /// Why a process cannot start or a configuration be used: what its caller can change is bad usage, of all else the class decides.
    pub fn starting(class: ErrorClass, error: impl fmt::Display) -> Self {
        match class {
            ErrorClass::Caller => Self::usage(error),
            class => Self::classed(class, error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, format_args!("{error:#}"))
    }
}

/// Reads a file; the failure names it.
pub fn read(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::usage(format_args!("{}: {e}; expected a readable file", path.display())))
}

/// Reads a text file; the failure names it.
pub fn read_text(path: &std::path::Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Failure::usage(format_args!("{}: found a byte at {at} that is not UTF-8, expected text", path.display()))
    })
}
