//! `vocabulary` tables: one code per line, what it becomes, what that is called.

use super::super::parse::{Reader, intern};
use super::super::program::{Tables, Target, Vocabulary};
use super::{Names, Source};
use crate::error::TableError;

pub(super) fn read(source: &Source<'_>, tables: &mut Tables, names: &mut Names) -> Result<(), TableError> {
    let mut vocabulary = Vocabulary::default();
    for line in source.lines.iter().skip(1) {
        let mut reader = Reader::new(source.file, line);
        if reader.eat("system") {
            vocabulary.system = Some(intern(reader.expect("a system url")?));
            reader.done()?;
            continue;
        }
        let otherwise = reader.eat("else");
        let code = if otherwise { "" } else { reader.expect("a code")? };
        let target = target(&mut reader, code, vocabulary.system)?;
        if otherwise {
            vocabulary.otherwise = target;
        } else if let Some(prefix) = code.strip_suffix('*').filter(|p| !p.is_empty()) {
            let Some(into) = target.and_then(|t| t.code.strip_suffix('*')) else {
                return Err(reader.error(&format!("`{code}` without a `*` behind it"), "a target that ends in `*`"));
            };
            vocabulary.patterns.push((intern(prefix), intern(into)));
        } else if let Some(target) = target
            && vocabulary.codes.insert(intern(code), target).is_some()
        {
            return Err(reader.error(&format!("`{code}` a second time"), "each code once"));
        }
    }
    if names.vocabularies.insert(source.name, tables.vocabularies.len()).is_some() {
        return Err(TableError::new(
            source.file,
            1,
            format!("`{}` a second time", source.name),
            "each vocabulary once",
        ));
    }
    tables.vocabularies.push(vocabulary);
    Ok(())
}

/// `code [@system] ["display"]`; `=` repeats the source code, `-` says that there is no equivalent.
fn target(reader: &mut Reader<'_>, code: &str, default: Option<&'static str>) -> Result<Option<Target>, TableError> {
    let to = match reader.expect("a target code, `=` or `-`")? {
        "=" => code,
        "-" => {
            reader.take();
            reader.done()?;
            return Ok(None);
        }
        other => other,
    };
    let mut target = Target { code: intern(to), system: default, display: None };
    if let Some(system) = reader.peek().and_then(|w| w.strip_prefix('@')) {
        reader.take();
        target.system = Some(intern(system));
    }
    target.display = reader.take().map(|word| intern(&word.text));
    reader.done()?;
    Ok(Some(target))
}
