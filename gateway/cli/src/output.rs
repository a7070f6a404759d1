//! What a command prints: results on standard output (text, or one JSON document with `--json`), progress on standard error.
//! Colour only on a terminal and never with NO_COLOR (anstream strips it). Must never print secrets.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// One JSON document instead of text.
    pub json: bool,
    /// No progress.
    pub quiet: bool,
}

impl Output {
    /// As the arguments say.
    pub const fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Whether progress bars make sense.
    pub fn is_interactive(self) -> bool {
        !self.quiet && !self.json && std::io::stderr().is_terminal()
    }

    /// A line of the result. A closed pipe ends the output, not the command.
    pub fn line(self, text: impl std::fmt::Display) {
        if !self.json {
            let _ = writeln!(anstream::stdout(), "{text}");
        }
    }

    /// A line about progress, on standard error.
    pub fn note(self, text: impl std::fmt::Display) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }

    /// The document of `--json`, in one line.
    pub fn document(self, value: &impl Serialize) -> Result<(), Failure> {
        if self.json { self.last_line(value) } else { Ok(()) }
    }

    /// Bytes of the result as they are. A closed pipe ends the output, not the command.
    pub fn bytes(self, bytes: &[u8]) -> Outcome {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(bytes).and_then(|()| out.flush());
        Ok(Exit::Done)
    }

    /// One JSON object as the last line, whatever the mode.
    pub fn last_line(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|e| Failure::new(Exit::Failed, e))?;
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
        Ok(())
    }
}

/// Green on a terminal.
pub fn good(text: impl std::fmt::Display) -> String {
    format!("\u{1b}[32m{text}\u{1b}[0m")
}

/// Red on a terminal.
pub fn bad(text: impl std::fmt::Display) -> String {
    format!("\u{1b}[31m{text}\u{1b}[0m")
}

/// Bold on a terminal.
pub fn strong(text: impl std::fmt::Display) -> String {
    format!("\u{1b}[1m{text}\u{1b}[0m")
}
