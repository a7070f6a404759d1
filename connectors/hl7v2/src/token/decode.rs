//! Bytes of one message → UTF-8 text by MSH-18. An unknown set or a byte that is not of the set is an error with its place.

use std::borrow::Cow;

use encoding_rs::{DecoderResult, UTF_8};

use super::envelope::RawMessage;
use super::{Delimiters, MapError};
use crate::charset::Charset;

pub(super) fn decode<'a>(
    input: &RawMessage<'a>,
    delimiters: &Delimiters,
    default: Charset,
) -> Result<(Cow<'a, str>, Charset), MapError> {
    let charset = declared(input, delimiters, default)?;
    let bad = |at: usize| {
        let path = place(input.bytes, at, delimiters);
        let message = "found a byte that is not of the character set of MSH-18 (or the default), expected text in it";
        Err(MapError::new("bad-encoding", path, input.offset + at, message))
    };
    match charset {
        Charset::Ascii => match input.bytes.iter().position(|b| !b.is_ascii()) {
            Some(at) => bad(at),
            None => Ok((Cow::Borrowed(std::str::from_utf8(input.bytes).unwrap_or_default()), charset)),
        },
        Charset::Encoded(encoding) if encoding == UTF_8 => match std::str::from_utf8(input.bytes) {
            Ok(text) => Ok((Cow::Borrowed(text), charset)),
            Err(error) => bad(error.valid_up_to()),
        },
        Charset::Encoded(encoding) => {
            let mut decoder = encoding.new_decoder_without_bom_handling();
            let room = decoder.max_utf8_buffer_length_without_replacement(input.bytes.len()).unwrap_or(0);
            let mut text = String::with_capacity(room);
            match decoder.decode_to_string_without_replacement(input.bytes, &mut text, true) {
                (DecoderResult::InputEmpty, _) => Ok((Cow::Owned(text), charset)),
                (_, read) => bad(read.saturating_sub(1)),
            }
        }
    }
}

/// The set of MSH-18, first repetition; every repetition must be known. MSH itself is read as ASCII.
fn declared(input: &RawMessage<'_>, delimiters: &Delimiters, default: Charset) -> Result<Charset, MapError> {
    let bytes = input.bytes;
    let line = &bytes[..bytes.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len())];
    let mut start = 0;
    let mut first = None;
    for (n, field) in line.split(|b| *b == delimiters.field).enumerate() {
        // split: MSH is 0, MSH-2 is 1, so MSH-18 is 17
        if n == 17 {
            for (i, name) in field.split(|b| Some(*b) == delimiters.repetition).enumerate() {
                let name = std::str::from_utf8(name).unwrap_or("?").trim();
                if name.is_empty() || name == "\"\"" {
                    continue;
                }
                let Some(set) = Charset::named(name) else {
                    let message = "found an unknown character set, expected one of HL7 table 0211 or a WHATWG label";
                    let path = if i == 0 { "MSH-18".into() } else { format!("MSH-18[{}]", i + 1) };
                    return Err(MapError::new("unsupported-charset", path, input.offset + start, message));
                };
                first.get_or_insert(set);
            }
        }
        start += field.len() + 1;
    }
    Ok(first.unwrap_or(default))
}

/// The field in which byte `at` stands, read without decoding.
fn place(bytes: &[u8], at: usize, delimiters: &Delimiters) -> String {
    let before = &bytes[..at.min(bytes.len())];
    let start = before.iter().rposition(|b| matches!(b, b'\r' | b'\n')).map_or(0, |p| p + 1);
    let line = &before[start..];
    let name = match line.get(..3) {
        Some(name) if name.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) => {
            String::from_utf8_lossy(name)
        }
        _ => return "?".into(),
    };
    let field = line.iter().filter(|b| **b == delimiters.field).count() + usize::from(name == "MSH");
    if field == 0 { name.into_owned() } else { format!("{name}-{field}") }
}
