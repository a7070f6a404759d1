//! One row at a time: find the source, convert or descend, put the result at the target.

use std::borrow::Cow;

use schemas::json::{Object, Value};

use super::{Cursor, Run, convert};
use crate::Explained;
use crate::bounds::{MAX_DEPTH, MAX_REPETITIONS};
use crate::table::{Action, Condition, Path, Primitive, Program, Row, Source, Step, Target, Via};
use crate::token::Piece;

impl<'r> Run<'r> {
    /// Runs the rows of a program on an object; whether anything of the message got into it.
    pub(super) fn rows(&mut self, program: usize, object: &mut Object, cursor: Cursor<'_>) -> bool {
        let tables = self.ground.tables;
        let Some(program) = tables.programs.get(program).filter(|_| self.depth < MAX_DEPTH) else { return false };
        self.depth += 1;
        let mut live = self.defaults;
        for row in &program.rows {
            live |= self.row(program, row, object, cursor);
        }
        self.depth -= 1;
        live
    }

    /// The first value that a scalar program gives.
    fn scalar(&mut self, program: usize, cursor: Cursor<'_>) -> Option<Value> {
        let mut holder = Object::new();
        let tables = self.ground.tables;
        let program = tables.programs.get(program).filter(|_| self.depth < MAX_DEPTH)?;
        self.depth += 1;
        let found = program.rows.iter().find_map(|row| {
            self.row(program, row, &mut holder, cursor);
            holder.remove("$")
        });
        self.depth -= 1;
        found
    }

    /// One row; a field that decided on it counts as read when the row gave something.
    fn row(&mut self, program: &'r Program, row: &'r Row, object: &mut Object, cursor: Cursor<'_>) -> bool {
        let live = self.run_row(program, row, object, cursor);
        if live && let Some(condition) = &row.condition {
            self.mark_deciding(condition, cursor);
        }
        live
    }

    fn mark_deciding(&mut self, condition: &Condition, cursor: Cursor<'_>) {
        match condition {
            Condition::Equals(source, _) | Condition::StartsWith(source, _) => {
                if let Some(piece) = self.first(source, cursor) {
                    self.reading.leaf(self.ground.message.leaf(piece));
                }
            }
            Condition::All(all) | Condition::Any(all) => all.iter().for_each(|c| self.mark_deciding(c, cursor)),
            _ => {}
        }
    }

