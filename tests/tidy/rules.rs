//! The rules over single source files, each with a name that exceptions use.

use crate::exceptions::EXCEPTIONS;
use crate::source::SourceFile;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "manager", "managers", "common", "misc", "mod", "shared", "stuff"];

/// A broken rule: its name, the line from 1, what was found.
type Finding = (&'static str, usize, String);
type Rule = fn(&SourceFile) -> Vec<Finding>;

const RULES: &[Rule] = &[head, length, functions, names, leftovers, ignored_tests, waiting_tests, panics];

/// All findings that no exception covers.
pub fn check(files: &[SourceFile]) -> Vec<String> {
    let excepted = |rule: &str, path: &str| EXCEPTIONS.iter().any(|(r, p, _)| *r == rule && *p == path);
    let mut found = Vec::new();
    for file in files {
        for (rule, line, what) in RULES.iter().flat_map(|rule| rule(file)) {
            if !excepted(rule, &file.path) {
                found.push(format!("{}:{line}: {rule}: {what}", file.path));
            }
        }
    }
    found
}

/// Exceptions whose file is gone or keeps the rule, and those without a reason.
pub fn unused_exceptions(files: &[SourceFile]) -> Vec<String> {
    let breaks = |rule: &str, path: &str| {
        let file = files.iter().find(|f| f.path == path);
        file.is_some_and(|f| RULES.iter().flat_map(|r| r(f)).any(|(name, ..)| name == rule))
    };
    let idle = EXCEPTIONS.iter().filter(|(rule, path, reason)| !breaks(rule, path) || reason.len() < 10);
    idle.map(|(rule, path, _)| format!("{path}: {rule}")).collect()
}

fn head(file: &SourceFile) -> Vec<Finding> {
    let first = file.text.lines().next().unwrap_or_default();
    if first.len() > "//! ".len() && first.starts_with("//! ") {
        return vec![];
    }
    vec![("head", 1, "expected the file to open with //! what it is".into())]
}

fn length(file: &SourceFile) -> Vec<Finding> {
    let lines = file.text.lines().count();
    if lines <= FILE_LINES_MAX {
        return vec![];
    }
    vec![("length", 1, format!("{lines} lines, at most {FILE_LINES_MAX}"))]
}

/// Functions of tests may be tables, and tables may be long.
fn functions(file: &SourceFile) -> Vec<Finding> {
    let long = file.functions().into_iter().filter(|f| f.lines > FUNCTION_LINES_MAX && f.line < file.tests_from);
    long.map(|f| ("function", f.line + 1, format!("{} lines, at most {FUNCTION_LINES_MAX}", f.lines))).collect()
}

fn names(file: &SourceFile) -> Vec<Finding> {
    let parts = file.path.trim_end_matches(".rs").split('/');
    let bad = parts.filter(|part| EMPTY_NAMES.contains(part));
    bad.map(|part| ("name", 1, format!("{part} does not say what is inside"))).collect()
}

/// Marks of unfinished work, comments included.
fn leftovers(file: &SourceFile) -> Vec<Finding> {
    // Written in parts, or this file would find itself.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimple", "mented!")];
    let lines = file.text.lines().enumerate();
    let found = lines.flat_map(|(i, line)| marks.iter().filter(|m| line.contains(**m)).map(move |m| (i, *m)));
    found.map(|(i, mark)| ("leftover", i + 1, format!("found {mark}"))).collect()
}

fn ignored_tests(file: &SourceFile) -> Vec<Finding> {
    let found = file.code.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("#[ignore"));
    found.map(|(i, _)| ("ignored", i + 1, "a test that does not run".into())).collect()
}

fn waiting_tests(file: &SourceFile) -> Vec<Finding> {
    let found = file.test_lines().filter(|(_, line)| line.contains("sleep(") || line.contains("sleep_until("));
    found.map(|(i, _)| ("sleep", i + 1, "a test waits for time, expected it to wait for an event".into())).collect()
}

