//! Reads JSON (RFC 8259, UTF-8, no extensions) into the lossless tree.
//!
//! Bounded by `limits::JSON_DEPTH_MAX`; refuses duplicate names, lone surrogates and trailing bytes. Errors carry the
//! place and the kind, never a value; a name is shown only when it looks like a FHIR element's.

use std::fmt;

use super::{Number, Object, Text, Value};
use crate::limits;

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonErrorKind {
    /// The bytes are not UTF-8.
    NotUtf8,
    /// The text ended inside a value.
    Truncated,
    /// A byte that the grammar does not allow here.
    Unexpected,
    /// A name occurs twice in one object.
    DuplicateName,
    /// Nested deeper than `limits::JSON_DEPTH_MAX`.
    TooDeep,
    /// An escape that is no escape, or half of a surrogate pair.
    BadEscape,
    /// A number that JSON does not allow (leading zero, bare point, …).
    BadNumber,
    /// Bytes after the value.
    Trailing,
}

/// A refused document: kind, byte offset and path (`entry[3].resource.status`), never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("JSON refused at byte {offset}{}: {kind}", if path.is_empty() { String::new() } else { format!(" ({path})") })]
pub struct JsonError {
    /// What was wrong.
    pub kind: JsonErrorKind,
    /// Offset in bytes.
    pub offset: usize,
    /// Where in the tree; empty at the top.
    pub path: String,
}

impl fmt::Display for JsonErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "found bytes that are not UTF-8, expected UTF-8",
            Self::Truncated => "found the end of the text, expected more of the value",
            Self::Unexpected => "found a character that JSON does not allow here",
            Self::DuplicateName => "found a member twice, expected each name once",
            Self::TooDeep => "found deeper nesting than is accepted",
            Self::BadEscape => "found an escape or surrogate that JSON does not allow",
            Self::BadNumber => "found a number that JSON does not allow",
            Self::Trailing => "found bytes after the value, expected the end",
        })
    }
}

/// Parses one document.
///
/// # Errors
/// `JsonError` with kind, offset and path.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|e| JsonError {
        kind: JsonErrorKind::NotUtf8,
        offset: e.valid_up_to(),
        path: String::new(),
    })?;
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.space();
    let value = parser.value()?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.error(JsonErrorKind::Trailing));
    }
    Ok(value)
}

