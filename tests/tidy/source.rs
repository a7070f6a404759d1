//! The workspace's Rust files, each with its text, its code alone, and which of its lines are tests.

use std::path::Path;

use crate::lexer;

/// One source file.
pub struct SourceFile {
    /// Path below the workspace, with `/`.
    pub path: String,
    /// As it stands.
    pub text: String,
    /// Without comments and literals; the same lines.
    pub code: String,
    /// First line (from 0) that belongs to tests alone; `usize::MAX` when none does.
    pub tests_from: usize,
}

/// A function's place and length.
pub struct Function {
    /// Line, from 0.
    pub line: usize,
    /// Lines from its `fn` to its closing brace.
    pub lines: usize,
}

/// All `.rs` files below the fixed folders, in order of path.
pub fn files(root: &Path) -> Vec<SourceFile> {
    let mut found = Vec::new();
    for folder in ["compose", "connectors", "gateway", "ledger", "schemas", "tests"] {
        walk(&root.join(folder), root, &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(folder: &Path, root: &Path, found: &mut Vec<SourceFile>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            walk(&path, root, found);
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let below = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            found.push(SourceFile::new(below, text));
        }
    }
}

impl SourceFile {
    /// From a path and a text.
    pub fn new(path: String, text: String) -> Self {
        let code = lexer::code_only(&text);
        let all_tests = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
        // By custom of this house the tests of a file stand at its end; a `mod tests;` line opens no block.
        let block = code.lines().zip(code.lines().skip(1)).position(|(attribute, next)| {
            attribute.trim() == "#[cfg(test)]" && next.contains("mod ") && next.contains('{')
        });
        let tests_from = if all_tests { 0 } else { block.unwrap_or(usize::MAX) };
        Self { path, text, code, tests_from }
    }

    /// Lines of code outside tests, numbered from 0.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().take_while(|(i, _)| *i < self.tests_from)
    }

    /// Lines of tests, numbered from 0.
    pub fn test_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().skip_while(|(i, _)| *i < self.tests_from)
    }

    /// Functions with a body.
    pub fn functions(&self) -> Vec<Function> {
        let lines: Vec<&str> = self.code.lines().collect();
        let starts = lines.iter().enumerate().filter(|(_, l)| is_function(l));
        starts.filter_map(|(line, _)| Some(Function { line, lines: body_lines(&lines[line..])? })).collect()
    }
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let before = ["pub", "const", "async", "extern", "unsafe", "pub(crate)", "pub(super)"];
    words.find(|w| !before.contains(w) && !w.starts_with("pub(in")).is_some_and(|w| w == "fn")
}

/// Lines until the brace that opens the body is closed; `None` for a declaration without one.
fn body_lines(lines: &[&str]) -> Option<usize> {
    let (mut braces, mut brackets) = (0_usize, 0_usize);
    for (i, line) in lines.iter().enumerate() {
        for c in line.chars() {
            match c {
                '{' => braces += 1,
                '}' => {
                    braces = braces.checked_sub(1)?;
                    if braces == 0 && brackets == 0 {
                        return Some(i + 1);
                    }
                }
                '[' | '(' => brackets += 1,
                ']' | ')' => brackets = brackets.checked_sub(1)?,
                // `;` inside brackets belongs to an array type.
                ';' if braces == 0 && brackets == 0 => return None,
                _ => {}
            }
        }
    }
    None
}

#[test]
fn functions_are_measured() {
    let text = "fn a();\npub(crate) async fn b(x: [u8; 2]) -> T\nwhere T: X {\n  match x { _ => {} }\n}\nlet f = |x| fn_like(x);\n";
    let functions = SourceFile::new("a.rs".into(), text.into()).functions();
    assert_eq!(functions.iter().map(|f| (f.line, f.lines)).collect::<Vec<_>>(), [(1, 4)]);
}

#[test]
fn tests_are_told_from_code() {
    let of = |path: &str, text: &str| SourceFile::new(path.into(), text.into()).lines().count();
    assert_eq!(of("a/src/b.rs", "a\nb\n#[cfg(test)]\nmod tests {\n}"), 2);
    assert_eq!(of("a/src/b.rs", "#[cfg(test)]\nmod tests;\nb\n"), 3);
    assert_eq!(of("a/src/b/tests.rs", "a\n"), 0);
    assert_eq!(of("tests/path/b.rs", "a\n"), 0);
}
