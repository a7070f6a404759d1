//! Searches: what is refused, how parameters combine, every date prefix, escapes.

use gateway_consent::UnitFacts;
use schemas::json::parse;

use super::*;

const BASE: &str = "https://h/fhir";

fn ask(kind: &str, query: &[(&str, &str)]) -> Result<Search, SearchError> {
    let query: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Search::parse(kind, BASE, &query)
}

fn known(resource: &str) -> Known {
    let matched = parse(resource.as_bytes()).expect("json");
    Known { facts: UnitFacts::of(&matched), matched, references: Vec::new() }
}

#[test]
fn what_is_not_offered_is_refused_and_not_ignored() {
    let value = |name| Err(SearchError::Value(name));
    for (kind, query, expected) in [
        ("Observation", vec![("code", "x")], Err(SearchError::Unscoped)),
        ("Observation", vec![], Err(SearchError::Unscoped)),
        ("Observation", vec![("_id", "a")], Err(SearchError::Unscoped)),
        ("Patient", vec![], Err(SearchError::Unscoped)),
        ("Patient", vec![("identifier", "no-system")], Err(SearchError::Unscoped)),
        ("Patient", vec![("_id", "a,b")], Err(SearchError::Unscoped)),
        ("Patient", vec![("name", "x")], Err(SearchError::Unknown)),
        ("Observation", vec![("patient", "p"), ("_include", "*")], Err(SearchError::Unknown)),
        ("Observation", vec![("patient", "p"), ("_has:Group:member:_id", "1")], Err(SearchError::Unknown)),
        ("Observation", vec![("patient", "p"), ("_sort", "date")], Err(SearchError::Unknown)),
        ("Observation", vec![("patient", "p"), ("code:not", "x")], Err(SearchError::Modifier("code"))),
        ("Observation", vec![("patient.name", "p")], Err(SearchError::Modifier("patient"))),
        ("Observation", vec![("patient", "a"), ("patient", "b")], Err(SearchError::Twice("patient"))),
        ("Observation", vec![("patient", "p"), ("_count", "1"), ("_count", "2")], Err(SearchError::Twice("_count"))),
        ("Observation", vec![("patient", "Group/1")], value("patient")),
        ("Observation", vec![("patient", "https://other/fhir/Patient/1")], value("patient")),
        ("Observation", vec![("patient", "p"), ("date", "ge13-2020")], value("date")),
        ("Observation", vec![("patient", "p"), ("date", "xx2020")], value("date")),
        ("Observation", vec![("patient", "p"), ("_count", "-1")], value("_count")),
        ("Observation", vec![("patient", "p"), ("_summary", "text")], value("_summary")),
        ("Observation", vec![("patient", "p"), ("_format", "xml")], value("_format")),
        ("Observation", vec![("patient", "p"), ("code", "")], value("code")),
        ("Observation", vec![("patient", "p"), ("code", "|")], value("code")),
        ("Observation", vec![("patient", "p"), ("code", "x\\")], value("code")),
        ("Observation", vec![("patient", "p"), ("_id", "../x")], value("_id")),
    ] {
        assert_eq!(ask(kind, &query).map(|_| ()), expected, "{kind} {query:?}");
    }
    let many = vec![("code", "x"); PARAMETERS_MAX + 1];
    assert_eq!(ask("Observation", &many), Err(SearchError::TooMany));
    let wide = vec!["x"; 100].join(",");
    assert_eq!(ask("Observation", &[("patient", "p"), ("code", &wide)]), Err(SearchError::TooMany));
}

#[test]
fn a_patient_is_named_in_every_way_that_means_us() {
    for text in ["abc", "Patient/abc", "https://h/fhir/Patient/abc"] {
        let search = ask("Observation", &[("patient", text)]).expect("a search");
        assert_eq!(search.whom, Whom::Patient("abc".into()));
    }
    let search = ask("Patient", &[("identifier", "urn:x|1")]).expect("a search");
    assert_eq!(search.whom, Whom::Identifier("urn:x".into(), "1".into()));
}

#[test]
fn repeats_narrow_and_commas_widen() {
    let lab = r#"{"resourceType":"Observation","category":[{"coding":[{"system":"c","code":"lab"}]}],
        "identifier":[{"system":"i","value":"7"}],"code":{"coding":[{"system":"s","code":"a,b"}]}}"#;
    let lab = known(lab);
    let matches = |query: &[(&str, &str)]| {
        let mut all = vec![("patient", "p")];
        all.extend_from_slice(query);
        ask("Observation", &all).expect("a search").matches("id1", &lab)
    };
    assert!(matches(&[]));
    assert!(matches(&[("code", "s|a\\,b")]));
    assert!(matches(&[("code", "x,a\\,b"), ("category", "c|lab")]));
    assert!(matches(&[("code", "s|")]));
    assert!(!matches(&[("code", "a,b")]));
    assert!(!matches(&[("code", "|a\\,b")]));
    assert!(!matches(&[("code", "a\\,b"), ("code", "x")]));
    assert!(matches(&[("identifier", "i|7"), ("_id", "id1")]));
    assert!(!matches(&[("identifier", "j|7")]));
    assert!(!matches(&[("_id", "id2")]));
}

#[test]
fn every_prefix_compares_spans() {
    let seen = known(r#"{"resourceType":"Observation","effectiveDateTime":"2020-05-10"}"#);
    for (test, expected) in [
        ("2020-05-10", true),
        ("2020-05", true),
        ("2020-05-11", false),
        ("2020-05-10T10:00:00Z", false),
        ("ne2020-05-11", true),
        ("ne2020-05", false),
        ("gt2020-05-09", true),
        ("gt2020-05-10", false),
        ("ge2020-05-10", true),
        ("ge2020-05-11", false),
        ("lt2020-05-11", true),
        ("lt2020-05-10", false),
        ("le2020-05-10", true),
        ("le2020-05-09", false),
        ("sa2020-05-09", true),
        ("sa2020-05-10", false),
        ("eb2020-05-11", true),
        ("eb2020-05-10", false),
        ("ap2020", true),
        ("ap2021", false),
    ] {
        let search = ask("Observation", &[("patient", "p"), ("date", test)]).expect("a search");
        assert_eq!(search.matches("id", &seen), expected, "{test}");
    }
    let undated = known(r#"{"resourceType":"Observation"}"#);
    let search = ask("Observation", &[("patient", "p"), ("date", "ne2020")]).expect("a search");
    assert!(!search.matches("id", &undated));
}
