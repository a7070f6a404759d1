//! Text of the message → a value at its target, through a vocabulary where the row names one.

use std::borrow::Cow;

use schemas::json::{Object, Value};

use super::rows::Cursor;
use super::target::{put, put_first};
use super::{Run, convert};
use crate::table::{Action, Primitive, Program, Row, Target, Via};
use crate::token::Piece;

impl<'r> Run<'r> {
    /// Converts, translates, puts, marks as read.
    pub(super) fn put_text(
        &mut self,
        program: &'r Program,
        row: &'r Row,
        object: &mut Object,
        cursor: &Cursor<'_>,
        text: &str,
        pieces: &[Piece],
    ) -> bool {
        let Action::Primitive(kind) = row.action else { return false };
        self.zoned += usize::from(row.reads_zone());
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
                // what stood there would have gone before
                Some(value) if !row.many => put_first(object, &row.target, value),
                Some(value) => put(object, &row.target, value),
                None => false,
            },
            Some(index) => match self.translate(index, text) {
                Some(found) => put_translated(row, object, kind, text, found),
                None => false,
            },
        };
        if done {
            // a date has no room for a time of day: what else reads it, or nothing, says whether that is lost
            let cut_short = kind == Primitive::Date && text.len() > "YYYYMMDD".len();
            for piece in pieces.iter().filter(|_| !cut_short) {
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
        into.insert("code", Value::String(code.clone().into()));
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
                _ => Value::String(code.into()),
            };
            put(object, &row.target, value)
        }
    }
}
