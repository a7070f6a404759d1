//! Text of a table → lines of words. The grammar of rows, conditions and sources; names are resolved later (`link.rs`).

use std::collections::HashSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use schemas::json::Name;

use super::program::{Condition, Path, Source, Step};
use crate::bounds::MAX_TABLE_DEPTH;
use crate::error::TableError;

/// Text of tables lives as long as the process, each string once, however often tables are loaded again.
pub fn intern(text: &str) -> &'static str {
    static POOL: OnceLock<Mutex<HashSet<&'static str>>> = OnceLock::new();
    let mut pool = POOL.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = pool.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    pool.insert(kept);
    kept
}

/// One word of a line; `quoted` words are constants.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    pub text: String,
    pub quoted: bool,
}

/// One line that holds something.
pub struct Line {
    pub number: u32,
    pub words: Vec<Word>,
}

/// Cuts a table into lines of words; `#` begins a comment.
pub fn lines(file: &str, text: &str) -> Result<Vec<Line>, TableError> {
    let mut out = Vec::new();
    for (n, text) in text.lines().enumerate() {
        let number = n as u32 + 1;
        let words = words(text).map_err(|()| TableError::new(file, number, "an open quote", "a closing `\"`"))?;
        if !words.is_empty() {
            out.push(Line { number, words });
        }
    }
    Ok(out)
}

fn words(line: &str) -> Result<Vec<Word>, ()> {
    let mut out = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '#' {
            break;
        }
        if first == '"' {
            let end = rest[1..].find('"').ok_or(())?;
            out.push(Word { text: rest[1..=end].into(), quoted: true });
            rest = rest[end + 2..].trim_start();
            continue;
        }
        // commas and parentheses stand alone, except inside ext(url)
        let end = if rest.starts_with(['(', ')', ',']) {
            1
        } else {
            let mut depth = 0;
            rest.find(|c: char| {
                let stop = c.is_whitespace() || (depth == 0 && matches!(c, ')' | ','));
                depth += i32::from(c == '(') - i32::from(c == ')');
                stop
            })
            .unwrap_or(rest.len())
        };
        out.push(Word { text: rest[..end].into(), quoted: false });
        rest = rest[end..].trim_start();
    }
    Ok(out)
}

/// Reads the words of one line from left to right.
pub struct Reader<'l> {
    pub file: &'l str,
    pub line: &'l Line,
    at: usize,
    /// Parentheses and `not`s that are open.
    depth: usize,
}

impl<'l> Reader<'l> {
    pub fn new(file: &'l str, line: &'l Line) -> Self {
        Self { file, line, at: 0, depth: 0 }
    }

