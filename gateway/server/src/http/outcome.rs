//! Answers that are no success: every one is an OperationOutcome with status, code and place, never a value. Unknown and
//! forbidden are one answer, built in one place, so that they cannot drift apart.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemas::ErrorClass;
use schemas::json::{JsonError, Value};

/// The media type of FHIR JSON.
pub const FHIR_JSON: HeaderValue = HeaderValue::from_static("application/fhir+json; charset=utf-8");

/// A refusal on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    status: StatusCode,
    code: &'static str,
    text: Cow<'static, str>,
    place: Option<String>,
    challenge: bool,
}

impl Refused {
    fn new(status: StatusCode, code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, text: text.into(), place: None, challenge: false }
    }

    /// Unknown, forbidden, hidden, deleted: one answer.
    pub fn absent() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "The resource is not known.")
    }

    /// The request is wrong and stays wrong. `code` is a FHIR issue type.
    pub fn request(code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, text)
    }

    /// Well formed, but against a rule of this server.
    pub fn unprocessable(code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, text)
    }

    /// No valid token.
    pub fn unauthorized() -> Self {
        let mut refused = Self::new(StatusCode::UNAUTHORIZED, "login", "expected a valid bearer token");
        refused.challenge = true;
        refused
    }

    /// Not signed by a key that counts here, not for this gateway, too old or asked before: one answer.
    pub fn unsigned() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "login", "expected a fresh request, signed by the patient's bound key")
    }

    /// The token's scopes do not reach. Says nothing about any row.
    pub fn scope() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "the token's scopes do not cover this interaction")
    }

    /// Contradicts what is there.
    pub fn conflict(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", text)
    }

    /// `If-Match` names another version.
    pub fn precondition() -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "conflict", "found another version than If-Match names")
    }

    /// Not offered here.
    pub fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "not-supported", "this interaction is not offered")
    }

    /// Another media type than FHIR JSON.
    pub fn media_type() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", "expected application/fhir+json")
    }

    /// Another media type than CBOR.
    pub fn no_cbor() -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", "expected application/cbor")
    }

    /// Larger than accepted.
    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", "the body is larger than is accepted here")
    }

    /// A service is away; try again.
    pub fn unavailable(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "transient", text)
    }

    /// Our own fault; details are in the log.
    pub fn fault() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the server failed; its log says where")
    }

    /// Broken JSON: kind, byte and path.
    pub fn json(error: &JsonError) -> Self {
        Self::request("structure", error.to_string()).at(error.path.clone())
    }

    /// What an error of a class becomes. Its text stays in the log.
    pub fn of_class(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Caller => Self::request("invalid", "the request cannot be processed"),
            ErrorClass::Conflict => Self::conflict("the request contradicts what is there"),
            ErrorClass::Transient => Self::unavailable("a service behind this server is away; try again"),
            ErrorClass::Corrupt | ErrorClass::Bug => Self::fault(),
        }
    }

    /// Names the place, such as `Bundle.entry[3].resource.status`.
    #[must_use]
    pub fn at(mut self, place: String) -> Self {
        self.place = Some(place).filter(|place| !place.is_empty());
        self
    }

    /// The HTTP status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    fn outcome(&self) -> Value {
        let severity = if self.status.is_server_error() && self.code == "exception" { "fatal" } else { "error" };
        outcome(severity, self.code, self.text.clone(), self.place.clone())
    }
}

/// An OperationOutcome with one issue.
pub fn outcome(
    severity: &'static str,
    code: &'static str,
    text: impl Into<Cow<'static, str>>,
    place: Option<String>,
) -> Value {
    let mut issue = vec![
        ("severity", Value::from(severity)),
        ("code", Value::from(code)),
        ("diagnostics", Value::string(text.into())),
    ];
    if let Some(place) = place {
        issue.push(("expression", Value::from(vec![Value::from(place)])));
    }
    Value::object([
        ("resourceType", Value::from("OperationOutcome")),
        ("issue", Value::from(vec![Value::object(issue)])),
    ])
}

/// A FHIR answer.
pub fn fhir(status: StatusCode, resource: &Value) -> Response {
    let mut response = Response::new(Body::from(resource.to_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, FHIR_JSON);
    // what a consent allows now it may forbid in a second: nothing may be kept on the way
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = fhir(self.status, &self.outcome());
        if self.challenge {
            let challenge = HeaderValue::from_static("Bearer realm=\"chartseal\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
