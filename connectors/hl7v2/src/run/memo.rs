//! What maps gave before. A map that reads nothing but its piece gives the same for the same text: a code, an authority or a doctor is
//! mapped once and then shared by the records it stands in. It must never give what a fresh mapping would not (`tests/memo.rs`), and
//! never keep what is about a patient longer than the message: only datatypes whose table says `recurs` outlive it.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use schemas::json::Object;

use super::reading::Marks;
use crate::bounds::{MEMO_MANNERS, MEMO_SLOTS};
use crate::charset::Charset;
use crate::hash::Quick;
use crate::token::{Delimiters, Level, Message};

/// So long is a text, in bytes, of which much is made: a name, an address.
const LONG_BYTES: usize = 16;

/// The way in which a message is written, a map, the resource it makes, the vocabulary named outside, and the text it runs on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key<T> {
    pub manner: usize,
    pub program: usize,
    pub make: Option<&'static str>,
    pub caller: Option<usize>,
    pub level: Level,
    pub text: T,
}

impl Key<&str> {
    /// Whether to map it costs much more than to remember it.
    pub const fn is_long(&self) -> bool {
        self.text.len() >= LONG_BYTES
    }

    fn slot(&self) -> (u64, usize) {
        let mut hasher = Quick::default();
        self.hash(&mut hasher);
        let hash = hasher.finish();
        // the upper bits are the better mixed ones, and there are fewer slots than 2^32
        (hash, (hash >> 32) as usize % MEMO_SLOTS)
    }
}

/// What a map gave.
#[derive(Clone)]
pub struct Known {
    /// Shared, or of shared members where it is a resource that will be named.
    pub object: Object,
    /// Which leaves of the text it read.
    pub marks: Marks,
    /// Of a resource: its bytes without an id, by which it is named.
    pub content: Option<Arc<str>>,
    /// A time in it was read by the message's zone.
    pub is_zoned: bool,
}

/// What is remembered of a text.
pub enum Found {
    /// What it gave.
    Known(Known),
    /// It came before: now it is worth keeping.
    Before,
    /// It never came, or so long ago that another took its place.
    Never,
}

struct Kept {
    key: Key<Box<str>>,
    known: Known,
}

impl Kept {
    fn is_of(&self, key: &Key<&str>) -> bool {
        let Key { manner, program, make, caller, level, ref text } = self.key;
        Key { manner, program, make, caller, level, text: &**text } == *key
    }
}

/// Texts and what they gave; a slot holds the last that fell on it, so it never grows.
#[derive(Default)]
pub struct Memo {
    /// The ways in which messages were written so far; with another one the same text means something else.
    manners: Vec<(Delimiters, Charset)>,
    /// By slot, the hash of the text that came last.
    sighted: Vec<u64>,
    kept: Vec<Option<Box<Kept>>>,
    /// Slots that are emptied when the message is done.
    passing: Vec<usize>,
    /// Slots whose hash is of a text that is about this message's patient.
    sighted_passing: Vec<usize>,
}

impl Memo {
    /// Makes ready for a message, and says which number the way has in which it is written.
    pub fn begin(&mut self, message: &Message<'_>) -> usize {
        self.forget_passing();
        let manner = (message.delimiters, message.charset);
        let known = self.manners.iter().position(|known| *known == manner);
        known.unwrap_or_else(|| {
            if self.kept.is_empty() || self.manners.len() >= MEMO_MANNERS {
                *self = Self {
                    sighted: vec![0; MEMO_SLOTS],
                    kept: std::iter::repeat_with(|| None).take(MEMO_SLOTS).collect(),
                    ..Self::default()
                };
            }
            self.manners.push(manner);
            self.manners.len() - 1
        })
    }

    /// Forgets what is about this message's patient, and that it was met.
    pub fn forget_passing(&mut self) {
        for slot in self.passing.drain(..) {
            self.kept[slot] = None;
        }
        for slot in self.sighted_passing.drain(..) {
            self.sighted[slot] = 0;
        }
    }

    /// What a text gave before. `passing`: that it was met is forgotten with the message.
    pub fn find(&mut self, key: &Key<&str>, passing: bool) -> Found {
        let (hash, slot) = key.slot();
        if let Some(kept) = self.kept.get(slot).and_then(Option::as_ref).filter(|kept| kept.is_of(key)) {
            return Found::Known(kept.known.clone());
        }
        match self.sighted.get_mut(slot) {
            Some(last) if *last == hash => return Found::Before,
            Some(last) => *last = hash,
            None => {}
        }
        if passing {
            self.sighted_passing.push(slot);
        }
        Found::Never
    }

    /// Keeps what a text gave; until the message is done, or until another takes the slot.
    pub fn keep(&mut self, key: &Key<&str>, known: Known, passing: bool) {
        let (_, slot) = key.slot();
        let Key { manner, program, make, caller, level, text } = *key;
        let Some(place) = self.kept.get_mut(slot) else { return };
        let key = Key { manner, program, make, caller, level, text: text.into() };
        *place = Some(Box::new(Kept { key, known }));
        if passing {
            self.passing.push(slot);
        }
    }

    /// All texts that are kept.
    #[cfg(test)]
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.kept.iter().flatten().map(|kept| &*kept.key.text)
    }
}
