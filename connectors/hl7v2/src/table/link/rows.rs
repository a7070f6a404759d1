//! `datatype`, `segment` and `resource` tables: sections of rows.

use super::super::parse::{Line, Reader, intern};
use super::super::program::{Needs, Program, ResourceTable, Tables};
use super::build::{Builder, block};
use super::{Kind, Names, Source};
use crate::error::TableError;

/// Registers the sections of a table, so that others can name them.
pub(super) fn declare(source: &Source<'_>, tables: &mut Tables, names: &mut Names) -> Result<(), TableError> {
    for (line, name) in sections(source)? {
        let index = tables.programs.len();
        tables.programs.push(Program {
            file: source.index,
            rows: Vec::new(),
            gates: Vec::new(),
            scalar: false,
            constant: false,
            needs: Needs::default(),
            local: false,
            touches: None,
            remembered: source.kind == Kind::Datatype,
            recurs: source.recurs.clone(),
        });
        let twice = if source.kind == Kind::Datatype {
            names.maps.insert(intern(&format!("{}[{name}]", source.name)), index).is_some()
        } else {
            let segment = Reader::new(source.file, line).segment(source.name)?;
            names.sections.insert((segment, intern(name)), index).is_some()
        };
        if twice {
            return Err(TableError::new(
                source.file,
                line.number,
                format!("`{name}` a second time"),
                "each section once",
            ));
        }
    }
    Ok(())
}

/// The lines that begin a section: `into Identifier`.
fn sections<'s>(source: &'s Source<'_>) -> Result<Vec<(&'s Line, &'s str)>, TableError> {
    let mut out = Vec::new();
    for line in &source.lines {
        let mut reader = Reader::new(source.file, line);
        if reader.eat("into") {
            out.push((line, reader.expect("the name of a FHIR type")?));
            reader.done()?;
        }
    }
    Ok(out)
}

/// Reads the rows of all sections of a `datatype` or `segment` table.
pub(super) fn read(source: &Source<'_>, tables: &mut Tables, names: &Names) -> Result<(), TableError> {
    let mut at = 1;
    let mut current = None;
    while let Some(line) = source.lines.get(at) {
        let mut reader = Reader::new(source.file, line);
        if reader.eat("into") {
            let name = reader.expect("a type")?;
            current = if source.kind == Kind::Datatype {
                names.maps.get(format!("{}[{name}]", source.name).as_str()).copied()
            } else {
                names.sections.get(&(reader.segment(source.name)?, name)).copied()
            };
            at += 1;
        } else if source.kind == Kind::Segment && reader.eat("steers") {
            steers(&mut reader, source, tables)?;
            at += 1;
        } else if let Some(program) = current {
            let mut builder =
                Builder { file: source.file, index: source.index, lines: &source.lines, at, tables, names, depth: 0 };
            let (rows, scalar) = block(&mut builder, true)?;
            if builder.at == at {
                let found = reader.peek().unwrap_or_default();
                return Err(reader.error(&format!("`{found}`"), "a row, or `into TYPE`"));
            }
            at = builder.at;
            tables.programs[program].rows.extend(rows);
            tables.programs[program].scalar |= scalar;
        } else {
            let found = reader.peek().unwrap_or("a quoted text");
            let error = reader.error(&format!("`{found}`"), "`into TYPE` before the first row");
            return Err(error.or_meant(found, ["into", "steers"].into_iter()));
        }
    }
    Ok(())
}

/// `steers OBX-1 OBX-2`: fields that shape the mapping without being a value of it.
fn steers(reader: &mut Reader<'_>, source: &Source<'_>, tables: &mut Tables) -> Result<(), TableError> {
    let segment = reader.segment(source.name)?;
    while let Some(word) = reader.take() {
        let (of, field) = reader.field(&word.text)?;
        if of != segment {
            return Err(reader.error(&format!("`{}`", word.text), &format!("a field of {}", source.name)));
        }
        tables.steering.entry(segment).or_default().push(field);
    }
    Ok(())
}

/// Reads a `resource` table: `key` lines, then rows for what is required.
pub(super) fn resource(source: &Source<'_>, tables: &mut Tables, names: &Names) -> Result<(), TableError> {
    let mut table = ResourceTable::default();
    let mut at = 1;
    while let Some(line) = source.lines.get(at) {
        let mut reader = Reader::new(source.file, line);
        if reader.eat("key") {
            let mut key = Vec::new();
            while let Some(word) = reader.take() {
                key.push(reader.field_part(&word.text)?);
            }
            table.keys.push(key);
            at += 1;
        } else if reader.eat("require") {
            reader.done()?;
            let mut builder = Builder {
                file: source.file,
                index: source.index,
                lines: &source.lines,
                at: at + 1,
                tables,
                names,
                depth: 0,
            };
            let (rows, _) = block(&mut builder, true)?;
            at = builder.at;
            table.defaults = Some(tables.programs.len());
            tables.programs.push(Program {
                file: source.index,
                rows,
                gates: Vec::new(),
                scalar: false,
                constant: false,
                needs: Needs::default(),
                local: false,
                touches: None,
                remembered: false,
                recurs: None,
            });
        } else {
            let found = reader.peek().unwrap_or("a quoted text");
            let error = reader.error(&format!("`{found}`"), "`key FIELD …` or `require`");
            return Err(error.or_meant(found, ["key", "require"].into_iter()));
        }
    }
    tables.resources.insert(source.name, table);
    Ok(())
}
