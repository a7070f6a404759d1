//! Hidden must look absent: for every shape of question the answer equals, byte for byte, that of a store without the hidden
//! rows, apart from the sealed page link, whose length is equal.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use gateway_server::disclose::query::count_heads;
use gateway_server::store;
use schemas::limits;
use serde_json::json;

use crate::world::{Patient, World, observation, permit, worlds};

/// Answers of a world: status, headers but the date, body with page links blanked.
async fn ask(world: &World, token: &str, path: &str) -> (StatusCode, Vec<(String, String)>, String) {
    let request = Request::get(format!("/fhir/{path}")).header(header::AUTHORIZATION, format!("Bearer {token}"));
    let (status, headers, body) = world.send(request.body(Body::empty()).expect("a request")).await;
    let headers = headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap_or_default().to_owned())).collect();
    (status, headers, String::from_utf8(body).expect("utf-8"))
}

fn blank_page(text: &str) -> String {
    let mut out = String::new();
    for (at, piece) in text.split("_page=").enumerate() {
        if at == 0 {
            out.push_str(piece);
            continue;
        }
        let end = piece.find('"').unwrap_or(piece.len());
        out.push_str(&format!("_page=<{end}>{}", &piece[end..]));
    }
    out
}

/// Pseudonyms and the time of anchoring blanked, lengths kept: two patients of one store differ in nothing else.
fn blank(text: &str) -> String {
    let mut out = String::new();
    for (at, piece) in blank_page(text).split("\"lastUpdated\":\"").enumerate() {
        let piece =
            if at == 0 { piece.to_owned() } else { format!("<time>{}", &piece[piece.find('"').unwrap_or(0)..]) };
        let mut run = String::new();
        for c in piece.chars().chain(['"']) {
            if c.is_ascii_digit() || ('a'..='f').contains(&c) {
                run.push(c);
                continue;
            }
            let long = run.len() >= 16;
            out.push_str(&if long { format!("<{}>", run.len()) } else { std::mem::take(&mut run) });
            run.clear();
            out.push(c);
        }
    }
    out
}

/// Five visible observations, and in one world five more that the consent does not cover, in between.
async fn fill(world: &World, patient: &Patient, hidden: bool) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..5 {
        let day = format!("2026-01-0{}", n + 1);
        let name = format!("seen-{n}");
        let id = world.vault.logical_id("Observation", &[&name]);
        if hidden {
            let secret = world.vault.logical_id("Observation", &[&format!("secret-{n}")]);
            let resource = observation(&format!("secret-{n}"), "vital-signs", &day);
            world.case(patient, &[("Observation", secret, resource)]).await;
        }
        world.case(patient, &[("Observation", id.clone(), observation(&name, "laboratory", &day))]).await;
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn counts_pages_and_reads_are_those_of_a_store_without_the_hidden_rows() {
    let world = World::new().await;
    let codes: Vec<_> =
        (0..5).map(|n| json!({ "coding": [{ "system": "http://loinc.org", "code": format!("seen-{n}") }] })).collect();
    let more = json!({ "code": codes });
    let clinic = world.token("clinic", "system/*.rs").await;
    // two patients of one world: the store is the same, only one of them has hidden rows
    let (with, without) = (world.patient("with").await, world.patient("without").await);
    fill(&world, &with, true).await;
    world.grant(&permit(&with.id, "Organization/clinic", &more)).await;
    world.grant(&permit(&without.id, "Organization/clinic", &more)).await;
    let all = fill_under(&world, &without).await;
    let shapes = [
        "",
        "&_summary=count",
        "&_count=2",
        "&_count=0",
        "&_count=500",
        "&category=laboratory",
        "&category=vital-signs",
        "&code=secret-1",
        "&code=seen-1",
        "&date=2026-01-03",
        "&date=ge2026-01-03",
        "&date=lt2026-01-02",
        "&identifier=x|y",
        "&date=gt2026-01-01&_count=1",
        "&category=vital-signs&_summary=count",
        "&code=seen-1,secret-1",
    ];
    for shape in shapes {
        let (s1, h1, b1) = ask(&world, &clinic, &format!("Observation?patient={}{shape}", with.id)).await;
        let (s2, h2, b2) = ask(&world, &clinic, &format!("Observation?patient={}{shape}", without.id)).await;
        assert_eq!(s1, s2, "{shape}");
        assert_eq!(h1.iter().map(|h| &h.0).collect::<Vec<_>>(), h2.iter().map(|h| &h.0).collect::<Vec<_>>());
        assert_eq!(shape_of(&b1), shape_of(&b2), "{shape}");
        assert_eq!(blank(&b1), blank(&b2), "{shape}");
    }
    assert_eq!(all.len(), 5);
}

/// The same five, under ids of their own.
async fn fill_under(world: &World, patient: &Patient) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..5 {
        let (name, day) = (format!("seen-{n}"), format!("2026-01-0{}", n + 1));
        let id = world.vault.logical_id("Observation", &["without", &name]);
        world.case(patient, &[("Observation", id.clone(), observation(&name, "laboratory", &day))]).await;
        ids.push(id);
    }
    ids
}

