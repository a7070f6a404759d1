//! Mistakes in tables: file, line, found, expected, the nearest name. And the embedded ones have none.

use std::collections::HashSet;

use super::{EMBEDDED, doubts, link};

fn refused(files: &[(&str, &str)]) -> String {
    link(files).err().expect("a refusal").to_string()
}

#[test]
fn embedded_tables_link() {
    let tables = link(EMBEDDED).unwrap_or_else(|error| panic!("{error}"));
    assert!(tables.by_event.contains_key("ORU_R01") && tables.by_event.contains_key("ADT_A08"));
}

#[test]
fn embedded_names_are_unique_without_their_folder() {
    let mut names: Vec<&str> = EMBEDDED.iter().filter_map(|(file, _)| file.rsplit('/').next()).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_sites_tables_are_measured_by_ours() {
    let own = "segment ZPI\ninto Patient\ngendr <- ZPI-2\nname[] {\n  famly <- PID-777\n}\nactive <- PID-8 if ZZZ-1 and PDI-7\n";
    let files: Vec<(&str, &str)> = EMBEDDED.iter().copied().chain([("segments/ZPI.map", own)]).collect();
    let (ours, tables) = (link(EMBEDDED).expect("good"), link(&files).expect("good"));
    let found: Vec<String> =
        doubts(&ours, &tables, &HashSet::from(["segments/ZPI.map"])).iter().map(ToString::to_string).collect();
    let expected = [
        ("segments/ZPI.map:5: found the element `famly`", "(did you mean `family`?)"),
        ("segments/ZPI.map:5: found the field `PID-777`", "expected one up to about PID-"),
        ("segments/ZPI.map:3: found the element `gendr`", "(did you mean `gender`?)"),
        ("segments/ZPI.map:7: found the segment `PDI`", "(did you mean `P"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (begin, end) in expected {
        assert!(found.iter().any(|f| f.starts_with(begin) && f.contains(end)), "{begin} {end}: {found:#?}");
    }
    let all = EMBEDDED.iter().map(|(name, _)| *name).collect();
    assert!(doubts(&ours, &ours, &all).is_empty(), "ours are the measure");
}

#[test]
fn mistakes_are_located_and_explained() {
    let cx = ("datatypes/CX.map", "datatype CX\ninto Identifier\nvalue <- .1\n");
    let cases: [(&str, &str); 13] = [
        (
            "segmnet PID",
            "a.map:1: found `segmnet`, expected a first line such as `segment PID` (did you mean `segment`?)",
        ),
        ("segment PID\n\n# x\nvalue <- PID-3", "a.map:4: found `value`, expected `into TYPE` before the first row"),
        (
            "segment PID\ninto Patient\nid[] <- PID-3 as CX[Identifer]",
            "a.map:3: found `CX[Identifer]`, expected a known map or primitive (did you mean `CX[Identifier]`?)",
        ),
        ("segment PID\ninto Patient\nid <- PID-3 via Sex", "a.map:3: found `Sex`, expected a known vocabulary"),
        (
            "segment PID\ninto Patient\nid <- PID3",
            "a.map:3: found `PID3`, expected a source such as PID-5.1, .2, \"text\" or @Patient",
        ),
        (
            "segment PID\ninto Patient\nid <- PID-3 iff PID-2",
            "a.map:3: found `iff`, expected `<-`, `new`, `as`, `via`, `if`, `recurs`, `{` in this order, or the end of the line (did you mean `if`?)",
        ),
        ("segment PID\ninto Patient\nname[] {\n  use <- \"x\"\n", "a.map:4: found the end of the table, expected `}`"),
        ("segment PID\ninto Patient\nid <- \"x", "a.map:3: found an open quote, expected a closing `\"`"),
        (
            "segment PID\ninto Patient\na..b <- PID-1",
            "a.map:3: found `a..b`, expected a target such as name[], code.text or ext(hl7:patient-religion)",
        ),
        (
            "message M\non M^1\nPID makes Patient",
            "a.map:3: found `Patient`, expected a section `into Patient` in the table of PID",
        ),
        (
            "message M\nlink Identifier.assigner <- Identifer",
            "a.map:2: found `Identifer`, expected a resource type that a table makes (did you mean `Identifier`?)",
        ),
        ("message M\ngroup G * {\nPID", "a.map:3: found the end of the table, expected `}` for every group"),
        ("vocabulary V\nA b\nA c", "a.map:3: found `A` a second time, expected each code once"),
    ];
    for (text, expected) in cases {
        assert_eq!(refused(&[cx, ("a.map", text)]), expected);
    }
}

#[test]
fn two_tables_for_one_event_are_refused() {
    let error = refused(&[("a.map", "message A\non ADT^A01"), ("b.map", "message B\non ADT^A01")]);
    assert_eq!(error, "b.map:2: found `ADT_A01` a second time, expected each event in one table");
}
