//! One row at a time: find the source, convert or descend, put the result at the target.

use schemas::json::{Object, Value};

use super::recall::{Mapping, Recalled};
use super::target::{exists, put, put_first, refer, take_object};
use super::{Run, convert};
use crate::bounds::MAX_REPETITIONS;
use crate::table::{Action, Primitive, Program, Row, Source, Via};
use crate::token::{Parts, Piece};

/// Where rows are: a segment, a piece of it, the vocabulary named outside.
#[derive(Clone, Copy)]
pub struct Cursor<'c> {
    pub segment: usize,
    pub frame: usize,
    pub piece: Option<Piece>,
    pub parts: Option<&'c Parts>,
    pub caller: Option<usize>,
}

impl<'r> Run<'r> {
    /// Runs the rows of a program on an object; whether anything of the message got into it.
    pub(super) fn rows(&mut self, program: usize, object: &mut Object, cursor: &Cursor<'_>) -> bool {
        let tables = self.ground.tables;
        let Some(program) = tables.programs.get(program).filter(|_| self.deeper()) else { return false };
        self.left = self.left.saturating_sub(program.rows.len());
        if self.left == 0 {
            self.beyond += 1;
            return false;
        }
        self.depth += 1;
        let mut live = self.defaults;
        for (row, gate) in program.rows.iter().zip(&program.gates) {
            // most fields are not there: do not even begin
            live |= self.there(gate, cursor) && self.row(program, row, object, cursor);
        }
        self.depth -= 1;
        live
    }

    /// The first value that a scalar program gives.
    fn scalar(&mut self, program: usize, cursor: &Cursor<'_>) -> Option<Value> {
        let mut holder = Object::new();
        let tables = self.ground.tables;
        let program = tables.programs.get(program).filter(|_| self.deeper())?;
        self.depth += 1;
        let found = program.rows.iter().zip(&program.gates).find_map(|(row, gate)| {
            let live = self.there(gate, cursor) && self.row(program, row, &mut holder, cursor);
            if live || !holder.is_empty() { holder.remove("$") } else { None }
        });
        self.depth -= 1;
        found
    }

    /// One row; a field that decided on it counts as read when the row gave something.
    fn row(&mut self, program: &'r Program, row: &'r Row, object: &mut Object, cursor: &Cursor<'_>) -> bool {
        let live = self.run_row(program, row, object, cursor);
        if live && let Some(condition) = &row.condition {
            self.mark_deciding(condition, cursor);
        }
        live
    }

    fn run_row(&mut self, program: &'r Program, row: &'r Row, object: &mut Object, cursor: &Cursor<'_>) -> bool {
        let many = row.many;
        if !many && exists(object, &row.target) && self.gives_one(row) {
            return false;
        }
        if let Some(condition) = &row.condition
            && !self.holds(condition, object, cursor)
        {
            return false;
        }
        match &row.source {
            Source::Here => self.apply(program, row, object, cursor, cursor.piece, cursor.segment),
            Source::Part(path) => match self.narrow(cursor, *path) {
                Some(piece) => self.apply(program, row, object, cursor, Some(piece), cursor.segment),
                None => false,
            },
            Source::Field { segment, field, path } => {
                let message = self.ground.message;
                let Some(index) = self.segment(cursor, *segment) else { return false };
                let Some(span) = message.field(index, *field) else { return false };
                let mut live = false;
                for piece in message.repetitions(span).take(MAX_REPETITIONS) {
                    let Some(piece) = self.below(piece, *path) else { continue };
                    live |= self.apply(program, row, object, cursor, Some(piece), index);
                    if live && !many {
                        break;
                    }
                }
                live
            }
            Source::Constant(text) => {
                self.zoned += usize::from(row.reads_zone());
                if let Some(value) = self.constant(row, text) {
                    put(object, &row.target, value);
                    self.explain_as(program, row, || format!("{text:?}"));
                }
                self.defaults
            }
            Source::Joined(sources) => match self.joined(sources, cursor) {
                Some((text, pieces)) => self.put_text(program, row, object, cursor, &text, &pieces),
                None => false,
            },
            Source::Resource(name) => match self.in_reach(cursor.frame, name) {
                Some(index) => {
                    let reference = self.reference_of(index);
                    put(object, &row.target, refer(reference));
                    self.explain_as(program, row, || format!("@{name}"));
                    true
                }
                None => false,
            },
        }
    }

