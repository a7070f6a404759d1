//! Conditions of rows.

use schemas::json::Object;

use super::rows::Cursor;
use super::{Run, convert};
use crate::table::{Condition, Path, Source};

impl<'r> Run<'r> {
    pub(super) fn mark_deciding(&mut self, condition: &Condition, cursor: &Cursor<'_>) {
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

    /// The text that a source gives, as it was sent. Many rows in turn ask for the same field.
    fn deciding(&self, source: &Source, cursor: &Cursor<'_>) -> Option<&'r str> {
        let message = self.ground.message;
        let read = || self.first(source, cursor).and_then(|piece| message.raw_value(message.leaf(piece)));
        let Source::Field { segment, field, path } = source else { return read() };
        let asked = (cursor.segment, cursor.frame, *segment, *field, *path);
        if let Some((last, text)) = self.asked.get()
            && last == asked
        {
            return text;
        }
        let text = read();
        self.asked.set(Some((asked, text)));
        text
    }

    pub(super) fn holds(&self, condition: &Condition, object: &Object, cursor: &Cursor<'_>) -> bool {
        let message = self.ground.message;
        let text = |source: &Source| self.deciding(source, cursor);
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
            Condition::Number(source) => text(source).is_some_and(convert::is_decimal),
            Condition::Has(member) => object.get_named(member).is_some(),
            Condition::Not(inner) => !self.holds(inner, object, cursor),
            Condition::All(all) => all.iter().all(|c| self.holds(c, object, cursor)),
            Condition::Any(any) => any.iter().any(|c| self.holds(c, object, cursor)),
        }
    }
}
