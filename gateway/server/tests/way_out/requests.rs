//! Requests that are wrong: each gets a 4xx with an OperationOutcome that names the place and no value; and what clients hand in.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::world::{World, observation};

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
