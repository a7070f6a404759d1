//! Facts of real resources: computed without loss of caution, kept in JSON and read back equal.

use std::path::Path;

use schemas::limits::UNIT_FACTS_MAX;

use super::fixture::{UNITS, clinic, consent, decide, json, live, policy, unit};
use crate::{Policy, UnitFacts};

fn example_files() -> Vec<std::path::PathBuf> {
    let root =
        std::env::var("CHARTSEAL_DATA").map_or_else(|_| Path::new("../../../shared/data").to_owned(), Into::into);
    let mut files: Vec<_> = ["fhir-r4", "synthea"]
        .iter()
        .filter_map(|folder| std::fs::read_dir(root.join(folder)).ok())
        .flat_map(|entries| entries.filter_map(|e| Some(e.ok()?.path())))
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
}

#[test]
fn facts_survive_storage() {
    for name in UNITS {
        let facts = unit(name);
        assert!(UnitFacts::from_json(&facts.to_json()) == Some(facts), "{name}");
    }
    for broken in
        ["[]", "{}", r#"{"t": 1}"#, r#"{"t": "X", "z": 1}"#, r#"{"t": "X", "c": [["a"]]}"#, r#"{"t": "X", "d": [1]}"#]
    {
        assert!(UnitFacts::from_json(&json(broken)).is_none(), "{broken}");
    }
}

#[test]
fn real_resources_have_facts_that_survive_storage() {
    let files = example_files();
    if files.is_empty() {
        println!("skipped: no CHARTSEAL_DATA");
        return;
    }
    let nothing = live(1, policy(r#"{"type": "deny"}"#));
    for path in &files {
        let bytes = std::fs::read(path).expect("readable");
        let resource = schemas::json::parse(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let facts = UnitFacts::of(&resource);
        let again = schemas::json::parse(&facts.to_json().to_bytes()).expect("our own JSON");
        assert!(UnitFacts::from_json(&again) == Some(facts.clone()), "{}", path.display());
        assert!(!decide(&clinic(), vec![nothing.clone()], &facts).is_permit());
    }
    println!("{} files", files.len());
}

#[test]
fn the_example_consents_of_fhir_are_read_and_none_opens_everything() {
    let files: Vec<_> =
        example_files().into_iter().filter(|p| p.to_string_lossy().contains("consent-example")).collect();
    if files.is_empty() {
        println!("skipped: no CHARTSEAL_DATA");
        return;
    }
    for path in &files {
        let consent = schemas::json::parse(&std::fs::read(path).expect("readable")).expect("JSON");
        let document = Policy::parse(&consent);
        println!("{}: {:?}", path.display(), document.as_ref().map(|p| p.effect()));
        assert!(!decide(&clinic(), vec![live(1, document.into())], &unit("glucose")).is_permit(), "{}", path.display());
    }
}

#[test]
fn a_unit_with_more_than_is_kept_is_known_incompletely() {
    let codings: Vec<String> = (0..2000).map(|n| format!(r#"{{"system": "s", "code": "{n}"}}"#)).collect();
    let facts = UnitFacts::of(&json(&format!(
        r#"{{"resourceType": "Basic", "id": "b", "code": {{"coding": [{{"system": "s", "code": "x"}}]}},
        "extension": [{{"valueCodeableConcept": {{"coding": [{}]}}}}]}}"#,
        codings.join(",")
    )));
    assert!(facts.incomplete);
    let but = policy(
        r#"{"type": "permit", "provision": [{"type": "deny", "code": [{"coding": [{"system": "s", "code": "1999"}]}]}]}"#,
    );
    assert!(!decide(&clinic(), vec![live(1, but)], &facts).is_permit());
}

#[test]
fn codes_categories_and_labels_are_bounded_as_all_else_and_no_water_mark_is_lost() {
    let confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
    let codings = |count: usize| {
        let all = (0..count).map(|n| format!(r#"{{"system": "s", "code": "{n}"}}"#)).collect::<Vec<_>>();
        all.join(",")
    };
    for (count, is_incomplete) in [(UNIT_FACTS_MAX, false), (UNIT_FACTS_MAX + 1, true)] {
        let all = codings(count);
        for more in [
            format!(r#""code": {{"coding": [{all}]}}"#),
            format!(r#""category": [{{"coding": [{all}]}}]"#),
            format!(r#""meta": {{"security": [{all}, {{"system": "{confidentiality}", "code": "R"}}]}}"#),
        ] {
            let facts = UnitFacts::of(&json(&format!(r#"{{"resourceType": "Observation", {more}}}"#)));
            assert_eq!(facts.incomplete, is_incomplete, "{count}");
            assert!(facts.codes.len().max(facts.categories.len()) <= UNIT_FACTS_MAX);
            assert!(facts.labels.len() <= UNIT_FACTS_MAX + 6);
            assert_eq!(facts.labels.iter().any(|l| &*l.code == "R"), more.contains("security"));
        }
    }
}

#[test]
fn a_flood_of_codings_references_and_labels_costs_time_in_proportion() {
    // without sets each of these is some 10^9 comparisons
    let many = 50_000;
    let list = |of: &dyn Fn(usize) -> String| (0..many).map(of).collect::<Vec<_>>().join(",");
    let coding = |n: usize| format!(r#"{{"system": "http://example.org/a-code-system", "code": "{n}"}}"#);
    let resource = json(&format!(
        r#"{{"resourceType": "Observation", "code": {{"coding": [{0}]}}, "category": [{{"coding": [{0}]}}],
        "meta": {{"security": [{0}]}}, "derivedFrom": [{1}]}}"#,
        list(&coding),
        list(&|n| format!(r#"{{"reference": "Observation/{n}"}}"#)),
    ));
    let begun = std::time::Instant::now();
    let mut facts = UnitFacts::of(&resource);
    facts.refer_to((0..many).map(|n| crate::Reference::local("Observation", &format!("here-{n}"))));
    assert!(begun.elapsed() < std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(facts.incomplete && facts.references.len() == 2 * UNIT_FACTS_MAX);
}

#[test]
fn no_debug_shows_a_value() {
    let facts = UnitFacts::of(&json(
        r#"{"resourceType": "Observation", "id": "CANARY", "code": {"text": "CANARY", "coding": [{"code": "CANARY"}]}}"#,
    ));
    let policy =
        Policy::parse(&consent("", r#"{"type": "permit", "purpose": [{"code": "CANARY"}]}"#)).expect("parsable");
    let shown = format!("{facts:?} {policy:?} {:?}", live(1, Ok(policy.clone()).into()));
    assert!(!shown.contains("CANARY"), "{shown}");
}
