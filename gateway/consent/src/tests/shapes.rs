//! Policies as IHE Privacy Consent on FHIR and hospitals write them, and which units the clinic then gets: one letter per
//! unit of `UNITS` (`+` permitted, `-` denied).

use super::fixture::{self, UNITS, clinic, decide, live, policy, unit};
use crate::{AccessRequest, Action, Coding, Document};

/// The clinic as recipient.
const TO_CLINIC: &str = r#""actor": [{"role": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
    "code": "IRCP"}]}, "reference": {"reference": "Organization/clinic"}}]"#;
const TO_OTHER: &str = r#""actor": [{"role": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
    "code": "IRCP"}]}, "reference": {"reference": "Organization/other"}}]"#;

fn verdicts(request: &AccessRequest, documents: Vec<Document>) -> String {
    let consents: Vec<_> = documents.into_iter().zip(1..).map(|(d, n)| live(n, d)).collect();
    let sign = |name: &&str| if decide(request, consents.clone(), &unit(name)).is_permit() { '+' } else { '-' };
    UNITS.iter().map(sign).collect()
}

fn check(table: &[(&str, String, &str)]) {
    for (name, provision, expected) in table {
        assert_eq!(verdicts(&clinic(), vec![policy(provision)]), *expected, "{name} ({UNITS:?})");
    }
}

fn actor(role: &str, reference: &str) -> String {
    format!(
        r#"{{"type": "permit", "actor": [{{"role": {{"coding": [{{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "{role}"}}]}}, "reference": {reference} }}]}}"#
    )
}

