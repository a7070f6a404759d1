//! What a collector of OpenTelemetry gets from a gateway that it is configured for: the steps of both spines, linked to the senders'
//! traces; and no patient, no request, nothing that a library said.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use schemas::genesis::Genesis;

use crate::chain::Chain;
use crate::crash::settle;
use crate::feed::{CANARIES, Feed, TRACE};
use crate::world::{Services, World};

const MESSAGES: usize = 60;
/// Attributes that a span may have beside those that say where in our code it is: counts and times.
const FIELDS: [&str; 7] = ["messages", "cases", "objects", "submissions", "busy_ns", "idle_ns", "target"];

/// Everything that was sent to it, as it came.
type Taken = Arc<Mutex<Vec<Bytes>>>;

/// A collector on a free port; gives its address.
async fn collect() -> (String, Taken) {
    let taken = Taken::default();
    let keep = Arc::clone(&taken);
    let take = move |headers: HeaderMap, body: Bytes| async move {
        let is_protobuf = headers.get("content-type").is_some_and(|kind| kind == "application/x-protobuf");
        keep.lock().expect("not poisoned").push(body);
        if is_protobuf { StatusCode::OK } else { StatusCode::UNSUPPORTED_MEDIA_TYPE }
    };
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", socket.local_addr().expect("an address"));
    let router = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(socket, router).await.expect("the collector serves") });
    (address, taken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_gets_every_step_and_no_patient() {
    let Some(services) = Services::find() else { return };
    let (collector, taken) = collect().await;
    let world = World::start(services);
    world.configure("[telemetry]", &format!("[telemetry]\notlp = \"{collector}\""));
    let text = std::fs::read_to_string(world.dir.join("genesis.json")).expect("genesis.json");
    let mut chain = Chain::new(&Genesis::parse(&text).expect("the genesis parses"));
    let mut gateway = world.gateway(None);
    while world.not_ready().await.is_none_or(|parts| !parts.is_empty()) {
        assert!(gateway.is_running(), "the gateway ended by itself");
    }
    let feed = Feed::connect(&world.services.amqp).await;
    feed.try_send_all(&world.routing_key(), 0..MESSAGES).await.expect("confirmed");
    settle(&mut chain, &world.ledger(), MESSAGES, &mut gateway).await;
    let clients = world.address("listen");
    let url = format!("http://{clients}/fhir/Observation/{}?family={}", CANARIES[0], CANARIES[1]);
    let answer = reqwest::Client::new().get(url).bearer_auth(CANARIES[2]).send().await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    // what was not sent yet is sent before it ends
    gateway.stop().await;

    let bodies = taken.lock().expect("not poisoned").clone();
    for (body, canary) in bodies.iter().flat_map(|body| CANARIES.iter().map(move |canary| (body, canary.as_bytes()))) {
        assert!(!body.windows(canary.len()).any(|window| window.eq_ignore_ascii_case(canary)), "a canary was exported");
    }
    let decode = |body: &Bytes| ExportTraceServiceRequest::decode(body.clone()).expect("OTLP");
    let resources = bodies.iter().map(decode).flat_map(|request| request.resource_spans);
    let spans: Vec<Span> = resources.flat_map(|of| of.scope_spans).flat_map(|scope| scope.spans).collect();
    let names: BTreeSet<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    let steps = ["receive", "seal", "store", "anchor", "index", "disclose.read"];
    assert_eq!(names, BTreeSet::from(steps), "each step, and nothing else");
    let links = spans.iter().filter(|span| span.name == "receive").flat_map(|span| &span.links);
    let linked =
        links.filter(|link| link.trace_id.iter().map(|byte| format!("{byte:02x}")).collect::<String>() == TRACE);
    assert_eq!(linked.count(), MESSAGES, "each message's trace is linked");
    for span in &spans {
        let own = |key: &str| FIELDS.contains(&key) || ["code.", "thread."].iter().any(|begin| key.starts_with(begin));
        let unknown: Vec<_> = span.attributes.iter().map(|one| &one.key).filter(|key| !own(key)).collect();
        assert!(unknown.is_empty(), "{}: found {unknown:?}", span.name);
    }
}
