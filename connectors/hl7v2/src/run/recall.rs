//! Rows whose map reads nothing but its piece: what the same text gave before is put as it is, and what it gives now may be kept.

use std::borrow::Cow;
use std::sync::Arc;

use schemas::json::{Name, Object, Value};

use super::case::{id_of, resource_of};
use super::memo::{Found, Key, Known};
use super::reading::Marks;
use super::rows::Cursor;
use super::target::{exists, put, refer};
use super::{Made, Run};
use crate::bounds::{MAX_DEPTH, MEMO_GIVEN_BYTES, MEMO_TEXT_BYTES};
use crate::table::{Recurs, Row};
use crate::token::{Piece, Span};

/// A text that is about to be mapped.
#[derive(Clone, Copy)]
pub(super) struct Mapping<'r> {
    key: Key<&'r str>,
    span: Span,
    /// It came before: what it gives is worth keeping.
    keep: bool,
}

impl Mapping<'_> {
    pub(super) const fn keeps(&self) -> bool {
        self.keep
    }
}

/// What was the case before a map ran.
struct Before {
    marks: Option<(Span, Marks)>,
    beyond: usize,
    zoned: usize,
}

/// What is known of the text at hand.
pub(super) enum Recalled<'r> {
    /// What it gave before stands at the target now.
    Put(bool),
    /// It must be mapped; `None` where what it gives is not only its own.
    Map(Option<Mapping<'r>>),
}