#[test]
fn who_receives() {
    check(&[
        ("permit to all", r#"{"type": "permit"}"#.into(), "++++++"),
        ("deny to all", r#"{"type": "deny"}"#.into(), "------"),
        ("permit to the clinic", format!(r#"{{"type": "permit", {TO_CLINIC}}}"#), "++++++"),
        ("permit to another", format!(r#"{{"type": "permit", {TO_OTHER}}}"#), "------"),
        ("the clinic, any version", actor("IRCP", r#"{"reference": "Organization/clinic/_history/3"}"#), "++++++"),
        ("the clinic at a named base", actor("IRCP", r#"{"reference": "https://x.example/Organization/clinic"}"#), "------"),
        ("by identifier", actor("PRCP", r#"{"identifier": {"system": "urn:oid:1.2", "value": "C-1"}}"#), "++++++"),
        ("by identifier of another", actor("PRCP", r#"{"identifier": {"system": "urn:oid:1.2", "value": "C-2"}}"#), "------"),
        (
            "reference and identifier contradict",
            actor("PRCP", r#"{"reference": "Organization/other", "identifier": {"system": "urn:oid:1.2", "value": "C-1"}}"#),
            "------",
        ),
        ("the person", actor("IRCP", r#"{"reference": "Practitioner/able"}"#), "++++++"),
        ("as custodian, not as recipient", actor("CST", r#"{"reference": "Organization/clinic"}"#), "------"),
        ("contained party", actor("IRCP", r##"{"reference": "#org"}"##), "------"),
        ("party of text alone", actor("IRCP", r#"{"display": "the clinic"}"#), "------"),
        (
            "anybody in a role that the requester holds",
            r#"{"type": "permit", "actor": [{"role": {"coding": [{"system": "http://hospital.example/roles", "code": "nurse"}]}}]}"#
                .into(),
            "++++++",
        ),
        (
            "anybody in a role that it does not hold",
            r#"{"type": "permit", "actor": [{"role": {"coding": [{"system": "http://hospital.example/roles", "code": "clerk"}]}}]}"#
                .into(),
            "------",
        ),
        (
            "permit to all, deny the clinic",
            format!(r#"{{"type": "permit", "provision": [{{"type": "deny", {TO_CLINIC}}}]}}"#),
            "------",
        ),
        (
            "permit to all, deny another",
            format!(r#"{{"type": "permit", "provision": [{{"type": "deny", {TO_OTHER}}}]}}"#),
            "++++++",
        ),
        (
            "deny to all, permit the clinic",
            format!(r#"{{"type": "deny", "provision": [{{"type": "permit", {TO_CLINIC}}}]}}"#),
            "++++++",
        ),
        (
            "deny a group: who is in it is unknown",
            format!(
                r#"{{"type": "permit", "provision": [{}]}}"#,
                actor("IRCP", r#"{"reference": "Group/ex"}"#).replace("permit", "deny")
            ),
            "------",
        ),
    ]);
}

#[test]
fn for_what() {
    let purpose = |effect: &str, codes: &[&str]| {
        let codings: Vec<String> =
            codes.iter().map(|c| format!(r#"{{"system": "{}", "code": "{c}"}}"#, fixture::REASON)).collect();
        format!(r#""type": "{effect}", "purpose": [{}]"#, codings.join(","))
    };
    let action = |effect: &str, code: &str| {
        format!(
            r#"{{"type": "{effect}", "action": [{{"coding": [{{"system": "http://terminology.hl7.org/CodeSystem/consentaction",
            "code": "{code}"}}]}}]}}"#
        )
    };
    let but = |inner: String| format!(r#"{{"type": "permit", "provision": [{inner}]}}"#);
    check(&[
        ("treatment", format!("{{{}}}", purpose("permit", &["TREAT"])), "++++++"),
        ("treatment or payment", format!("{{{}}}", purpose("permit", &["HPAYMT", "TREAT"])), "++++++"),
        ("research", format!("{{{}}}", purpose("permit", &["HRESCH"])), "------"),
        ("emergency treatment only", format!("{{{}}}", purpose("permit", &["ETREAT"])), "------"),
        ("all but research", but(format!("{{{}}}", purpose("deny", &["HRESCH"]))), "++++++"),
        ("all but treatment", but(format!("{{{}}}", purpose("deny", &["TREAT"]))), "------"),
        ("access", action("permit", "access"), "++++++"),
        ("collect", action("permit", "collect"), "------"),
        ("use: a read cannot be told from it", action("permit", "use"), "------"),
        ("all but disclosure: a read may be one", but(action("deny", "disclose")), "------"),
        ("all but correction", but(action("deny", "correct")), "++++++"),
    ]);
    let asking = |codes: &[&str]| AccessRequest {
        purpose: codes.iter().map(|c| Coding::new(fixture::REASON, c)).collect(),
        ..clinic()
    };
    let treat = format!("{{{}}}", purpose("permit", &["TREAT"]));
    let no_research = but(format!("{{{}}}", purpose("deny", &["HRESCH"])));
    for (codes, under_treat, under_no_research) in [
        (&["ETREAT"][..], "++++++", "++++++"),
        (&["BTG"], "++++++", "++++++"),
        (&["CLINTRCH"], "------", "------"),
        (&["TREAT", "HRESCH"], "------", "------"),
        (&["TREAT", "ETREAT"], "++++++", "++++++"),
        (&[], "------", "------"),
    ] {
        assert_eq!(verdicts(&asking(codes), vec![policy(&treat)]), under_treat, "{codes:?}");
        assert_eq!(verdicts(&asking(codes), vec![policy(&no_research)]), under_no_research, "{codes:?}");
    }
    let correcting = AccessRequest { action: Action::Correct, ..clinic() };
    assert_eq!(verdicts(&correcting, vec![policy(&action("permit", "access"))]), "------");
}

#[test]
fn which_data() {
    let of = |effect: &str, criterion: &str| format!(r#"{{"type": "{effect}", {criterion}}}"#);
    let but = |criterion: &str| format!(r#"{{"type": "permit", "provision": [{}]}}"#, of("deny", criterion));
    let only = |criterion: &str| format!(r#"{{"type": "deny", "provision": [{}]}}"#, of("permit", criterion));
    let class =
        |code: &str| format!(r#""class": [{{"system": "http://hl7.org/fhir/resource-types", "code": "{code}"}}]"#);
    let code =
        |system: &str, code: &str| format!(r#""code": [{{"coding": [{{"system": "{system}", "code": "{code}"}}]}}]"#);
    let label = |system: &str, code: &str| {
        format!(
            r#""securityLabel": [{{"system": "http://terminology.hl7.org/CodeSystem/{system}", "code": "{code}"}}]"#
        )
    };
    let data = |meaning: &str, what: &str| {
        format!(r#""data": [{{"meaning": "{meaning}", "reference": {{"reference": "{what}"}}}}]"#)
    };
    let period = |start: &str, end: &str| format!(r#""dataPeriod": {{"start": "{start}", "end": "{end}"}}"#);
    // glucose, hiv, note, patient, local, report
    check(&[
        ("only observations", only(&class("Observation")), "+---+-"),
        ("all but observations: the report contains one", but(&class("Observation")), "-+++--"),
        ("only a document class", only(r#""class": [{"system": "http://loinc.org", "code": "34133-9"}]"#), "--+---"),
        ("only a class without system", only(r#""class": [{"code": "Observation"}]"#), "------"),
        ("only a code", only(&code(fixture::LOINC, "2339-0")), "+-----"),
        ("all but a code: text may mean it, contents hold it", but(&code(fixture::LOINC, "2339-0")), "-+++--"),
        ("all but a code of another system", but(&code("http://other", "2339-0")), "++++-+"),
        (
            "only a category",
            only(&code("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory")),
            "+-----",
        ),
        ("only a code of text alone", only(r#""code": [{"text": "glucose"}]"#), "------"),
        ("all but a code of text alone", but(r#""code": [{"text": "glucose"}]"#), "------"),
        ("normal and below", only(&label("v3-Confidentiality", "N")), "+-----"),
        ("restricted and below", only(&label("v3-Confidentiality", "R")), "++----"),
        ("all but restricted: unlabelled may be", but(&label("v3-Confidentiality", "R")), "+-----"),
        ("only HIV", only(&label("v3-ActCode", "HIV")), "-+----"),
        ("all but HIV: unlabelled may be", but(&label("v3-ActCode", "HIV")), "------"),
        ("all but ETH: labelled otherwise in the system", but(&label("v3-ActCode", "ETH")), "-+----"),
        ("of 2024: the one at new year only in part", only(&period("2024", "2024-12-31")), "+----+"),
        ("all but of 2024: undated and partly stay back", but(&period("2024", "2024")), "-++---"),
        ("of 2019", only(&period("2019-05", "2019-05")), "-+----"),
        ("one instance", only(&data("instance", "Observation/glucose")), "+-----"),
        ("all but one instance", but(&data("instance", "Observation/glucose")), "-+++++"),
        ("an order and what refers to it", only(&data("dependents", "ServiceRequest/order")), "+-----"),
        ("all but what refers to an observation", but(&data("dependents", "Observation/glucose")), "-++++-"),
        ("all but related: what it refers to is unknown here", but(&data("related", "Observation/glucose")), "------"),
        ("authored by Dr. Able", only(&data("authoredby", "Practitioner/able")), "-+----"),
        ("all but authored by a practitioner", but(&data("authoredby", "Practitioner/other")), "-+----"),
    ]);
}

#[test]
fn nested() {
    let hiv = r#""class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Condition"}]"#;
    let eth = r#""code": [{"coding": [{"system": "http://snomed.info/sct", "code": "86406008"}]}]"#;
    check(&[
        (
            "permit, but conditions, but this one",
            format!(
                r#"{{"type": "permit", "provision": [{{"type": "deny", {hiv}, "provision": [{{"type": "permit", {eth}}}]}}]}}"#
            ),
            "++++++",
        ),
        (
            "siblings: denial wins over a permit for the same",
            format!(r#"{{"type": "deny", "provision": [{{"type": "permit"}}, {{"type": "deny", {hiv}}}]}}"#),
            "+-++++",
        ),
        (
            "a child of what does not match has no say",
            format!(
                r#"{{"type": "permit", "provision": [{{"type": "permit", {TO_OTHER}, "provision": [{{"type": "deny"}}]}}]}}"#
            ),
            "++++++",
        ),
        (
            "a permit under a denial that may not apply does not lift it",
            format!(
                r#"{{"type": "permit", "provision": [{{"type": "deny", "code": [{{"text": "something"}}],
                "provision": [{{"type": "permit", {hiv}}}]}}]}}"#
            ),
            "------",
        ),
        (
            "a root that does not match says nothing",
            format!(r#"{{"type": "permit", {TO_OTHER}, "provision": [{{"type": "permit"}}]}}"#),
            "------",
        ),
    ]);
}

#[test]
fn several_consents() {
    let all = r#"{"type": "permit"}"#;
    let no_conditions =
        r#"{"type": "deny", "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Condition"}]}"#;
    let not_understood = r#"{"type": "permit", "novel": true, "provision": [{"type": "deny",
        "class": [{"system": "http://hl7.org/fhir/resource-types", "code": "Condition"}]}]}"#;
    let table: &[(&str, &[&str], &str)] = &[
        ("none", &[], "------"),
        ("a denial overrides a permit", &[all, no_conditions], "+-++++"),
        ("in any order", &[no_conditions, all], "+-++++"),
        ("one that is not understood permits nothing", &[not_understood], "------"),
        ("but its denials count", &[all, not_understood], "+-++++"),
        ("one that cannot be parsed denies all", &[all, r#"{"type": "allow"}"#], "------"),
    ];
    for (name, provisions, expected) in table {
        let documents = provisions.iter().map(|p| policy(p)).collect();
        assert_eq!(verdicts(&clinic(), documents), *expected, "{name}");
    }
    assert_eq!(verdicts(&clinic(), vec![policy(all), Document::Missing]), "------");
}
