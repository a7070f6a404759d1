//! Escape sequences of a value: delimiters, hex, character-set switches, formatting. What is not understood or not ended
//! stays as it was written.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8};

use super::Delimiters;
use crate::charset::{Charset, decode_switched, switched};

/// The longest body of a sequence that is looked for, in bytes; hex data may be long.
const MAX_BODY: usize = 4096;

/// A value without its escape sequences.
pub fn unescape<'t>(text: &'t str, delimiters: &Delimiters, charset: Charset) -> Cow<'t, str> {
    let Some(escape) = delimiters.escape else { return Cow::Borrowed(text) };
    if !text.as_bytes().contains(&escape) {
        return Cow::Borrowed(text);
    }
    let mut out = Writer { out: String::with_capacity(text.len()), hex: Vec::new(), switch: None, charset };
    let mut rest = text;
    while let Some(start) = rest.bytes().position(|b| b == escape) {
        out.text(&rest[..start]);
        let behind = &rest[start + 1..];
        let end = behind.bytes().take(MAX_BODY).position(|b| b == escape);
        match end.filter(|end| out.sequence(&behind[..*end], delimiters)) {
            Some(end) => rest = &behind[end + 1..],
            None => {
                // not a sequence: the escape character is text, and what follows may still begin one
                out.text(&rest[start..=start]);
                rest = behind;
            }
        }
    }
    out.text(rest);
    out.flush();
    Cow::Owned(out.out)
}

struct Writer {
    out: String,
    /// Bytes of neighbouring `\X..\`, which may be one character together.
    hex: Vec<u8>,
    switch: Option<&'static Encoding>,
    charset: Charset,
}

impl Writer {
    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.flush();
        let Some(encoding) = self.switch else { return self.out.push_str(text) };
        let bytes = if self.charset.encoding() == UTF_8 {
            Cow::Borrowed(text.as_bytes())
        } else {
            self.charset.encoding().encode(text).0
        };
        match decode_switched(encoding, &bytes) {
            Some(decoded) => self.out.push_str(&decoded),
            None => self.out.push_str(text),
        }
    }

    fn flush(&mut self) {
        if self.hex.is_empty() {
            return;
        }
        let encoding = self.switch.unwrap_or(self.charset.encoding());
        match encoding.decode_without_bom_handling_and_without_replacement(&self.hex) {
            Some(text) => self.out.push_str(&text),
            // single bytes above 127 that are no UTF-8: senders mean Latin-1
            None => self.out.extend(self.hex.iter().map(|b| char::from(*b))),
        }
        self.hex.clear();
    }

    /// Takes one sequence; `false` when it is none.
    fn sequence(&mut self, body: &str, delimiters: &Delimiters) -> bool {
        let one = |b: u8| char::from(b).to_string();
        let plain = match body {
            "F" => one(delimiters.field),
            "S" => one(delimiters.component),
            "R" => delimiters.repetition.map(one).unwrap_or_default(),
            "T" => delimiters.subcomponent.map(one).unwrap_or_default(),
            "E" => delimiters.escape.map(one).unwrap_or_default(),
            "P" => one(delimiters.truncation.unwrap_or(b'#')),
            "H" | "N" | ".fi" | ".nf" => String::new(),
            ".br" | ".ce" => "\n".into(),
            _ => return self.longer(body),
        };
        self.flush();
        self.out.push_str(&plain);
        true
    }

    fn longer(&mut self, body: &str) -> bool {
        let count = |rest: &str| match rest.trim_start_matches('+').trim() {
            "" => Some(1),
            n => n.parse::<usize>().ok().filter(|n| *n <= 100),
        };
        if let Some(hex) = body.strip_prefix('X') {
            return self.hex(hex);
        }
        for kind in ['C', 'M'] {
            if let Some(encoding) = body.strip_prefix(kind).and_then(|d| switched(kind as u8, d)) {
                self.flush();
                self.switch = (encoding != UTF_8).then_some(encoding);
                return true;
            }
        }
        let repeated = |prefix: &str| body.strip_prefix(prefix).and_then(count);
        let text = if let Some(n) = repeated(".sp") {
            "\n".repeat(n)
        } else if let Some(n) = repeated(".sk") {
            " ".repeat(n)
        } else if repeated(".in").or_else(|| repeated(".ti")).is_some() {
            String::new()
        } else {
            return false;
        };
        self.flush();
        self.out.push_str(&text);
        true
    }

    /// Hex data. Control characters that FHIR strings cannot hold keep the sequence as it is.
    fn hex(&mut self, digits: &str) -> bool {
        let digits = digits.as_bytes();
        if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
            return false;
        }
        let value = |b: u8| char::from(b).to_digit(16).unwrap_or(0) as u8;
        let bytes: Vec<u8> = digits.chunks(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect();
        if bytes.iter().any(|b| *b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r')) {
            return false;
        }
        self.hex.extend(bytes);
        true
    }
}