fn panics(file: &SourceFile) -> Vec<Finding> {
    if file.path.ends_with("/build.rs") {
        return vec![];
    }
    let found = file.lines().filter(|(_, line)| line.contains(".unwrap()") || calls_expect(line));
    found.map(|(i, _)| ("panic", i + 1, "unwrap or expect outside tests".into())).collect()
}

/// `Option::expect` or `Result::expect`; a parser's own `expect(…)?` returns an error instead.
fn calls_expect(line: &str) -> bool {
    line.match_indices(".expect(").any(|(at, call)| {
        let after = line[at + call.len()..].split_once(')').map_or("", |(_, after)| after);
        !after.starts_with('?')
    })
}

/// A workspace that breaks every rule.
pub const BROKEN_HOUSE: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\nmembers = [\"schemas\", \"ledger/core\", \"gateway/vault\", \"gateway/new\", \"tests\"]\n",
    ),
    ("Cargo.lock", ""),
    ("LICENSE", ""),
    ("docs/x.md", ""),
    ("compose/x", ""),
    ("connectors/x", ""),
    ("target/x.rs", ""),
    (
        "schemas/Cargo.toml",
        "[package]\nname = \"schema\"\n[profile.dev]\n[dependencies]\nledger-core.workspace = true\nserde = \"1\"\n",
    ),
    (
        "ledger/core/Cargo.toml",
        "[package]\nname = \"ledger-core\"\n[lints]\nworkspace = true\n\
         [dependencies]\nschemas.workspace = true\ntokio.workspace = true\n[target.'cfg(unix)'.dependencies]\n\
         gateway-vault.workspace = true\n[dev-dependencies]\nproptest.workspace = true\n",
    ),
    (
        "gateway/vault/Cargo.toml",
        "[package]\nname = \"gateway-vault\"\n[lints]\nworkspace = true\n[build-dependencies]\nlapin.workspace = true\n\
         [dependencies]\ntokio.workspace = true\naes-gcm.workspace = true\n",
    ),
    (
        "gateway/new/Cargo.toml",
        "[package]\nname = \"gateway-new\"\n[lints]\nworkspace = true\n[dependencies]\nschemas.workspace = true\n",
    ),
    (
        "tests/Cargo.toml",
        "[package]\nname = \"tests\"\n[lints]\nworkspace = true\n[dependencies]\nlapin.workspace = true\n",
    ),
    (
        "schemas/src/lib.rs",
        "// no head\nfn a() { b().unwrap(); \"x.unwrap()\"; }\n#[cfg(test)]\nmod tests {\n fn c() { d().unwrap(); }\n}\n",
    ),
    ("schemas/src/utils.rs", "//! Has a head.\n"),
    (
        "ledger/core/src/lib.rs",
        concat!("//! Has a head.\n// TO", "DO more\nfn a() { b.expect(\"c\"); p.expect(\"d\")?; }\n"),
    ),
    ("ledger/core/tests/a.rs", "//! Has a head.\n#[ignore]\n#[test]\nfn a() { sleep(1); b.unwrap(); }\n"),
];

/// What must be found there, each once.
pub const BROKEN_HOUSE_FINDINGS: &[&str] = &[
    "README.md: missing",
    "docs: not one of the fixed names",
    "schemas/Cargo.toml: package name schema ",
    "schemas/Cargo.toml: has a profile",
    "schemas/Cargo.toml: does not take the workspace's lints",
    "schemas/Cargo.toml: serde is not taken from the workspace",
    "schemas/Cargo.toml: has no row",
    "ledger/core/Cargo.toml: is pure and must not use tokio",
    "ledger/core/Cargo.toml: must not depend on gateway-vault",
    "gateway/vault/Cargo.toml: lapin belongs to connectors-amqp alone",
    "gateway/new/Cargo.toml: has no row",
    "schemas/src/lib.rs:1: head",
    "schemas/src/lib.rs:2: panic",
    "schemas/src/utils.rs:1: name",
    "ledger/core/src/lib.rs:2: leftover",
    "ledger/core/src/lib.rs:3: panic",
    "ledger/core/tests/a.rs:2: ignored",
    "ledger/core/tests/a.rs:4: sleep",
];