/// Whether `token` is exactly one JSON number.
pub(super) fn is_number(token: &[u8]) -> bool {
    let (length, ok) = scan_number(token);
    ok && length == token.len()
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn error(&self, kind: JsonErrorKind) -> JsonError {
        JsonError { kind, offset: self.at, path: String::new() }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self) -> JsonError {
        self.error(if self.peek().is_none() { JsonErrorKind::Truncated } else { JsonErrorKind::Unexpected })
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.unexpected()),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, JsonError>) -> Result<Value, JsonError> {
        self.depth += 1;
        if self.depth > limits::JSON_DEPTH_MAX {
            return Err(self.error(JsonErrorKind::TooDeep));
        }
        self.at += 1;
        self.space();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        let rest = &self.text.as_bytes()[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        Err(self.error(if word.as_bytes().starts_with(rest) {
            JsonErrorKind::Truncated
        } else {
            JsonErrorKind::Unexpected
        }))
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let (length, ok) = scan_number(&self.text.as_bytes()[self.at..]);
        if !ok {
            return Err(self.error(JsonErrorKind::BadNumber));
        }
        let token = &self.text[self.at..self.at + length];
        self.at += length;
        Ok(Value::Number(Number(token.into())))
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            let item = self.value().map_err(|e| within(e, None, items.len()))?;
            items.push(item);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                _ => return Err(within(self.unexpected(), None, items.len() - 1)),
            }
            self.space();
        }
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let mut object = Object::new();
        let mut seen = NamesSeen::default();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(object));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let name_at = self.at;
            let name = self.string()?;
            if !seen.add(&object, &name) {
                let error = JsonError { kind: JsonErrorKind::DuplicateName, offset: name_at, path: String::new() };
                return Err(within(error, Some(&name), 0));
            }
            self.space();
            if self.peek() != Some(b':') {
                return Err(within(self.unexpected(), Some(&name), 0));
            }
            self.at += 1;
            self.space();
            let value = self.value().map_err(|e| within(e, Some(&name), 0))?;
            object.push_new(name, value);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(object));
                }
                _ => return Err(self.unexpected()),
            }
            self.space();
        }
    }

    fn string(&mut self) -> Result<Text, JsonError> {
        self.at += 1;
        let bytes = self.text.as_bytes();
        let from = self.at;
        let mut owned: Option<String> = None;
        let mut clean_from = from;
        loop {
            match bytes.get(self.at) {
                None => return Err(self.error(JsonErrorKind::Truncated)),
                Some(b'"') => break,
                Some(b'\\') => {
                    let out = owned.get_or_insert_with(String::new);
                    out.push_str(&self.text[clean_from..self.at]);
                    let c = self.escape()?;
                    owned.get_or_insert_with(String::new).push(c);
                    clean_from = self.at;
                }
                Some(0..=0x1f) => return Err(self.error(JsonErrorKind::Unexpected)),
                Some(_) => self.at += 1,
            }
        }
        let rest = &self.text[clean_from..self.at];
        self.at += 1;
        Ok(match owned {
            Some(mut text) => {
                text.push_str(rest);
                text.into()
            }
            None => Text::of(rest),
        })
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let bad = self.error(JsonErrorKind::BadEscape);
        let kind = self.text.as_bytes().get(self.at + 1).copied();
        self.at += 2;
        Ok(match kind {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let high = self.hex4().ok_or_else(|| bad.clone())?;
                if !(0xd800..0xe000).contains(&high) {
                    return char::from_u32(high).ok_or(bad);
                }
                if self.text.as_bytes().get(self.at..self.at + 2) != Some(b"\\u") {
                    return Err(bad);
                }
                self.at += 2;
                let low = self.hex4().ok_or_else(|| bad.clone())?;
                if high >= 0xdc00 || !(0xdc00..0xe000).contains(&low) {
                    return Err(bad);
                }
                char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or(bad)?
            }
            _ => return Err(bad),
        })
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

/// Linear search while an object is small, a set once it is not: hostile objects stay linear in time.
#[derive(Default)]
struct NamesSeen(std::collections::HashSet<Text>);

impl NamesSeen {
    fn add(&mut self, object: &Object, name: &Text) -> bool {
        const SMALL: usize = 24;
        if object.len() < SMALL {
            return object.get(name).is_none();
        }
        if object.len() == SMALL && self.0.is_empty() {
            self.0.extend(object.members().iter().map(|(k, _)| k.clone()));
        }
        self.0.insert(name.clone())
    }
}

/// The names that elements of FHIR R4 have.
const ELEMENTS: &str = include_str!("elements.txt");

/// Puts one step in front of the error's path. Names that no FHIR element has are shown as `?`: where quotes are missing, a
/// name is whatever came before the next one, patients' names too.
fn within(mut error: JsonError, name: Option<&str>, index: usize) -> JsonError {
    let step = match name {
        None => format!("[{index}]"),
        Some(name) if is_element_name(name) => name.to_owned(),
        Some(_) => "?".to_owned(),
    };
    error.path = match error.path.chars().next() {
        None => step,
        Some('[') => step + &error.path,
        Some(_) => format!("{step}.{}", error.path),
    };
    error
}

fn is_element_name(name: &str) -> bool {
    let bare = name.strip_prefix('_').unwrap_or(name);
    ELEMENTS.split_ascii_whitespace().any(|known| known == bare)
}

/// Length of the number at the start of `bytes`, and whether it is well formed.
fn scan_number(bytes: &[u8]) -> (usize, bool) {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return (at + whole, false);
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return (at + 1, false);
        }
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = bytes.get(at + 1 + sign..).map_or(0, |_| digits(at + 1 + sign));
        if exponent == 0 {
            return (at + 1 + sign, false);
        }
        at += 1 + sign + exponent;
    }
    (at, true)
}
