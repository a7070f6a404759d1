//! The tokenizer: bytes of one input → messages → segments → fields, as spans. First step of normalise.
//!
//! Repetitions, components and subcomponents are split where a table asks for them (`parts`). Nothing is dropped: the
//! fields and separators of a segment, joined, are its bytes again; lines that are no segment are counted as junk.

mod decode;
mod envelope;
mod escape;
mod parts;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use crate::bounds::{MAX_FIELDS, MAX_JUNK_LINES, MAX_SEGMENTS};
use crate::charset::Charset;
use crate::error::MapError;

pub use envelope::{RawMessage, blank, line_end, split_messages};
pub use parts::{Level, Parts, Piece};

/// A range of bytes in the text of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        // inputs are bounded far below 4 GiB (bounds.rs)
        Self { start: start as u32, end: end as u32 }
    }

    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    pub fn of(self, text: &str) -> &str {
        text.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// MSH-1 and MSH-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiters {
    pub field: u8,
    pub component: u8,
    pub repetition: Option<u8>,
    pub escape: Option<u8>,
    pub subcomponent: Option<u8>,
    /// v2.7: shortens data, which a reader need not do anything about.
    pub truncation: Option<u8>,
}

/// One segment: its name and where its fields stand in `Message::fields`.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub name: [u8; 3],
    pub span: Span,
    first: u32,
    count: u32,
    /// Bit `n`: field `n` is not empty; for the first 63.
    present: u64,
}

impl Segment {
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.name).unwrap_or("???")
    }
}

/// One tokenised message. `text` is UTF-8: the input itself, or transcoded by MSH-18.
pub struct Message<'a> {
    pub text: Cow<'a, str>,
    pub delimiters: Delimiters,
    pub charset: Charset,
    pub segments: Vec<Segment>,
    /// Numbers of the lines (from 1, in this message) that are neither a segment nor the continuation of one.
    pub junk_lines: Vec<u32>,
    fields: Vec<Span>,
    /// Per byte: whether it separates repetitions, components or subcomponents.
    separators: [bool; 256],
    /// Bit per byte of the text: a leaf that is not empty begins there.
    leaves: Vec<u64>,
    raw: &'a [u8],
    raw_offset: usize,
}

impl<'a> Message<'a> {
    /// Tokenises one message of an input; `default` is the site's set where MSH-18 is empty.
    pub fn tokenize(input: &RawMessage<'a>, default: Charset) -> Result<Self, MapError> {
        let delimiters = Delimiters::read(input.bytes, input.offset)?;
        let (text, charset) = decode::decode(input, &delimiters, default)?;
        let mut message = Self {
            text,
            delimiters,
            charset,
            segments: Vec::with_capacity(32),
            junk_lines: Vec::new(),
            fields: Vec::with_capacity(512),
            separators: delimiters.separators(),
            leaves: Vec::new(),
            raw: input.bytes,
            raw_offset: input.offset,
        };
        message.cut()?;
        Ok(message)
    }

    /// Field `n` (from 1) of segment `index`; `None` when the segment is shorter.
    pub fn field(&self, index: usize, n: u16) -> Option<Span> {
        let segment = self.segments.get(index)?;
        let at = u32::from(n).checked_sub(1).filter(|at| *at < segment.count)?;
        self.fields.get((segment.first + at) as usize).copied()
    }

    /// Whether field `n` of segment `index` holds anything.
    #[inline]
    pub fn has_field(&self, index: usize, n: u16) -> bool {
        match self.segments.get(index) {
            Some(segment) if n < 64 => segment.present >> n & 1 == 1,
            _ => self.field(index, n).is_some_and(|span| !span.is_empty()),
        }
    }

    /// Number of fields of a segment.
    pub fn field_count(&self, index: usize) -> u16 {
        self.segments.get(index).map_or(0, |s| s.count as u16)
    }

    /// The byte of the input at which position `at` of the text stands.
    pub fn input_offset(&self, at: usize) -> usize {
        let raw = match &self.text {
            Cow::Borrowed(_) => at,
            Cow::Owned(text) => {
                let before = text.get(..at).unwrap_or(text);
                self.charset.encoding().encode(before).0.len().min(self.raw.len())
            }
        };
        self.raw_offset + raw
    }

    fn cut(&mut self) -> Result<(), MapError> {
        let text = std::mem::take(&mut self.text);
        let done = self.cut_lines(text.as_bytes());
        self.text = text;
        // places of the text, until here
        done.map_err(|error| MapError { offset: self.input_offset(error.offset), ..error })
    }