impl<'r> Run<'r> {
    pub(super) fn recall(
        &mut self,
        row: &'r Row,
        program: usize,
        object: &mut Object,
        piece: Piece,
        cursor: &Cursor<'_>,
    ) -> Recalled<'r> {
        let (Some(key), span) = (self.key_of(row, program, object, piece, cursor.caller), piece.span) else {
            return Recalled::Map(None);
        };
        if row.make.is_some()
            && let Some((marks, reference)) = self.again.get(&key)
        {
            self.reading.lay(span, marks);
            self.beyond += 1;
            return Recalled::Put(put(object, &row.target, refer(Arc::clone(reference))));
        }
        let map = self.ground.tables.programs.get(program);
        let (remembered, recurs) = map.map_or((false, false), |map| (map.remembered, map.recurs.is_some()));
        let found = if remembered { self.memo.find(&key, !recurs) } else { Found::Never };
        let known = match found {
            Found::Known(known) => known,
            // what is about a patient comes again in this message or never
            found => {
                let keep = matches!(found, Found::Before) || remembered && !recurs && key.is_long();
                return Recalled::Map(Some(Mapping { key, span, keep }));
            }
        };
        self.reading.lay(span, &known.marks);
        self.zoned += usize::from(known.is_zoned);
        let (Some(resource), Some(content)) = (row.make, known.content) else {
            if row.target.is_empty() {
                object.push_all_new(&known.object);
            } else {
                put(object, &row.target, Value::Object(known.object));
            }
            return Recalled::Put(true);
        };
        let reference = self.name_made(resource, known.object, &content, cursor.frame);
        self.again.insert(key, (known.marks, Arc::clone(&reference)));
        Recalled::Put(put(object, &row.target, refer(reference)))
    }

    /// The key of a text, where the map's result is the text's alone and makes the whole of what is put.
    fn key_of(
        &self,
        row: &Row,
        program: usize,
        object: &Object,
        piece: Piece,
        caller: Option<usize>,
    ) -> Option<Key<&'r str>> {
        let ground = self.ground;
        let map = ground.tables.programs.get(program)?;
        // near the deepest a map may give less than it would elsewhere
        let is_deep = self.depth > MAX_DEPTH / 2;
        if !map.local || is_deep || self.defaults || ground.options.explain {
            return None;
        }
        let alone = |names: &Vec<&'static Name>| names.iter().all(|name| object.get_named(name).is_none());
        let whole = match &row.target[..] {
            _ if row.make.is_some() => true,
            _ if !map.remembered || map.scalar => false,
            [] => map.touches.as_ref().is_some_and(alone),
            target => row.many || !exists(object, target),
        };
        let text = piece.span.of(&ground.message.text);
        let key = Key { manner: self.manner, program, make: row.make, caller, level: piece.level, text };
        (whole && text.len() <= MEMO_TEXT_BYTES).then_some(key)
    }

    /// Runs the rows of a map on an empty object, and keeps what they give.
    pub(super) fn rows_kept(
        &mut self,
        program: usize,
        object: &mut Object,
        cursor: &Cursor<'_>,
        mapping: Mapping<'r>,
    ) -> bool {
        let before = self.begin(Some(mapping.span));
        let live = self.rows(program, object, cursor);
        let (marks, alone) = self.end(&before);
        if live && !object.is_empty() && alone {
            *object = std::mem::take(object).shared();
            if object.written_bytes().is_some_and(|bytes| bytes <= MEMO_GIVEN_BYTES) {
                let known =
                    Known { object: object.clone(), marks, content: None, is_zoned: self.zoned != before.zoned };
                self.keep(program, mapping.key, known, cursor);
            }
        }
        live
    }

    /// Builds a resource that is found again by its content, and gives its reference.
    pub(super) fn make(
        &mut self,
        resource: &'static str,
        program: usize,
        cursor: &Cursor<'_>,
        mapping: Option<Mapping<'r>>,
    ) -> Option<Arc<str>> {
        let before = self.begin(mapping.map(|mapping| mapping.span));
        let mut object = resource_of(resource);
        let live = self.rows(program, &mut object, cursor);
        let (marks, alone) = self.end(&before);
        if !live {
            return None;
        }
        let keep = mapping.filter(|mapping| mapping.keep && alone);
        if keep.is_some() {
            object.share_inner();
        }
        let content = Value::Object(object);
        let key = String::from_utf8(content.to_bytes()).ok()?;
        let Value::Object(object) = content else { return None };
        if let Some(mapping) = keep.filter(|_| key.len() <= MEMO_GIVEN_BYTES) {
            let (content, is_zoned) = (Some(key.as_str().into()), self.zoned != before.zoned);
            self.keep(program, mapping.key, Known { object: object.clone(), marks, content, is_zoned }, cursor);
        }
        let reference = self.name_made(resource, object, &key, cursor.frame);
        if let Some(mapping) = mapping {
            self.again.insert(mapping.key, (marks, Arc::clone(&reference)));
        }
        Some(reference)
    }

    /// Before a map runs on a text: takes the marks of the text away, so that those of the map can be told from them.
    fn begin(&mut self, span: Option<Span>) -> Before {
        let marks = span.map(|span| (span, self.reading.lift(span)));
        Before { marks, beyond: self.beyond, zoned: self.zoned }
    }

    /// After it: the map's marks, all of them in place again, and whether it did nothing beyond mapping the text.
    fn end(&mut self, before: &Before) -> (Marks, bool) {
        let mut marks = Marks::default();
        if let Some((span, earlier)) = &before.marks {
            marks = self.reading.lift(*span);
            self.reading.lay(*span, earlier);
            self.reading.lay(*span, &marks);
        }
        (marks, self.beyond == before.beyond)
    }

    /// Keeps what a map gave. With the message goes what is about a patient, and what was read by the message's zone.
    fn keep(&mut self, program: usize, key: Key<&str>, known: Known, cursor: &Cursor<'_>) {
        let recurs = self.ground.tables.programs.get(program).and_then(|map| map.recurs.as_ref());
        let lasts = recurs.is_some_and(|recurs| match recurs {
            Recurs::Always => true,
            Recurs::If(condition) => self.holds(condition, &known.object, cursor),
        });
        let passing = !lasts || known.is_zoned;
        self.memo.keep(&key, known, passing);
    }

    fn name_made(&mut self, resource: &'static str, mut object: Object, content: &str, frame: usize) -> Arc<str> {
        self.beyond += 1;
        let reference = self.named(resource, &[Cow::Borrowed(content)]);
        if self.taken.insert(Arc::clone(&reference)) {
            object.insert("id", id_of(resource, &reference));
            self.made.push(Made { resource, reference: Arc::clone(&reference), object, frame });
        }
        reference
    }

    /// Whether maps may go a step deeper; what is left out for that is no map's own result.
    pub(super) fn deeper(&mut self) -> bool {
        self.beyond += usize::from(self.depth >= MAX_DEPTH);
        self.depth < MAX_DEPTH
    }
}
