//! Below the field: repetitions, components, subcomponents, split on demand, and values read from them.

use std::borrow::Cow;

use super::{Delimiters, Message, Segment, Span, escape};
use crate::bounds::MAX_COMPONENTS;

/// How deep a piece stands: what its parts are separated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// One repetition of a field; parts are components.
    Repetition,
    /// One component; parts are subcomponents.
    Component,
    /// One subcomponent; it has no parts.
    Subcomponent,
}

impl Level {
    fn below(self) -> Self {
        match self {
            Self::Repetition => Self::Component,
            Self::Component | Self::Subcomponent => Self::Subcomponent,
        }
    }

    fn separator(self, delimiters: &Delimiters) -> Option<u8> {
        match self {
            Self::Repetition => Some(delimiters.component),
            Self::Component => delimiters.subcomponent,
            Self::Subcomponent => None,
        }
    }
}

/// A place in a message.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub span: Span,
    pub level: Level,
}

/// The parts of a piece, split once.
pub struct Parts {
    spans: [Span; MAX_COMPONENTS],
    count: usize,
    level: Level,
    /// Bit `n`: part `n` is not empty.
    pub present: u64,
}

impl Parts {
    /// Part `n`, from 1.
    pub fn get(&self, n: u8) -> Option<Piece> {
        let span = self.spans[..self.count].get(usize::from(n).checked_sub(1)?)?;
        (!span.is_empty()).then_some(Piece { span: *span, level: self.level })
    }
}

impl Message<'_> {
    /// The non-empty repetitions of a field.
    pub fn repetitions(&self, field: Span) -> impl Iterator<Item = Piece> + use<'_> {
        let separator = self.delimiters.repetition;
        let bytes = self.text.as_bytes();
        let mut from = field.start as usize;
        let end = field.end as usize;
        std::iter::from_fn(move || {
            while from <= end && !field.is_empty() {
                let to =
                    separator.and_then(|s| bytes[from..end].iter().position(|b| *b == s)).map_or(end, |p| from + p);
                let span = Span::new(from, to);
                from = to + 1;
                if !span.is_empty() {
                    return Some(Piece { span, level: Level::Repetition });
                }
            }
            None
        })
    }

    /// Splits a piece.
    pub fn parts(&self, piece: Piece) -> Parts {
        let mut parts =
            Parts { spans: [Span::default(); MAX_COMPONENTS], count: 0, level: piece.level.below(), present: 0 };
        let bytes = self.text.as_bytes();
        let (first, end) = (piece.span.start as usize, piece.span.end as usize);
        let mut start = first;
        if let Some(separator) = piece.level.separator(&self.delimiters) {
            for (at, byte) in bytes[first..end].iter().enumerate() {
                if *byte == separator && parts.count + 1 < MAX_COMPONENTS {
                    parts.spans[parts.count] = Span::new(start, first + at);
                    parts.present |= u64::from(start < first + at) << (parts.count + 1);
                    parts.count += 1;
                    start = first + at + 1;
                }
            }
        }
        parts.present |= u64::from(start < end) << (parts.count + 1);
        parts.spans[parts.count] = Span::new(start, end);
        parts.count += 1;
        parts
    }

    /// Part `n` of a piece, without splitting the rest.
    pub fn part(&self, piece: Piece, n: u8) -> Option<Piece> {
        let level = piece.level.below();
        let bytes = self.text.as_bytes();
        let (mut start, end) = (piece.span.start as usize, piece.span.end as usize);
        let mut left = n.checked_sub(1)?;
        let separator = piece.level.separator(&self.delimiters);
        while left > 0 {
            let separator = separator?;
            start += bytes[start..end].iter().position(|b| *b == separator)? + 1;
            left -= 1;
        }
        let to = separator.and_then(|s| bytes[start..end].iter().position(|b| *b == s)).map_or(end, |p| start + p);
        (start < to).then_some(Piece { span: Span::new(start, to), level })
    }

    /// The first leaf below a piece: where a plain value stands when a sender wrote more than the type has.
    pub fn leaf(&self, piece: Piece) -> Piece {
        let mut span = piece.span;
        let mut level = piece.level;
        let bytes = self.text.as_bytes();
        while let Some(separator) = level.separator(&self.delimiters) {
            let (start, end) = (span.start as usize, span.end as usize);
            let to = bytes[start..end].iter().position(|b| *b == separator).map_or(end, |p| start + p);
            span = Span::new(start, to);
            level = level.below();
        }
        Piece { span, level: Level::Subcomponent }
    }

    /// The bytes of a leaf, trimmed; `None` when it is empty or HL7's null (`""`).
    pub fn raw_value(&self, leaf: Piece) -> Option<&str> {
        let text = leaf.span.of(&self.text).trim_ascii();
        (!text.is_empty() && text != "\"\"").then_some(text)
    }

    /// The value of a leaf, escapes resolved.
    pub fn value(&self, leaf: Piece) -> Option<Cow<'_, str>> {
        let text = escape::unescape(self.raw_value(leaf)?, &self.delimiters, self.charset);
        // nothing but formatting
        (!text.trim_ascii().is_empty()).then_some(text)
    }

    /// All of a piece as text, delimiters included: for text fields in which senders do not escape.
    pub fn whole(&self, piece: Piece) -> Option<Cow<'_, str>> {
        let text = piece.span.of(&self.text).trim_ascii_end();
        let valued = !text.trim_ascii_start().is_empty() && text != "\"\"";
        let text = valued.then(|| escape::unescape(text, &self.delimiters, self.charset))?;
        (!text.trim_ascii().is_empty()).then_some(text)
    }

    /// Whether anything but delimiters, blanks and HL7's null stands in a span.
    pub fn is_valued(&self, span: Span) -> bool {
        let bytes = span.of(&self.text).as_bytes();
        let empty = |b: u8| b.is_ascii_whitespace() || self.separates(b);
        match bytes.iter().position(|b| !empty(*b)) {
            None => false,
            Some(at) if bytes[at] != b'"' => true,
            // a quote: HL7's null, or a value that begins with one
            Some(_) => bytes.split(|b| self.separates(*b)).any(|leaf| !matches!(leaf.trim_ascii(), b"" | b"\"\"")),
        }
    }
}

