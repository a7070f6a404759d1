//! One input → its messages: byte-order mark, MLLP framing and FHS/BHS/BTS/FTS lines are set aside, MSH begins a message.
//! It must never skip other bytes in silence.

use crate::batch::miscounted;
use crate::bounds::{MAX_INPUT_BYTES, MAX_MESSAGES};
use crate::error::MapError;

/// The bytes of one message and where they stand in the input.
#[derive(Clone, Copy, Debug)]
pub struct RawMessage<'a> {
    pub bytes: &'a [u8],
    pub offset: usize,
}

/// Cuts an input into messages. Works on raw bytes: in every supported set CR, LF and the letters of a segment name at
/// the beginning of a line are themselves.
pub fn split_messages(raw: &[u8]) -> Result<Vec<RawMessage<'_>>, MapError> {
    let refuse = |code, path: &str, at, text: &str| Err(MapError::new(code, path, at, text));
    if raw.len() > MAX_INPUT_BYTES {
        return refuse("too-large", "MSH", MAX_INPUT_BYTES, "the input is larger than the maximum");
    }
    if raw.starts_with(b"\xff\xfe") || raw.starts_with(b"\xfe\xff") {
        return refuse(
            "unsupported-charset",
            "MSH-18",
            0,
            "found a UTF-16 byte-order mark, expected a set that keeps ASCII",
        );
    }
    let mut starts: Vec<(usize, bool)> = Vec::new();
    let mut at = if raw.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    while at < raw.len() {
        let end = line_end(raw, at);
        let lead = raw[at..end].iter().take_while(|b| **b == 0x0b || (starts.is_empty() && **b == b' ')).count();
        let line = &raw[at + lead..end];
        let begins = |name: &[u8]| line.starts_with(name) && line.get(3).is_some_and(|b| !b.is_ascii_alphanumeric());
        if begins(b"MSH") || line == b"MSH" {
            starts.push((at + lead, true));
        } else if [&b"FHS"[..], b"BHS", b"BTS", b"FTS"].iter().any(|n| begins(n) || line == *n) {
            starts.push((at + lead, false));
        } else if !starts.last().is_some_and(|(_, message)| *message) && !blank(line) {
            return refuse(
                "no-msh",
                "MSH",
                at,
                "found text outside of a message, expected MSH at the beginning of a line",
            );
        }
        if starts.len() > MAX_MESSAGES {
            return refuse("too-many-messages", "MSH", at, "the batch holds more messages than the maximum");
        }
        at = end + 1;
    }
    let ends = starts.iter().skip(1).map(|(at, _)| *at).chain([raw.len()]);
    let messages: Vec<_> = starts
        .iter()
        .zip(ends)
        .filter(|((_, message), _)| *message)
        .map(|((start, _), end)| RawMessage { bytes: trim_frame(&raw[*start..end]), offset: *start })
        .collect();
    if messages.is_empty() && miscounted(raw).is_some() {
        let text = "found another count of messages in the batch than came";
        return refuse("batch-count", "BTS-1", 0, text);
    }
    if messages.is_empty() {
        return refuse("no-msh", "MSH", 0, "found no message, expected a line that begins with MSH");
    }
    Ok(messages)
}

/// Where the line that holds byte `at` ends, sixteen bytes at once.
pub fn line_end(bytes: &[u8], at: usize) -> usize {
    let ends = |b: &u8| matches!(b, b'\r' | b'\n');
    let rest = bytes.get(at..).unwrap_or_default();
    let (blocks, _) = rest.as_chunks::<16>();
    // no early end inside a block: so it becomes one vector operation
    let inside = |block: &&[u8; 16]| !block.iter().fold(false, |any, b| any | ends(b));
    let whole = at + 16 * blocks.iter().take_while(inside).count();
    let last = bytes.get(whole..).unwrap_or_default();
    whole + last.iter().position(ends).unwrap_or(last.len())
}

/// Whether a line holds nothing but white space and ends of frames.
pub fn blank(line: &[u8]) -> bool {
    line.iter().all(|b| b.is_ascii_whitespace() || matches!(b, 0x0b | 0x1c | 0x1a))
}

/// Takes the end of an MLLP frame off.
fn trim_frame(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n' | 0x1c | 0x1a] = bytes {
        bytes = rest;
    }
    bytes
}
