//! What each program reads, so that the many rows for fields that are not there cost nothing.

use super::super::program::{Action, Needs, Path, Row, Source, Tables};

/// Fills `Program::needs` of all programs.
pub(super) fn find(tables: &mut Tables) {
    let mut known: Vec<Option<Needs>> = vec![None; tables.programs.len()];
    for index in 0..known.len() {
        let mut open = Vec::new();
        of(tables, index, &mut known, &mut open);
    }
    for (program, needs) in tables.programs.iter_mut().zip(known) {
        program.needs = needs.unwrap_or(Needs { unknown: true, ..Needs::default() });
    }
}

fn of(tables: &Tables, index: usize, known: &mut Vec<Option<Needs>>, open: &mut Vec<usize>) -> Needs {
    if let Some(needs) = known.get(index).and_then(Clone::clone) {
        return needs;
    }
    let unknown = Needs { unknown: true, ..Needs::default() };
    let Some(program) = tables.programs.get(index).filter(|_| !open.contains(&index)) else { return unknown };
    open.push(index);
    let mut needs = Needs::default();
    for row in &program.rows {
        read(tables, row, &row.source, &mut needs, known, open);
    }
    open.pop();
    if open.is_empty() {
        known[index] = Some(needs.clone());
    }
    needs
}

fn read(
    tables: &Tables,
    row: &Row,
    source: &Source,
    needs: &mut Needs,
    known: &mut Vec<Option<Needs>>,
    open: &mut Vec<usize>,
) {
    match source {
        Source::Constant(_) => {}
        Source::Resource(_) => needs.unknown = true,
        Source::Part(Path { component: 0, .. }) => needs.unknown = true,
        Source::Part(path) => needs.parts |= 1 << path.component,
        Source::Field { segment, field, .. } => {
            if !needs.fields.contains(&(*segment, *field)) {
                needs.fields.push((*segment, *field));
            }
        }
        Source::Joined(sources) => sources.iter().for_each(|s| read(tables, row, s, needs, known, open)),
        Source::Here => match row.action {
            Action::Run(inner) => {
                let inner = of(tables, inner, known, open);
                needs.unknown |= inner.unknown;
                needs.parts |= inner.parts;
                for field in inner.fields {
                    if !needs.fields.contains(&field) {
                        needs.fields.push(field);
                    }
                }
            }
            Action::Primitive(_) => needs.unknown = true,
        },
    }
}
