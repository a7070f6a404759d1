//! Which bytes of a message reached a resource, and the list of those that did not.

use crate::bounds::{MAX_UNMAPPED, MEMO_TEXT_BYTES};
use crate::hash::QuickSet;
use crate::table::Tables;
use crate::token::{Message, Piece, Span};

/// Paths that are listed already: segment, field, component, subcomponent.
pub type Seen = QuickSet<([u8; 3], u16, usize, usize)>;

/// One bit per byte of the text: set at the start of every leaf that was used.
pub struct Reading {
    bits: Vec<u64>,
}

impl Reading {
    pub fn of(message: &Message<'_>) -> Self {
        Self { bits: vec![0; message.text.len() / 64 + 1] }
    }

    /// Marks one leaf.
    pub fn leaf(&mut self, piece: Piece) {
        self.set(piece.span.start as usize);
    }

    /// Marks everything in a range.
    pub fn whole(&mut self, span: Span) {
        for at in span.start..span.end {
            self.set(at as usize);
        }
    }

    /// Takes the marks of a short span away, so that what is marked next can be told from them.
    pub fn lift(&mut self, span: Span) -> Marks {
        let mut marks = Marks::default();
        for (at, word) in pieces(span).zip(&mut marks.0) {
            *word = self.read(at);
            self.change(at, |bits| bits & !at.ones());
        }
        marks
    }

    /// Marks in a span what is marked in marks of the same text.
    pub fn lay(&mut self, span: Span, marks: &Marks) {
        for (at, word) in pieces(span).zip(&marks.0) {
            self.change(at, |bits| bits | word);
        }
    }

    /// Up to 64 marks as a number.
    fn read(&self, at: Bits) -> u64 {
        let (word, shift) = (at.start / 64, at.start % 64);
        let low = self.word(word) >> shift;
        let high = if shift == 0 { 0 } else { self.word(word + 1) << (64 - shift) };
        (low | high) & at.ones()
    }

    fn change(&mut self, at: Bits, change: impl Fn(u64) -> u64) {
        let new = change(self.read(at)) & at.ones();
        let (word, shift) = (at.start / 64, at.start % 64);
        if let Some(low) = self.bits.get_mut(word) {
            *low = *low & !(at.ones() << shift) | new << shift;
        }
        if shift > 0
            && let Some(high) = self.bits.get_mut(word + 1)
        {
            *high = *high & !(at.ones() >> (64 - shift)) | new >> (64 - shift);
        }
    }

    fn set(&mut self, at: usize) {
        if let Some(word) = self.bits.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    fn has(&self, at: u32) -> bool {
        self.bits.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// Paths of populated fields, components and subcomponents that reached no resource; the widest that is true.
    pub fn unmapped(&self, message: &Message<'_>, tables: &Tables, seen: &mut Seen, into: &mut Vec<String>) {
        for (index, segment) in message.segments.iter().enumerate() {
            let steering = tables.steering.get(&segment.name).map_or(&[][..], Vec::as_slice);
            for n in 1..=message.field_count(index) {
                let separators = &segment.name == b"MSH" && n <= 2;
                let Some(field) = message.field(index, n).filter(|f| !f.is_empty() && !separators) else { continue };
                if steering.contains(&n) {
                    continue;
                }
                self.field(message, field, &mut |component, subcomponent| {
                    if into.len() < MAX_UNMAPPED && seen.insert((segment.name, n, component, subcomponent)) {
                        let mut path = String::with_capacity(16);
                        path.push_str(segment.name());
                        let parts = [('-', usize::from(n)), ('.', component), ('.', subcomponent)];
                        for (mark, part) in parts.into_iter().filter(|(_, part)| *part > 0) {
                            path.push(mark);
                            push_number(&mut path, part);
                        }
                        into.push(path);
                    }
                });
            }
        }
        for line in &message.junk_lines {
            if into.len() < MAX_UNMAPPED && seen.insert(([0; 3], 0, *line as usize, 0)) {
                into.push(format!("line {line}"));
            }
        }
    }

    /// Reports what is unread in one field as (component, subcomponent), 0 meaning all of it.
    fn field(&self, message: &Message<'_>, field: Span, report: &mut dyn FnMut(usize, usize)) {
        if self.read_all(message, field) {
            return;
        }
        if self.unread_all(field) {
            if message.is_populated(field) {
                report(0, 0);
            }
            return;
        }
        for repetition in message.repetitions(field) {
            for (c, component) in message.split(repetition).enumerate() {
                if self.unread_all(component.span) {
                    if message.is_populated(component.span) {
                        report(c + 1, 0);
                    }
                    continue;
                }
                for (s, leaf) in message.split(component).enumerate() {
                    if !self.has(leaf.span.start) && message.is_populated(leaf.span) {
                        report(c + 1, s + 1);
                    }
                }
            }
        }
    }

    /// Whether every leaf of a field that is not empty was used: mostly the answer is yes.
    fn read_all(&self, message: &Message<'_>, field: Span) -> bool {
        words(field).all(|(at, bits)| message.leaves(at) & !self.word(at) & bits == 0)
    }

    /// Whether no bit is set in a span.
    fn unread_all(&self, span: Span) -> bool {
        words(span).all(|(at, bits)| self.word(at) & bits == 0)
    }

    fn word(&self, at: usize) -> u64 {
        self.bits.get(at).copied().unwrap_or(0)
    }
}

/// Which leaves of a short text were used, a bit for each byte.
#[derive(Clone, Copy, Default)]
pub struct Marks([u64; MEMO_TEXT_BYTES / 64]);

/// Up to 64 bits from a place.
#[derive(Clone, Copy)]
struct Bits {
    start: usize,
    count: usize,
}

impl Bits {
    fn ones(self) -> u64 {
        u64::MAX >> (64 - self.count)
    }
}

/// A span in pieces of up to 64 bytes.
fn pieces(span: Span) -> impl Iterator<Item = Bits> {
    let (start, end) = (span.start as usize, span.end as usize);
    (start..end).step_by(64).map(move |start| Bits { start, count: (end - start).min(64) })
}

/// The words of bits that a span touches, and which of their bits are its own.
fn words(span: Span) -> impl Iterator<Item = (usize, u64)> {
    let (mut at, end) = (span.start as usize, span.end as usize);
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let count = (64 - at % 64).min(end - at);
        let found = (at / 64, u64::MAX >> (64 - count) << (at % 64));
        at += count;
        Some(found)
    })
}

fn push_number(into: &mut String, number: usize) {
    if number > 9 {
        push_number(into, number / 10);
    }
    into.push(char::from(b'0' + (number % 10) as u8));
}
