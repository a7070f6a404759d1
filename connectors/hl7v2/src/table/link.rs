//! Lines of all tables → programs with every name resolved. A mistake names file, line, found, expected and the nearest name.

mod build;
mod message;
mod needs;
mod rows;
mod vocabulary;

use std::collections::HashMap;

use super::parse::{Line, Reader, intern, lines};
use super::program::{Recurs, Tables};
use crate::error::TableError;

/// Names on the way to indices.
#[derive(Default)]
struct Names {
    /// `CX[Identifier]` → program.
    maps: HashMap<&'static str, usize>,
    /// Vocabulary → index.
    vocabularies: HashMap<&'static str, usize>,
    /// (segment, resource) → program.
    sections: HashMap<([u8; 3], &'static str), usize>,
}

/// What a table is about, by its first word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vocabulary,
    Datatype,
    Segment,
    Resource,
    Message,
}

struct Source<'t> {
    file: &'t str,
    index: u16,
    kind: Kind,
    name: &'static str,
    /// `datatype CWE recurs if .1`.
    recurs: Option<Recurs>,
    lines: Vec<Line>,
}

/// Reads and links all tables, given as (file name, text).
pub fn link(files: &[(&str, &str)]) -> Result<Tables, TableError> {
    let mut tables = Tables::default();
    let mut sources = Vec::with_capacity(files.len());
    for (file, text) in files {
        let index = u16::try_from(tables.files.len())
            .map_err(|_| TableError::new(file, 0, "too many tables", "fewer than 65536"))?;
        tables.files.push((*file).to_owned());
        let lines = lines(file, text)?;
        let (kind, name, recurs) = head(file, &lines)?;
        sources.push(Source { file, index, kind, name, recurs, lines });
    }
    let mut names = Names::default();
    // names first, so that tables may refer to each other in any order
    for source in &sources {
        match source.kind {
            Kind::Vocabulary => vocabulary::read(source, &mut tables, &mut names)?,
            Kind::Datatype | Kind::Segment => rows::declare(source, &mut tables, &mut names)?,
            Kind::Resource | Kind::Message => {}
        }
    }
    for source in &sources {
        match source.kind {
            Kind::Vocabulary => {}
            Kind::Datatype | Kind::Segment => rows::read(source, &mut tables, &names)?,
            Kind::Resource => rows::resource(source, &mut tables, &names)?,
            Kind::Message => message::read(source, &mut tables, &names)?,
        }
    }
    needs::find(&mut tables);
    Ok(tables)
}

fn head(file: &str, lines: &[Line]) -> Result<(Kind, &'static str, Option<Recurs>), TableError> {
    let expected = "a first line such as `segment PID`";
    let Some(line) = lines.first() else { return Err(TableError::new(file, 0, "an empty table", expected)) };
    let mut reader = Reader::new(file, line);
    let word = reader.expect(expected)?;
    let known = ["vocabulary", "datatype", "segment", "resource", "message"];
    let kind = match word {
        "vocabulary" => Kind::Vocabulary,
        "datatype" => Kind::Datatype,
        "segment" => Kind::Segment,
        "resource" => Kind::Resource,
        "message" => Kind::Message,
        other => return Err(reader.error(&format!("`{other}`"), expected).or_meant(other, known.into_iter())),
    };
    let name = intern(reader.expect("a name")?);
    let recurs = match kind == Kind::Datatype && reader.eat("recurs") {
        false => None,
        true if reader.eat("if") => Some(Recurs::If(reader.condition()?)),
        true => Some(Recurs::Always),
    };
    reader.done()?;
    Ok((kind, name, recurs))
}
