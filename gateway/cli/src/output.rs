//! What a command prints: results on standard output (text, or one JSON document with `--json`), progress on standard error.
//! Colour only on a terminal and never with NO_COLOR (anstream strips it). What could not be written is remembered, and the command then
//! fails (`whole`). Must never print secrets.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};

/// The first write to standard output that failed: a process has one output, and whoever prints a line can do nothing about it.
static LOST: OnceLock<std::io::Error> = OnceLock::new();

fn note_lost(written: std::io::Result<()>) {
    if let Err(error) = written {
        // a later one says nothing new
        let _ = LOST.set(error);
    }
}

/// How a command ends whose output may be lost. A closed pipe is its reader's wish; what was lost otherwise (a full disk) makes a command
/// that was done a failed one, and leaves a worse end as it is.
///
/// # Errors
/// Failed: the result is not whole.
pub fn whole(outcome: Outcome) -> Outcome {
    note_lost(std::io::stdout().flush());
    match (&outcome, LOST.get()) {
        (Ok(Exit::Done), Some(error)) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::new(
            Exit::Failed,
            format_args!(
                "standard output: {error}; expected room for all of the result: what was done is done, what was printed is not whole"
            ),
        )),
        _ => outcome,
    }
}

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
            note_lost(writeln!(anstream::stdout(), "{text}"));
        }
    }

    /// Whether nothing can be printed any more: the end of a command that goes on until it is stopped.
    pub fn is_gone(self) -> bool {
        LOST.get().is_some()
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
        note_lost(out.write_all(bytes).and_then(|()| out.flush()));
        Ok(Exit::Done)
    }

    /// One JSON object as the last line, whatever the mode.
    pub fn last_line(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|e| Failure::new(Exit::Failed, e))?;
        let mut out = std::io::stdout().lock();
        note_lost(writeln!(out, "{text}").and_then(|()| out.flush()));
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
