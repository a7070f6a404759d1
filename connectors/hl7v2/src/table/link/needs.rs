//! What each program reads, so that the many rows for fields that are not there cost nothing.

use schemas::json::Name;

use super::super::program::{Action, Condition, Gate, Needs, Path, Row, Source, Tables};

/// Fills what is known of all programs once they are linked.
pub(super) fn find(tables: &mut Tables) {
    let mut known: Vec<Option<Needs>> = vec![None; tables.programs.len()];
    for index in 0..known.len() {
        let mut open = Vec::new();
        of(tables, index, &mut known, &mut open);
    }
    let local: Vec<bool> = (0..known.len()).map(|index| is_local(tables, index, &mut Vec::new())).collect();
    let touched: Vec<_> = (0..known.len())
        .map(|index| {
            let mut names = Vec::new();
            touches(tables, index, &mut Vec::new(), &mut names).then_some(names)
        })
        .collect();
    for (((program, needs), local), touches) in tables.programs.iter_mut().zip(known).zip(local).zip(touched) {
        program.local = local;
        program.touches = touches;
        program.needs = needs.unwrap_or(Needs { unknown: true, ..Needs::default() });
    }
    let gates = tables.programs.iter().map(|program| program.rows.iter().map(|row| gate(tables, row)).collect());
    let gates: Vec<Vec<Gate>> = gates.collect();
    tables.programs.iter_mut().zip(gates).for_each(|(program, gates)| program.gates = gates);
}

fn gate(tables: &Tables, row: &Row) -> Gate {
    match (&row.source, row.action) {
        (Source::Part(path), _) if path.component > 0 => Gate::Parts(1 << path.component),
        (Source::Field { segment, field, .. }, _) => Gate::Field(*segment, *field),
        (Source::Here, Action::Run(inner)) => match tables.programs.get(inner) {
            Some(program) if !program.needs.unknown && !program.constant => {
                Gate::Block(Box::new(program.needs.clone()))
            }
            _ => Gate::Open,
        },
        _ => Gate::Open,
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

/// Whether a program and all it runs read their piece only.
fn is_local(tables: &Tables, index: usize, open: &mut Vec<usize>) -> bool {
    let Some(program) = tables.programs.get(index).filter(|_| !open.contains(&index)) else { return false };
    open.push(index);
    let local = program.rows.iter().all(|row| {
        let inner = match row.action {
            Action::Run(inner) => is_local(tables, inner, open),
            Action::Primitive(_) => true,
        };
        inner && source_is_local(&row.source) && row.condition.as_deref().is_none_or(condition_is_local)
    });
    open.pop();
    local
}

/// The members that a program may set or ask for; whether that can be told.
fn touches(tables: &Tables, index: usize, open: &mut Vec<usize>, into: &mut Vec<&'static Name>) -> bool {
    let Some(program) = tables.programs.get(index).filter(|_| !open.contains(&index)) else { return false };
    open.push(index);
    let told = program.rows.iter().all(|row| {
        row.condition.iter().for_each(|condition| asks(condition, into));
        match (row.target.first(), row.action) {
            (Some(step), _) => into.push(step.name),
            (None, Action::Run(inner)) => return touches(tables, inner, open, into),
            // a translation into the object itself
            (None, Action::Primitive(_)) => return false,
        }
        true
    });
    open.pop();
    told
}

fn asks(condition: &Condition, into: &mut Vec<&'static Name>) {
    match condition {
        Condition::Has(name) => into.push(name),
        Condition::Not(inner) => asks(inner, into),
        Condition::All(all) | Condition::Any(all) => all.iter().for_each(|condition| asks(condition, into)),
        _ => {}
    }
}

fn source_is_local(source: &Source) -> bool {
    match source {
        Source::Here | Source::Part(_) | Source::Constant(_) => true,
        Source::Joined(sources) => sources.iter().all(source_is_local),
        Source::Field { .. } | Source::Resource(_) => false,
    }
}

fn condition_is_local(condition: &Condition) -> bool {
    match condition {
        Condition::Valued(source)
        | Condition::Equals(source, _)
        | Condition::StartsWith(source, _)
        | Condition::MoreThan(source, _)
        | Condition::Longer(source, _)
        | Condition::Number(source) => source_is_local(source),
        Condition::Has(_) => true,
        Condition::Not(inner) => condition_is_local(inner),
        Condition::All(all) | Condition::Any(all) => all.iter().all(condition_is_local),
    }
}
