//! What made each element, for those who ask.

use super::Run;
use crate::Explained;
use crate::table::{Link, Program, Row, Step};
use crate::token::Piece;

impl Run<'_> {
    pub(super) fn enter(&mut self, row: &Row) -> bool {
        if self.ground.options.explain {
            let step = row.make.map_or_else(|| element(&row.target), |made| format!("{}→{made}", element(&row.target)));
            self.trail.push(step);
        }
        self.ground.options.explain
    }

    /// An element that pieces of the message made.
    pub(super) fn explain(&mut self, program: &Program, row: &Row, segment: usize, pieces: &[Piece]) {
        let message = self.ground.message;
        let paths = || pieces.iter().map(|piece| message.path_of(piece.span, segment)).collect::<Vec<_>>().join(" ");
        self.explain_as(program, row, paths);
    }

    /// An element that no field made: a text of the table, or a reference to another resource (`@Patient`).
    pub(super) fn explain_as(&mut self, program: &Program, row: &Row, field: impl FnOnce() -> String) {
        if !self.ground.options.explain {
            return;
        }
        let mut way: Vec<&str> = self.trail.iter().map(String::as_str).collect();
        let last = element(&row.target);
        way.push(&last);
        let element = way.into_iter().filter(|s| !s.is_empty()).collect::<Vec<_>>().join(".");
        let rule = self.rule(program.file, row.line);
        self.explained.push(Explained { element, rule, field: field() });
    }

    /// A reference that a message's table lays.
    pub(super) fn explain_link(&mut self, link: &Link) {
        if self.ground.options.explain {
            let element = format!("{}.{}", link.from, element(&link.target));
            let rule = self.rule(link.file, link.line);
            self.explained.push(Explained { element, rule, field: format!("@{}", link.to) });
        }
    }

    fn rule(&self, file: u16, line: u32) -> String {
        let file = self.ground.tables.files.get(usize::from(file)).map_or("", String::as_str);
        format!("{file}:{line}")
    }
}

fn element(target: &[Step]) -> String {
    let steps = target.iter().map(|s| format!("{}{}", s.name.as_str(), if s.append { "[]" } else { "" }));
    steps.collect::<Vec<_>>().join(".")
}
