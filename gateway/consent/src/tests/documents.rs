//! What is a usable Consent and what is not, where the error points, and what a decision says about itself.

use super::fixture::{clinic, consent, decide, json, live, ms, now, policy, session, unit, unit_id};
use crate::{Decision, DefaultRule, Document, Effect, LiveConsent, Policy, Problem, Reason, Reference, Session, Span};

fn refused(more: &str, provision: &str) -> (String, Problem) {
    let error = Policy::parse(&consent(more, provision)).expect_err(provision);
    assert!(!error.to_string().contains("CANARY"), "{error}");
    (error.path.into(), error.problem)
}

#[test]
fn broken_documents_are_refused_with_their_place() {
    let deep = (0..9).fold(String::from(r#"{"type": "deny"}"#), |inner, _| {
        format!(r#"{{"type": "permit", "provision": [{inner}]}}"#)
    });
    let wide = format!(r#"{{"type": "permit", "provision": [{}]}}"#, vec![r#"{"type": "deny"}"#; 256].join(","));
    let many = format!(r#"{{"type": "permit", "purpose": [{}]}}"#, vec![r#"{"code": "X"}"#; 4097].join(","));
    let list = Problem::Shape("a list that is not empty");
    let table: Vec<(String, &str, Problem)> = vec![
        ("[]".into(), "Consent.provision", Problem::Shape("an object")),
        (r#"{"type": "CANARY"}"#.into(), "Consent.provision.type", Problem::Code("permit or deny")),
        (r#"{"type": "permit", "provision": [{}]}"#.into(), "Consent.provision.provision[0].type", Problem::Absent),
        (r#"{"type": "permit", "provision": {}}"#.into(), "Consent.provision.provision", list),
        (r#"{"type": "permit", "actor": []}"#.into(), "Consent.provision.actor", list),
        (r#"{"type": "permit", "actor": null}"#.into(), "Consent.provision.actor", list),
        (
            r#"{"type": "permit", "actor": [{"reference": {"reference": "Organization/1"}}]}"#.into(),
            "Consent.provision.actor.role",
            Problem::Absent,
        ),
        (r#"{"type": "permit", "code": [{"coding": []}]}"#.into(), "Consent.provision.code.coding", list),
        (r#"{"type": "permit", "class": ["CANARY"]}"#.into(), "Consent.provision.class", Problem::Shape("an object")),
        (r#"{"type": "permit", "period": {"start": "CANARY"}}"#.into(), "Consent.provision.period", Problem::Date),
        (r#"{"type": "permit", "period": {}}"#.into(), "Consent.provision.period", Problem::Date),
        (
            r#"{"type": "permit", "period": {"start": "2025", "end": "2024"}}"#.into(),
            "Consent.provision.period",
            Problem::Date,
        ),
        (
            r#"{"type": "permit", "dataPeriod": {"end": "2024-02-30"}}"#.into(),
            "Consent.provision.dataPeriod",
            Problem::Date,
        ),
        (
            r#"{"type": "permit", "data": [{"meaning": "CANARY", "reference": {}}]}"#.into(),
            "Consent.provision.data.meaning",
            Problem::Code("instance, related, dependents or authoredby"),
        ),
        (
            r#"{"type": "permit", "data": [{"meaning": "instance"}]}"#.into(),
            "Consent.provision.data.reference",
            Problem::Absent,
        ),
        (wide, "Consent.provision.provision[255]", Problem::TooMany(256)),
        (many, "Consent.provision.purpose", Problem::TooMany(4096)),
    ];
    for (provision, path, problem) in table {
        assert_eq!(refused("", &provision), (path.to_owned(), problem));
    }
    assert_eq!(refused("", &deep).1, Problem::TooMany(8));
    assert_eq!(refused(r#", "modifierExtension": []"#, "").0, "Consent.modifierExtension");
    assert_eq!(refused(r#", "implicitRules": "x""#, "").0, "Consent.implicitRules");
}

#[test]
fn what_is_no_active_consent_is_refused() {
    let base = String::from_utf8(consent("", r#"{"type": "permit"}"#).to_bytes()).expect("JSON is UTF-8");
    let parse = |from: &str, to: &str| {
        assert!(base.contains(from), "{from}");
        Policy::parse(&json(&base.replace(from, to))).expect_err(to).problem
    };
    for status in ["draft", "proposed", "rejected", "inactive", "entered-in-error", "Active", ""] {
        assert_eq!(parse(r#""status":"active""#, &format!(r#""status":"{status}""#)), Problem::NotActive);
    }
    assert_eq!(parse(r#""status":"active","#, ""), Problem::Absent);
    assert_eq!(parse(r#""Consent""#, r#""Contract""#), Problem::NotConsent);
    assert_eq!(parse(r#""patient":{"reference":"Patient/p"},"#, ""), Problem::Absent);
    assert_eq!(
        parse(r#"{"reference":"Patient/p"}"#, r#"{"display":"p"}"#),
        Problem::Shape("a reference or an identifier")
    );
    assert_eq!(parse(r#""scope":"#, r#""text":"#), Problem::Absent);
    assert_eq!(Policy::parse(&json("[]")).expect_err("no object").problem, Problem::NotConsent);
}

#[test]
fn what_is_not_understood_is_named() {
    let table = [
        ("", r#"{"type": "permit", "novel": 1}"#, "Consent.provision.novel"),
        ("", r#"{"type": "permit", "_type": {}}"#, "Consent.provision._type"),
        ("", r#"{"type": "permit", "extension": []}"#, "Consent.provision.extension"),
        ("", r#"{"type": "permit", "no such name": 1}"#, "Consent.provision.?"),
        ("", r#"{"type": "permit", "modifierExtension": []}"#, "Consent.provision.modifierExtension"),
        (
            "",
            r#"{"type": "permit", "purpose": [{"code": "x", "extension": []}]}"#,
            "Consent.provision.purpose.extension",
        ),
        ("", r#"{"type": "permit", "period": {"start": "2024", "_end": {}}}"#, "Consent.provision.period._end"),
        (
            "",
            r#"{"type": "deny", "provision": [{"type": "permit", "novel": 1}]}"#,
            "Consent.provision.provision[0].novel",
        ),
        (r#", "novel": 1"#, r#"{"type": "permit"}"#, "Consent.novel"),
        (r#", "_status": {}"#, r#"{"type": "permit"}"#, "Consent._status"),
        (r#", "verification": [{"verified": false}]"#, r#"{"type": "permit"}"#, "Consent.verification"),
    ];
    for (more, provision, path) in table {
        let policy = Policy::parse(&consent(more, provision)).expect(path);
        assert!(
            policy.not_understood().any(|p| p == path),
            "{path}: {:?}",
            policy.not_understood().collect::<Vec<_>>()
        );
        assert!(!decide(&clinic(), vec![live(1, Ok(policy).into())], &unit("glucose")).is_permit(), "{path}");
    }
    let verified =
        Policy::parse(&consent(r#", "verification": [{"verified": true}], "extension": []"#, r#"{"type": "permit"}"#));
    assert_eq!(verified.expect("understood").not_understood().count(), 0);
    let scope = String::from_utf8(consent("", r#"{"type": "permit"}"#).to_bytes()).expect("JSON is UTF-8");
    let other = Policy::parse(&json(&scope.replace("patient-privacy", "adr"))).expect("parsable");
    assert_eq!(other.not_understood().collect::<Vec<_>>(), ["Consent.scope"]);
}

#[test]
fn a_root_without_type_takes_the_policy_rule() {
    let rule = |codes: &str| format!(r#", "policyRule": {{"coding": [{codes}]}}"#);
    let act =
        |code: &str| format!(r#"{{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "{code}"}}"#);
    let table = [
        (String::new(), Effect::Deny),
        (rule(&act("OPTIN")), Effect::Permit),
        (rule(&act("OPTINR")), Effect::Permit),
        (rule(&act("OPTOUT")), Effect::Deny),
        (rule(&act("OPTOUTE")), Effect::Deny),
        (rule(&act("EMRGONLY")), Effect::Deny),
        (rule(&format!("{},{}", act("OPTIN"), act("OPTOUT"))), Effect::Deny),
        (rule(r#"{"system": "http://elsewhere", "code": "OPTIN"}"#), Effect::Deny),
        (r#", "policyRule": {"text": "OPTIN"}"#.into(), Effect::Deny),
    ];
    for (more, effect) in table {
        for provision in ["", "{}"] {
            let policy = Policy::parse(&consent(&more, provision)).expect("parsable");
            assert_eq!(policy.effect(), effect, "{more} {provision}");
        }
        let typed = Policy::parse(&consent(&more, r#"{"type": "permit"}"#)).expect("parsable");
        assert_eq!(typed.effect(), Effect::Permit, "{more}");
    }
}

#[test]
fn a_modifier_inside_leaves_a_denial_in_force() {
    let document = || {
        policy(
            r#"{"type": "permit", "provision": [{"type": "deny",
        "actor": [{"role": {"text": "r"}, "reference": {"reference": "Organization/other"}, "modifierExtension": []}]}]}"#,
        )
    };
    let all = policy(r#"{"type": "permit"}"#);
    let decision = decide(&clinic(), vec![live(1, all), live(2, document())], &unit("glucose"));
    let Decision::Deny(denial) = decision else { panic!("permitted") };
    let path = "Consent.provision.provision[0]".into();
    assert_eq!(denial.reason(), &Reason::Provision { path, certain: false });
}

#[test]
fn windows_bound_a_consent_on_both_sides() {
    let all = || policy(r#"{"type": "permit"}"#);
    let at = |from, until| LiveConsent { from, until, ..live(1, all()) };
    let permitted = |c: LiveConsent| decide(&clinic(), vec![c], &unit("glucose")).is_permit();
    assert!(permitted(at(Some(now()), Some(now()))));
    assert!(!permitted(at(Some(now() + 1), None)));
    assert!(!permitted(at(None, Some(now() - 1))));
    // Outside its window even a missing document says nothing.
    let over = LiveConsent { until: Some(now() - 1), ..live(2, Document::Missing) };
    assert!(decide(&clinic(), vec![at(None, None), over], &unit("glucose")).is_permit());

    let until_june = |from: &str, until: &str| {
        Policy::parse(&consent(
            "",
            &format!(r#"{{"type": "permit", "period": {{"start": "{from}", "end": "{until}"}}}}"#),
        ))
        .expect("parsable")
    };
    let june = until_june("2024-06", "2024-06");
    assert_eq!(june.window(), (Some(ms("2024-06-01T00:00:00Z")), Some(ms("2024-07-01T00:00:00Z") - 1)));
    for (instant, expected) in [
        ("2024-05-31T23:59:59.999Z", false),
        ("2024-06-01T00:00:00.000Z", true),
        ("2024-06-30T23:59:59.999Z", true),
        ("2024-07-01T00:00:00.000Z", false),
    ] {
        let session =
            Session::new(&clinic(), vec![live(1, Ok(june.clone()).into())], DefaultRule::Deny, 9, ms(instant));
        assert_eq!(session.decide(unit_id(), &unit("glucose")).is_permit(), expected, "{instant}");
    }
    let offset = until_june("2024-06-15T14:00:00+02:00", "2024-06-15T14:00:00+02:00");
    for (instant, expected) in
        [("2024-06-15T11:59:59.999Z", false), ("2024-06-15T12:00:00.999Z", true), ("2024-06-15T12:00:01Z", false)]
    {
        let session =
            Session::new(&clinic(), vec![live(1, Ok(offset.clone()).into())], DefaultRule::Deny, 9, ms(instant));
        assert_eq!(session.decide(unit_id(), &unit("glucose")).is_permit(), expected, "{instant}");
    }
}

#[test]
fn a_decision_explains_itself_without_values() {
    let permit = decide(&clinic(), vec![live(1, policy(r#"{"type": "permit"}"#))], &unit("hiv"));
    let id = "01".repeat(16);
    assert_eq!(permit.explain(), format!("permitted by consent {id}, Consent.provision, at height 9"));
    let Decision::Permit(permit) = permit else { panic!("denied") };
    assert_eq!((permit.unit(), permit.height(), permit.path()), (unit_id(), 9, "Consent.provision"));
    let none = decide(&clinic(), vec![], &unit("hiv"));
    assert_eq!(none.explain(), "denied: no consent in force applies, the default denies, at height 9");
    let broken = session(&clinic(), vec![live(1, policy(r#"{"type": "x"}"#))]);
    assert!(broken.permits_nothing());
    let denies_all = session(&clinic(), vec![live(1, policy(r#"{"type": "deny"}"#))]);
    assert!(denies_all.permits_nothing(), "no unit needs to be read");
    let some = r#"{"type": "deny", "provision": [{"type": "permit", "code": [{"text": "x"}]}]}"#;
    assert!(!session(&clinic(), vec![live(1, policy(some))]).permits_nothing(), "a unit says whether it is one");
    let said = broken.decide(unit_id(), &unit("hiv")).explain();
    assert!(said.contains("Consent.provision.type: found another code, expected permit or deny"), "{said}");
    let traced = session(&clinic(), vec![live(1, policy(r#"{"type": "permit", "code": [{"text": "x"}]}"#))]);
    assert_eq!(traced.explain(&unit("hiv")), [format!("consent {id}: does not apply")]);
}

#[test]
fn own_base_makes_absolute_references_local() {
    let provision = r#"{"type": "permit", "actor": [{"role": {"coding": [{"code": "IRCP",
        "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType"}]},
        "reference": {"reference": "https://a.example/fhir/Organization/clinic"}}]}"#;
    for (base, expected) in [
        ("https://a.example/fhir", true),
        ("https://a.example/fhir/", true),
        ("https://b.example/fhir", false),
        ("", false),
    ] {
        let policy = Policy::parse_under(&consent("", provision), base).expect("parsable");
        assert_eq!(
            decide(&clinic(), vec![live(1, Ok(policy).into())], &unit("glucose")).is_permit(),
            expected,
            "{base}"
        );
    }
    let policy = Policy::parse(&consent("", "{}")).expect("parsable");
    assert_eq!(policy.patient(), &Reference::local("Patient", "p"));
    assert!(Span::of_date("2024").is_some_and(|year| year.contains_ms(now())));
}
