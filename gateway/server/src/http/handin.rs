//! What clients hand in: a resource or Bundle becomes a message of the way in, a Consent goes to the ledger. Everything that
//! can be said at once is said at once, with its place: broken JSON, a type that is none, an entry that no scope covers. The bytes go
//! on exactly as they came.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use schemas::id::SubjectId;
use schemas::json::{self, Value};
use tokio::sync::Semaphore;

use super::fhir::is_type;
use super::outcome::{Refused, fhir, outcome};
use super::{Front, HandedIn, TakenIn};
use crate::consents::{ConsentError, Stored, Written};
use crate::disclose::answer::{http_date, instant, version_id_of_consent};
use crate::disclose::log::{Deed, Entry};
use crate::smart::{Grant, Interaction};

/// The height at which the ledger executed a write.
const HEIGHT_HEADER: HeaderName = HeaderName::from_static("chartseal-ledger-height");
/// Checks against the typed view at once: one that looks for the place of a problem may take a second of a processor.
static CHECKS: Semaphore = Semaphore::const_new(2);
/// Longest wait for a check's turn.
const CHECK_WAIT: Duration = Duration::from_secs(10);
/// Codes of `Consent.status` that end a consent.
const ENDED: [&str; 3] = ["inactive", "entered-in-error", "rejected"];

/// POST Type
#[tracing::instrument(name = "handin.create", skip_all)]
pub async fn create(State(front): State<Front>, Path(kind): Path<String>, headers: HeaderMap, body: Body) -> Response {
    let outcome = async {
        let grant = front.grant(&headers).await?;
        if !is_type(&kind) {
            return Err(Refused::absent());
        }
        let (bytes, resource) = read(&front, &headers, body).await?;
        if resource.resource_type() != Some(&kind) {
            let refused = Refused::request("invalid", "found another resourceType than the URL names");
            return Err(refused.at(format!("{kind}.resourceType")));
        }
        match kind.as_str() {
            "Bundle" => take_bundle(&front, &grant, bytes, &resource).await,
            "Consent" => grant_consent(&front, &grant, &resource).await,
            _ => {
                if !grant.scopes.covers_resource(&kind, Interaction::Create, &resource) {
                    return Err(Refused::scope());
                }
                check(&kind, &resource).await?;
                take(&front, &grant, bytes, &kind).await
            }
        }
    };
    front.answer("create", outcome.await)
}

/// POST / with a Bundle
#[tracing::instrument(name = "handin.bundle", skip_all)]
pub async fn bundle(State(front): State<Front>, headers: HeaderMap, body: Body) -> Response {
    let outcome = async {
        let grant = front.grant(&headers).await?;
        let (bytes, resource) = read(&front, &headers, body).await?;
        if resource.resource_type() != Some("Bundle") {
            return Err(Refused::request("invalid", "expected a Bundle here").at("resourceType".to_owned()));
        }
        take_bundle(&front, &grant, bytes, &resource).await
    };
    front.answer("create", outcome.await)
}

/// Whether the body is said to be FHIR JSON in UTF-8.
pub fn is_fhir_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut parts = kind.split(';').map(str::trim);
    let bare = parts.next().unwrap_or_default().to_ascii_lowercase();
    let utf8 =
        parts.all(|p| !p.to_ascii_lowercase().starts_with("charset=") || p.to_ascii_lowercase().contains("utf-8"));
    matches!(bare.as_str(), "application/fhir+json" | "application/json") && utf8
}

async fn read(front: &Front, headers: &HeaderMap, body: Body) -> Result<(Bytes, Arc<Value>), Refused> {
    if !is_fhir_json(headers) {
        return Err(Refused::media_type());
    }
    let bytes = front.body(body).await?;
    let resource = json::parse(&bytes).map_err(|error| Refused::json(&error))?;
    if resource.as_object().is_none() || resource.resource_type().is_none_or(|kind| !is_type(kind)) {
        return Err(Refused::request("structure", "expected a FHIR resource").at("resourceType".to_owned()));
    }
    Ok((bytes, Arc::new(resource)))
}

/// Every entry is judged by itself; one that may not be handed in refuses the whole Bundle.
async fn take_bundle(
    front: &Front,
    grant: &Arc<Grant>,
    bytes: Bytes,
    bundle: &Arc<Value>,
) -> Result<Response, Refused> {
    let (for_whom, judged) = (Arc::clone(grant), Arc::clone(bundle));
    aside(move || judge(&for_whom, &judged)).await?;
    take(front, grant, bytes, "Bundle").await
}