    fn run_row(&mut self, program: &'r Program, row: &'r Row, object: &mut Object, cursor: Cursor<'_>) -> bool {
        let many = row.target.iter().any(|step| step.append);
        if let Action::Primitive(_) = row.action
            && !many
            && exists(object, &row.target)
        {
            return false;
        }
        if !self.there(row, cursor) {
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
                if let Some(value) = self.constant(row, text) {
                    put(object, &row.target, value);
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
                    put(object, &row.target, Value::object([("reference", Value::String(Cow::Owned(reference)))]));
                    true
                }
                None => false,
            },
        }
    }

    /// Whether what the row reads is there at all: cheap, and mostly the answer is no.
    fn there(&self, row: &Row, cursor: Cursor<'_>) -> bool {
        match (&row.source, row.action) {
            (Source::Part(Path { component, .. }), _) if *component > 0 => {
                cursor.parts.is_none_or(|parts| parts.present >> component & 1 == 1)
            }
            (Source::Field { segment, field, .. }, _) => self.populated(cursor, *segment, *field),
            (Source::Here, Action::Run(inner)) if !self.defaults => {
                let Some(program) = self.ground.tables.programs.get(inner) else { return false };
                let needs = &program.needs;
                needs.unknown
                    || program.constant
                    || cursor.parts.map_or(needs.parts != 0 && cursor.piece.is_some(), |p| p.present & needs.parts != 0)
                    || needs.fields.iter().any(|(segment, field)| self.populated(cursor, *segment, *field))
            }
            _ => true,
        }
    }

    fn populated(&self, cursor: Cursor<'_>, segment: [u8; 3], field: u16) -> bool {
        let message = self.ground.message;
        self.segment(cursor, segment).and_then(|at| message.field(at, field)).is_some_and(|span| !span.is_empty())
    }

    fn apply(
        &mut self,
        program: &'r Program,
        row: &'r Row,
        object: &mut Object,
        cursor: Cursor<'_>,
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
        if piece.is_some_and(|piece| !matches!(row.source, Source::Here) && !message.is_valued(piece.span)) {
            return false;
        }
        let same = matches!(row.source, Source::Here);
        let parts = if same { None } else { piece.map(|piece| message.parts(piece)) };
        let caller = match row.via {
            Via::Table(index) => Some(index),
            _ => cursor.caller,
        };
        let parts = if same { cursor.parts } else { parts.as_ref() };
        let below = Cursor { segment, frame: cursor.frame, piece, parts, caller };
        let trailing = self.enter(row);
        let live = self.descend(row, inner, object, below);
        if trailing {
            self.trail.pop();
        }
        live
    }

    fn descend(&mut self, row: &'r Row, inner: usize, object: &mut Object, cursor: Cursor<'_>) -> bool {
        if self.ground.tables.programs.get(inner).is_some_and(|p| p.scalar) {
            let Some(value) = self.scalar(inner, cursor) else { return false };
            return put(object, &row.target, value);
        }
        if let Some(resource) = row.make {
            let Some(reference) = self.make(resource, inner, cursor) else { return false };
            let value = Value::object([("reference", Value::String(Cow::Owned(reference)))]);
            return put(object, &row.target, value);
        }
        if row.target.is_empty() {
            return self.rows(inner, object, cursor);
        }
        let many = row.target.iter().any(|step| step.append);
        let mut member = if many { Object::new() } else { take_object(object, &row.target).unwrap_or_default() };
        let before = member.len();
        let live = self.rows(inner, &mut member, cursor);
        let constant = self.ground.tables.programs.get(inner).is_some_and(|p| p.constant);
        if live || constant || (before > 0 && !many) {
            put(object, &row.target, Value::Object(member));
        }
        live
    }

    /// Builds a resource that is found again by its content, and gives its reference.
    fn make(&mut self, resource: &'static str, program: usize, cursor: Cursor<'_>) -> Option<String> {
        let mut object = Object::new();
        object.insert("resourceType", Value::from(resource));
        object.insert("id", Value::Null);
        if !self.rows(program, &mut object, cursor) {
            return None;
        }
        let content = Value::Object(object);
        let key = String::from_utf8(content.to_bytes()).ok()?;
        let Value::Object(mut object) = content else { return None };
        let reference = self.named(resource, &[key]);
        if self.taken.insert(reference.clone()) {
            let id = reference.split_once('/').map_or("", |(_, id)| id);
            object.insert("id", Value::from(id.to_owned()));
            self.made.push((reference.clone(), object));
        }
        Some(reference)
    }

    /// Converts, translates, puts, marks as read.
    fn put_text(
        &mut self,
        program: &'r Program,
        row: &'r Row,
        object: &mut Object,
        cursor: Cursor<'_>,
        text: &str,
        pieces: &[Piece],
    ) -> bool {
        let Action::Primitive(kind) = row.action else { return false };
        let table = match row.via {
            Via::None => None,
            Via::Table(index) => Some(index),
            Via::Caller | Via::CallerSystem | Via::CallerChanged => match cursor.caller {
                Some(index) => Some(index),
                None => return false,
            },
        };
        let done = match table {
            None => match convert::primitive(kind, text, self.ground.zone) {
                Some(value) => put(object, &row.target, value),
                None => false,
            },
            Some(index) => match self.translate(index, text) {
                Some(found) => put_translated(row, object, kind, text, found),
                None => false,
            },
        };
        if done {
            for piece in pieces {
                if kind == Primitive::Text || kind == Primitive::EncodeBase64 {
                    self.reading.whole(piece.span);
                } else {
                    self.reading.leaf(*piece);
                }
            }
            self.explain(program, row, cursor.segment, pieces);
        }
        done
    }

    fn translate(&self, index: usize, text: &str) -> Option<(Cow<'static, str>, Option<Target>)> {
        let vocabulary = self.ground.tables.vocabularies.get(index)?;
        if let Some(target) = vocabulary.codes.get(text) {
            return Some((Cow::Borrowed(target.code), Some(*target)));
        }
        for (prefix, into) in &vocabulary.patterns {
            if let Some(rest) = text.strip_prefix(prefix) {
                return Some((Cow::Owned(format!("{into}{rest}")), None));
            }
        }
        vocabulary.otherwise.map(|target| (Cow::Borrowed(target.code), Some(target)))
    }

    fn constant(&self, row: &Row, text: &'static str) -> Option<Value> {
        match row.action {
            Action::Primitive(Primitive::String) | Action::Run(_) => Some(Value::from(text)),
            Action::Primitive(kind) => convert::primitive(kind, text, self.ground.zone),
        }
    }

    fn joined(&self, sources: &[Source], cursor: Cursor<'_>) -> Option<(String, Vec<Piece>)> {
        let mut text = String::new();
        let mut pieces = Vec::new();
        for source in sources {
            if let Source::Constant(constant) = source {
                text.push_str(constant);
            } else if let Some(piece) = self.first(source, cursor) {
                let leaf = self.ground.message.leaf(piece);
                if let Some(value) = self.ground.message.value(leaf) {
                    text.push_str(&value);
                    pieces.push(leaf);
                }
            }
        }
        (!pieces.is_empty()).then_some((text, pieces))
    }

    /// The first non-empty piece that a source names.
    fn first(&self, source: &Source, cursor: Cursor<'_>) -> Option<Piece> {
        match source {
            Source::Part(path) => self.narrow(cursor, *path),
            Source::Here => cursor.piece,
            Source::Field { segment, field, path } => {
                let message = self.ground.message;
                let span = message.field(self.segment(cursor, *segment)?, *field)?;
                message.repetitions(span).find_map(|piece| self.below(piece, *path))
            }
            Source::Constant(_) | Source::Joined(_) | Source::Resource(_) => None,
        }
    }

    fn narrow(&self, cursor: Cursor<'_>, path: Path) -> Option<Piece> {
        let piece = match (path.component, cursor.parts) {
            (0, _) => cursor.piece?,
            (n, Some(parts)) => parts.get(n)?,
            (n, None) => self.ground.message.part(cursor.piece?, n)?,
        };
        if path.subcomponent == 0 { Some(piece) } else { self.ground.message.part(piece, path.subcomponent) }
    }

    fn below(&self, piece: Piece, path: Path) -> Option<Piece> {
        if path.component == 0 {
            return Some(piece);
        }
        let piece = self.ground.message.part(piece, path.component)?;
        if path.subcomponent == 0 { Some(piece) } else { self.ground.message.part(piece, path.subcomponent) }
    }

    /// The segment of this name: where we are, else the nearest.
    fn segment(&self, cursor: Cursor<'_>, name: [u8; 3]) -> Option<usize> {
        let message = self.ground.message;
        if message.segments.get(cursor.segment).is_some_and(|s| s.name == name) {
            return Some(cursor.segment);
        }
        self.ground.placed.nearest(message, cursor.frame, name)
    }

    fn holds(&self, condition: &Condition, object: &Object, cursor: Cursor<'_>) -> bool {
        let message = self.ground.message;
        let text =
            |source: &Source| self.first(source, cursor).and_then(|piece| message.raw_value(message.leaf(piece)));
        match condition {
            Condition::Valued(source) => match source {
                Source::Resource(name) => self.in_reach(cursor.frame, name).is_some(),
                Source::Field { segment, field, path } if *path == Path::default() => self
                    .segment(cursor, *segment)
                    .and_then(|index| message.field(index, *field))
                    .is_some_and(|span| message.is_valued(span)),
                _ => self.first(source, cursor).is_some_and(|piece| message.is_valued(piece.span)),
            },
            Condition::Equals(source, values) => text(source).is_some_and(|text| values.contains(&text)),
            Condition::StartsWith(source, values) => {
                text(source).is_some_and(|text| values.iter().any(|v| text.starts_with(v)))
            }
            Condition::MoreThan(source, n) => match source {
                Source::Field { segment, field, .. } => self
                    .segment(cursor, *segment)
                    .and_then(|index| message.field(index, *field))
                    .is_some_and(|span| message.repetitions(span).take(n + 1).count() > *n),
                _ => false,
            },
            Condition::Longer(source, n) => text(source).is_some_and(|text| text.len() > *n),
            Condition::Number(source) => text(source).is_some_and(|text| convert::decimal(text).is_some()),
            Condition::Has(member) => object.get(member).is_some(),
            Condition::Not(inner) => !self.holds(inner, object, cursor),
            Condition::All(all) => all.iter().all(|c| self.holds(c, object, cursor)),
            Condition::Any(any) => any.iter().any(|c| self.holds(c, object, cursor)),
        }
    }

    fn enter(&mut self, row: &Row) -> bool {
        if self.ground.options.explain {
            let step = row.make.map_or_else(|| element(&row.target), |made| format!("{}→{made}", element(&row.target)));
            self.trail.push(step);
        }
        self.ground.options.explain
    }

    fn explain(&mut self, program: &Program, row: &Row, segment: usize, pieces: &[Piece]) {
        if !self.ground.options.explain {
            return;
        }
        let message = self.ground.message;
        let mut way: Vec<&str> = self.trail.iter().map(String::as_str).collect();
        let last = element(&row.target);
        way.push(&last);
        let element = way.into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(".");
        let file = self.ground.tables.files.get(usize::from(program.file)).map_or("", String::as_str);
        let fields = pieces.iter().map(|piece| message.path_of(piece.span, segment)).collect::<Vec<_>>().join(" ");
        self.explained.push(Explained { element, rule: format!("{file}:{}", row.line), field: fields });
    }
}

