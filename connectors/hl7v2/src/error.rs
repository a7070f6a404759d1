//! Why a message or a table was refused: a code, a place, a reason. Never a value of a message.

use schemas::ErrorClass;
use thiserror::Error;

/// A refused message: `path` names the place (`PID-5.1`, `MSH-18`), `offset` the byte in the input.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path} at byte {offset}: {message} ({code})")]
pub struct MapError {
    /// Stable code, for dead letters and dashboards.
    pub code: &'static str,
    /// Place in HL7 notation.
    pub path: String,
    /// Byte offset in the input as it was received.
    pub offset: usize,
    /// Found and expected, without the value.
    pub message: String,
}

impl MapError {
    pub(crate) fn new(code: &'static str, path: impl Into<String>, offset: usize, message: impl Into<String>) -> Self {
        Self { code, path: path.into(), offset, message: message.into() }
    }

    /// The caller sent what cannot be mapped.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Caller
    }
}

/// A mapping table that cannot be used: names file and line, found and expected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{file}:{line}: found {found}, expected {expected}{}", .hint.as_ref().map(|h| format!(" (did you mean `{h}`?)")).unwrap_or_default())]
pub struct TableError {
    /// File name below `schemas/mappings/` or in the site's directory.
    pub file: String,
    /// Line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// What stands there.
    pub found: String,
    /// What would be right.
    pub expected: String,
    /// The nearest known name.
    pub hint: Option<String>,
}

impl TableError {
    pub(crate) fn new(file: &str, line: u32, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { file: file.into(), line, found: found.into(), expected: expected.into(), hint: None }
    }

    pub(crate) fn or_meant<'n>(mut self, name: &str, known: impl Iterator<Item = &'n str>) -> Self {
        self.hint = nearest(name, known);
        self
    }

    /// A configuration mistake.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Caller
    }
}

fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    known
        .map(|k| (distance(&name.to_ascii_lowercase(), &k.to_ascii_lowercase()), k))
        .filter(|(d, _)| *d <= 1 + name.len() / 3)
        .min()
        .map(|(_, k)| k.to_owned())
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