fn judge(grant: &Grant, bundle: &Value) -> Result<(), Refused> {
    for (at, entry) in bundle.list("entry").iter().enumerate() {
        let place = format!("Bundle.entry[{at}]");
        let method = entry.path(&["request", "method"]).and_then(Value::as_str);
        let interaction = match method {
            None | Some("POST") => Interaction::Create,
            Some("PUT") => Interaction::Update,
            Some(_) => {
                let refused = Refused::unprocessable("not-supported", "found a method that is not offered in a Bundle");
                return Err(refused.at(format!("{place}.request.method")));
            }
        };
        let Some(resource) = entry.get("resource") else { continue };
        let kind = resource.resource_type().filter(|kind| is_type(kind));
        let Some(kind) = kind else {
            let refused = Refused::request("structure", "expected a FHIR resource");
            return Err(refused.at(format!("{place}.resource.resourceType")));
        };
        if kind == "Consent" {
            let refused =
                Refused::unprocessable("business-rule", "a Consent is granted by POST Consent, not in a Bundle");
            return Err(refused.at(format!("{place}.resource")));
        }
        if !grant.scopes.covers_resource(kind, interaction, resource) {
            return Err(Refused::scope().at(place));
        }
        compare(kind, resource, &format!("{place}.resource"))?;
    }
    if bundle.list("entry").is_empty() && !grant.scopes.covers("Bundle", Interaction::Create) {
        return Err(Refused::scope());
    }
    Ok(())
}

/// Runs a check on a thread of its own, so that it holds up nobody's answer.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refused> + Send + 'static) -> Result<T, Refused> {
    let turn = tokio::time::timeout(CHECK_WAIT, CHECKS.acquire()).await;
    let Ok(Ok(turn)) = turn else { return Err(Refused::unavailable("too much is being checked; nothing was kept")) };
    let checked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    checked.await.unwrap_or_else(|_| Err(Refused::fault()))
}

/// The typed view's word on one resource, beside the answers.
///
/// # Errors
/// `Refused` with the place.
pub async fn check(kind: &str, resource: &Arc<Value>) -> Result<(), Refused> {
    let (kind, resource) = (kind.to_owned(), Arc::clone(resource));
    aside(move || compare(&kind, &resource, &kind)).await
}

/// The typed view's word on one resource.
fn compare(kind: &str, resource: &Value, place: &str) -> Result<(), Refused> {
    schemas_fhir::check(kind, &resource.canonical()).map_err(|problem| {
        let place = if problem.path.is_empty() { place.to_owned() } else { format!("{place}.{}", problem.path) };
        let code = if problem.code == "missing-element" { "required" } else { "structure" };
        Refused::request(code, "found something that FHIR R4 does not allow for this type").at(place)
    })
}

async fn take(front: &Front, grant: &Grant, body: Bytes, kind: &str) -> Result<Response, Refused> {
    let handed = HandedIn { client: grant.client.id.clone(), body };
    let taken = front.intake.take(handed).await.map_err(Refused::of_class)?;
    log(front, grant, Deed::Create, kind, None, front.disclose.follower.height()).await?;
    let text = match taken {
        TakenIn::Received => "received; it becomes visible once it is sealed and anchored",
        TakenIn::Duplicate => "this was received before; nothing was added",
        TakenIn::Conflict => {
            return Err(Refused::conflict("the same id and version was received with other content; it is kept aside"));
        }
    };
    Ok(fhir(StatusCode::ACCEPTED, &outcome("information", "informational", text, None)))
}

async fn log(
    front: &Front,
    grant: &Grant,
    deed: Deed,
    kind: &str,
    written: Option<&Written>,
    height: u64,
) -> Result<(), Refused> {
    write_entry(front, &grant.client.id, deed, kind, written.map(|written| written.subject), height).await
}

/// Writes the entry of a deed that discloses nothing.
///
/// # Errors
/// `Refused`: unavailable.
pub async fn write_entry(
    front: &Front,
    client: &str,
    deed: Deed,
    kind: &str,
    subject: Option<SubjectId>,
    height: u64,
) -> Result<(), Refused> {
    let entry = Entry {
        time: (front.disclose.clock)(),
        height,
        client: client.to_owned(),
        deed,
        resource_type: kind.to_owned(),
        subject,
        disclosed: Vec::new(),
        withheld: 0,
        purposes: Vec::new(),
    };
    front.disclose.append(entry).await.map(|_| ())
}

async fn grant_consent(front: &Front, grant: &Grant, document: &Arc<Value>) -> Result<Response, Refused> {
    if !grant.scopes.covers_resource("Consent", Interaction::Create, document) {
        return Err(Refused::scope());
    }
    check("Consent", document).await?;
    let written = front.disclose.consents.grant(document).await.map_err(|error| refused(&error))?;
    log(front, grant, Deed::Grant, "Consent", Some(&written), written.height).await?;
    answer(front, StatusCode::CREATED, document, &written)
}

