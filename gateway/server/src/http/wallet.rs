//! Patients' wallets: the desk invites, the wallet binds its key, asks, grants and revokes. Requests and answers are CBOR in its
//! one spelling (`schemas::wallet`). But for the invitation no token is needed: who may ask is said by the signature of a key that
//! the ledger binds. Takes requests apart and decides nothing.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use schemas::cbor::{self, Record};
use schemas::json::{self, Value};
use schemas::limits;
use schemas::wallet::{Ask, Bind, Grant, Revoke, SignedQuestion, Written};

use super::Front;
use super::fhir::no_parameters;
use super::handin::{check, refused, write_entry};
use super::outcome::{Refused, fhir};
use crate::consents;
use crate::disclose::answer::instant;
use crate::disclose::log::Deed;
use crate::disclose::query;
use crate::disclose::wallet::WALLET;
use crate::smart::Interaction;
use crate::smart::scope::PATIENT_KEY;

const CBOR: HeaderValue = HeaderValue::from_static("application/cbor");

/// POST Patient/id/$invite: an invitation for this patient, to be handed over in person.
#[tracing::instrument(name = "wallet.invite", skip_all)]
pub async fn invite(
    State(front): State<Front>,
    Path((kind, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let outcome = async {
        let grant = front.grant(&headers).await?;
        if kind != "Patient" {
            return Err(Refused::absent());
        }
        if !grant.scopes.covers(PATIENT_KEY, Interaction::Create) {
            return Err(Refused::scope());
        }
        no_parameters(query.as_deref())?;
        let disclose = &front.disclose;
        let height = disclose.require_fresh().await?;
        let found = query::subject_of(&disclose.store, &id).await.map_err(|e| Refused::of_class(e.class()))?;
        let subject = found.ok_or_else(Refused::absent)?;
        let invitation = disclose.consents.invite(subject, &front.origin, (disclose.clock)()).await;
        let invitation = invitation.map_err(|error| refused(&error))?;
        write_entry(&front, &grant.client.id, Deed::Invite, "Patient", Some(subject), height).await?;
        let named = |name: &'static str, kind: &'static str, text: String| {
            Value::object([("name", Value::from(name)), (kind, Value::from(text))])
        };
        let parameters = vec![
            named("invitation", "valueString", BASE64.encode(cbor::encode(&invitation))),
            named("expires", "valueInstant", instant(invitation.expires)),
        ];
        let answer = [("resourceType", Value::from("Parameters")), ("parameter", Value::from(parameters))];
        Ok(fhir(StatusCode::OK, &Value::object(answer)))
    };
    front.answer("invite", outcome.await)
}

/// GET: chain, institution and height; nothing about anybody.
pub async fn standing(State(front): State<Front>) -> Response {
    front.answer("standing", Ok(answer(&front.disclose.consents.standing())))
}

/// POST bind
#[tracing::instrument(name = "wallet.bind", skip_all)]
pub async fn bind(State(front): State<Front>, headers: HeaderMap, body: Body) -> Response {
    let outcome = async {
        let Bind { seal, transaction } = read(&front, &headers, body).await?;
        let now = (front.disclose.clock)();
        let bound = front.disclose.consents.bind(&seal, &transaction, now).await.map_err(|e| refused(&e))?;
        write_entry(&front, WALLET, Deed::Bind, "Patient", Some(bound.subject), bound.height).await?;
        Ok(answer(&bound))
    };
    front.answer("bind", outcome.await)
}

/// POST ask: a signed question.
#[tracing::instrument(name = "wallet.ask", skip_all)]
pub async fn ask(State(front): State<Front>, headers: HeaderMap, body: Body) -> Response {
    let outcome = async {
        let signed: SignedQuestion = read(&front, &headers, body).await?;
        let asked = front.disclose.asked(&signed).await?;
        match asked.ask() {
            Ask::Status => Ok(answer(&front.disclose.inbox(&asked).await?)),
            Ask::Case(case) => Ok(answer(&front.disclose.collect(&asked, case).await?)),
        }
    };
    front.answer("ask", outcome.await)
}

/// POST grant
#[tracing::instrument(name = "wallet.grant", skip_all)]
pub async fn grant(State(front): State<Front>, headers: HeaderMap, body: Body) -> Response {
    let outcome = async {
        let Grant { transaction, document, salt, replaces } = read(&front, &headers, body).await?;
        let consents = &front.disclose.consents;
        let signed = consents.read_grant(&transaction).await.map_err(|error| refused(&error))?;
        let document = Arc::new(json::parse(&document).map_err(|error| Refused::json(&error))?);
        if document.resource_type() != Some("Consent") {
            return Err(Refused::request("invalid", "expected a Consent").at("resourceType".to_owned()));
        }
        check("Consent", &document).await?;
        let before = match &replaces {
            Some(id) => Some(head(&front, id).await?),
            None => None,
        };
        let written = consents.grant_signed(signed, &document, salt, before.as_ref()).await;
        written_by(&front, Deed::Grant, written).await
    };
    front.answer("grant", outcome.await)
}

/// POST revoke
#[tracing::instrument(name = "wallet.revoke", skip_all)]
pub async fn revoke(State(front): State<Front>, headers: HeaderMap, body: Body) -> Response {
    let outcome = async {
        let Revoke { logical_id, transactions } = read(&front, &headers, body).await?;
        let before = head(&front, &logical_id).await?;
        let all = transactions.iter().map(|bytes| bytes.as_slice());
        let written = front.disclose.consents.revoke_signed(&before, all).await;
        written_by(&front, Deed::Revoke, written).await
    };
    front.answer("revoke", outcome.await)
}

async fn head(front: &Front, logical_id: &str) -> Result<consents::Stored, Refused> {
    let head = front.disclose.consents.head(logical_id).await.map_err(|e| Refused::of_class(e.class()))?;
    head.ok_or_else(Refused::absent)
}

async fn written_by(
    front: &Front,
    deed: Deed,
    written: Result<consents::Written, consents::ConsentError>,
) -> Result<Response, Refused> {
    let consents::Written { consent, subject, logical_id, height, .. } = written.map_err(|error| refused(&error))?;
    write_entry(front, WALLET, deed, "Consent", Some(subject), height).await?;
    Ok(answer(&Written { logical_id, consent, height }))
}

async fn read<T: Record>(front: &Front, headers: &HeaderMap, body: Body) -> Result<T, Refused> {
    if headers.get(header::CONTENT_TYPE) != Some(&CBOR) {
        return Err(Refused::no_cbor());
    }
    let bytes = front.body_within(body, limits::WALLET_BYTES_MAX).await?;
    cbor::decode(&bytes).map_err(|error| Refused::request("structure", error.to_string()))
}

fn answer<T: Record>(value: &T) -> Response {
    let mut response = Response::new(Body::from(cbor::encode(value)));
    response.headers_mut().insert(header::CONTENT_TYPE, CBOR);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