    /// Splits the text into lines, lines into segments and segments into fields. A line that does not begin like a
    /// segment continues the one before it (a line feed inside OBX-5), unless it looks like a broken segment name.
    fn cut_lines(&mut self, bytes: &[u8]) -> Result<(), MapError> {
        self.leaves = vec![0; bytes.len() / 64 + 1];
        let separator = self.delimiters.field;
        let mut at = 0;
        let mut line_number = 0u32;
        let mut open: Option<(usize, usize)> = None;
        while at < bytes.len() {
            let end = line_end(bytes, at);
            // a frame's character that a sender repeats before each segment
            let start = at + bytes[at..end].iter().take_while(|b| **b == 0x0b).count();
            let line = &bytes[start..end];
            line_number += 1;
            match kind_of(line, separator) {
                Line::Segment => {
                    self.close(open.replace((start, end)), bytes)?;
                }
                Line::Blank => {}
                Line::Text if open.is_some() => open = open.map(|(start, _)| (start, end)),
                Line::Text | Line::Junk => {
                    if self.junk_lines.len() < MAX_JUNK_LINES {
                        self.junk_lines.push(line_number);
                    }
                    self.close(open.take(), bytes)?;
                }
            }
            at = end + if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 };
        }
        self.close(open, bytes)
    }

    fn close(&mut self, open: Option<(usize, usize)>, bytes: &[u8]) -> Result<(), MapError> {
        let Some((start, end)) = open else { return Ok(()) };
        if self.segments.len() >= MAX_SEGMENTS {
            let message = format!("more than {MAX_SEGMENTS} segments");
            return Err(MapError::new("too-many-segments", "MSH", start, message));
        }
        let name = [bytes[start], bytes[start + 1], bytes[start + 2]];
        let first = self.fields.len();
        if &name == b"MSH" {
            self.fields.push(Span::new(start + 3, start + 4));
        }
        if end > start + 3 {
            self.cut_fields(bytes, start + 4, end);
        }
        let count = self.fields.len() - first;
        if count > MAX_FIELDS {
            let path = String::from_utf8_lossy(&name).into_owned();
            let message = format!("more than {MAX_FIELDS} fields");
            return Err(MapError::new("too-many-fields", path, start, message));
        }
        let span = Span::new(start, end);
        let fields = self.fields[first..].iter().take(63).zip(1..);
        let present = fields.fold(0, |bits, (field, n)| bits | u64::from(!field.is_empty()) << n);
        self.segments.push(Segment { name, span, first: first as u32, count: count as u32, present });
        Ok(())
    }

    /// Fields and leaves of one segment, in one pass over its bytes.
    fn cut_fields(&mut self, bytes: &[u8], start: usize, end: usize) {
        let separator = self.delimiters.field;
        let (mut field, mut leaf) = (start, start);
        for (at, byte) in (start..).zip(&bytes[start..end]) {
            let ends_field = *byte == separator;
            if ends_field || self.separators[usize::from(*byte)] {
                self.leaves[leaf / 64] |= u64::from(leaf < at) << (leaf % 64);
                leaf = at + 1;
                if ends_field {
                    self.fields.push(Span::new(field, at));
                    field = leaf;
                }
            }
        }
        self.leaves[leaf / 64] |= u64::from(leaf < end) << (leaf % 64);
        self.fields.push(Span::new(field, end));
    }

    /// Where leaves that are not empty begin, as bits of 64 bytes of the text.
    pub fn leaves(&self, word: usize) -> u64 {
        self.leaves.get(word).copied().unwrap_or(0)
    }
}

enum Line {
    Segment,
    Blank,
    /// Text of a field that holds a line break.
    Text,
    /// A short token and a field separator: a segment whose name is broken.
    Junk,
}

fn kind_of(line: &[u8], separator: u8) -> Line {
    if line.iter().all(|b| b.is_ascii_whitespace() || matches!(b, 0x0b | 0x1c)) {
        return Line::Blank;
    }
    if let [a, b, c, rest @ ..] = line
        && a.is_ascii_uppercase()
        && [b, c].iter().all(|x| x.is_ascii_uppercase() || x.is_ascii_digit())
        && rest.first().is_none_or(|x| *x == separator)
    {
        return Line::Segment;
    }
    let token = line.iter().take_while(|b| b.is_ascii_alphanumeric()).count();
    if token <= 4 && line.get(token) == Some(&separator) { Line::Junk } else { Line::Text }
}

impl Delimiters {
    /// Per byte: whether it separates repetitions, components or subcomponents.
    fn separators(&self) -> [bool; 256] {
        let mut table = [false; 256];
        for byte in [Some(self.component), self.repetition, self.subcomponent].into_iter().flatten() {
            table[usize::from(byte)] = true;
        }
        table
    }

    /// Reads MSH-1 and MSH-2 from the start of a message.
    pub fn read(bytes: &[u8], offset: usize) -> Result<Self, MapError> {
        let refuse = |path: &str, at: usize, text: &str| Err(MapError::new("bad-delimiters", path, offset + at, text));
        let Some(&field) = bytes.get(3).filter(|b| b.is_ascii_graphic() && !b.is_ascii_alphanumeric()) else {
            return refuse("MSH-1", 3, "found no usable field separator behind MSH, expected a punctuation character");
        };
        let stop = |b: &u8| *b == field || matches!(b, b'\r' | b'\n');
        let given = &bytes[4..];
        let given = &given[..given.iter().position(stop).unwrap_or(given.len())];
        if given.is_empty() || given.len() > 5 {
            return refuse("MSH-2", 4, "expected one to five encoding characters");
        }
        for (at, b) in given.iter().enumerate() {
            let usable = b.is_ascii_graphic() && !b.is_ascii_alphanumeric() && *b != b'"' && *b != b'-';
            if !usable || given[..at].contains(b) {
                return refuse("MSH-2", 4 + at, "expected different punctuation characters as encoding characters");
            }
        }
        Ok(Self {
            field,
            component: given[0],
            repetition: given.get(1).copied(),
            escape: given.get(2).copied(),
            subcomponent: given.get(3).copied(),
            truncation: given.get(4).copied(),
        })
    }
}
