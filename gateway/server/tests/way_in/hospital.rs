//! FHIR out of hospital systems, into a running way in: polled, notified, exported. The hospital's server is small and real.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as Place, Query, State};
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use axum::routing::{any, get};
use connectors_fhir::{Marker, Markers};
use connectors_source::Rejection;
use futures_util::stream;
use gateway_server::config::{ConnectorConfig, connector};
use gateway_server::connectors::Connectors;
use gateway_server::http::hooks::{self, Hooks};
use gateway_server::imports::{Asked, ImportState, Imports};
use gateway_server::markers::StoredMarkers;
use gateway_server::store::{cases, dead_letters, inbox};
use gateway_server::telemetry::Metrics;
use schemas::limits;
use tower::ServiceExt as _;

use crate::world::{Running, World, worlds};

const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";
const LINES: usize = 2_000;

/// What the hospital has.
#[derive(Default)]
struct Ward {
    resources: Mutex<Vec<String>>,
    asked: AtomicUsize,
    /// The export's file ends early, once.
    cut: AtomicBool,
    /// The export's file has a line that no gateway takes.
    long: AtomicBool,
    deleted: AtomicBool,
    base: Mutex<String>,
}

impl Ward {
    async fn open() -> Arc<Self> {
        let ward = Arc::new(Self::default());
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        *ward.base.lock().expect("lock") = format!("http://{}/fhir", socket.local_addr().expect("an address"));
        let router = Router::new()
            .route("/fhir/Patient", get(search))
            .route(
                "/fhir/Patient/{id}",
                get(|Place(id): Place<String>| async move { patient(id[1..].parse().expect("pN")) }),
            )
            .route("/fhir/metadata", get(|| async {}))
            .route("/fhir/$export", get(export))
            .route("/fhir/job", any(job))
            .route("/fhir/file", get(file))
            .with_state(Arc::clone(&ward));
        tokio::spawn(async move { axum::serve(socket, router).await });
        ward
    }

    fn base(&self) -> String {
        self.base.lock().expect("lock").clone()
    }

    fn admit(&self, id: usize) {
        self.resources.lock().expect("lock").push(updated(id, jiff::Timestamp::now()));
    }
}

/// The same patient whenever it is asked for.
fn patient(id: usize) -> String {
    updated(id, jiff::Timestamp::from_second(1_767_225_600 + i64::try_from(id).expect("fits")).expect("a time"))
}

