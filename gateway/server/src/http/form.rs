//! Decoded parameters of a query or a form, in order, duplicates kept: whoever reads them decides what twice means. Strict
//! about percent encoding and UTF-8. Pure.

use axum::http::{HeaderMap, header};

/// Most parameters of one request.
const PARAMETERS_MAX: usize = 256;

/// Parameters in their order.
pub type Form = Vec<(String, String)>;

/// A form body; `None` for another media type or bad encoding.
pub fn parse(headers: &HeaderMap, body: &[u8]) -> Option<Form> {
    let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let bare = kind.split(';').next()?.trim();
    if !bare.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return None;
    }
    decode(std::str::from_utf8(body).ok()?)
}

/// `a=b&c=d`; `None` for bad encoding or too many.
pub fn decode(text: &str) -> Option<Form> {
    let mut form = Form::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        form.push((piece(name)?, piece(value)?));
        if form.len() > PARAMETERS_MAX {
            return None;
        }
    }
    Some(form)
}

fn piece(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |b: Option<u8>| char::from(b?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                out.push(u8::try_from(high << 4 | low).ok()?);
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok()
}

/// Encodes one piece for a query.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A parameter that occurs twice where once is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Twice;

/// The value of a parameter that may occur once.
///
/// # Errors
/// `Twice`.
pub fn once<'a>(form: &'a Form, name: &str) -> Result<Option<&'a str>, Twice> {
    let mut found = form.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
    match (found.next(), found.next()) {
        (_, Some(_)) => Err(Twice),
        (found, None) => Ok(found),
    }
}
