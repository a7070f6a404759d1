//! HL7's null (`""`): the field is to have no value any more. Which elements of a resource its rows would have given, so that whoever
//! folds the message onto what was known takes them away. Only whole fields count; what a message leaves out says nothing.

use super::Run;
use crate::table::{Action, Program, Row, Source, Step, Tables};

/// Blocks inside blocks are looked into so deep.
const DEPTH_MAX: usize = 4;

/// What a null takes from which instance.
pub(super) struct Clearing {
    pub instance: usize,
    pub element: &'static str,
    pub url: Option<&'static str>,
    pub only: Vec<(Vec<&'static str>, &'static str)>,
}

impl Run<'_> {
    /// Looks for nulls in a segment that a program has read.
    pub(super) fn clear(&mut self, program: usize, instance: usize, segment: usize) {
        let ground = self.ground;
        let Some(of) = ground.message.segments.get(segment) else { return };
        if !of.span.of(&ground.message.text).contains("\"\"") {
            return;
        }
        let Some(program) = ground.tables.programs.get(program) else { return };
        for row in &program.rows {
            let mut fields = Vec::new();
            fields_of(ground.tables, row, 0, &mut fields);
            let null = |field: &&([u8; 3], u16)| field.0 == of.name && self.is_null(segment, field.1);
            let Some(field) = fields.iter().find(null).and_then(|(_, n)| ground.message.field(segment, *n)) else {
                continue;
            };
            let Some(Step { name: element, extension, .. }) = row.target.first() else { continue };
            let only = if row.many { only_of(ground.tables, row) } else { Vec::new() };
            self.cleared.push(Clearing { instance, element: element.as_str(), url: *extension, only });
            self.reading.whole(field);
        }
    }

    fn is_null(&self, segment: usize, field: u16) -> bool {
        let message = self.ground.message;
        message.field(segment, field).is_some_and(|span| span.of(&message.text).trim_ascii() == "\"\"")
    }
}

/// The fields that a row reads, itself or in blocks without a source of their own.
fn fields_of(tables: &Tables, row: &Row, depth: usize, into: &mut Vec<([u8; 3], u16)>) {
    match (&row.source, row.action) {
        (Source::Field { segment, field, .. }, _) => into.push((*segment, *field)),
        (Source::Here, Action::Run(inner)) if depth < DEPTH_MAX => {
            let rows = tables.programs.get(inner).map_or(&[][..], |program| &program.rows);
            rows.iter().for_each(|row| fields_of(tables, row, depth + 1, into));
        }
        _ => {}
    }
}

/// What all members of a list have in common that a row makes: its constants (`use` = `work`), where there is one value only.
fn only_of(tables: &Tables, row: &Row) -> Vec<(Vec<&'static str>, &'static str)> {
    let mut found = Vec::new();
    if let Action::Run(inner) = row.action
        && let Some(program) = tables.programs.get(inner)
    {
        constants(tables, program, &[], &mut found);
    }
    let twice = |path: &Vec<&str>| found.iter().filter(|(other, _)| other == path).count() > 1;
    found.iter().filter(|(path, text)| !text.is_empty() && !twice(path)).cloned().collect()
}

fn constants(
    tables: &Tables,
    program: &Program,
    way: &[&'static str],
    into: &mut Vec<(Vec<&'static str>, &'static str)>,
) {
    for row in &program.rows {
        let path: Vec<&'static str> =
            way.iter().copied().chain(row.target.iter().map(|step| step.name.as_str())).collect();
        match (&row.source, row.action) {
            (Source::Constant(text), Action::Primitive(_)) => into.push((path, text)),
            (Source::Here, Action::Run(inner)) if path.len() <= DEPTH_MAX && !row.target.is_empty() => {
                if let Some(program) = tables.programs.get(inner) {
                    constants(tables, program, &path, into);
                }
            }
            // a value of the message may stand there
            _ if !path.is_empty() => into.push((path, "")),
            _ => {}
        }
    }
}
