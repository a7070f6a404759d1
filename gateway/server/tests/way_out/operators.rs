//! The operators' routes: what they show, what they refuse, and that nothing of a record or a patient is in any answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use gateway_server::operators::{Operators, PartState, Probe, router};
use ledger_proof::verify_receipt;
use schemas::cbor;
use schemas::id::CaseId;
use schemas::limits;
use schemas::receipt::EntryProof;
use schemas::transaction::{Body as Does, Core, RegisterSubject, Signer};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::requests::{PATIENCE, unfinished};
use crate::world::{BODY_WAIT, INSTITUTION, World, observation, permit};

fn operators(world: &World, probes: &[(&str, Probe)]) -> Router {
    let probes: BTreeMap<_, _> = probes.iter().map(|(name, probe)| ((*name).to_owned(), Arc::clone(probe))).collect();
    router(Operators {
        metrics: world.metrics.clone(),
        probes: Arc::new(probes),
        ledger: world.ledger.clone(),
        store: world.store.clone(),
        measures: Arc::new(String::new),
        connectors: Arc::new(Vec::new),
        body_wait: BODY_WAIT,
    })
}

async fn send(router: &Router, request: Request<Body>) -> (StatusCode, String, Vec<u8>) {
    let (parts, body) = router.clone().oneshot(request).await.expect("an answer").into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.expect("a body").to_vec();
    let text = String::from_utf8_lossy(&body).to_ascii_lowercase();
    assert!(!text.contains("canary"), "{text}");
    let kind = parts.headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().expect("text").to_owned());
    (parts.status, kind.unwrap_or_default(), body)
}

async fn get(router: &Router, path: &str) -> (StatusCode, String, Vec<u8>) {
    send(router, Request::get(path).body(Body::empty()).expect("a request")).await
}

fn part(ready: bool, detail: &str) -> Probe {
    let state = PartState { ready, detail: detail.to_owned() };
    Arc::new(move || Box::pin(std::future::ready(state.clone())))
}

#[tokio::test]
async fn readiness_names_the_part_that_is_not_ready() {
    let world = World::new().await;
    let ready = async |probes: &[(&str, Probe)]| {
        let operators = operators(&world, probes);
        assert_eq!(get(&operators, "/livez").await.0, StatusCode::OK, "alive whatever is not ready");
        let (status, _, body) = get(&operators, "/readyz").await;
        (status, serde_json::from_slice::<Value>(&body).expect("json"))
    };
    let good = || part(true, "answers");
    let (status, body) = ready(&[("database", good()), ("objects", good())]).await;
    assert_eq!((status, &body["ready"]), (StatusCode::OK, &json!(true)));
    let (status, body) = ready(&[("database", good()), ("connector ehr", part(false, "not connected"))]).await;
    assert_eq!((status, &body["ready"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false)));
    assert_eq!(body["parts"]["connector ehr"], json!({ "ready": false, "detail": "not connected" }));
    assert_eq!(body["parts"]["database"]["ready"], json!(true));
    // one that never answers holds nobody up
    let silent: Probe = Arc::new(|| Box::pin(std::future::pending()));
    let (status, body) = ready(&[("ledger", silent), ("objects", good())]).await;
    assert_eq!((status, &body["parts"]["ledger"]["ready"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false)));
    assert_eq!(body["parts"]["objects"]["ready"], json!(true));
}

/// A case of a patient whose every text is a canary, disclosed once, and its receipt.
async fn disclosed(world: &World) -> CaseId {
    let patient = world.patient("CanaryMRN").await;
    let id = world.vault.logical_id("Observation", &["canary"]);
    let resource = observation("canarycode", "laboratory", "2026-01-01");
    let case = world.case(&patient, &[("Observation", id.clone(), resource)]).await;
    world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
    let clinic = world.token("clinic", "system/*.rs").await;
    assert_eq!(world.get(&clinic, &format!("Observation/{id}")).await.0, StatusCode::OK);
    world.get(&clinic, "Patient?identifier=urn:mrn|CanaryMRN").await;
    case
}

