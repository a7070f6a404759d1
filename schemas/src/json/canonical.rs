//! Writes JSON: the canonical form that is hashed and sealed (RFC 8785 §3.2.2.2 strings, §3.2.3 member order by UTF-16
//! code units, numbers as written) and the plain form for answers. It must never change a number or a string's content.

use super::{Text, Value};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Objects of up to this many members are sorted without a heap allocation.
const FEW: usize = 16;

pub(super) fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(object) if object.members.len() <= FEW => {
            let mut at = [0; FEW];
            let at = &mut at[..object.members.len()];
            at.iter_mut().enumerate().for_each(|(n, slot)| *slot = n);
            at.sort_unstable_by(|a, b| order(&object.members[*a].0, &object.members[*b].0));
            write_members(at.iter().map(|n| &object.members[*n]), out, write);
        }
        Value::Object(object) => {
            let mut members: Vec<&(Text, Value)> = object.members.iter().collect();
            members.sort_unstable_by(|a, b| order(&a.0, &b.0));
            write_members(members.into_iter(), out, write);
        }
        other => write_other(other, out, write),
    }
}

pub(super) fn write_in_order(value: &Value, out: &mut Vec<u8>) {
    if let Value::Object(object) = value {
        write_members(object.members.iter(), out, write_in_order);
    } else {
        write_other(value, out, write_in_order);
    }
}

/// UTF-16 code unit order. It is the order of the UTF-8 bytes but where one text continues beyond U+DFFF.
fn order(a: &str, b: &str) -> std::cmp::Ordering {
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
        write_string(name, out);
        out.push(b':');
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

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let plain = plain_prefix(rest);
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
    out.push(b'"');
}

/// How many bytes from the start need no escape; eight at once, for most text needs none.
fn plain_prefix(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let whole = words.iter().take_while(|word| is_plain(u64::from_ne_bytes(**word))).count() * 8;
    let special = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
    bytes[whole..].iter().position(special).map_or(bytes.len(), |at| whole + at)
}

/// Whether none of eight bytes is a control character, a quote or a backslash.
fn is_plain(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let below = |w: u64, n: u64| w.wrapping_sub(ONES * n) & !w;
    let is = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, 0x20) | is(b'"') | is(b'\\')) & (ONES << 7) == 0
}
