//! `/.well-known/smart-configuration`, `/oauth/token`, `/oauth/introspect`. Errors are RFC 6749's words and nothing more: a
//! client never hears which rule its assertion failed.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::ErrorClass;
use serde_json::json;

use super::{FORM_BYTES_MAX, Front, form};
use crate::smart::assertion;
use crate::smart::scope::Scopes;
use crate::smart::token::TokenError;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// SMART discovery.
pub async fn configuration(State(front): State<Front>) -> Response {
    let origin = &front.origin;
    Json(json!({
        "issuer": origin.as_ref(),
        "token_endpoint": format!("{origin}/oauth/token"),
        "introspection_endpoint": format!("{origin}/oauth/introspect"),
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": ["ES384", "RS384"],
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": ["system/*.rs", "system/*.cruds", "system/Patient.rs", "system/Observation.rs", "system/Consent.cru", "system/PatientKey.c"],
        "response_types_supported": [],
        "code_challenge_methods_supported": ["S256"],
        "capabilities": ["client-confidential-asymmetric", "permission-v1", "permission-v2"],
    }))
    .into_response()
}

fn refused(status: StatusCode, error: &'static str) -> Response {
    no_store((status, Json(json!({ "error": error }))).into_response())
}

fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// client_credentials with a signed assertion.
pub async fn token(State(front): State<Front>, headers: HeaderMap, body: Body) -> Response {
    let answer = match front.body_within(body, FORM_BYTES_MAX).await {
        Ok(body) => issue(&front, &headers, &body).await,
        Err(error) => refused(error.status(), "invalid_request"),
    };
    front.disclose.metrics.answered("token", answer.status().as_u16());
    answer
}

async fn issue(front: &Front, headers: &HeaderMap, body: &[u8]) -> Response {
    let Some(form) = form::parse(headers, body) else {
        return refused(StatusCode::BAD_REQUEST, "invalid_request");
    };
    let once = |name: &str| form::once(&form, name);
    let (Ok(grant), Ok(scope), Ok(kind), Ok(jwt)) =
        (once("grant_type"), once("scope"), once("client_assertion_type"), once("client_assertion"))
    else {
        return refused(StatusCode::BAD_REQUEST, "invalid_request");
    };
    match grant {
        Some("client_credentials") => {}
        Some(_) => return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        None => return refused(StatusCode::BAD_REQUEST, "invalid_request"),
    }
    let (Some(ASSERTION_TYPE), Some(jwt)) = (kind, jwt) else {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    };
    let now = (front.disclose.clock)();
    let audience = format!("{}/oauth/token", front.origin);
    let asserted = match assertion::verify(&front.clients, jwt, &audience, now) {
        Ok(asserted) => asserted,
        Err(error) => {
            tracing::info!("a token was refused: {error}");
            return refused(StatusCode::UNAUTHORIZED, "invalid_client");
        }
    };
    let Some(Ok(asked)) = scope.map(Scopes::parse) else {
        return refused(StatusCode::BAD_REQUEST, "invalid_scope");
    };
    let granted = asked.granted_by(&asserted.client.scopes);
    if granted.is_empty() {
        return refused(StatusCode::BAD_REQUEST, "invalid_scope");
    }
    match front.tokens.issue(asserted, granted, now).await {
        Ok(issued) => no_store(
            Json(json!({
                "access_token": issued.token,
                "token_type": "bearer",
                "expires_in": issued.seconds,
                "scope": issued.scopes.to_string(),
            }))
            .into_response(),
        ),
        Err(TokenError::Replayed) => refused(StatusCode::UNAUTHORIZED, "invalid_client"),
        Err(error) => {
            tracing::error!(class = error.class().name(), "{error}");
            match error.class() {
                ErrorClass::Transient => refused(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
                _ => refused(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
            }
        }
    }
}

/// RFC 7662, for a client's own tokens; of any other token it says `inactive`.
pub async fn introspect(State(front): State<Front>, headers: HeaderMap, body: Body) -> Response {
    let caller = match front.grant(&headers).await {
        Ok(caller) => caller,
        Err(refused) => return refused.into_response(),
    };
    let body = match front.body_within(body, FORM_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => return refused(error.status(), "invalid_request"),
    };
    let form = form::parse(&headers, &body);
    let Some(Ok(Some(token))) = form.as_ref().map(|form| form::once(form, "token")) else {
        return refused(StatusCode::BAD_REQUEST, "invalid_request");
    };
    let found = match front.tokens.find(token, (front.disclose.clock)()).await {
        Ok(found) => found,
        Err(_) => return refused(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
    };
    no_store(match found.filter(|grant| grant.client.id == caller.client.id) {
        Some(grant) => Json(json!({
            "active": true,
            "scope": grant.scopes.to_string(),
            "client_id": grant.client.id,
            "exp": grant.expires / 1000,
            "token_type": "bearer",
        }))
        .into_response(),
        None => Json(json!({ "active": false })).into_response(),
    })
}
