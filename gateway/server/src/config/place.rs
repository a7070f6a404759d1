//! Where a fault of a configuration file stands, in words that help: line, column, found, expected, the nearest known
//! name. Stands beside `Config::parse`. It must never print the value of a key that may be a secret.

use std::path::Path;

use super::ConfigError;

/// A fault that the TOML reader found.
pub fn of_toml(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let place = error.span().map(|span| line_column(text, span.start));
    let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
    let mut quoted = message.split('`').skip(1).step_by(2).map(str::to_owned);
    let suggestion = quoted.next().filter(|_| message.starts_with("unknown")).and_then(|found| nearest(&found, quoted));
    let message = message.replacen("unknown field", "found unknown key", 1);
    ConfigError { file: file.to_owned(), place, message, suggestion }
}

/// A fault of a key or table, placed where it is set, else at its first mention outside of comments.
pub fn of_key(file: &Path, text: &str, key: &str, message: String) -> ConfigError {
    let starts = text.split_inclusive('\n').scan(0, |end, line| {
        let start = *end;
        *end += line.len();
        Some((start, line))
    });
    let (mut set, mut mentioned) = (None, None);
    for (start, line) in starts {
        let code = line.split('#').next().unwrap_or_default();
        let indent = code.len() - code.trim_start().len();
        let rest = code.trim_start().strip_prefix(key);
        // not the beginning of a longer key
        let whole = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        if set.is_none() && rest.is_some_and(whole) {
            set = Some(start + indent);
        }
        mentioned = mentioned.or_else(|| code.find(key).map(|at| start + at));
    }
    let place = set.or(mentioned).map(|at| line_column(text, at));
    ConfigError { file: file.to_owned(), place, message, suggestion: None }
}

/// Line and column from 1.
pub fn line_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// The known name within a third of the letters, if any.
pub fn nearest(found: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .map(|name| (distance(found, &name), name))
        .filter(|(distance, name)| *distance <= name.len().max(3) / 3)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let next = (diagonal + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}