impl Message<'_> {
    /// Whether anything but delimiters and blanks stands in a span; HL7's null counts, it says something.
    pub fn is_populated(&self, span: Span) -> bool {
        span.of(&self.text).bytes().any(|b| !b.is_ascii_whitespace() && !self.separates(b))
    }

    /// Whether a byte separates repetitions, components or subcomponents.
    pub fn separates(&self, byte: u8) -> bool {
        self.separators[usize::from(byte)]
    }

    /// All parts of a piece, empty ones too.
    pub fn split(&self, piece: Piece) -> impl Iterator<Item = Piece> + use<'_> {
        let separator = piece.level.separator(&self.delimiters);
        let level = piece.level.below();
        let bytes = self.text.as_bytes();
        let (mut from, end) = (piece.span.start as usize, piece.span.end as usize);
        std::iter::from_fn(move || {
            if from > end {
                return None;
            }
            let to = separator.and_then(|s| bytes[from..end].iter().position(|b| *b == s)).map_or(end, |p| from + p);
            let span = Span::new(from, to);
            from = to + 1;
            Some(Piece { span, level })
        })
    }
}

impl Message<'_> {
    /// Where a span stands, in HL7 notation (`PID-3.4.2`, `OBX[2]-5` of several): for explanations.
    pub fn path_of(&self, span: Span, segment: usize) -> String {
        let holds = |outer: Span| outer.start <= span.start && span.end <= outer.end;
        let Some(own) = self.segments.get(segment) else { return "?".into() };
        let same = |segments: &[Segment]| segments.iter().filter(|other| other.name == own.name).count();
        let name = match same(&self.segments) {
            0 | 1 => own.name().to_owned(),
            _ => format!("{}[{}]", own.name(), same(&self.segments[..=segment])),
        };
        for n in 1..=self.field_count(segment) {
            let Some(field) = self.field(segment, n).filter(|f| holds(*f)) else { continue };
            let mut path = format!("{name}-{n}");
            let Some(mut piece) = self.repetitions(field).find(|r| holds(r.span)) else { return path };
            while piece.level != Level::Subcomponent && piece.span != span {
                let parts: Vec<Piece> = self.split(piece).collect();
                let Some(at) = parts.iter().position(|p| holds(p.span)) else { return path };
                if parts.len() > 1 {
                    path.push_str(&format!(".{}", at + 1));
                }
                piece = parts[at];
            }
            return path;
        }
        // the field stands in another segment
        let other = self.segments.iter().position(|s| holds(s.span)).filter(|at| *at != segment);
        other.map_or(name, |at| self.path_of(span, at))
    }
}
