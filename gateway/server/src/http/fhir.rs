//! FHIR's reading interactions: read, vread, history, search, `$verify`. Takes requests apart, strictly, and hands them to the
//! way out; a parameter that is not known is refused.

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::outcome::{Refused, fhir};
use super::{Front, SEARCH_BYTES_MAX, form};
use crate::disclose::answer::{Disclosed, http_date};
use crate::disclose::page::Page;
use crate::disclose::search::{Search, SearchError, is_id};
use crate::smart::{Grant, Interaction};

/// GET Type/id
pub async fn read(
    State(front): State<Front>,
    Path((kind, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let outcome = one(&front, &headers, &kind, &id, None, query.as_deref()).await;
    front.answer("read", outcome)
}

/// GET Type/id/_history/version
pub async fn vread(
    State(front): State<Front>,
    Path((kind, id, version)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let outcome = one(&front, &headers, &kind, &id, Some(&version), query.as_deref()).await;
    front.answer("vread", outcome)
}

#[tracing::instrument(name = "disclose.read", skip_all)]
async fn one(
    front: &Front,
    headers: &HeaderMap,
    kind: &str,
    id: &str,
    version: Option<&str>,
    query: Option<&str>,
) -> Result<Response, Refused> {
    let grant = front.grant(headers).await?;
    named(kind, id)?;
    no_parameters(query)?;
    let timer = front.disclose.metrics.timer(crate::telemetry::Step::Disclose);
    let disclosed = front.disclose.read(&grant, kind, id, version).await?;
    drop(timer);
    Ok(resource(StatusCode::OK, &disclosed))
}

/// One resource with its ETag and Last-Modified.
pub fn resource(status: StatusCode, disclosed: &Disclosed) -> Response {
    let mut response = fhir(status, &disclosed.resource);
    let etag = format!("W/\"{}\"", disclosed.version_id);
    for (name, text) in [(header::ETAG, etag), (header::LAST_MODIFIED, http_date(disclosed.last_updated))] {
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// GET Type/id/_history
#[tracing::instrument(name = "disclose.history", skip_all)]
pub async fn history(
    State(front): State<Front>,
    Path((kind, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let outcome = async {
        let grant = front.grant(&headers).await?;
        named(&kind, &id)?;
        no_parameters(query.as_deref())?;
        Ok(fhir(StatusCode::OK, &front.disclose.history(&grant, &kind, &id).await?))
    };
    front.answer("history", outcome.await)
}

/// GET Type/id/$verify
pub async fn verify(
    State(front): State<Front>,
    Path((kind, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let outcome = proof(&front, &headers, &kind, &id, None, query.as_deref()).await;
    front.answer("verify", outcome)
}

/// GET Type/id/_history/version/$verify
pub async fn verify_version(
    State(front): State<Front>,
    Path((kind, id, version)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let outcome = proof(&front, &headers, &kind, &id, Some(&version), query.as_deref()).await;
    front.answer("verify", outcome)
}

#[tracing::instrument(name = "disclose.verify", skip_all)]
async fn proof(
    front: &Front,
    headers: &HeaderMap,
    kind: &str,
    id: &str,
    version: Option<&str>,
    query: Option<&str>,
) -> Result<Response, Refused> {
    let grant = front.grant(headers).await?;
    named(kind, id)?;
    no_parameters(query)?;
    Ok(fhir(StatusCode::OK, &front.disclose.verify(&grant, kind, id, version).await?))
}

/// GET Type?…
pub async fn search(
    State(front): State<Front>,
    Path(kind): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let outcome = async {
        let grant = front.grant(&headers).await?;
        let parameters = form::decode(query.as_deref().unwrap_or_default()).ok_or_else(bad_encoding)?;
        found(&front, &grant, &kind, &parameters, true).await
    };
    front.answer("search", outcome.await)
}

/// POST Type/_search with a form; parameters of the URL count too.
pub async fn search_form(
    State(front): State<Front>,
    Path(kind): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = async {
        let grant = front.grant(&headers).await?;
        let body = front.body_within(body, SEARCH_BYTES_MAX).await?;
        let mut parameters = form::decode(query.as_deref().unwrap_or_default()).ok_or_else(bad_encoding)?;
        parameters.extend(form::parse(&headers, &body).ok_or_else(bad_encoding)?);
        found(&front, &grant, &kind, &parameters, false).await
    };
    front.answer("search", outcome.await)
}

#[tracing::instrument(name = "disclose.search", skip_all)]
async fn found(
    front: &Front,
    grant: &Grant,
    kind: &str,
    parameters: &form::Form,
    in_url: bool,
) -> Result<Response, Refused> {
    if !is_type(kind) {
        return Err(Refused::absent());
    }
    if !grant.scopes.covers(kind, Interaction::Search) {
        return Err(Refused::scope());
    }
    let disclose = &front.disclose;
    let page = match parameters.as_slice() {
        [(name, text)] if name == "_page" => {
            Some(Page::open(&disclose.vault, text, kind, &grant.client.id).map_err(asked_wrong)?)
        }
        _ => None,
    };
    let search = match &page {
        Some(page) => page.search(&disclose.base),
        None => Search::parse(kind, &disclose.base, parameters),
    };
    let search = search.map_err(asked_wrong)?;
    let timer = disclose.metrics.timer(crate::telemetry::Step::Disclose);
    let bundle = disclose.search(grant, &search, page.as_ref(), own_url(front, kind, parameters, in_url)).await?;
    drop(timer);
    Ok(fhir(StatusCode::OK, &bundle))
}

/// The `self` link. A form's parameters stay out of it: who posts a search keeps identifiers out of URLs.
fn own_url(front: &Front, kind: &str, parameters: &form::Form, in_url: bool) -> String {
    let base = &front.disclose.base;
    if !in_url {
        return format!("{base}/{kind}/_search");
    }
    let pairs: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", form::encode(name), form::encode(value))).collect();
    format!("{base}/{kind}?{}", pairs.join("&"))
}

fn asked_wrong(error: SearchError) -> Refused {
    let code = match error {
        SearchError::Unscoped => "business-rule",
        SearchError::Unknown | SearchError::Modifier(_) => "not-supported",
        SearchError::TooMany => "too-costly",
        _ => "value",
    };
    Refused::request(code, error.to_string())
}

fn bad_encoding() -> Refused {
    Refused::request("structure", "found parameters that are not form-encoded UTF-8, or too many")
}

/// Whether the text can be the name of a FHIR type.
pub fn is_type(text: &str) -> bool {
    (2..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_alphabetic())
}

/// What names no resource is absent.
fn named(kind: &str, id: &str) -> Result<(), Refused> {
    if is_type(kind) && is_id(id) { Ok(()) } else { Err(Refused::absent()) }
}

/// Reads take no parameters but `_format=json`.
///
/// # Errors
/// `Refused` for any other.
pub fn no_parameters(query: Option<&str>) -> Result<(), Refused> {
    let parameters = form::decode(query.unwrap_or_default()).ok_or_else(bad_encoding)?;
    let json = ["json", "application/json", "application/fhir+json"];
    match parameters.iter().all(|(name, value)| name == "_format" && json.contains(&value.as_str())) {
        true => Ok(()),
        false => Err(Refused::request("not-supported", "found a parameter that a read does not take")),
    }
}
