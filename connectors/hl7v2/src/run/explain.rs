//! What made each element, for those who ask.

use super::Run;
use crate::Explained;
use crate::table::{Program, Row, Step};
use crate::token::Piece;

impl Run<'_> {
    pub(super) fn enter(&mut self, row: &Row) -> bool {
        if self.ground.options.explain {
            let step = row.make.map_or_else(|| element(&row.target), |made| format!("{}→{made}", element(&row.target)));
            self.trail.push(step);
        }
        self.ground.options.explain
    }

    pub(super) fn explain(&mut self, program: &Program, row: &Row, segment: usize, pieces: &[Piece]) {
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