/// What can be seen of a searchset apart from pseudonyms and times: total, links, and what each entry says.
fn shape_of(body: &str) -> serde_json::Value {
    let bundle: serde_json::Value = serde_json::from_str(&blank_page(body)).expect("json");
    let entries: Vec<_> = bundle["entry"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| json!([entry["resource"]["code"], entry["resource"]["effectiveDateTime"], entry["search"]]))
        .collect();
    let links: Vec<_> = bundle["link"].as_array().into_iter().flatten().map(|link| link["relation"].clone()).collect();
    json!({ "total": bundle["total"], "links": links, "entries": entries, "type": bundle["type"] })
}

#[tokio::test]
async fn unknown_forbidden_and_malformed_reads_are_one_answer() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
        let stranger = world.token("stranger", "system/*.rs").await;
        let unknown = ask(&world, &stranger, "Observation/00000000000000000000000000000000").await;
        assert_eq!(unknown.0, StatusCode::NOT_FOUND);
        for path in [
            format!("Observation/{lab}"),
            format!("Patient/{}", patient.id),
            format!("Observation/{lab}/_history"),
            format!("Observation/{lab}/_history/1"),
            format!("Observation/{lab}/$verify"),
            "Observation/unknown/_history".into(),
            "Observation/unknown/$verify".into(),
            "Nothing/1".into(),
            "Consent/1".into(),
            "Observation/a b".replace(' ', "%20"),
            "Observation/..%2f..%2fetc".into(),
        ] {
            assert_eq!(ask(&world, &stranger, &path).await, unknown, "{path}");
        }
        let nobody = ask(&world, &stranger, "Observation?patient=unknown").await;
        let somebody = ask(&world, &stranger, &format!("Observation?patient={}", patient.id)).await;
        assert_eq!(nobody.0, somebody.0);
        assert_eq!(shape_of(&nobody.2), shape_of(&somebody.2));
        let nobody = ask(&world, &stranger, "Patient?identifier=urn:mrn|9").await;
        let somebody = ask(&world, &stranger, "Patient?identifier=urn:mrn|1").await;
        assert_eq!(nobody.2.replace("%7C9", ""), somebody.2.replace("%7C1", ""));
    }
}

#[tokio::test]
async fn every_page_is_decided_anew_and_none_repeats() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let ids = fill(&world, &patient, true).await;
        let codes: Vec<_> = (0..5)
            .map(|n| json!({ "coding": [{ "system": "http://loinc.org", "code": format!("seen-{n}") }] }))
            .collect();
        let consent = world.grant(&permit(&patient.id, "Organization/clinic", &json!({ "code": codes }))).await;
        let clinic = world.token("clinic", "system/*.rs").await;
        let mut path = format!("Observation?patient={}&_count=2", patient.id);
        let mut seen = Vec::new();
        let mut links = Vec::new();
        loop {
            let (status, page) = world.get(&clinic, &path).await;
            assert_eq!((status, &page["total"]), (StatusCode::OK, &json!(5)));
            seen.extend(page["entry"].as_array().expect("entries").iter().map(|e| e["resource"]["id"].clone()));
            let next = page["link"].as_array().expect("links").iter().find(|l| l["relation"] == "next");
            let Some(next) = next else { break };
            path = next["url"].as_str().expect("url").split("/fhir/").nth(1).expect("path").to_owned();
            links.push(path.clone());
        }
        let mut expected: Vec<_> = ids.iter().map(|id| json!(id)).collect();
        expected.reverse();
        assert_eq!(seen, expected, "newest first, each once");

        let link = links.first().expect("a link").clone();
        let stranger = world.token("stranger", "system/*.rs").await;
        assert_eq!(world.get(&stranger, &link).await.0, StatusCode::BAD_REQUEST, "another client's link");
        assert_eq!(world.get(&clinic, &link.replace("Observation", "Condition")).await.0, StatusCode::BAD_REQUEST);
        let mut forged = link.clone();
        let last = if forged.pop() == Some('A') { 'B' } else { 'A' };
        forged.push(last);
        assert_eq!(world.get(&clinic, &format!("{forged}&_count=500")).await.0, StatusCode::BAD_REQUEST);

        let office = world.token("office", "system/Consent.cruds").await;
        let (_, mut ended) = world.get(&office, &format!("Consent/{consent}")).await;
        ended["status"] = json!("inactive");
        world.put(axum::http::Method::PUT, &office, &format!("Consent/{consent}"), &ended).await;
        let (status, page) = world.get(&clinic, &link).await;
        assert_eq!((status, &page["total"]), (StatusCode::OK, &json!(0)), "revoked between two pages");
    }
}