/// PUT Consent/id: a new version in force, or the end of it. No other type is updated here: amendments are handed in.
#[tracing::instrument(name = "handin.update", skip_all)]
pub async fn update(
    State(front): State<Front>,
    Path((kind, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let outcome = async {
        let grant = front.grant(&headers).await?;
        if kind != "Consent" {
            return Err(Refused::method());
        }
        let (_, document) = read(&front, &headers, body).await?;
        if !grant.scopes.covers_resource("Consent", Interaction::Update, &document) {
            return Err(Refused::scope());
        }
        if document.resource_type() != Some("Consent") || document.text("id") != Some(&id) {
            let refused = Refused::request("invalid", "expected the Consent with the id of the URL");
            return Err(refused.at("Consent.id".to_owned()));
        }
        check("Consent", &document).await?;
        let before = front.disclose.consents.head(&id).await.map_err(|e| Refused::of_class(e.class()))?;
        let before = before.ok_or_else(Refused::absent)?;
        // a scope for some categories reaches no Consent of another one: to its holder there is none
        let stored = front.disclose.consents.document_of(&before).await.map_err(|error| refused(&error))?;
        if !grant.scopes.covers_resource("Consent", Interaction::Update, &stored) {
            return Err(Refused::absent());
        }
        matches(&front, &headers, &before)?;
        change(&front, &grant, &before, &document).await
    };
    front.answer("update", outcome.await)
}

async fn change(front: &Front, grant: &Grant, before: &Stored, document: &Value) -> Result<Response, Refused> {
    let ends = document.text("status").is_some_and(|status| ENDED.contains(&status));
    let (deed, written) = if ends {
        (Deed::Revoke, front.disclose.consents.revoke(before, document).await)
    } else {
        (Deed::Grant, front.disclose.consents.replace(before, document).await)
    };
    let written = written.map_err(|error| refused(&error))?;
    log(front, grant, deed, "Consent", Some(&written), written.height).await?;
    answer(front, StatusCode::OK, document, &written)
}

/// `If-Match`, where the client sends it.
fn matches(front: &Front, headers: &HeaderMap, before: &Stored) -> Result<(), Refused> {
    let Some(expected) = headers.get(header::IF_MATCH) else { return Ok(()) };
    let current = format!("W/\"{}\"", version_id_of_consent(&front.disclose.vault, &before.consent));
    if expected.as_bytes() == current.as_bytes() { Ok(()) } else { Err(Refused::precondition()) }
}

fn answer(front: &Front, status: StatusCode, document: &Value, written: &Written) -> Result<Response, Refused> {
    let version = version_id_of_consent(&front.disclose.vault, &written.row);
    let mut resource = document.clone();
    if let Some(object) = resource.as_object_mut() {
        object.insert_first("id", Value::from(written.logical_id.clone()));
        object.insert_first("resourceType", Value::from("Consent"));
        let meta = object.entry_or("meta", || Value::from(json::Object::new()));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert("versionId", Value::from(version.clone()));
            meta.insert("lastUpdated", Value::from(instant(written.time)));
        }
    }
    let mut response = fhir(status, &resource);
    let location = format!("{}/Consent/{}/_history/{version}", front.disclose.base, written.logical_id);
    let named = [
        (header::LOCATION, location),
        (header::ETAG, format!("W/\"{version}\"")),
        (header::LAST_MODIFIED, http_date(written.time)),
        (HEIGHT_HEADER, written.height.to_string()),
    ];
    for (name, text) in named {
        response.headers_mut().insert(name, HeaderValue::from_str(&text).map_err(|_| Refused::fault())?);
    }
    Ok(response)
}

/// What a consent that did not come into force becomes.
pub fn refused(error: &ConsentError) -> Refused {
    use schemas::ErrorClass;
    if matches!(error, ConsentError::Signature) {
        return Refused::unsigned();
    }
    let place = error.place().map(|p| if p.starts_with("Consent") { p } else { format!("Consent.{p}") });
    let refused = match error.class() {
        ErrorClass::Caller => Refused::unprocessable("business-rule", error.to_string()),
        ErrorClass::Conflict => Refused::conflict(error.to_string()),
        ErrorClass::Transient => {
            tracing::warn!(class = error.class().name(), "{error}");
            Refused::unavailable(
                "the ledger or a store is away; whether the consent is in force is shown by reading it",
            )
        }
        ErrorClass::Corrupt | ErrorClass::Bug => {
            tracing::error!(class = error.class().name(), "{error}");
            Refused::fault()
        }
    };
    refused.at(place.unwrap_or_default())
}
