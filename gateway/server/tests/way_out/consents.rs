//! Consents at work: none, granted, narrowed, revoked, expired; per client, category, code and period; stale state; a document
//! that is missing or not the one committed to.

use std::sync::atomic::Ordering;

use axum::http::{Method, StatusCode};
use schemas::limits;
use serde_json::{Value, json};

use crate::world::{World, permit, worlds};

#[tokio::test]
async fn nothing_without_a_consent_then_only_what_it_allows() {
    let world = World::new().await;
    let patient = world.patient("1").await;
    let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
    let clinic = world.token("clinic", "system/*.rs").await;
    let stranger = world.token("stranger", "system/*.rs").await;
    let read = format!("Observation/{lab}");
    assert_eq!(world.get(&clinic, &read).await.0, StatusCode::NOT_FOUND);

    world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
    let (status, body) = world.get(&clinic, &read).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(body["id"], json!(lab));
    assert_eq!(body["subject"]["reference"], json!(format!("Patient/{}", patient.id)));
    assert_eq!(body["valueQuantity"]["value"].to_string(), "1.5");
    assert_eq!(world.get(&stranger, &read).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn digits_leave_as_they_came() {
    let world = World::new().await;
    let patient = world.patient("1").await;
    let id = world.vault.logical_id("Observation", &["digits"]);
    let raw = r#"{"extension":[{"url":"urn:unknown","valueDecimal":1E+02}],"resourceType":"Observation","valueQuantity":{"value":1.500}}"#;
    world.case_of_texts(&patient, &[("Observation", id.clone(), raw.to_owned())]).await;
    world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
    let clinic = world.token("clinic", "system/*.rs").await;
    let request = axum::http::Request::get(format!("/fhir/Observation/{id}"))
        .header("authorization", format!("Bearer {clinic}"))
        .body(axum::body::Body::empty())
        .expect("a request");
    let (_, _, body) = world.send(request).await;
    let text = String::from_utf8(body).expect("utf-8");
    assert!(text.contains(r#""value":1.500"#) && text.contains(r#""valueDecimal":1E+02"#), "{text}");
}

#[tokio::test]
async fn narrowed_and_revoked_consents_count_at_once() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
        let vital = world.observation(&patient, "8867-4", "vital-signs", "2026-01-01").await;
        let wide = permit(&patient.id, "Organization/clinic", &json!({}));
        let consent = world.grant(&wide).await;
        let clinic = world.token("clinic", "system/*.rs").await;
        let office = world.token("office", "system/Consent.cruds").await;
        let status = async |id: &str| world.get(&clinic, &format!("Observation/{id}")).await.0;
        assert_eq!((status(&lab).await, status(&vital).await), (StatusCode::OK, StatusCode::OK));

        let code = json!({ "code": [{ "coding": [{ "system": "http://loinc.org", "code": "718-7" }] }] });
        let mut narrow = permit(&patient.id, "Organization/clinic", &code);
        narrow["id"] = json!(consent);
        let path = format!("Consent/{consent}");
        let (put, headers, body) = world.put(Method::PUT, &office, &path, &narrow).await;
        assert_eq!(put, StatusCode::OK, "{body}");
        assert_eq!((status(&lab).await, status(&vital).await), (StatusCode::OK, StatusCode::NOT_FOUND));

        let (_, found) = world.get(&office, &path).await;
        assert_eq!(
            headers["etag"].to_str().ok(),
            Some(format!("W/\"{}\"", found["meta"]["versionId"].as_str().unwrap_or_default()).as_str())
        );
        let mut ended = found.clone();
        ended["status"] = json!("inactive");
        let (put, _, body) = world.put(Method::PUT, &office, &path, &ended).await;
        assert_eq!(put, StatusCode::OK, "{body}");
        assert_eq!((status(&lab).await, status(&vital).await), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND));
        assert_eq!(world.get(&office, &path).await.1["status"], json!("inactive"));

        let (again, _, _) = world.put(Method::PUT, &office, &path, &narrow).await;
        assert_eq!(again, StatusCode::CONFLICT);
        assert_eq!(status(&lab).await, StatusCode::NOT_FOUND);
        let (_, history) = world.get(&office, &format!("{path}/_history")).await;
        assert_eq!(history["total"], json!(3));
        let listed = world.consents.list(&patient.subject).await.expect("read");
        assert_eq!(
            listed.iter().map(|row| (row.version, row.revoked)).collect::<Vec<_>>(),
            [(1, false), (2, false), (3, true)]
        );
    }
}

#[tokio::test]
async fn a_consent_ends_with_its_period() {
    let world = World::new().await;
    let patient = world.patient("1").await;
    let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
    let mut consent = permit(&patient.id, "Organization/clinic", &json!({}));
    consent["provision"]["period"] = json!({ "start": "2020-01-01", "end": "2027-01-31" });
    world.grant(&consent).await;
    let clinic = world.token("clinic", "system/*.rs").await;
    let read = format!("Observation/{lab}");
    assert_eq!(world.get(&clinic, &read).await.0, StatusCode::OK);
    world.now.fetch_add(400 * 86_400_000, Ordering::SeqCst);
    let later = world.token("clinic", "system/*.rs").await;
    assert_eq!(world.get(&later, &read).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn scopes_narrow_what_a_consent_allows() {
    let world = World::new().await;
    let patient = world.patient("1").await;
    let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
    let vital = world.observation(&patient, "8867-4", "vital-signs", "2026-01-01").await;
    world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
    let token = world.token("lab", "system/*.cruds").await;
    assert_eq!(world.get(&token, &format!("Observation/{lab}")).await.0, StatusCode::OK);
    assert_eq!(world.get(&token, &format!("Observation/{vital}")).await.0, StatusCode::NOT_FOUND);
    let (_, found) = world.get(&token, &format!("Observation?patient={}", patient.id)).await;
    assert_eq!(found["total"], json!(1));
    assert_eq!(world.get(&token, &format!("Patient/{}", patient.id)).await.0, StatusCode::FORBIDDEN);
    let (post, _, _) = world.put(Method::POST, &token, "Observation", &json!({ "resourceType": "Observation" })).await;
    assert_eq!(post, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn nothing_is_decided_on_a_state_that_may_be_old() {
    let world = World::new().await;
    let patient = world.patient("1").await;
    let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
    world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
    let clinic = world.token("clinic", "system/*.rs").await;
    world.ledger.stale.store(true, Ordering::SeqCst);
    for path in
        [format!("Observation/{lab}"), "Observation/unknown".into(), format!("Observation?patient={}", patient.id)]
    {
        let (status, body) = world.get(&clinic, &path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["resourceType"], json!("OperationOutcome"));
    }
    world.ledger.stale.store(false, Ordering::SeqCst);
    assert_eq!(world.get(&clinic, &format!("Observation/{lab}")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_document_that_is_missing_denies_everything() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
        world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
        let clinic = world.token("clinic", "system/*.rs").await;
        let other = world.patient("2").await;
        let others = world.observation(&other, "718-7", "laboratory", "2026-01-01").await;
        world.grant(&permit(&other.id, "Organization/clinic", &json!({}))).await;
        let second = permit(&other.id, "Organization/stranger", &json!({}));
        world.grant(&second).await;
        let mut write = world.store.begin().await.expect("begin");
        let sql = "DELETE FROM consent_document WHERE consent = (SELECT consent FROM consent_document WHERE subject = $1 \
               ORDER BY consent DESC LIMIT 1)";
        sqlx::query(sql).bind(other.subject.0.to_vec()).execute(&mut *write).await.expect("delete");
        gateway_server::store::commit(write).await.expect("commit");
        assert_eq!(world.get(&clinic, &format!("Observation/{lab}")).await.0, StatusCode::OK);
        assert_eq!(world.get(&clinic, &format!("Observation/{others}")).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn what_the_ledger_refuses_leaves_no_document() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let document = permit(&patient.id, "Organization/clinic", &json!({}));
        for _ in 0..limits::CONSENTS_LIVE_MAX {
            world.grant(&document).await;
        }
        let office = world.token("office", "system/Consent.cruds").await;
        let (status, _, body) = world.put(Method::POST, &office, "Consent", &document).await;
        assert!(status.is_client_error(), "{status} {body}");
        let kept = sqlx::query("SELECT COUNT(*) FROM consent_document").fetch_one(world.store.reader()).await;
        let kept: i64 = kept.and_then(|row| sqlx::Row::try_get(&row, 0)).expect("a count");
        assert_eq!(kept.unsigned_abs(), limits::CONSENTS_LIVE_MAX as u64);
    }
}

#[tokio::test]
async fn what_is_no_enforceable_consent_is_refused_with_its_place() {
    let world = World::new().await;
    let patient = world.patient("1").await;
    let office = world.token("office", "system/Consent.cruds").await;
    let good = permit(&patient.id, "Organization/clinic", &json!({}));
    let changed = |change: fn(&mut Value)| {
        let mut consent = good.clone();
        change(&mut consent);
        consent
    };
    for (consent, status) in [
        (changed(|c| c["status"] = json!("draft")), StatusCode::UNPROCESSABLE_ENTITY),
        (changed(|c| c["patient"] = json!({ "reference": "Patient/unknown" })), StatusCode::UNPROCESSABLE_ENTITY),
        (
            changed(|c| c["modifierExtension"] = json!([{ "url": "urn:x", "valueBoolean": true }])),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (changed(|c| c["provision"]["type"] = json!("maybe")), StatusCode::BAD_REQUEST),
        (changed(|c| c["resourceType"] = json!("Patient")), StatusCode::BAD_REQUEST),
    ] {
        let (found, _, body) = world.put(Method::POST, &office, "Consent", &consent).await;
        assert_eq!(found, status, "{body}");
        assert!(body["issue"][0]["expression"][0].is_string(), "{body}");
    }
    let clinic = world.token("clinic", "system/*.rs").await;
    let (found, _, _) = world.put(Method::POST, &clinic, "Consent", &good).await;
    assert_eq!(found, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_scope_for_one_category_reaches_no_consent_of_another() {
    let world = World::new().await;
    let patient = world.patient("1").await;
    let consent = world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
    let desk = world.token("desk", "system/Consent.ru?category=http://loinc.org|64292-6").await;
    let path = format!("Consent/{consent}");
    assert_eq!(world.get(&desk, &path).await.0, StatusCode::NOT_FOUND);
    // the category of what is sent is the client's word only
    let mut ended = permit(&patient.id, "Organization/clinic", &json!({}));
    ended["id"] = json!(consent);
    ended["status"] = json!("inactive");
    ended["category"][0]["coding"][0]["code"] = json!("64292-6");
    let (status, _, body) = world.put(Method::PUT, &desk, &path, &ended).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{body}");
    let office = world.token("office", "system/Consent.cruds").await;
    assert_eq!(world.get(&office, &path).await.1["status"], json!("active"));
}

/// Puts a row back to where the ledger's word was not heard.
async fn unheard(world: &World, consent: &str, version: i64) {
    let mut write = world.store.begin().await.expect("begin");
    let sql = "UPDATE consent_document SET height = NULL WHERE logical_id = $1 AND version = $2";
    sqlx::query(sql).bind(consent.to_owned()).bind(version).execute(&mut *write).await.expect("update");
    gateway_server::store::commit(write).await.expect("commit");
}

#[tokio::test]
async fn a_revocation_ends_a_newer_version_that_came_into_force_unseen() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
        let mut document = permit(&patient.id, "Organization/clinic", &json!({}));
        let consent = world.grant(&document).await;
        let office = world.token("office", "system/Consent.cruds").await;
        let clinic = world.token("clinic", "system/*.rs").await;
        document["id"] = json!(consent);
        let before = world.consents.head(&consent).await.expect("store").expect("a head");
        let path = format!("Consent/{consent}");
        assert_eq!(world.put(Method::PUT, &office, &path, &document).await.0, StatusCode::OK);
        unheard(&world, &consent, 2).await;

        // the head that was read before the newer version came into force
        document["status"] = json!("inactive");
        let bytes = document.to_string();
        let ended = schemas::json::parse(bytes.as_bytes()).expect("json");
        world.consents.revoke(&before, &ended).await.expect("revoked");
        assert_eq!(world.get(&clinic, &format!("Observation/{lab}")).await.0, StatusCode::NOT_FOUND);
        assert_eq!(world.get(&office, &path).await.1["status"], json!("inactive"));

        let other = world.patient("2").await;
        document["patient"]["reference"] = json!(format!("Patient/{}", other.id));
        let (status, _, body) = world.put(Method::PUT, &office, &path, &document).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
}

#[tokio::test]
async fn the_refusal_of_a_strangers_copy_is_no_word_on_a_consent() {
    let world = World::new().await;
    let patient = world.patient("1").await;
    let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
    world.ledger.copies.store(true, Ordering::SeqCst);
    world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
    let clinic = world.token("clinic", "system/*.rs").await;
    assert_eq!(world.get(&clinic, &format!("Observation/{lab}")).await.0, StatusCode::OK);
}