#[tokio::test]
async fn hidden_versions_leave_no_gap_in_history() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let id = world.vault.logical_id("Observation", &["chain"]);
        for (name, day) in
            [("secret", "2026-01-01"), ("seen", "2026-01-02"), ("secret", "2026-01-03"), ("seen", "2026-01-04")]
        {
            world.case(&patient, &[("Observation", id.clone(), observation(name, "laboratory", day))]).await;
        }
        let more = json!({ "code": [{ "coding": [{ "system": "http://loinc.org", "code": "seen" }] }] });
        world.grant(&permit(&patient.id, "Organization/clinic", &more)).await;
        let clinic = world.token("clinic", "system/*.rs").await;
        let (status, history) = world.get(&clinic, &format!("Observation/{id}/_history")).await;
        assert_eq!((status, &history["total"]), (StatusCode::OK, &json!(2)));
        for entry in history["entry"].as_array().expect("entries") {
            let version = entry["resource"]["meta"]["versionId"].as_str().expect("a version");
            assert_eq!(version.len(), 16, "a pseudonym, not a number");
            let (status, body) = world.get(&clinic, &format!("Observation/{id}/_history/{version}")).await;
            assert_eq!((status, &body["code"]), (StatusCode::OK, &entry["resource"]["code"]));
        }
    }
}

/// What unknown and hidden cost differs: keys, consents, rows. It must not show in the time of an answer that says nothing.
#[tokio::test]
async fn what_shows_nothing_leaves_at_its_time_whatever_was_looked_at() {
    let world = World::new().await;
    let patient = world.patient("1").await;
    let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
    for n in 0..40 {
        world.observation(&patient, &format!("more-{n}"), "laboratory", "2026-01-02").await;
    }
    world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
    let stranger = world.token("stranger", "system/*.rs").await;
    let office = world.token("desk", "system/Consent.ru?category=http://loinc.org|64292-6").await;
    let step = Duration::from_millis(limits::NOTHING_STEP_MS);
    let absent = "0".repeat(32);
    for (hidden, unknown) in [
        (format!("Observation/{lab}"), format!("Observation/{absent}")),
        (format!("Observation/{lab}/_history"), format!("Observation/{absent}/_history")),
        (format!("Observation/{lab}/$verify"), format!("Observation/{absent}/$verify")),
        (format!("Patient/{}", patient.id), format!("Patient/{absent}")),
        ("Patient?identifier=urn:mrn|1".into(), "Patient?identifier=urn:mrn|9".into()),
        (format!("Observation?patient={}", patient.id), format!("Observation?patient={absent}")),
        (format!("Condition?patient={}", patient.id), format!("Condition?patient={absent}")),
        (
            format!("Observation?patient={}&_summary=count", patient.id),
            format!("Observation?patient={absent}&_summary=count"),
        ),
    ] {
        for path in [hidden, unknown] {
            let asked = Instant::now();
            let (status, _, body) = ask(&world, &stranger, &path).await;
            assert!(status == StatusCode::NOT_FOUND || body.contains("\"total\":0"), "{path}: {status} {body}");
            assert!(asked.elapsed() >= step, "{path}: {:?}", asked.elapsed());
        }
    }
    let put = permit(&patient.id, "Organization/clinic", &json!({}));
    let mut put = put.clone();
    put["id"] = json!(absent);
    put["category"] = json!([{ "coding": [{ "system": "http://loinc.org", "code": "64292-6" }] }]);
    let asked = Instant::now();
    let (status, _, body) = world.put(axum::http::Method::PUT, &office, &format!("Consent/{absent}"), &put).await;
    assert_eq!(status, StatusCode::NOT_FOUND, "{body}");
    assert!(asked.elapsed() >= step);
}

/// Who is shown nothing whatever there is costs a count: no row is read, no summary opened.
#[tokio::test]
async fn what_nobody_permits_is_counted_and_not_read() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        for n in 0..3 {
            world.observation(&patient, &format!("code-{n}"), "laboratory", "2026-01-02").await;
        }
        assert_eq!(count_heads(&world.store, &patient.subject, "Observation").await.expect("counted"), 3);
        assert_eq!(count_heads(&world.store, &patient.subject, "Condition").await.expect("counted"), 0);
        assert_eq!(count_heads(&world.store, &patient.subject, "Consent").await.expect("counted"), 0);
        world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
        assert_eq!(count_heads(&world.store, &patient.subject, "Consent").await.expect("counted"), 1);
        // rows that cannot be read any more are withheld in any case: their summaries were not needed
        let mut write = world.store.begin().await.expect("begin");
        sqlx::query("UPDATE cases SET wraps = $1").bind(vec![0xff_u8]).execute(&mut *write).await.expect("damaged");
        store::commit(write).await.expect("commit");
        let stranger = world.token("stranger", "system/*.rs").await;
        let path = format!("Observation?patient={}", patient.id);
        assert_eq!(world.get(&stranger, &path).await.1["total"], json!(0));
        let clinic = world.token("clinic", "system/*.rs").await;
        assert_eq!(world.get(&clinic, &path).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    }
}
