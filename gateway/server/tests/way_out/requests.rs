//! Requests that are wrong: each gets a 4xx with an OperationOutcome that names the place and no value; and what clients hand in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode, header};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::world::{World, observation, permit};

/// Longest that a test waits for an answer that must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A body that begins and never ends.
pub fn unfinished() -> Body {
    let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{"))]);
    Body::from_stream(begun.chain(stream::pending()))
}

async fn post(world: &World, token: &str, path: &str, kind: &str, body: Vec<u8>) -> (StatusCode, Value) {
    let request = Request::post(format!("/fhir{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(body))
        .expect("a request");
    let (status, headers, body) = world.send(request).await;
    assert_eq!(headers[header::CONTENT_TYPE], "application/fhir+json; charset=utf-8");
    let text = String::from_utf8(body).expect("utf-8");
    assert!(!text.contains("CANARY"), "{text}");
    (status, serde_json::from_str(&text).expect("json"))
}

#[tokio::test]
async fn broken_bodies_are_refused_with_their_place() {
    let world = World::new().await;
    let writer = world.token("writer", "system/*.c").await;
    let deep = format!("{{\"resourceType\":\"Observation\",\"extension\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
    let json = "application/fhir+json";
    for (path, kind, body, status, place) in [
        ("/Observation", json, br#"{"resourceType":"Observation","status":"CANARY"#.to_vec(), 400, "status"),
        ("/Observation", json, br#"{"resourceType":"Observation","status":"a","status":"CANARY"}"#.to_vec(), 400, "status"),
        ("/Observation", json, b"\xff\xfe".to_vec(), 400, ""),
        ("/Observation", json, b"".to_vec(), 400, ""),
        ("/Observation", json, b"[1,2]".to_vec(), 400, "resourceType"),
        ("/Observation", json, b"{\"resourceType\":\"CANARY 1\"}".to_vec(), 400, "resourceType"),
        ("/Observation", json, deep.into_bytes(), 400, "extension["),
        ("/Observation", json, br#"{"resourceType":"Patient"}"#.to_vec(), 400, "Observation.resourceType"),
        ("/Observation", "text/plain", b"{}".to_vec(), 415, ""),
        ("/Observation", "application/fhir+xml", b"<a/>".to_vec(), 415, ""),
        ("/Observation", "application/fhir+json; charset=utf-16", b"{}".to_vec(), 415, ""),
        ("/Observation", json, vec![b' '; (1 << 20) + 1], 413, ""),
        ("", json, br#"{"resourceType":"Observation"}"#.to_vec(), 400, "resourceType"),
        (
            "",
            json,
            br#"{"resourceType":"Bundle","type":"batch","entry":[{"resource":{"resourceType":"Observation","status":"final","code":{"text":"a"}}},{"resource":{"resourceType":"Condition"}}]}"#.to_vec(),
            403,
            "Bundle.entry[1]",
        ),
        (
            "",
            json,
            br#"{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"DELETE","url":"Observation/CANARY"}}]}"#.to_vec(),
            422,
            "Bundle.entry[0].request.method",
        ),
        (
            "",
            json,
            br#"{"resourceType":"Bundle","type":"collection","entry":[{"resource":{"resourceType":"Consent"}}]}"#.to_vec(),
            422,
            "Bundle.entry[0].resource",
        ),
    ] {
        let (found, outcome) = post(&world, &writer, path, kind, body).await;
        assert_eq!(found.as_u16(), status, "{outcome}");
        assert_eq!(outcome["resourceType"], "OperationOutcome");
        let expression = outcome["issue"][0]["expression"][0].as_str().unwrap_or_default();
        assert!(expression.starts_with(place), "{outcome}");
    }
    assert!(world.inbox.0.lock().expect("lock").is_empty());
}

#[tokio::test]
async fn what_is_handed_in_goes_on_byte_for_byte() {
    let world = World::new().await;
    let writer = world.token("writer", "system/*.c").await;
    let body = format!("  {}\n", observation("718-7", "laboratory", "2026-01-01")).into_bytes();
    let (status, outcome) = post(&world, &writer, "/Observation", "application/fhir+json", body.clone()).await;
    assert_eq!((status, &outcome["issue"][0]["severity"]), (StatusCode::ACCEPTED, &json!("information")));
    let taken = world.inbox.0.lock().expect("lock");
    assert_eq!((taken[0].client.as_str(), taken[0].body.as_ref()), ("writer", body.as_slice()));
}

#[tokio::test]
async fn no_route_waits_for_ever_for_a_body() {
    let world = World::new().await;
    let office = world.token("office", "system/Consent.cruds system/*.c").await;
    let clinic = world.token("clinic", "system/*.rs").await;
    let (form, json, cbor) = ("application/x-www-form-urlencoded", "application/fhir+json", "application/cbor");
    for (method, path, kind, token) in [
        (Method::POST, "/oauth/token", form, ""),
        (Method::POST, "/oauth/introspect", form, clinic.as_str()),
        (Method::POST, "/fhir/Observation/_search", form, &clinic),
        (Method::POST, "/fhir", json, &office),
        (Method::POST, "/fhir/", json, &office),
        (Method::POST, "/fhir/Bundle", json, &office),
        (Method::POST, "/fhir/Observation", json, &office),
        (Method::POST, "/fhir/Consent", json, &office),
        (Method::PUT, "/fhir/Consent/1", json, &office),
        (Method::POST, "/wallet/v1/bind", cbor, ""),
        (Method::POST, "/wallet/v1/ask", cbor, ""),
        (Method::POST, "/wallet/v1/grant", cbor, ""),
        (Method::POST, "/wallet/v1/revoke", cbor, ""),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, kind)
            .body(unfinished())
            .expect("a request");
        let answer = tokio::time::timeout(PATIENCE, world.send(request)).await;
        assert_eq!(answer.unwrap_or_else(|_| panic!("{path} waits")).0, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn a_body_that_no_scope_covers_is_not_even_read() {
    let world = World::new().await;
    let clinic = world.token("clinic", "system/*.rs").await;
    let reception = world.token("reception", "system/PatientKey.c").await;
    let writer = world.token("writer", "system/*.c").await;
    for (method, path, token) in [
        (Method::POST, "/fhir", &clinic),
        (Method::POST, "/fhir/Bundle", &clinic),
        (Method::POST, "/fhir/Observation", &clinic),
        (Method::POST, "/fhir/Consent", &clinic),
        (Method::PUT, "/fhir/Consent/1", &clinic),
        (Method::POST, "/fhir", &reception),
        (Method::POST, "/fhir/Condition", &writer),
        (Method::POST, "/fhir/Consent", &writer),
    ] {
        let asked = Arc::new(AtomicBool::new(false));
        let noting = Arc::clone(&asked);
        let body = stream::poll_fn(move |_| {
            noting.store(true, Ordering::SeqCst);
            std::task::Poll::Ready(None::<Result<Bytes, std::io::Error>>)
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/fhir+json")
            .body(Body::from_stream(body))
            .expect("a request");
        assert_eq!(world.send(request).await.0, StatusCode::FORBIDDEN, "{path}");
        assert!(!asked.load(Ordering::SeqCst), "{path}");
    }
}

#[tokio::test]
async fn a_large_resource_is_shown_as_a_small_one_is() {
    let world = World::new().await;
    let patient = world.patient("1").await;
    let mut large = observation("718-7", "laboratory", "2026-01-01");
    let references = (0..20_000).map(|n| json!({ "reference": format!("Observation/source-{n}") }));
    large["derivedFrom"] = references.collect();
    let id = world.vault.logical_id("Observation", &["large"]);
    world.case(&patient, &[("Observation", id.clone(), large)]).await;
    world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
    let clinic = world.token("clinic", "system/*.rs").await;
    let (status, shown) = world.get(&clinic, &format!("Observation/{id}")).await;
    assert_eq!((status, &shown["id"]), (StatusCode::OK, &json!(id)));
    assert_eq!(shown["subject"]["reference"], json!(format!("Patient/{}", patient.id)));
    assert_eq!(shown["derivedFrom"][19_999]["reference"], "Observation/source-19999");
    let (status, found) = world.get(&clinic, &format!("Observation?patient={}", patient.id)).await;
    assert_eq!((status, &found["entry"][0]["resource"]), (StatusCode::OK, &shown));
}

#[tokio::test]
async fn wrong_questions_are_refused_and_explained() {
    let world = World::new().await;
    let clinic = world.token("clinic", "system/*.rs").await;
    for (path, status, code) in [
        ("Observation", 400, "business-rule"),
        ("Observation?code=x", 400, "business-rule"),
        ("Observation?patient=p&unknown=1", 400, "not-supported"),
        ("Observation?patient=p&code:in=x", 400, "not-supported"),
        ("Observation?patient=p&date=yesterday", 400, "value"),
        ("Observation?patient=%ff", 400, "structure"),
        ("Observation?_page=AAAA", 400, "value"),
        ("Observation/x?_elements=id", 400, "not-supported"),
    ] {
        let (found, outcome) = world.get(&clinic, path).await;
        assert_eq!((found.as_u16(), &outcome["issue"][0]["code"]), (status, &json!(code)), "{path}: {outcome}");
    }
    for (method, path) in [
        (Method::DELETE, "/fhir/Observation/1"),
        (Method::PATCH, "/fhir/Observation/1"),
        (Method::PUT, "/fhir/metadata"),
        (Method::DELETE, "/fhir/Consent/1"),
    ] {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        let (status, _, body) = world.send(request).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
        assert!(String::from_utf8_lossy(&body).contains("OperationOutcome"));
    }
}

#[tokio::test]
async fn metadata_and_discovery_need_no_token() {
    let world = World::new().await;
    for path in ["/fhir/metadata", "/.well-known/smart-configuration", "/fhir/.well-known/smart-configuration"] {
        let request = Request::get(path).header(header::ACCEPT, "text/html").body(Body::empty()).expect("a request");
        let (status, headers, body) = world.send(request).await;
        assert_eq!(status, StatusCode::OK);
        assert!(headers[header::CONTENT_TYPE].to_str().expect("text").contains("json"));
        let document: Value = serde_json::from_slice(&body).expect("json");
        assert!(document["fhirVersion"] == "4.0.1" || document["token_endpoint"].is_string());
    }
}
