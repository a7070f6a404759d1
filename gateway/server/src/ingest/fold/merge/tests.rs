//! What stays, what goes, what is replaced.

use schemas::json::parse;

use super::*;

fn json(text: &str) -> Value {
    parse(text.as_bytes()).expect("JSON")
}

fn folded(known: &str, said: &str, cleared: &[Cleared], moves: bool) -> Value {
    fold(&json(known), json(said), cleared, moves)
}

fn cleared(element: &'static str, url: Option<&'static str>, only: &[(&'static str, &'static str)]) -> Cleared {
    let only = only.iter().map(|(name, text)| (vec![*name], *text)).collect();
    Cleared { resource: "Patient/1".into(), element, url, only }
}

const RICH: &str = r#"{"resourceType":"Patient","id":"1","text":{"status":"generated"},"meta":{"versionId":"7","security":[{"code":"R"}]},
    "identifier":[{"system":"a","value":"1","type":{"coding":[{"code":"MR"}]}},{"system":"b","value":"2","type":{"coding":[{"code":"SS"}]}}],
    "birthDate":"1970-01-01","_birthDate":{"extension":[{"url":"t"}]},"gender":"female","deceasedBoolean":false,
    "telecom":[{"system":"phone","use":"home","value":"1"},{"system":"phone","use":"work","value":"2"}],
    "extension":[{"url":"x","valueString":"1"},{"url":"y","valueString":"2"}],
    "generalPractitioner":[{"reference":"Practitioner/7"}],"managingOrganization":{"reference":"Organization/0123456789abcdef0123456789abcdef"}}"#;

#[test]
fn what_a_message_leaves_out_stays_and_what_it_says_replaces() {
    let said = r#"{"resourceType":"Patient","id":"9","identifier":[{"system":"a","value":"1","type":{"coding":[{"code":"MR"}]}}],
        "birthDate":"1970-02-02","deceasedDateTime":"2026-01-01","telecom":[{"system":"phone","use":"home","value":"3"}]}"#;
    let expected = r#"{"resourceType":"Patient","id":"9","meta":{"security":[{"code":"R"}]},
        "identifier":[{"system":"a","value":"1","type":{"coding":[{"code":"MR"}]}},{"system":"b","value":"2","type":{"coding":[{"code":"SS"}]}}],
        "birthDate":"1970-02-02","gender":"female","deceasedDateTime":"2026-01-01",
        "telecom":[{"system":"phone","use":"home","value":"3"},{"system":"phone","use":"work","value":"2"}],
        "extension":[{"url":"x","valueString":"1"},{"url":"y","valueString":"2"}],
        "managingOrganization":{"reference":"Organization/0123456789abcdef0123456789abcdef"}}"#;
    let found = folded(RICH, said, &[], false);
    assert_eq!(String::from_utf8(found.canonical()), String::from_utf8(json(expected).canonical()));
    let again = fold(&found, json(said), &[], false);
    assert_eq!(again.canonical(), found.canonical(), "the same word a second time changes nothing");
}

#[test]
fn a_null_takes_away_exactly_what_its_field_gave() {
    let nulls = [
        cleared("gender", None, &[]),
        cleared("birthDate", None, &[]),
        cleared("telecom", None, &[("use", "work")]),
        cleared("extension", Some("x"), &[]),
    ];
    let found = folded(RICH, r#"{"resourceType":"Patient","id":"1"}"#, &nulls, false);
    assert!(found.get("gender").is_none() && found.get("birthDate").is_none() && found.get("_birthDate").is_none());
    assert_eq!(found.list("telecom").len(), 1);
    assert_eq!(found.list("extension").iter().map(|e| e.text("url")).collect::<Vec<_>>(), [Some("y")]);
    assert_eq!(found.list("identifier").len(), 2);
}

const VISIT: &str = r#"{"resourceType":"Encounter","id":"1","status":"finished","class":{"code":"IMP"},
    "period":{"start":"2026-01-01","end":"2026-01-05"},
    "participant":[{"type":[{"coding":[{"code":"ATND"}]}],"individual":{"display":"a"}},{"type":[{"coding":[{"code":"REF"}]}],"individual":{"display":"b"}}]}"#;

#[test]
fn a_visit_goes_on_with_the_events_that_move_it() {
    let update = r#"{"resourceType":"Encounter","id":"1","status":"in-progress","class":{"code":"UNK"},
        "participant":[{"type":[{"coding":[{"code":"ATND"}]}],"individual":{"display":"c"}}]}"#;
    let found = folded(VISIT, update, &[], false);
    assert_eq!(found.text("status"), Some("finished"), "an update opens no visit that is over");
    assert_eq!(found.path(&["period", "end"]).and_then(Value::as_str), Some("2026-01-05"));
    assert_eq!(found.path(&["class", "code"]).and_then(Value::as_str), Some("IMP"));
    let names = |visit: &Value| {
        let of = |p: &Value| p.path(&["individual", "display"]).and_then(Value::as_str).map(str::to_owned);
        visit.list("participant").iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(names(&found), ["c", "b"]);

    let found = folded(VISIT, update, &[], true);
    assert_eq!(found.text("status"), Some("in-progress"), "the discharge was cancelled");
    assert_eq!(found.path(&["period", "start"]).and_then(Value::as_str), Some("2026-01-01"));
    assert!(found.path(&["period", "end"]).is_none());

    let open = r#"{"resourceType":"Encounter","id":"1","status":"in-progress","period":{"start":"2026-01-01"}}"#;
    let discharge = r#"{"resourceType":"Encounter","id":"1","status":"finished","period":{"end":"2026-01-05"}}"#;
    let found = folded(open, discharge, &[], true);
    assert_eq!(
        found.get("period").map(Value::canonical),
        Some(br#"{"end":"2026-01-05","start":"2026-01-01"}"#.to_vec())
    );
}

#[test]
fn labels_of_what_is_kept_stay() {
    let said = r#"{"resourceType":"Patient","id":"1","meta":{"security":[{"code":"N"}],"versionId":"9"}}"#;
    let found = folded(RICH, said, &[], false);
    let labels: Vec<_> = found
        .get("meta")
        .map(|meta| meta.list("security"))
        .unwrap_or_default()
        .iter()
        .map(|l| l.text("code"))
        .collect();
    assert_eq!(labels, [Some("N"), Some("R")]);
    assert_eq!(found.path(&["meta", "versionId"]).and_then(Value::as_str), Some("9"));
}
