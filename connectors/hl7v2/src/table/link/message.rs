//! `message` tables: events, groups, what each segment makes, links between resources.

use super::super::parse::{Reader, intern, segment_name};
use super::super::program::{Filling, Group, Item, Link, MessageTable, SegmentItem, Tables};
use super::{Names, Source};
use crate::error::TableError;

pub(super) fn read(source: &Source<'_>, tables: &mut Tables, names: &Names) -> Result<(), TableError> {
    let mut table = MessageTable { times: Vec::new(), groups: vec![Group::default()] };
    let mut events = Vec::new();
    let mut open = 0;
    for line in source.lines.iter().skip(1) {
        let mut reader = Reader::new(source.file, line);
        match reader.expect("a segment, `group`, `link`, `on`, `time` or `}`")? {
            "on" => {
                while let Some(word) = reader.take() {
                    events.push((line.number, word.text.replace('^', "_")));
                }
                continue;
            }
            "time" => {
                while let Some(word) = reader.take() {
                    table.times.push(reader.field(&word.text)?);
                }
                continue;
            }
            "group" => open = group(&mut reader, &mut table, open)?,
            "link" => {
                let link = link(&mut reader, names, (source.index, line.number))?;
                table.groups[open].links.push(link);
            }
            "}" => match table.groups[open].parent {
                Some(parent) => open = parent,
                None => return Err(reader.error("`}` without a group", "a segment or a group")),
            },
            name => {
                let item = segment(&mut reader, name, names)?;
                table.groups[open].items.push(Item::Segment(item));
            }
        }
        reader.done()?;
    }
    if open != 0 {
        let last = source.lines.last().map_or(0, |l| l.number);
        return Err(TableError::new(source.file, last, "the end of the table", "`}` for every group"));
    }
    for (line, event) in events {
        if tables.by_event.insert(event.clone(), tables.messages.len()).is_some() {
            return Err(TableError::new(
                source.file,
                line,
                format!("`{event}` a second time"),
                "each event in one table",
            ));
        }
    }
    tables.messages.push(table);
    Ok(())
}

/// `group NAME * case PID-3 {`
fn group(reader: &mut Reader<'_>, table: &mut MessageTable, parent: usize) -> Result<usize, TableError> {
    reader.expect("the name of the group")?;
    let mut group = Group { parent: Some(parent), ..Group::default() };
    group.repeats = reader.eat("*");
    if reader.eat("case") {
        let field = reader.expect("the field that tells cases apart")?;
        group.case_by = Some(reader.field(field)?);
    }
    if !reader.eat("{") {
        return Err(reader.error("no `{`", "`{` at the end of the line"));
    }
    let index = table.groups.len();
    table.groups.push(group);
    table.groups[parent].items.push(Item::Group(index));
    Ok(index)
}

/// `link Observation.subject <- Patient`
fn link(reader: &mut Reader<'_>, names: &Names, (file, line): (u16, u32)) -> Result<Link, TableError> {
    let mut target = reader.target()?;
    if target.len() < 2 {
        return Err(reader.error("a link without an element", "`link Type.element <- Type`"));
    }
    let from = intern(target.remove(0).name.as_str());
    known(reader, from, names)?;
    if !reader.eat("<-") {
        return Err(reader.error(&format!("`{}`", reader.peek().unwrap_or("nothing")), "`<-`"));
    }
    let to = intern(reader.expect("a resource type")?);
    known(reader, to, names)?;
    Ok(Link { from, target, to, file, line })
}

/// A type that no table makes would be a link that never is.
fn known(reader: &Reader<'_>, resource: &str, names: &Names) -> Result<(), TableError> {
    let of_datatypes = names.maps.keys().filter_map(|map| map.split_once('[')?.1.strip_suffix(']'));
    let made = names.sections.keys().map(|(_, made)| *made).chain(of_datatypes);
    if made.clone().any(|made| made == resource) {
        return Ok(());
    }
    let error = reader.error(&format!("`{resource}`"), "a resource type that a table makes");
    Err(error.or_meant(resource, made))
}

/// `OBR * makes DiagnosticReport, Specimen without SPM fills ServiceRequest`
fn segment(reader: &mut Reader<'_>, name: &str, names: &Names) -> Result<SegmentItem, TableError> {
    let mut item = SegmentItem { name: reader.segment(name)?, repeats: reader.eat("*"), targets: Vec::new() };
    loop {
        let makes = match reader.peek() {
            Some("makes") => true,
            Some("fills") => false,
            Some(other) => {
                let error = reader.error(&format!("`{other}`"), "`makes` or `fills`");
                return Err(error.or_meant(other, ["makes", "fills"].into_iter()));
            }
            None => return Ok(item),
        };
        reader.take();
        loop {
            let resource = intern(reader.expect("a resource type")?);
            let Some(program) = names.sections.get(&(item.name, resource)).copied() else {
                let known = names.sections.keys().filter(|(s, _)| *s == item.name).map(|(_, r)| *r);
                let expected = format!("a section `into {resource}` in the table of {name}");
                return Err(reader.error(&format!("`{resource}`"), &expected).or_meant(resource, known));
            };
            let only_with = match reader.peek() {
                Some(word @ ("with" | "without")) => {
                    reader.take();
                    let other = reader.expect("a segment")?;
                    let mut others = vec![reader.segment(other)?];
                    while let Some(next) = reader.peek().and_then(segment_name) {
                        reader.take();
                        others.push(next);
                    }
                    Some((others, word == "with"))
                }
                _ => None,
            };
            item.targets.push(Filling { resource, makes, program, only_with });
            if !reader.eat(",") {
                break;
            }
        }
    }
}