    /// Whether a row gives a value, not members of an object that others add to: then the first one wins.
    fn gives_one(&self, row: &Row) -> bool {
        let scalar = |inner: usize| self.ground.tables.programs.get(inner).is_some_and(|p| p.scalar);
        match (&row.source, row.action) {
            (Source::Resource(_), _) | (_, Action::Primitive(_)) => true,
            (_, Action::Run(inner)) => row.make.is_some() || scalar(inner),
        }
    }

    fn apply(
        &mut self,
        program: &'r Program,
        row: &'r Row,
        object: &mut Object,
        cursor: &Cursor<'_>,
        piece: Option<Piece>,
        segment: usize,
    ) -> bool {
        let inner = match row.action {
            Action::Run(inner) => inner,
            Action::Primitive(kind) => {
                let Some(piece) = piece else { return false };
                let message = self.ground.message;
                let (piece, text) = if kind == Primitive::Text || matches!(kind, Primitive::EncodeBase64) {
                    (piece, message.whole(piece))
                } else {
                    let leaf = message.leaf(piece);
                    (leaf, message.value(leaf))
                };
                return text.is_some_and(|text| self.put_text(program, row, object, cursor, &text, &[piece]));
            }
        };
        let message = self.ground.message;
        let fresh = piece.filter(|_| !matches!(row.source, Source::Here));
        let caller = match row.via {
            Via::Table(index) => Some(index),
            _ => cursor.caller,
        };
        let cursor = &Cursor { segment, piece, caller, ..*cursor };
        let mapping = match fresh {
            None => None,
            Some(piece) => match self.recall(row, inner, object, piece, cursor) {
                Recalled::Put(live) => return live,
                Recalled::Map(mapping) => mapping,
            },
        };
        if fresh.is_some_and(|piece| !message.is_valued(piece.span)) {
            return false;
        }
        let parts = fresh.map(|piece| message.parts(piece));
        let parts = if fresh.is_some() { parts.as_ref() } else { cursor.parts };
        let below = Cursor { parts, ..*cursor };
        let trailing = self.enter(row);
        let explained = self.explained.len();
        let live = self.descend(row, inner, object, &below, mapping);
        if !live && !self.ground.tables.programs.get(inner).is_some_and(|p| p.constant) {
            // its texts alone are no reason to keep it
            self.explained.truncate(explained);
        }
        if trailing {
            self.trail.pop();
        }
        live
    }

    fn descend(
        &mut self,
        row: &'r Row,
        inner: usize,
        object: &mut Object,
        cursor: &Cursor<'_>,
        mapping: Option<Mapping<'r>>,
    ) -> bool {
        if self.ground.tables.programs.get(inner).is_some_and(|p| p.scalar) {
            let Some(value) = self.scalar(inner, cursor) else { return false };
            return if row.many { put(object, &row.target, value) } else { put_first(object, &row.target, value) };
        }
        if let Some(resource) = row.make {
            let Some(reference) = self.make(resource, inner, cursor, mapping) else { return false };
            return put(object, &row.target, refer(reference));
        }
        let mapping = mapping.filter(Mapping::keeps);
        if row.target.is_empty() {
            let Some(mapping) = mapping else { return self.rows(inner, object, cursor) };
            let mut own = Object::new();
            let live = self.rows_kept(inner, &mut own, cursor, mapping);
            object.push_all_new(&own);
            return live;
        }
        let many = row.many;
        let mut member = if many { Object::new() } else { take_object(object, &row.target).unwrap_or_default() };
        let before = member.len();
        let live = match mapping {
            Some(mapping) => self.rows_kept(inner, &mut member, cursor, mapping),
            None => self.rows(inner, &mut member, cursor),
        };
        let constant = self.ground.tables.programs.get(inner).is_some_and(|p| p.constant);
        let kept = live || constant || (before > 0 && !many);
        if kept && !member.is_empty() {
            put(object, &row.target, Value::Object(member));
        }
        live
    }

    fn constant(&self, row: &Row, text: &'static str) -> Option<Value> {
        match row.action {
            Action::Primitive(Primitive::String) | Action::Run(_) => Some(Value::from(text)),
            Action::Primitive(kind) => convert::primitive(kind, text, self.ground.zone),
        }
    }
}
