//! `/hooks/NAME`: what FHIR servers send to their subscribers (R4 rest-hook with payload, Subscriptions Backport). Success is answered after
//! the inbox commit and not before, so that a sender that hears nothing sends again. Whoever has no secret learns nothing but that.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use connectors_fhir::{FhirError, Hook, Notice, Taken};
use connectors_source::TraceContext;
use tower_http::catch_panic::CatchPanicLayer;

use super::handin::is_fhir_json;
use super::outcome::{Refused, fhir, outcome};
use super::room::ROOM;
use super::{BODY_WAIT, panicked};
use crate::connectors::Connectors;
use crate::telemetry::Metrics;

/// Longest wait for resources to become durable.
const COMMIT_WAIT: Duration = Duration::from_secs(30);
/// Resources that are fetched together: each may be as large as any message.
const FETCHED_MAX: usize = 4;

/// What the routes stand on. Cheap to clone.
#[derive(Clone)]
pub struct Hooks {
    /// The running connectors.
    pub connectors: Connectors,
    /// Measures.
    pub metrics: Metrics,
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
}

/// The routes.
pub fn router(hooks: Hooks) -> Router {
    Router::new()
        .route("/hooks/{connector}", post(notified).put(notified))
        .route("/hooks/{connector}/{kind}/{id}", post(notified).put(notified))
        .method_not_allowed_fallback(|| async { Refused::method() })
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(hooks)
}

#[tracing::instrument(name = "hook", skip_all)]
async fn notified(
    State(hooks): State<Hooks>,
    Path(path): Path<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let response = take(&hooks, &path, &headers, body).await.unwrap_or_else(IntoResponse::into_response);
    hooks.metrics.answered("hook", response.status().as_u16());
    response
}

async fn take(
    hooks: &Hooks,
    path: &BTreeMap<String, String>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let hook = path.get("connector").and_then(|name| hooks.connectors.hook(name)).ok_or_else(Refused::absent)?;
    let hook = hook.ok_or_else(|| Refused::unavailable("this connector does not run now"))?;
    if !knows(&hook, headers) {
        return Err(Refused::unauthorized());
    }
    let stated = headers.contains_key(header::CONTENT_TYPE);
    if stated && !is_fhir_json(headers) {
        return Err(Refused::media_type());
    }
    let body = ROOM.read(body, hooks.body_bytes_max, BODY_WAIT).await?;
    if body.bytes.is_empty() {
        let text = "found a notification without payload, expected a subscription with payload application/fhir+json";
        return Err(Refused::unprocessable("required", text));
    }
    if !stated {
        return Err(Refused::media_type());
    }
    let bytes = body.bytes.clone();
    let read = move || Notice::read(&bytes).map_err(|error| Refused::request("structure", error.to_string()));
    let notice = ROOM.look(body.bytes.len(), read).await?;
    if let Some(kind) = path.get("kind")
        && notice.resources.iter().any(|(found, _)| found != kind)
    {
        return Err(Refused::request("invalid", "found another resourceType than the URL names"));
    }
    if notice.is_blind {
        let text = "found an event without content, expected a subscription with content id-only or full-resource";
        return Err(Refused::unprocessable("required", text));
    }
    if !notice.references.is_empty() && !hook.fetches() {
        let text = "found a notification that only names resources and no `server` to fetch them from; expected full resources";
        return Err(Refused::unprocessable("not-supported", text));
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let trace = TraceContext::new(text("traceparent"), text("tracestate"));
    match take_all(&hook, notice, &trace).await? {
        Taken::Accepted => Ok(fhir(StatusCode::OK, &outcome("information", "informational", "received", None))),
        Taken::Rejected => Err(Refused::unprocessable("processing", "a resource cannot be taken")),
        Taken::NotNow => Err(Refused::unavailable("not everything was kept; send it again")),
    }
}

/// What the notification holds, then what it names, a few at a time.
async fn take_all(hook: &Hook, notice: Notice, trace: &TraceContext) -> Result<Taken, Refused> {
    let take = async |resources| {
        let taken = tokio::time::timeout(COMMIT_WAIT, hook.take(resources, trace.clone())).await;
        taken.unwrap_or(Taken::NotNow)
    };
    let mut taken = take(notice.resources).await;
    for some in notice.references.chunks(FETCHED_MAX) {
        if taken == Taken::NotNow {
            break;
        }
        taken = taken.max(take(fetch(hook, some).await?).await);
    }
    Ok(taken)
}

/// Whether exactly one bearer token is shown, and the right one.
fn knows(hook: &Hook, headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return false };
    let shown = one.to_str().ok().and_then(|text| text.split_once(' '));
    shown.is_some_and(|(scheme, secret)| scheme.eq_ignore_ascii_case("Bearer") && hook.knows(secret.trim()))
}

async fn fetch(hook: &Hook, references: &[String]) -> Result<Vec<(String, axum::body::Bytes)>, Refused> {
    hook.fetch(references).await.map_err(|error| {
        tracing::warn!(class = error.class().name(), "{error}");
        match error {
            FhirError::Origin(_) => Refused::unprocessable("not-supported", "found a reference to another server"),
            _ => Refused::unavailable("what the notification names cannot be fetched; send it again"),
        }
    })
}
