//! One row: `target <- source new Type as Map via Vocabulary if condition {`, every part after the target optional.

use super::super::parse::{Line, Reader, intern};
use super::super::program::{Action, Needs, Primitive, Program, Recurs, Row, Source, Tables, Via};
use super::Names;
use crate::bounds::MAX_TABLE_DEPTH;
use crate::error::TableError;

pub(super) struct Builder<'b> {
    pub file: &'b str,
    pub index: u16,
    pub lines: &'b [Line],
    pub at: usize,
    pub tables: &'b mut Tables,
    pub names: &'b Names,
    /// Blocks that are open.
    pub depth: usize,
}

/// Reads rows until `}`, or (at the top) until the next section. Returns them and whether they make one value.
pub(super) fn block(builder: &mut Builder<'_>, top: bool) -> Result<(Vec<Row>, bool), TableError> {
    let mut rows = Vec::new();
    let mut scalar = false;
    let lines = builder.lines;
    loop {
        let Some(line) = lines.get(builder.at) else {
            if top {
                return Ok((rows, scalar));
            }
            let last = lines.last().map_or(0, |l| l.number);
            return Err(TableError::new(builder.file, last, "the end of the table", "`}`"));
        };
        let mut reader = Reader::new(builder.file, line);
        match reader.peek() {
            Some("into" | "steers" | "key" | "require") if top => return Ok((rows, scalar)),
            Some("}") if !top => {
                reader.take();
                reader.done()?;
                builder.at += 1;
                return Ok((rows, scalar));
            }
            _ => {}
        }
        scalar |= reader.peek() == Some("$");
        rows.push(row(builder, line)?);
    }
}

fn row(builder: &mut Builder<'_>, line: &Line) -> Result<Row, TableError> {
    let mut reader = Reader::new(builder.file, line);
    let target = reader.target()?;
    let source = if reader.eat("<-") { reader.source()? } else { Source::Here };
    let make = if reader.eat("new") { Some(intern(reader.expect("a resource type")?)) } else { None };
    let mut action = if reader.eat("as") { Some(action(builder, &mut reader)?) } else { None };
    let via = if reader.eat("via") { via(builder, &mut reader)? } else { Via::None };
    let condition = if reader.eat("if") { Some(Box::new(reader.condition()?)) } else { None };
    let recurs = reader.eat("recurs");
    let opens = reader.eat("{");
    if let Some(word) = reader.take() {
        let expected = "`<-`, `new`, `as`, `via`, `if`, `recurs`, `{` in this order, or the end of the line";
        let error = reader.error(&format!("`{}`", word.text), expected);
        return Err(error.or_meant(&word.text, ["<-", "new", "as", "via", "if", "recurs", "{"].into_iter()));
    }
    if recurs && (!opens || matches!(source, Source::Here)) {
        return Err(reader.error("`recurs` without a block that has a source", "`target <- SOURCE recurs {`"));
    }
    builder.at += 1;
    if opens {
        if builder.depth >= MAX_TABLE_DEPTH {
            return Err(reader.error("a block that is too deep", "fewer blocks inside blocks"));
        }
        if action.is_some() {
            return Err(reader.error("`as` and a block", "one of them"));
        }
        builder.depth += 1;
        let inner = block(builder, false);
        builder.depth -= 1;
        let (rows, scalar) = inner?;
        let constant = rows.iter().all(|row| match (&row.source, row.action) {
            (Source::Constant(_), _) => true,
            (Source::Here, Action::Run(inner)) => builder.tables.programs.get(inner).is_some_and(|p| p.constant),
            _ => false,
        });
        action = Some(Action::Run(builder.tables.programs.len()));
        builder.tables.programs.push(Program {
            file: builder.index,
            rows,
            gates: Vec::new(),
            scalar,
            constant,
            needs: Needs::default(),
            local: false,
            touches: None,
            remembered: recurs,
            recurs: recurs.then_some(Recurs::Always),
        });
    } else if matches!(source, Source::Here) && action.is_none() {
        return Err(reader.error("a row without a source", "`<- SOURCE`, `as MAP` or a block"));
    }
    if make.is_some() && !matches!(action, Some(Action::Run(_))) {
        return Err(reader.error("`new` without a map", "`as MAP` or a block that fills the resource"));
    }
    let action = action.unwrap_or(Action::Primitive(Primitive::String));
    let many = target.iter().any(|step| step.append);
    Ok(Row { line: line.number, target, many, source, make, action, via, condition })
}

const PRIMITIVES: &[(&str, Primitive)] = &[
    ("string", Primitive::String),
    ("text", Primitive::Text),
    ("code", Primitive::Code),
    ("uri", Primitive::Uri),
    ("oid", Primitive::Oid),
    ("uuid", Primitive::Uuid),
    ("date", Primitive::Date),
    ("dateTime", Primitive::DateTime),
    ("instant", Primitive::Instant),
    ("time", Primitive::Time),
    ("decimal", Primitive::Decimal),
    ("comparator", Primitive::Comparator),
    ("integer", Primitive::Integer),
    ("positiveInt", Primitive::PositiveInt),
    ("unsignedInt", Primitive::UnsignedInt),
    ("boolean", Primitive::Boolean),
    ("base64", Primitive::Base64),
    ("encodeBase64", Primitive::EncodeBase64),
    ("hexBase64", Primitive::HexBase64),
];

fn action(builder: &Builder<'_>, reader: &mut Reader<'_>) -> Result<Action, TableError> {
    let name = reader.expect("a map such as CX[Identifier] or a primitive such as dateTime")?;
    if let Some((_, primitive)) = PRIMITIVES.iter().find(|(n, _)| *n == name) {
        return Ok(Action::Primitive(*primitive));
    }
    if let Some(map) = builder.names.maps.get(name) {
        return Ok(Action::Run(*map));
    }
    let known = builder.names.maps.keys().copied().chain(PRIMITIVES.iter().map(|(n, _)| *n));
    Err(reader.error(&format!("`{name}`"), "a known map or primitive").or_meant(name, known))
}

fn via(builder: &Builder<'_>, reader: &mut Reader<'_>) -> Result<Via, TableError> {
    let name = reader.expect("a vocabulary")?;
    Ok(match name {
        "caller" => Via::Caller,
        "caller.system" => Via::CallerSystem,
        "caller.changed" => Via::CallerChanged,
        _ => match builder.names.vocabularies.get(name) {
            Some(index) => Via::Table(*index),
            None => {
                let known = builder.names.vocabularies.keys().copied();
                return Err(reader.error(&format!("`{name}`"), "a known vocabulary").or_meant(name, known));
            }
        },
    })
}