fn element(target: &[Step]) -> String {
    let steps = target.iter().map(|s| format!("{}{}", s.name, if s.append { "[]" } else { "" }));
    steps.collect::<Vec<_>>().join(".")
}

fn put_translated(
    row: &Row,
    object: &mut Object,
    kind: Primitive,
    text: &str,
    (code, target): (Cow<'static, str>, Option<Target>),
) -> bool {
    let system = target.and_then(|t| t.system);
    let coding = |into: &mut Object| {
        if let Some(system) = system {
            into.insert("system", Value::from(system));
        }
        into.insert("code", Value::String(code.clone()));
        if let Some(display) = target.and_then(|t| t.display) {
            into.insert("display", Value::from(display));
        }
    };
    match row.via {
        Via::CallerSystem => code == text && system.is_some_and(|system| put(object, &row.target, Value::from(system))),
        Via::CallerChanged if code == text => false,
        Via::CallerChanged => {
            let mut changed = Object::new();
            coding(&mut changed);
            put(object, &row.target, Value::Object(changed))
        }
        _ if row.target.is_empty() && kind == Primitive::String && object.get("$").is_none() && system.is_some() => {
            coding(object);
            true
        }
        _ => {
            let value = match (kind, code.as_ref()) {
                (Primitive::Boolean, "true") => Value::Bool(true),
                (Primitive::Boolean, "false") => Value::Bool(false),
                _ => Value::String(code),
            };
            put(object, &row.target, value)
        }
    }
}

/// Whether the target already has a value: the row that came first wins.
fn exists(object: &Object, target: &[Step]) -> bool {
    let Some((last, way)) = target.split_last() else { return false };
    let mut here = object;
    for step in way {
        match here.get(step.name) {
            Some(Value::Object(inner)) => here = inner,
            _ => return false,
        }
    }
    here.get(last.name).is_some()
}

/// Takes an object out to be filled further.
fn take_object(object: &mut Object, target: &[Step]) -> Option<Object> {
    let (last, way) = target.split_last()?;
    let mut here = object;
    for step in way {
        here = here.get_mut(step.name)?.as_object_mut()?;
    }
    match here.get(last.name)? {
        Value::Object(_) => match here.remove(last.name)? {
            Value::Object(inner) => Some(inner),
            _ => None,
        },
        _ => None,
    }
}

/// Puts a value at a target, making what is missing on the way. An empty target is a scalar's result.
pub(super) fn put(object: &mut Object, target: &[Step], value: Value) -> bool {
    let Some((last, way)) = target.split_last() else {
        object.insert("$", value);
        return true;
    };
    let mut here = object;
    for step in way {
        let member =
            here.entry_or(step.name, || if step.append { Value::Array(Vec::new()) } else { Object::new().into() });
        let next = match member {
            Value::Array(items) => {
                let mut fresh = Object::new();
                if let Some(url) = step.extension {
                    fresh.insert("url", Value::from(url));
                }
                items.push(Value::Object(fresh));
                items.last_mut()
            }
            other => Some(other),
        };
        match next {
            Some(Value::Object(inner)) => here = inner,
            _ => return false,
        }
    }
    let mut value = value;
    if let (Some(url), Some(extension)) = (last.extension, value.as_object_mut()) {
        extension.insert_first("url", Value::from(url));
    }
    if last.append {
        return push(here, last.name, value);
    }
    here.insert(last.name, value);
    true
}

fn push(object: &mut Object, name: &'static str, value: Value) -> bool {
    match object.entry_or(name, || Value::Array(Vec::new())) {
        Value::Array(items) => {
            items.push(value);
            true
        }
        _ => false,
    }
}
