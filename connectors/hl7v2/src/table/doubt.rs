//! What links and is seldom meant: elements, segments and fields of a site's tables that none of ours knows. A warning and no fault, for a
//! site may know an element that we do not fill; a name with one letter wrong would give records that nobody finds. Runs once, when
//! tables are loaded.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::program::{Condition, Source, Tables};
use crate::error::TableError;

/// Most warnings of one set of tables.
const DOUBTS_MAX: usize = 100;

/// What our own tables name.
struct Known {
    elements: BTreeSet<&'static str>,
    /// Per segment the last field that is read.
    fields: HashMap<[u8; 3], u16>,
}

/// Looks at the tables of these files, with ours as the measure.
pub fn doubts(ours: &Tables, tables: &Tables, site: &HashSet<&str>) -> Vec<TableError> {
    let mut known = Known { elements: BTreeSet::new(), fields: HashMap::new() };
    for row in ours.programs.iter().flat_map(|program| &program.rows) {
        known.elements.extend(row.target.iter().map(|step| step.name.as_str()));
        read(&row.source, row.condition.as_deref(), &mut |segment, field| {
            let last = known.fields.entry(segment).or_default();
            *last = (*last).max(field);
        });
    }
    for (segment, fields) in &ours.steering {
        let last = known.fields.entry(*segment).or_default();
        *last = fields.iter().copied().fold(*last, u16::max);
    }
    let mut found = Vec::new();
    for program in &tables.programs {
        let Some(file) = tables.files.get(usize::from(program.file)).filter(|file| site.contains(file.as_str())) else {
            continue;
        };
        for row in &program.rows {
            let doubt = |what: String, expected: &str| TableError::new(file, row.line, what, expected);
            for step in row.target.iter().filter(|step| !known.elements.contains(step.name.as_str())) {
                let doubt =
                    doubt(format!("the element `{}`", step.name.as_str()), "one that Chartseal's own tables make");
                found.push(doubt.or_meant(step.name.as_str(), known.elements.iter().copied()));
            }
            read(&row.source, row.condition.as_deref(), &mut |segment, field| {
                let name = String::from_utf8_lossy(&segment).into_owned();
                match known.fields.get(&segment) {
                    _ if name.starts_with('Z') => {}
                    None => {
                        let names: Vec<_> = known.fields.keys().filter_map(|n| std::str::from_utf8(n).ok()).collect();
                        let doubt = doubt(format!("the segment `{name}`"), "one that Chartseal's own tables read");
                        found.push(doubt.or_meant(&name, names.into_iter()));
                    }
                    Some(last) if field > last.saturating_add(20) => {
                        let what = format!("the field `{name}-{field}`");
                        found.push(doubt(what, &format!("one up to about {name}-{last}")));
                    }
                    Some(_) => {}
                }
            });
        }
    }
    found.truncate(DOUBTS_MAX);
    found
}

/// Every field that a row reads or that decides on it.
fn read(source: &Source, condition: Option<&Condition>, each: &mut dyn FnMut([u8; 3], u16)) {
    match source {
        Source::Field { segment, field, .. } => each(*segment, *field),
        Source::Joined(all) => all.iter().for_each(|source| read(source, None, each)),
        Source::Here | Source::Part(_) | Source::Constant(_) | Source::Resource(_) => {}
    }
    match condition {
        Some(
            Condition::Valued(source)
            | Condition::Equals(source, _)
            | Condition::StartsWith(source, _)
            | Condition::MoreThan(source, _)
            | Condition::Longer(source, _)
            | Condition::Number(source),
        ) => read(source, None, each),
        Some(Condition::Not(inner)) => read(&Source::Here, Some(inner), each),
        Some(Condition::All(all) | Condition::Any(all)) => {
            all.iter().for_each(|inner| read(&Source::Here, Some(inner), each));
        }
        Some(Condition::Has(_)) | None => {}
    }
}
