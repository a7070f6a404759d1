//! Writes JSON: the canonical form that is hashed and sealed (RFC 8785 §3.2.2.2 strings, §3.2.3 member order by UTF-16
//! code units, numbers as written) and the plain form for answers. It must never change a number or a string's content.

use super::{Object, Text, Value};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Objects of up to this many members are sorted without a heap allocation.
const FEW: usize = 16;

/// Of such a length, in bytes, is a text that is a document.
const LARGE: usize = 64 << 10;

pub(super) fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(object) => write_object(object, out),
        other => write_other(other, out, write),
    }
}

pub(super) fn write_object(object: &Object, out: &mut Vec<u8>) {
    if let Some(written) = object.written() {
        return out.extend_from_slice(written);
    }
    let members = object.members();
    match members.len() {
        0 | 1 => write_members(members.iter(), out, write),
        2..=FEW => write_few(members, out),
        _ => {
            let mut members: Vec<&(Text, Value)> = members.iter().collect();
            members.sort_unstable_by(|a, b| order(&a.0, &b.0));
            write_members(members.into_iter(), out, write);
        }
    }
}

/// Sorts by insertion, on the first eight bytes of the names as one number: they nearly always decide, and tables mostly
/// name members in order.
fn write_few(members: &[(Text, Value)], out: &mut Vec<u8>) {
    let mut places = [(0u64, 0u8); FEW];
    for (n, (name, _)) in members.iter().enumerate() {
        let key = name.order();
        let mut slot = n;
        while let Some((other, at)) = slot.checked_sub(1).and_then(|before| places.get(before)).copied() {
            let ascii = (key | other) & (ONES << 7) == 0;
            let before =
                if ascii && key != other { key < other } else { order(name, &members[usize::from(at)].0).is_lt() };
            if !before {
                break;
            }
            places[slot] = (other, at);
            slot -= 1;
        }
        // fewer than 256
        places[slot] = (key, n as u8);
    }
    write_members(places[..members.len()].iter().map(|(_, n)| &members[usize::from(*n)]), out, write);
}

pub(super) fn write_in_order(value: &Value, out: &mut Vec<u8>) {
    if let Value::Object(object) = value {
        write_members(object.members().iter(), out, write_in_order);
    } else {
        write_other(value, out, write_in_order);
    }
}

/// UTF-16 code unit order. It is the order of the UTF-8 bytes but where one text continues beyond U+DFFF.
fn order(a: &Text, b: &Text) -> std::cmp::Ordering {
    match a.bytes().zip(b.bytes()).find(|(x, y)| x != y) {
        None => a.len().cmp(&b.len()),
        Some((x, y)) if x < 0xee && y < 0xee => x.cmp(&y),
        Some(_) => a.encode_utf16().cmp(b.encode_utf16()),
    }
}

fn write_members<'a>(
    members: impl Iterator<Item = &'a (Text, Value)>,
    out: &mut Vec<u8>,
    inner: fn(&Value, &mut Vec<u8>),
) {
    out.push(b'{');
    for (at, (name, value)) in members.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match name.name() {
            Some(name) => name.write(out),
            None => {
                write_string(name, out);
                out.push(b':');
            }
        }
        inner(value, out);
    }
    out.push(b'}');
}

fn write_other(value: &Value, out: &mut Vec<u8>, inner: fn(&Value, &mut Vec<u8>)) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number.as_str().as_bytes()),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                inner(item, out);
            }
            out.push(b']');
        }
        Value::Object(_) => inner(value, out),
    }
}

fn write_string(text: &Text, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    if bytes.len() < LARGE {
        out.reserve(bytes.len() + 2);
    } else {
        // with room for what stands behind a document: the next byte would double it
        out.reserve_exact(bytes.len() + LARGE);
    }
    out.push(b'"');
    if all_plain(bytes) {
        out.extend_from_slice(bytes);
    } else {
        write_escaped(bytes, out);
    }
    out.push(b'"');
}

fn write_escaped(mut rest: &[u8], out: &mut Vec<u8>) {
    loop {
        let plain = rest.iter().position(|b| is_special(*b)).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        let Some((&byte, behind)) = rest[plain..].split_first() else { break };
        rest = behind;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            control => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(control >> 4)]);
                out.push(HEX[usize::from(control & 15)]);
            }
        }
    }
}

/// A control character, a quote or a backslash.
fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Whether nothing needs an escape, as in most text; sixteen or eight bytes at once, the last overlapping those before.
#[inline]
fn all_plain(bytes: &[u8]) -> bool {
    if let Some(last) = bytes.last_chunk::<16>() {
        let (blocks, _) = bytes.as_chunks::<16>();
        // no early end inside a block: so it becomes one vector operation
        let plain = |block: &[u8; 16]| !block.iter().fold(false, |any, b| any | is_special(*b));
        blocks.iter().all(plain) && plain(last)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        is_plain(u64::from_ne_bytes(*first)) && is_plain(u64::from_ne_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        is_plain(u64::from(u32::from_ne_bytes(*first)) << 32 | u64::from(u32::from_ne_bytes(*last)))
    } else {
        !bytes.iter().any(|b| is_special(*b))
    }
}

const ONES: u64 = u64::MAX / 255;

/// Whether none of eight bytes is special.
fn is_plain(word: u64) -> bool {
    let below = |w: u64, n: u64| w.wrapping_sub(ONES * n) & !w;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & (ONES << 7) == 0
}