#[tokio::test]
async fn measures_and_receipts_are_shown_and_no_record() {
    let world = World::new().await;
    let case = disclosed(&world).await;
    let operators = operators(&world, &[]);
    let (status, kind, text) = get(&operators, "/metrics").await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(text).expect("text");
    assert!(text.lines().any(|line| line.contains("disclosed") && !line.ends_with(" 0")), "{text}");
    let (status, kind, receipt) = get(&operators, &format!("/ledger/v1/receipts/{case}")).await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"));
    assert_eq!(verify_receipt(&receipt, world.ledger.genesis()).expect("valid").case, case);
    for (path, status) in [
        (format!("/ledger/v1/receipts/{}", CaseId([9; 16])), StatusCode::NOT_FOUND),
        (format!("/ledger/v1/receipts/{}", case.to_string().to_uppercase()), StatusCode::BAD_REQUEST),
        ("/ledger/v1/receipts/1".to_owned(), StatusCode::BAD_REQUEST),
        // what is for clients is not here
        ("/fhir/metadata".to_owned(), StatusCode::NOT_FOUND),
        ("/oauth/token".to_owned(), StatusCode::NOT_FOUND),
    ] {
        assert_eq!(get(&operators, &path).await.0, status, "{path}");
    }
    // and what is for operators is not there
    for path in ["/livez", "/readyz", "/metrics", "/ledger/v1/status"] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        assert_eq!(world.send(request).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn the_ledgers_words_are_passed_on_and_bad_questions_refused() {
    let world = World::new().await;
    let operators = operators(&world, &[]);
    let institution = INSTITUTION;
    let body = RegisterSubject { subject: world.patient("1").await.subject, institution, key: None, guardians: vec![] };
    let core = Core { chain: world.ledger.genesis().chain_id(), valid_until: 100, body: Does::RegisterSubject(body) };
    let signed = world.vault.sign(core, Signer::Institution(institution)).expect("signed");
    let path = format!("/ledger/v1/transactions/{}", signed.id());
    assert_eq!(get(&operators, &path).await.0, StatusCode::NOT_FOUND);
    let post = |bytes: Vec<u8>| Request::post("/ledger/v1/transactions").body(Body::from(bytes)).expect("a request");
    assert_eq!(send(&operators, post(cbor::encode(&signed))).await.0, StatusCode::ACCEPTED);
    let (status, kind, proof) = get(&operators, &path).await;
    assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/cbor"));
    assert_eq!(cbor::decode::<EntryProof>(&proof).expect("a proof").entry.transaction, signed.id());
    let large = vec![0; limits::TRANSACTION_BYTES_MAX + 1];
    assert_eq!(send(&operators, post(large)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    for path in [
        "/ledger/v1/transactions/abc".to_owned(),
        format!("{path}?wait_ms=soon"),
        format!("{path}?wait_ms=%ff"),
        "/ledger/v1/blocks?from=first".to_owned(),
        "/ledger/v1/blocks?from=-1".to_owned(),
        "/ledger/v1/blocks/CANARY".to_owned(),
    ] {
        assert_eq!(get(&operators, &path).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    let delete = Request::delete(&path).body(Body::empty()).expect("a request");
    assert_eq!(send(&operators, delete).await.0, StatusCode::METHOD_NOT_ALLOWED);
    world.ledger.stopped.store(true, Ordering::SeqCst);
    assert_eq!(get(&operators, &path).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(send(&operators, post(cbor::encode(&signed))).await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_transaction_that_does_not_come_is_not_waited_for() {
    let world = World::new().await;
    let request = Request::post("/ledger/v1/transactions").body(unfinished()).expect("a request");
    let answer = tokio::time::timeout(PATIENCE, send(&operators(&world, &[]), request)).await.expect("in time");
    assert_eq!(answer.0, StatusCode::BAD_REQUEST);
    let large = Body::from(vec![0; limits::TRANSACTION_BYTES_MAX + 1]);
    let request = Request::post("/ledger/v1/transactions").body(large).expect("a request");
    assert_eq!(send(&operators(&world, &[]), request).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}
