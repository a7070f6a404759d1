//! Conditions of rows.

use schemas::json::Object;

use super::rows::Cursor;
use super::{Run, convert};
use crate::table::{Condition, Path, Source};

impl Run<'_> {
    pub(super) fn mark_deciding(&mut self, condition: &Condition, cursor: Cursor<'_>) {
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

    pub(super) fn holds(&self, condition: &Condition, object: &Object, cursor: Cursor<'_>) -> bool {
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
}
