//! What clients hand in: a resource or Bundle becomes a message of the way in, a Consent goes to the ledger. Everything that
//! can be said at once is said at once, with its place: broken JSON, a type that is none, an entry that no scope covers. The bytes go
//! on exactly as they came.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use schemas::id::SubjectId;
use schemas::json::{self, Value};
use schemas::limits;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use super::fhir::is_type;
use super::outcome::{Refused, fhir, outcome};
use super::room::{InHand, ROOM};
use super::{Front, HandedIn, TakenIn};
use crate::consents::{ConsentError, Stored, Written};
use crate::disclose::answer::{http_date, instant, version_id_of_consent};
use crate::disclose::log::{Deed, Entry};
use crate::disclose::pace;
use crate::smart::{Grant, Interaction};

/// The height at which the ledger executed a write.
const HEIGHT_HEADER: HeaderName = HeaderName::from_static("chartseal-ledger-height");
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
        let may = match kind.as_str() {
            "Bundle" => may_hand_in_any(&grant),
            kind => grant.scopes.covers(kind, Interaction::Create),
        };
        if !may {
            return Err(Refused::scope());
        }
        if kind == "Consent" {
            return grant_consent(&front, &grant, &headers, body).await;
        }
        let body = read(&front, &headers, body, front.body_bytes_max).await?;
        let (for_whom, of, bytes) = (Arc::clone(&grant), kind.clone(), body.bytes.clone());
        ROOM.look(bytes.len(), move || examine(&for_whom, &of, Interaction::Create, &bytes).map(drop)).await?;
        take(&front, &grant, body.bytes.clone(), &kind).await
    };
    front.answer("create", outcome.await)
}

/// POST / with a Bundle
#[tracing::instrument(name = "handin.bundle", skip_all)]
pub async fn bundle(State(front): State<Front>, headers: HeaderMap, body: Body) -> Response {
    let outcome = async {
        let grant = front.grant(&headers).await?;
        if !may_hand_in_any(&grant) {
            return Err(Refused::scope());
        }
        let body = read(&front, &headers, body, front.body_bytes_max).await?;
        let (for_whom, bytes) = (Arc::clone(&grant), body.bytes.clone());
        let look = move || {
            let resource = parse(&bytes)?;
            if resource.resource_type() != Some("Bundle") {
                return Err(Refused::request("invalid", "expected a Bundle here").at("resourceType".to_owned()));
            }
            judge(&for_whom, &resource)
        };
        ROOM.look(body.bytes.len(), look).await?;
        take(&front, &grant, body.bytes.clone(), "Bundle").await
    };
    front.answer("create", outcome.await)
}

/// Whether a Bundle of this client may hold anything: what, is said of each entry.
fn may_hand_in_any(grant: &Grant) -> bool {
    grant.scopes.cover_any(Interaction::Create) || grant.scopes.cover_any(Interaction::Update)
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

/// A body that is said to be FHIR. Called when scopes allow the interaction, so that nobody else's body is waited for.
async fn read(front: &Front, headers: &HeaderMap, body: Body, most: usize) -> Result<InHand, Refused> {
    if !is_fhir_json(headers) {
        return Err(Refused::media_type());
    }
    ROOM.read(body, most, front.body_wait).await
}

/// The tree of a body; made in a turn only.
fn parse(bytes: &[u8]) -> Result<Value, Refused> {
    let resource = json::parse(bytes).map_err(|error| Refused::json(&error))?;
    if resource.as_object().is_none() || resource.resource_type().is_none_or(|kind| !is_type(kind)) {
        return Err(Refused::request("structure", "expected a FHIR resource").at("resourceType".to_owned()));
    }
    Ok(resource)
}

/// What can be said of a body at once: its JSON, its type, whether scopes cover it, what FHIR does not allow.
fn examine(grant: &Grant, kind: &str, interaction: Interaction, bytes: &[u8]) -> Result<Value, Refused> {
    let resource = parse(bytes)?;
    if resource.resource_type() != Some(kind) {
        let refused = Refused::request("invalid", "found another resourceType than the URL names");
        return Err(refused.at(format!("{kind}.resourceType")));
    }
    if kind == "Bundle" {
        judge(grant, &resource)?;
        return Ok(resource);
    }
    if !grant.scopes.covers_resource(kind, interaction, &resource) {
        return Err(Refused::scope());
    }
    compare(kind, &resource, kind)?;
    Ok(resource)
}

/// Every entry is judged by itself; one that may not be handed in refuses the whole Bundle.
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

/// The typed view's word on one resource, beside the answers.
///
/// # Errors
/// `Refused` with the place.
pub async fn check(kind: &str, resource: &Arc<Value>) -> Result<(), Refused> {
    let (kind, resource) = (kind.to_owned(), Arc::clone(resource));
    ROOM.look(0, move || compare(&kind, &resource, &kind)).await
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

/// A Consent as a tree, and the room that it takes until the ledger has its word.
struct Handed {
    document: Arc<Value>,
    _body: InHand,
    _tree: SemaphorePermit<'static>,
}

async fn read_consent(
    front: &Front,
    grant: &Arc<Grant>,
    interaction: Interaction,
    headers: &HeaderMap,
    body: Body,
) -> Result<Handed, Refused> {
    let most = limits::CONSENT_BYTES_MAX.min(front.body_bytes_max);
    let body = read(front, headers, body, most).await?;
    let tree = ROOM.for_tree(body.bytes.len()).await?;
    let (grant, bytes) = (Arc::clone(grant), body.bytes.clone());
    let document = ROOM.look(bytes.len(), move || examine(&grant, "Consent", interaction, &bytes)).await?;
    Ok(Handed { document: Arc::new(document), _body: body, _tree: tree })
}

async fn grant_consent(
    front: &Front,
    grant: &Arc<Grant>,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refused> {
    let handed = read_consent(front, grant, Interaction::Create, headers, body).await?;
    let document = &handed.document;
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
    let asked = Instant::now();
    let outcome = async {
        let grant = front.grant(&headers).await?;
        if kind != "Consent" {
            return Err(Refused::method());
        }
        if !grant.scopes.covers("Consent", Interaction::Update) {
            return Err(Refused::scope());
        }
        let handed = read_consent(&front, &grant, Interaction::Update, &headers, body).await?;
        let document = &handed.document;
        if document.text("id") != Some(&id) {
            let refused = Refused::request("invalid", "expected the Consent with the id of the URL");
            return Err(refused.at("Consent.id".to_owned()));
        }
        let before = front.disclose.consents.head(&id).await.map_err(|e| Refused::of_class(e.class()))?;
        let before = before.ok_or_else(Refused::absent)?;
        // a scope for some categories reaches no Consent of another one: to its holder there is none
        let stored = front.disclose.consents.document_of(&before).await.map_err(|error| refused(&error))?;
        if !grant.scopes.covers_resource("Consent", Interaction::Update, &stored) {
            return Err(Refused::absent());
        }
        matches(&front, &headers, &before)?;
        change(&front, &grant, &before, document).await
    };
    let outcome = outcome.await;
    if outcome.as_ref().is_err_and(|refused| refused.status() == StatusCode::NOT_FOUND) {
        pace::nothing_since(asked).await;
    }
    front.answer("update", outcome)
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
