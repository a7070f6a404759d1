//! `metadata`: the CapabilityStatement, built from the same tables that searches are parsed by. Says nothing about any row.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use schemas::json::Value;

use super::Front;
use super::outcome::fhir;
use crate::disclose::search::parameters_of;

/// Types that are listed; others can be read and searched alike.
const TYPES: [&str; 24] = [
    "AllergyIntolerance",
    "CarePlan",
    "CareTeam",
    "Claim",
    "Condition",
    "Consent",
    "Device",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "ExplanationOfBenefit",
    "Goal",
    "ImagingStudy",
    "Immunization",
    "MedicationAdministration",
    "MedicationRequest",
    "Observation",
    "Patient",
    "Practitioner",
    "Procedure",
    "RelatedPerson",
    "ServiceRequest",
    "Specimen",
    "Task",
];

fn codes(key: &'static str, all: &[&'static str]) -> Value {
    Value::from(all.iter().map(|code| Value::object([(key, Value::from(*code))])).collect::<Vec<_>>())
}

fn parameter(name: &'static str) -> Value {
    let kind = match name {
        "patient" | "subject" => "reference",
        "date" => "date",
        _ => "token",
    };
    Value::object([("name", Value::from(name)), ("type", Value::from(kind))])
}

fn resource(kind: &'static str) -> Value {
    let interactions: &[&'static str] = match kind {
        "Consent" => &["read", "vread", "history-instance", "search-type", "create", "update"],
        _ => &["read", "vread", "history-instance", "search-type", "create"],
    };
    Value::object([
        ("type", Value::from(kind)),
        ("interaction", codes("code", interactions)),
        ("versioning", Value::from("versioned")),
        ("readHistory", Value::from(true)),
        ("updateCreate", Value::from(false)),
        ("searchParam", Value::from(parameters_of(kind).iter().map(|name| parameter(name)).collect::<Vec<_>>())),
        (
            "operation",
            Value::from(vec![Value::object([
                ("name", Value::from("verify")),
                ("definition", Value::from("urn:chartseal:operation:verify")),
            ])]),
        ),
    ])
}

/// GET metadata
pub async fn metadata(State(front): State<Front>) -> Response {
    let service = Value::object([(
        "coding",
        Value::from(vec![Value::object([
            ("system", Value::from("http://terminology.hl7.org/CodeSystem/restful-security-service")),
            ("code", Value::from("SMART-on-FHIR")),
        ])]),
    )]);
    let uris = Value::object([
        ("url", Value::from("http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris")),
        (
            "extension",
            Value::from(vec![Value::object([
                ("url", Value::from("token")),
                ("valueUri", Value::from(format!("{}/oauth/token", front.origin))),
            ])]),
        ),
    ]);
    let security = Value::object([("extension", Value::from(vec![uris])), ("service", Value::from(vec![service]))]);
    let rest = Value::object([
        ("mode", Value::from("server")),
        ("security", security),
        ("resource", Value::from(TYPES.iter().map(|kind| resource(kind)).collect::<Vec<_>>())),
        ("interaction", codes("code", &["transaction", "batch"])),
    ]);
    let implementation = Value::object([
        ("description", Value::from(front.institution.to_string())),
        ("url", Value::from(front.disclose.base.to_string())),
    ]);
    let software =
        Value::object([("name", Value::from("Chartseal")), ("version", Value::from(env!("CARGO_PKG_VERSION")))]);
    let statement = Value::object([
        ("resourceType", Value::from("CapabilityStatement")),
        ("status", Value::from("active")),
        ("date", Value::from("2026-11-22")),
        ("kind", Value::from("instance")),
        ("software", software),
        ("implementation", implementation),
        ("fhirVersion", Value::from("4.0.1")),
        ("format", Value::from(vec![Value::from("json")])),
        ("rest", Value::from(vec![rest])),
    ]);
    fhir(StatusCode::OK, &statement)
}