fn updated(id: usize, time: jiff::Timestamp) -> String {
    let meta = format!(r#"{{"versionId":"1","lastUpdated":"{time}"}}"#);
    format!(
        r#"{{"resourceType":"Patient","id":"p{id}","meta":{meta},"identifier":[{{"system":"urn:mrn","value":"{id}"}}]}}"#
    )
}

async fn search(State(ward): State<Arc<Ward>>, Query(query): Query<HashMap<String, String>>) -> String {
    ward.asked.fetch_add(1, Ordering::SeqCst);
    let from = query.get("_lastUpdated").map_or("", |text| text.trim_start_matches("ge"));
    let from: jiff::Timestamp = from.parse().unwrap_or_default();
    let is_new = |resource: &&String| {
        let tree: serde_json::Value = serde_json::from_str(resource).expect("json");
        tree["meta"]["lastUpdated"].as_str().expect("text").parse::<jiff::Timestamp>().expect("a time") >= from
    };
    let resources = ward.resources.lock().expect("lock");
    let entries = resources.iter().filter(is_new).map(|resource| format!(r#"{{"resource":{resource}}}"#));
    let entries = entries.collect::<Vec<_>>().join(",");
    format!(r#"{{"resourceType":"Bundle","type":"searchset","entry":[{entries}]}}"#)
}

async fn export(State(ward): State<Arc<Ward>>) -> Response {
    let place = format!("{}/job", ward.base());
    Response::builder().status(202).header("content-location", place).body(Body::empty()).expect("an answer")
}

async fn job(State(ward): State<Arc<Ward>>, method: Method) -> String {
    if method == Method::DELETE {
        ward.deleted.store(true, Ordering::SeqCst);
    }
    let file = format!("{}/file", ward.base());
    format!(r#"{{"transactionTime":"2026-01-01T00:00:00Z","output":[{{"type":"Patient","url":"{file}"}}]}}"#)
}

async fn file(State(ward): State<Arc<Ward>>) -> Body {
    let cut = ward.cut.swap(false, Ordering::SeqCst);
    let chunks = (0..LINES).map(move |n| match n {
        1_000 if cut => Err(std::io::Error::other("cut")),
        _ => Ok(Bytes::from(format!("{}\n", patient(n)))),
    });
    let (before, behind): (Vec<_>, Vec<_>) = chunks.enumerate().partition(|(n, _)| *n < 500);
    let long = if ward.long.load(Ordering::SeqCst) { limits::MESSAGE_BYTES_MAX >> 20 } else { 0 };
    let long = (0..=long).map(move |n| match n {
        _ if long == 0 => Ok(Bytes::new()),
        _ if n < long => Ok(Bytes::from_static(&[b'x'; 1 << 20])),
        _ => Ok(Bytes::from_static(b"xx\n")),
    });
    let all = before.into_iter().map(|(_, line)| line).chain(long).chain(behind.into_iter().map(|(_, line)| line));
    Body::from_stream(stream::iter(all))
}

fn configured(folder: &Path, name: &str, text: &str) -> ConnectorConfig {
    connector::parse(text, &folder.join(format!("{name}.toml")), &|_| None).expect("a connector")
}

fn polling(folder: &Path, ward: &Ward) -> ConnectorConfig {
    let base = ward.base();
    let text = format!("kind = \"fhir\"\ntypes = [\"Patient\"]\ninterval_ms = 20\n[server]\nbase = \"{base}\"\n");
    configured(folder, "ehr", &text)
}

async fn connect(world: &World, running: &Running, config: &ConnectorConfig) -> Connectors {
    let markers = StoredMarkers { store: running.store.clone(), vault: world.vault.clone() };
    let (ingest, kept) = (Arc::clone(&running.ingest), (running.store.clone(), world.vault.clone()));
    Connectors::start((std::slice::from_ref(config), &[]), ingest, kept, Arc::new(markers), 1 << 20)
        .await
        .expect("started")
}

async fn received(running: &Running) -> u64 {
    inbox::counts(&running.store).await.expect("counted").values().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_polled_server_is_taken_once_over_restarts() {
    for world in worlds().await {
        let ward = Ward::open().await;
        (0..40).for_each(|id| ward.admit(id));
        let config = polling(world.folder.path(), &ward);
        let running = world.start().await;
        let connectors = connect(&world, &running, &config).await;
        running.indexed(40).await;
        assert!(connectors.list()[0].connected && connectors.drain("ehr").await.expect("the store").expect("known"));
        running.stop().await;
        (40..45).for_each(|id| ward.admit(id));
        let running = world.start().await;
        let connectors = connect(&world, &running, &config).await;
        assert!(connectors.list()[0].paused, "an operator drained it");
        assert!(connectors.resume("ehr").await.expect("the store"));
        running.indexed(45).await;
        let (asked, count) = (ward.asked.load(Ordering::SeqCst), received(&running).await);
        running.until("looks", || async { ward.asked.load(Ordering::SeqCst) > asked + 3 }).await;
        assert_eq!((count, received(&running).await), (45, 45));
        running.stop().await;
    }
}

#[tokio::test]
async fn markers_are_kept_on_both_engines_and_what_is_put_aside_is_found() {
    for world in worlds().await {
        let running = world.start().await;
        let markers = StoredMarkers { store: running.store.clone(), vault: world.vault.clone() };
        assert_eq!(markers.load("ehr", "Patient").await, Ok(None));
        let token = markers.token(&["Patient", "a", "1"]);
        assert_ne!(token, markers.token(&["Patient", "a1", ""]), "parts are told apart");
        for marker in [
            Marker::default(),
            Marker { at: Some(-1), seen: vec![(i64::MAX, token), (5, [0; 16])] },
            Marker { at: Some(i64::MAX), seen: vec![] },
        ] {
            markers.save("ehr", "Patient", marker.clone()).await.expect("saved");
            assert_eq!(markers.load("ehr", "Patient").await, Ok(Some(marker)));
        }
        assert_eq!(markers.load("ehr", "Observation").await, Ok(None));
        markers.put_aside("ehr", "Patient", 7, Rejection::TooLarge).await.expect("noted");
        let deeds = dead_letters::deeds(&running.store, 10).await.expect("read");
        assert_eq!(deeds[0].about, "connector ehr: Patient updated at 7 ms, too-large");
        running.stop().await;
    }
}

struct Notified {
    router: Router,
    connectors: Connectors,
    running: Running,
}

impl Notified {
    async fn start(world: &World) -> Self {
        Self::start_with(world, "").await
    }

    async fn start_with(world: &World, more: &str) -> Self {
        let folder = world.folder.path();
        std::fs::write(folder.join("secret"), SECRET).expect("written");
        let config = configured(folder, "hook", &format!("kind = \"fhir-hook\"\nsecret_file = \"secret\"\n{more}"));
        let running = world.start().await;
        let connectors = connect(world, &running, &config).await;
        let metrics = Metrics::new().expect("instruments");
        let router = hooks::router(Hooks { connectors: connectors.clone(), metrics, body_bytes_max: 10_000 });
        Self { router, connectors, running }
    }

    fn send(&self, path: &str, secret: &str, kind: &str, body: &str) -> impl Future<Output = StatusCode> + use<> {
        let request = Request::put(path).header("authorization", format!("Bearer {secret}"));
        let request = request.header("content-type", kind).body(Body::from(body.to_owned())).expect("a request");
        let router = self.router.clone();
        async move { router.oneshot(request).await.expect("an answer").status() }
    }
}

const JSON: &str = "application/fhir+json; charset=utf-8";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_is_answered_with_success_after_the_commit_only() {
    let world = World::new(None);
    let on = Notified::start(&world).await;
    // nobody else can commit as long as this is held
    let write = on.running.store.begin().await.expect("the writer");
    let mut sent = tokio::spawn(on.send("/hooks/hook/Patient/p1", SECRET, JSON, &patient(1)));
    let taken = || async { on.connectors.list()[0].unsettled == 1 };
    on.running.until("the notification is in hand", taken).await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut sent).await;
    assert!(early.is_err(), "answered before the commit");
    drop(write);
    assert_eq!(sent.await.expect("no panic"), StatusCode::OK);
    assert_eq!(received(&on.running).await, 1);
    on.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_that_are_not_taken_say_why() {
    let world = World::new(None);
    let on = Notified::start(&world).await;
    let bundle = |rest: &str| {
        let status = r#"{"resourceType":"SubscriptionStatus","type":"KIND"}"#;
        format!(r#"{{"resourceType":"Bundle","type":"history","entry":[{{"resource":{status}}}{rest}]}}"#)
    };
    let handshake = bundle("").replace("KIND", "handshake");
    let named = bundle(r#",{"fullUrl":"Patient/p1"}"#).replace("KIND", "event-notification");
    let blind = bundle("").replace("KIND", "event-notification");
    let both = format!(r#",{{"resource":{}}},{{"resource":{}}}"#, patient(7), patient(8));
    let both = bundle(&both).replace("KIND", "event-notification");
    let large = format!(r#"{{"resourceType":"Patient","text":"{}"}}"#, "x".repeat(10_000));
    let table = [
        ("/hooks/hook", SECRET, JSON, patient(1), 200),
        ("/hooks/hook", SECRET, JSON, handshake, 200),
        ("/hooks/hook", SECRET, JSON, both, 200),
        ("/hooks/hook", "wrong", JSON, patient(2), 401),
        ("/hooks/hook", "", JSON, patient(2), 401),
        ("/hooks/other", SECRET, JSON, patient(2), 404),
        ("/hooks/hook", SECRET, JSON, large, 413),
        ("/hooks/hook", SECRET, "application/fhir+xml", "<Patient/>".into(), 415),
        ("/hooks/hook", SECRET, JSON, "{".into(), 400),
        ("/hooks/hook/Observation/p2", SECRET, JSON, patient(2), 400),
        ("/hooks/hook", SECRET, JSON, String::new(), 422),
        ("/hooks/hook", SECRET, JSON, named, 422),
        ("/hooks/hook", SECRET, JSON, blind, 422),
    ];
    for (path, secret, kind, body, expected) in table {
        assert_eq!(on.send(path, secret, kind, &body).await.as_u16(), expected, "{path} {secret} {kind} {body}");
    }
    on.running.idle().await;
    assert_eq!(received(&on.running).await, 3, "what was answered with 200 and held a resource");
    on.connectors.pause("hook").await.expect("the store");
    assert_eq!(on.send("/hooks/hook", SECRET, JSON, &patient(9)).await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(on.connectors.resume("hook").await.expect("the store"));
    assert_eq!(on.send("/hooks/hook", SECRET, JSON, &patient(9)).await, StatusCode::OK);
    on.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_notification_only_names_is_fetched_and_taken() {
    let world = World::new(None);
    let ward = Ward::open().await;
    let on = Notified::start_with(&world, &format!("[server]\nbase = \"{}\"\n", ward.base())).await;
    let status = r#"{"resourceType":"SubscriptionStatus","type":"event-notification"}"#;
    let bundle = |named: Vec<String>| {
        let entries: String = named.iter().map(|url| format!(r#",{{"fullUrl":"{url}"}}"#)).collect();
        format!(r#"{{"resourceType":"Bundle","type":"history","entry":[{{"resource":{status}}}{entries}]}}"#)
    };
    let named = (0..10).map(|n| format!("Patient/p{n}")).collect();
    assert_eq!(on.send("/hooks/hook", SECRET, JSON, &bundle(named)).await, StatusCode::OK);
    assert_eq!(received(&on.running).await, 10);
    let elsewhere = vec!["http://127.0.0.1:1/fhir/Patient/p1".to_owned()];
    assert_eq!(on.send("/hooks/hook", SECRET, JSON, &bundle(elsewhere)).await, StatusCode::UNPROCESSABLE_ENTITY);
    on.running.stop().await;
}

async fn ended(running: &Running, imports: &Imports) -> ImportState {
    let over = |phase: &str| matches!(phase, "done" | "failed" | "stopped");
    running.until("the import", || async { over(imports.state("ehr").expect("begun").phase) }).await;
    imports.state("ehr").expect("begun")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_takes_everything_once_although_it_is_cut_and_run_again() {
    let world = World::new(None);
    let running = world.start().await;
    let ward = Ward::open().await;
    ward.cut.store(true, Ordering::SeqCst);
    ward.long.store(true, Ordering::SeqCst);
    let connectors = connect(&world, &running, &polling(world.folder.path(), &ward)).await;
    let imports = Imports::new(Arc::clone(&running.ingest), connectors);
    imports.begin("other", Asked::default()).expect_err("no such connector");
    let bad = Asked { level: Some("ward".into()), ..Asked::default() };
    imports.begin("ehr", bad).expect_err("no such level");
    let first = imports.begin("ehr", Asked::default()).expect("begun");
    assert_eq!(first.phase, "asking");
    imports
        .begin("ehr", Asked { since: Some("2026-01-01T00:00:00Z".into()), ..Asked::default() })
        .expect_err("one runs");
    let lines = LINES as u64;
    let state = ended(&running, &imports).await;
    assert_eq!((state.phase, state.fault, state.files, state.files_done), ("done", None, 1, 1));
    // one line is longer than any gateway takes: it holds up no other
    assert_eq!((state.resources, state.received, state.duplicates, state.refused), (lines + 1, lines, 0, 1));
    assert_eq!(state.transaction_time.as_deref(), Some("2026-01-01T00:00:00Z"));
    assert!(ward.deleted.load(Ordering::SeqCst), "the export is taken away");
    imports.begin("ehr", Asked::default()).expect("begun again");
    let state = ended(&running, &imports).await;
    assert_eq!((state.resources, state.received, state.duplicates), (lines + 1, 0, lines));
    running.indexed(lines).await;
    assert_eq!(cases::count(&running.store).await.expect("counted"), lines);
    running.stop().await;
}
