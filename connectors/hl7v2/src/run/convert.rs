//! HL7 text → FHIR primitives. What does not fit gives nothing, so that its field is listed as unmapped.

use schemas::json::{Number, Text, Value};

use crate::table::Primitive;
use crate::time::{Stamp, Zone, time_of_day};

/// One primitive from text; `None` when the text is none of its kind.
pub fn primitive(kind: Primitive, text: &str, zone: &Zone) -> Option<Value> {
    let string = |text: String| Some(Value::from(text));
    let copy = |text: &str| Some(Value::String(Text::of(text)));
    match kind {
        Primitive::String | Primitive::Text => copy(text),
        Primitive::Code if !text.contains("  ") && !text.contains(['\t', '\n', '\r']) => copy(text),
        Primitive::Code => string(text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")),
        Primitive::Uri => string(uri(text)?),
        Primitive::Oid => string(format!("urn:oid:{}", Some(text).filter(|t| is_oid(t))?)),
        Primitive::Uuid => string(format!("urn:uuid:{}", Some(text).filter(|t| is_uuid(t))?.to_ascii_lowercase())),
        Primitive::Date => string(Stamp::read(text)?.date()),
        Primitive::DateTime => string(Stamp::read(text)?.date_time(zone)),
        Primitive::Instant => string(Stamp::read(text)?.instant(zone)?),
        Primitive::Time => string(time_of_day(text)?),
        Primitive::Decimal => decimal(text.trim_start_matches(['<', '>', '=']).trim_start()).map(Value::Number),
        Primitive::Comparator => comparator(text).map(Value::from),
        Primitive::Integer => integer(text, i64::from(i32::MIN)),
        Primitive::UnsignedInt => integer(text, 0),
        Primitive::PositiveInt => integer(text, 1),
        Primitive::Boolean => match text {
            "true" | "Y" => Some(Value::Bool(true)),
            "false" | "N" => Some(Value::Bool(false)),
            _ => None,
        },
        Primitive::Base64 => string(base64(text)?),
        Primitive::EncodeBase64 => string(encode_base64(text.as_bytes())),
        Primitive::HexBase64 => string(encode_base64(&unhex(text)?)),
    }
}

/// The comparator in front of a number.
fn comparator(text: &str) -> Option<&'static str> {
    ["<=", ">=", "<", ">"].into_iter().find(|c| text.starts_with(c))
}

/// Whether a text is a number, as `decimal` reads it.
pub fn is_decimal(text: &str) -> bool {
    Number::is_token(text) || decimal(text).is_some()
}

/// A number with its digits; only what JSON forbids is taken off (`+`, leading zeros) or added (a zero before a dot).
pub fn decimal(text: &str) -> Option<Number> {
    if let Some(number) = Number::from_token(text) {
        return Some(number);
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') || !digits.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    let zero = if digits.starts_with(|c: char| c.is_ascii_digit()) { "" } else { "0" };
    Number::from_token(&format!("{sign}{zero}{}", digits.strip_suffix('.').unwrap_or(digits)))
}

fn integer(text: &str, least: i64) -> Option<Value> {
    let value: i64 = text.strip_prefix('+').unwrap_or(text).parse().ok()?;
    let fits = value >= least && value <= i64::from(i32::MAX);
    Number::from_token(&value.to_string()).filter(|_| fits).map(Value::Number)
}

/// An absolute URI as it is; a bare OID or UUID with its prefix.
fn uri(text: &str) -> Option<String> {
    if is_oid(text) {
        return Some(format!("urn:oid:{text}"));
    }
    if is_uuid(text) {
        return Some(format!("urn:uuid:{}", text.to_ascii_lowercase()));
    }
    let (scheme, rest) = text.split_once(':')?;
    let known = matches!(scheme, "http" | "https" | "urn" | "ftp" | "mllp" | "tel" | "mailto");
    (known && rest.len() > 2 && !text.contains(char::is_whitespace)).then(|| text.to_owned())
}

fn is_oid(text: &str) -> bool {
    let [b'0'..=b'2', b'.', rest @ ..] = text.as_bytes() else { return false };
    let arc = |a: &[u8]| !a.is_empty() && a.iter().all(u8::is_ascii_digit) && (a == b"0" || a[0] != b'0');
    rest.split(|b| *b == b'.').all(arc)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Base64 as sent, line breaks taken out; `None` when it is none.
fn base64(text: &str) -> Option<String> {
    // room at once: a document of many megabytes is not moved while it grows
    let mut clean = String::with_capacity(text.len());
    clean.extend(text.split_ascii_whitespace());
    let body = clean.trim_end_matches('=');
    let good = body.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'));
    (good && clean.len().is_multiple_of(4) && clean.len() - body.len() <= 2 && !body.is_empty()).then_some(clean)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| c.to_digit(16).map(|d| d as u8))
        .collect::<Option<_>>()?;
    (digits.len().is_multiple_of(2) && !digits.is_empty()).then(|| digits.chunks(2).map(|p| p[0] << 4 | p[1]).collect())
}

fn encode_base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0u32, |w, (at, b)| w | u32::from(*b) << (16 - 8 * at));
        for at in 0..4 {
            let sextet = (word >> (18 - 6 * at) & 63) as usize;
            out.push(if at <= chunk.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    out
}
