//! Every code that a message can be refused with has its own hint, and deeds are written down in words.

use std::collections::BTreeSet;
use std::path::Path;

use super::*;

/// Where refusals are made, from the workspace's root.
const FOLDERS: [&str; 4] =
    ["connectors/hl7v2/src", "connectors/source/src", "gateway/server/src/ingest", "schemas/fhir/src"];
/// What stands right before a code there.
const MARKS: [&str; 11] = [
    "MapError::new(",
    "refuse(",
    "Refusal::caller(",
    "Refusal { code: ",
    "Kind::NotUtf8 => ",
    "Self::TooLarge => ",
    "set_aside(&mut write, id, (",
    "=> Some((",
    "FhirProblem { code: ",
    "if missing.is_some() { ",
    "\"missing-element\" } else { ",
];

/// Every file of a folder that is no test.
fn texts(folder: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        match path.is_dir() {
            _ if is_test => {}
            true => texts(&path, all),
            false => all.push(std::fs::read_to_string(&path).expect("text")),
        }
    }
}

/// The codes of a text: literals of small letters and hyphens behind one of the marks.
fn codes(text: &str, found: &mut BTreeSet<String>) {
    for mark in MARKS {
        for rest in text.split(mark).skip(1) {
            let Some((code, _)) = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"')) else {
                continue;
            };
            if code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                found.insert(code.to_owned());
            }
        }
    }
}

#[test]
fn every_code_has_a_hint_of_its_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut all, mut found) = (Vec::new(), BTreeSet::new());
    FOLDERS.iter().for_each(|folder| texts(&root.join(folder), &mut all));
    all.iter().for_each(|text| codes(text, &mut found));
    // those of each mark were found
    for code in [
        "unsupported-charset",
        "bad-delimiters",
        "no-msh",
        "batch-count",
        "bad-id",
        "abandoned",
        "json-not-utf8",
        "too-large",
        "raw-unreadable",
        "missing-element",
        "bad-element",
        "same-key-other-content",
    ] {
        assert!(found.contains(code), "{code} of {found:?}");
    }
    let without: Vec<_> = found.iter().filter(|code| hint(code) == GENERIC).collect();
    assert!(without.is_empty(), "found codes without a hint: {without:?}");
    // and none for what nobody is refused with
    let text = include_str!("../dead_letters.rs");
    let (_, hints) = text.split_once("pub fn hint").expect("the function");
    let arms = hints.lines().filter(|line| line.trim_start().starts_with(['"', '|']));
    let arms = arms.map(|line| line.split_once("=>").map_or(line, |(codes, _)| codes));
    let named: Vec<&str> = arms.flat_map(|line| line.split('"').skip(1).step_by(2)).collect();
    assert!(named.len() > 20, "{named:?}");
    let of_nobody: Vec<_> = named.into_iter().filter(|code| !code.contains(' ') && !found.contains(*code)).collect();
    assert!(of_nobody.is_empty(), "found hints for codes that nobody is refused with: {of_nobody:?}");
}

#[test]
fn a_hints_command_names_the_configuration() {
    for code in ["normaliser-failed", "of a newer program"] {
        assert!(hint(code).contains("connector try NAME - --config gateway.toml"), "{code}");
    }
}

#[test]
fn deeds_are_written_down_in_words() {
    let filter = Filter { since: Some(1_767_225_600_000), connector: Some("ward-3".into()), ..Filter::default() };
    assert_eq!(about(&filter), "connector ward-3, since 2026-01-01T00:00:00Z");
    assert_eq!(about(&Filter::default()), "all");
}