    pub fn peek(&self) -> Option<&'l str> {
        self.line.words.get(self.at).filter(|w| !w.quoted).map(|w| w.text.as_str())
    }

    pub fn take(&mut self) -> Option<&'l Word> {
        let word = self.line.words.get(self.at);
        self.at += 1;
        word
    }

    /// Takes the next word when it is `text`.
    pub fn eat(&mut self, text: &str) -> bool {
        let hit = self.peek() == Some(text);
        self.at += usize::from(hit);
        hit
    }

    pub fn expect(&mut self, what: &str) -> Result<&'l str, TableError> {
        match self.line.words.get(self.at) {
            Some(word) => {
                self.at += 1;
                Ok(&word.text)
            }
            None => Err(self.error("the end of the line", what)),
        }
    }

    pub fn done(&mut self) -> Result<(), TableError> {
        match self.line.words.get(self.at) {
            None => Ok(()),
            Some(word) => Err(self.error(&format!("`{}`", word.text), "the end of the line")),
        }
    }

    pub fn error(&self, found: &str, expected: &str) -> TableError {
        TableError::new(self.file, self.line.number, found, expected)
    }

    /// `PID`.
    pub fn segment(&self, text: &str) -> Result<[u8; 3], TableError> {
        segment_name(text).ok_or_else(|| self.error(&format!("`{text}`"), "a segment name such as PID"))
    }

    /// `PID-3`.
    pub fn field(&self, text: &str) -> Result<([u8; 3], u16), TableError> {
        match parse_source(text) {
            Some(Source::Field { segment, field, path }) if path == Path::default() => Ok((segment, field)),
            _ => Err(self.error(&format!("`{text}`"), "a field such as PID-3")),
        }
    }

    /// `PID-3` or `OBR-4.1`.
    pub fn field_part(&self, text: &str) -> Result<([u8; 3], u16, Path), TableError> {
        match parse_source(text) {
            Some(Source::Field { segment, field, path }) => Ok((segment, field, path)),
            _ => Err(self.error(&format!("`{text}`"), "a field such as PID-3 or OBR-4.1")),
        }
    }

    /// A source and what is joined to it by `+`.
    pub fn source(&mut self) -> Result<Source, TableError> {
        let mut parts = vec![self.one_source()?];
        while self.eat("+") {
            parts.push(self.one_source()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Source::Joined(parts) })
    }

    fn one_source(&mut self) -> Result<Source, TableError> {
        let expected = "a source such as PID-5.1, .2, \"text\" or @Patient";
        let Some(word) = self.take() else { return Err(self.error("the end of the line", expected)) };
        if word.quoted {
            return Ok(Source::Constant(intern(&word.text)));
        }
        parse_source(&word.text).ok_or_else(|| self.error(&format!("`{}`", word.text), expected))
    }

    /// `a.b[].ext(url).c`, or `$this`, or `$`.
    pub fn target(&mut self) -> Result<Vec<Step>, TableError> {
        let text = self.expect("a target such as name[] or code.text")?;
        if matches!(text, "$" | "$this") {
            return Ok(Vec::new());
        }
        let bad =
            || self.error(&format!("`{text}`"), "a target such as name[], code.text or ext(hl7:patient-religion)");
        let mut steps = Vec::new();
        let mut rest = text;
        loop {
            if let Some(inside) = rest.strip_prefix("ext(") {
                let end = inside.find(')').ok_or_else(bad)?;
                let name = Name::interned("extension").ok_or_else(bad)?;
                steps.push(Step { name, append: true, extension: Some(url(&inside[..end])) });
                rest = &inside[end + 1..];
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let name = &rest[..end];
                rest = &rest[end..];
                let append = rest.starts_with("[]");
                rest = rest.strip_prefix("[]").unwrap_or(rest);
                steps.push(Step { name: Name::interned(name).ok_or_else(bad)?, append, extension: None });
            }
            match rest.strip_prefix('.') {
                Some(more) => rest = more,
                None if rest.is_empty() => return Ok(steps),
                None => return Err(bad()),
            }
        }
    }

    /// `a and (b or not c)`.
    pub fn condition(&mut self) -> Result<Condition, TableError> {
        let mut any = vec![self.all()?];
        while self.eat("or") {
            any.push(self.all()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Condition::Any(any) })
    }

    fn all(&mut self) -> Result<Condition, TableError> {
        let mut all = vec![self.term()?];
        while self.eat("and") {
            all.push(self.term()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Condition::All(all) })
    }

    fn term(&mut self) -> Result<Condition, TableError> {
        if self.depth >= MAX_TABLE_DEPTH {
            return Err(self.error("a condition that is too deep", "fewer parentheses"));
        }
        self.depth += 1;
        let term = self.inner_term();
        self.depth -= 1;
        term
    }

    fn inner_term(&mut self) -> Result<Condition, TableError> {
        if self.eat("not") {
            return Ok(Condition::Not(Box::new(self.term()?)));
        }
        if self.eat("(") {
            let inside = self.condition()?;
            return if self.eat(")") { Ok(inside) } else { Err(self.error("no `)`", "a closing `)`")) };
        }
        if self.eat("has") {
            let expected = "the name of a member";
            let word = self.expect(expected)?;
            let name = Name::interned(word).ok_or_else(|| self.error(&format!("`{word}`"), expected))?;
            return Ok(Condition::Has(name));
        }
        if self.eat("count") {
            let source = self.source()?;
            return Ok(Condition::MoreThan(source, self.above()?));
        }
        if self.eat("length") {
            let source = self.source()?;
            return Ok(Condition::Longer(source, self.above()?));
        }
        if self.eat("number") {
            return Ok(Condition::Number(self.source()?));
        }
        let source = self.source()?;
        Ok(match self.peek() {
            Some("=" | "in") => {
                self.take();
                Condition::Equals(source, self.values()?)
            }
            Some("!=") => {
                self.take();
                Condition::Not(Box::new(Condition::Equals(source, self.values()?)))
            }
            Some("starts") => {
                self.take();
                Condition::StartsWith(source, self.values()?)
            }
            _ => Condition::Valued(source),
        })
    }

    fn above(&mut self) -> Result<usize, TableError> {
        if !self.eat(">") {
            return Err(self.error(&format!("`{}`", self.peek().unwrap_or("nothing")), "`>`"));
        }
        let number = self.expect("a number")?;
        number.parse().map_err(|_| self.error(&format!("`{number}`"), "a number"))
    }

    fn values(&mut self) -> Result<Vec<&'static str>, TableError> {
        let mut out = vec![intern(self.expect("a value")?)];
        while self.eat(",") {
            out.push(intern(self.expect("a value")?));
        }
        Ok(out)
    }
}

/// `hl7:x` is an extension that FHIR R4 defines.
pub fn url(text: &str) -> &'static str {
    match text.strip_prefix("hl7:") {
        Some(name) => intern(&format!("http://hl7.org/fhir/StructureDefinition/{name}")),
        None => intern(text),
    }
}

pub fn segment_name(text: &str) -> Option<[u8; 3]> {
    let name: [u8; 3] = text.as_bytes().try_into().ok()?;
    let good = name[0].is_ascii_uppercase() && name.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    good.then_some(name)
}

fn parse_source(text: &str) -> Option<Source> {
    if let Some(resource) = text.strip_prefix('@') {
        return (!resource.is_empty()).then(|| Source::Resource(intern(resource)));
    }
    if text == "." {
        return Some(Source::Part(Path::default()));
    }
    if let Some(path) = text.strip_prefix('.') {
        return Some(Source::Part(parse_path(path)?));
    }
    let (segment, rest) = text.split_once('-')?;
    let (field, path) = match rest.split_once('.') {
        Some((field, path)) => (field, parse_path(path)?),
        None => (rest, Path::default()),
    };
    let field = field.parse().ok().filter(|f| (1..=crate::bounds::MAX_FIELDS as u16).contains(f))?;
    Some(Source::Field { segment: segment_name(segment)?, field, path })
}

fn parse_path(text: &str) -> Option<Path> {
    let (component, subcomponent) = text.split_once('.').unwrap_or((text, "0"));
    let component: u8 = component.parse().ok().filter(|c| (1..=crate::bounds::MAX_COMPONENTS as u8).contains(c))?;
    Some(Path { component, subcomponent: subcomponent.parse().ok()? })
}
