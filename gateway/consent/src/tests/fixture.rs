//! A clinic that asks, a patient's units, and policies written as the FHIR JSON of their root provision.

use schemas::id::{CaseId, ConsentId, TimeMs};
use schemas::json::{self, Value};

use crate::{
    AccessRequest, Action, Actor, Coding, Decision, DefaultRule, Document, LiveConsent, Policy, Reference, Session,
    Span, UnitFacts, UnitId,
};

pub const REASON: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
pub const LOINC: &str = "http://loinc.org";

pub fn json(text: &str) -> Value {
    json::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e} in {text}"))
}

/// 2024-06-15T12:00:00Z.
pub fn now() -> TimeMs {
    ms("2024-06-15T12:00:00Z")
}

pub fn ms(instant: &str) -> TimeMs {
    let span = Span::of_date(instant).unwrap_or_else(|| panic!("{instant}"));
    TimeMs::try_from(span.first_ms).expect("after 1970")
}

/// A Consent with more top-level members and the given root provision.
pub fn consent(more: &str, provision: &str) -> Value {
    let provision = if provision.is_empty() { String::new() } else { format!(r#", "provision": {provision}"#) };
    json(&format!(
        r#"{{"resourceType": "Consent", "status": "active",
        "scope": {{"coding": [{{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}}]}},
        "category": [{{"coding": [{{"system": "http://loinc.org", "code": "59284-0"}}]}}],
        "patient": {{"reference": "Patient/p"}}, "dateTime": "2024-01-01" {more} {provision} }}"#
    ))
}

pub fn policy(provision: &str) -> Document {
    Policy::parse(&consent("", provision)).into()
}

pub fn live(n: u8, document: Document) -> LiveConsent {
    LiveConsent { id: ConsentId([n; 16]), document, height: 5, from: None, until: None }
}

/// The clinic's system, on behalf of Dr. Able, for treatment.
pub fn clinic() -> AccessRequest {
    AccessRequest {
        actor: Actor {
            client_id: "clinic-system".into(),
            organizations: vec![
                Reference::local("Organization", "clinic"),
                Reference::Identifier { system: "urn:oid:1.2".into(), value: "C-1".into() },
            ],
            practitioners: vec![Reference::local("Practitioner", "able")],
            roles: vec![Coding::new("http://hospital.example/roles", "nurse")],
        },
        purpose: vec![Coding::new(REASON, "TREAT")],
        action: Action::Access,
    }
}

pub fn unit_id() -> UnitId {
    UnitId { case: CaseId([7; 16]), version: 1, index: 0 }
}

pub fn session(request: &AccessRequest, consents: Vec<LiveConsent>) -> Session {
    Session::new(request, consents, DefaultRule::Deny, 9, now())
}

pub fn decide(request: &AccessRequest, consents: Vec<LiveConsent>, facts: &UnitFacts) -> Decision {
    session(request, consents).decide(unit_id(), facts)
}

/// The patient's units, by name.
pub fn unit(name: &str) -> UnitFacts {
    UnitFacts::of(&json(match name {
        "glucose" => {
            r#"{"resourceType": "Observation", "id": "glucose", "status": "final",
            "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "N"}]},
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "laboratory"}]}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]},
            "subject": {"reference": "Patient/p"}, "basedOn": [{"reference": "ServiceRequest/order"}],
            "performer": [{"reference": "Organization/lab"}], "effectiveDateTime": "2024-03-01T08:00:00+01:00"}"#
        }
        "hiv" => {
            r#"{"resourceType": "Condition", "id": "hiv",
            "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"},
                {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]},
            "code": {"coding": [{"system": "http://snomed.info/sct", "code": "86406008"}]},
            "subject": {"reference": "Patient/p"}, "recorder": {"reference": "Practitioner/able"}, "recordedDate": "2019-05-01"}"#
        }
        "note" => {
            r#"{"resourceType": "DocumentReference", "id": "note", "status": "current",
            "type": {"coding": [{"system": "http://loinc.org", "code": "34133-9"}]},
            "subject": {"reference": "Patient/p"}, "date": "2022-02-02T00:00:00Z",
            "content": [{"attachment": {"contentType": "text/plain"}}]}"#
        }
        "patient" => {
            r#"{"resourceType": "Patient", "id": "p", "generalPractitioner": [{"reference": "Practitioner/able"}]}"#
        }
        "local" => {
            r#"{"resourceType": "Observation", "id": "local", "code": {"text": "our own test"}, "subject": {"reference": "Patient/p"},
            "effectivePeriod": {"start": "2023-12-30", "end": "2024-01-02"}}"#
        }
        "report" => {
            r#"{"resourceType": "DiagnosticReport", "id": "report", "code": {"coding": [{"system": "http://loinc.org", "code": "24323-8"}]},
            "subject": {"reference": "Patient/p"}, "effectiveDateTime": "2024-03-01",
            "contained": [{"resourceType": "Observation", "id": "o", "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]},
                "effectiveDateTime": "2024-03-01"}],
            "result": [{"reference": "Observation/glucose"}]}"#
        }
        other => panic!("no unit {other}"),
    }))
}

pub const UNITS: [&str; 6] = ["glucose", "hiv", "note", "patient", "local", "report"];
