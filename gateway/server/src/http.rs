//! The clients' listener: FHIR R4, SMART, patients' wallets, nothing else. Translates between HTTP and the spines; decides nothing about a
//! record. Errors are OperationOutcomes; a panic becomes a 500 without detail; no URI, query or body reaches a span.

pub mod capability;
pub mod fhir;
pub mod form;
pub mod handin;
pub mod hooks;
pub mod listen;
pub mod oauth;
pub mod outcome;
pub mod room;
pub mod wallet;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use schemas::ErrorClass;
use tower_http::catch_panic::CatchPanicLayer;

use self::outcome::Refused;
use crate::disclose::Disclose;
use crate::smart::{Clients, Grant, Tokens};

/// Longest wait for a body, unless a test is in a hurry.
pub const BODY_WAIT: Duration = Duration::from_secs(30);
/// Largest token request, in bytes.
const FORM_BYTES_MAX: usize = 32 << 10;
/// Largest search in a form, in bytes: as large as one in a URL.
const SEARCH_BYTES_MAX: usize = 64 << 10;

/// What a client hands in, as another source of the way in.
pub struct HandedIn {
    /// The registered client: the `source` of what it sends.
    pub client: String,
    /// One FHIR resource or Bundle, exactly as it came.
    pub body: Bytes,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenIn {
    /// Durable in the inbox.
    Received,
    /// It was there already.
    Duplicate,
    /// Kept in quarantine: the same source, id and version was received with other content.
    Conflict,
}

/// The way in, as seen from here. Returns once the message is durable.
pub trait Intake: Send + Sync {
    /// Takes a message over.
    ///
    /// # Errors
    /// The class of the failure; nothing was kept then.
    fn take(&self, handed: HandedIn) -> Pin<Box<dyn Future<Output = Result<TakenIn, ErrorClass>> + Send + '_>>;
}

/// What every handler stands on. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    /// The way out.
    pub disclose: Disclose,
    /// Registered clients.
    pub clients: Clients,
    /// Their tokens.
    pub tokens: Tokens,
    /// The way in.
    pub intake: Arc<dyn Intake>,
    /// `https://host:port`, without a slash at the end.
    pub origin: Arc<str>,
    /// The institution's name.
    pub institution: Arc<str>,
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
    /// Longest wait for a body.
    pub body_wait: Duration,
}

impl Front {
    /// The grant of the request's bearer token.
    ///
    /// # Errors
    /// `Refused`: unauthorized for missing, unknown and expired alike; unavailable when the database is away.
    pub async fn grant(&self, headers: &HeaderMap) -> Result<Arc<Grant>, Refused> {
        let mut all = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(one), None) = (all.next(), all.next()) else { return Err(Refused::unauthorized()) };
        let token = one.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("Bearer").then(|| token.trim())
        });
        let token = token.ok_or_else(Refused::unauthorized)?;
        match self.tokens.find(token, (self.disclose.clock)()).await {
            Ok(Some(grant)) => Ok(grant),
            Ok(None) => Err(Refused::unauthorized()),
            Err(error) => {
                tracing::error!(class = error.class().name(), "{error}");
                Err(Refused::of_class(error.class()))
            }
        }
    }

    /// Reads a small body within its bounds; what may be large takes room (`room`).
    ///
    /// # Errors
    /// `Refused`: too large, or not there in time.
    pub async fn body_within(&self, body: Body, most: usize) -> Result<Bytes, Refused> {
        body_within(body, most, self.body_wait).await
    }

    /// Turns an outcome into an answer and counts it.
    pub fn answer(&self, kind: &'static str, outcome: Result<Response, Refused>) -> Response {
        let response = outcome.unwrap_or_else(IntoResponse::into_response);
        self.disclose.metrics.answered(kind, response.status().as_u16());
        response
    }
}

/// Reads a body within its bounds. The only way beside `room`: an extractor would wait for ever.
///
/// # Errors
/// `Refused`: too large, or not there in time.
pub(crate) async fn body_within(body: Body, most: usize, wait: Duration) -> Result<Bytes, Refused> {
    let read = axum::body::to_bytes(body, most);
    match tokio::time::timeout(wait, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Refused::too_large()),
        Err(_) => Err(Refused::request("timeout", "the body did not arrive in time")),
    }
}

/// All routes for clients.
pub fn router(front: Front) -> Router {
    Router::new()
        .route("/oauth/token", post(oauth::token))
        .route("/oauth/introspect", post(oauth::introspect))
        .route("/.well-known/smart-configuration", get(oauth::configuration))
        .route("/fhir/.well-known/smart-configuration", get(oauth::configuration))
        .route("/fhir", post(handin::bundle))
        .route("/fhir/", post(handin::bundle))
        .route("/fhir/metadata", get(capability::metadata))
        .route("/fhir/{kind}", get(fhir::search).post(handin::create))
        .route("/fhir/{kind}/_search", post(fhir::search_form))
        .route("/fhir/{kind}/{id}", get(fhir::read).put(handin::update))
        .route("/fhir/{kind}/{id}/_history", get(fhir::history))
        .route("/fhir/{kind}/{id}/_history/{version}", get(fhir::vread))
        .route("/fhir/{kind}/{id}/$verify", get(fhir::verify))
        .route("/fhir/{kind}/{id}/_history/{version}/$verify", get(fhir::verify_version))
        .route("/fhir/{kind}/{id}/$invite", post(wallet::invite))
        .route("/wallet/v1", get(wallet::standing))
        .route("/wallet/v1/bind", post(wallet::bind))
        .route("/wallet/v1/ask", post(wallet::ask))
        .route("/wallet/v1/grant", post(wallet::grant))
        .route("/wallet/v1/revoke", post(wallet::revoke))
        .fallback(|| async { Refused::absent() })
        .method_not_allowed_fallback(|| async { Refused::method() })
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(front)
}

/// The panic's text may hold anything: it goes nowhere.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request handler panicked");
    Refused::fault().into_response()
}
