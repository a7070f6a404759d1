//! What a FHIR server sends to a subscriber: a resource (R4 rest-hook with payload), or a notification Bundle (Subscriptions Backport, R4
//! and R4B). Decides what of it is a message; the bytes of each stay as they were.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::page::{Head, RawBundle};

/// Resources that one notification may name.
const REFERENCES_MAX: usize = 1_000;

/// A notification. Without resources and references it is a handshake, a heartbeat, a deletion, or an event without content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// Resources with their types.
    pub resources: Vec<(String, Bytes)>,
    /// Addresses of resources that it only names.
    pub references: Vec<String>,
    /// An event that neither holds nor names what it is about, as of a subscription with content `empty`.
    pub is_blind: bool,
}

/// It cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found something else, expected a FHIR resource or a notification Bundle")]
pub struct NoticeError;

#[derive(Deserialize)]
struct Status {
    #[serde(rename = "resourceType")]
    resource_type: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    parameter: Vec<Parameter>,
    #[serde(rename = "notificationEvent", default)]
    events: Vec<Event>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    #[serde(rename = "valueCode")]
    code: Option<String>,
    #[serde(rename = "valueReference")]
    reference: Option<Reference>,
    #[serde(default)]
    part: Vec<Self>,
}

#[derive(Deserialize)]
struct Event {
    focus: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    reference: Option<String>,
}

impl Status {
    fn kind(&self) -> Option<&str> {
        let of_parameter = || self.parameter.iter().find(|p| p.name == "type").and_then(|p| p.code.as_deref());
        self.kind.as_deref().or_else(of_parameter)
    }

    /// What the events are about.
    fn focuses(self) -> impl Iterator<Item = String> {
        let events = self.events.into_iter().filter_map(|event| event.focus);
        let named = self.parameter.into_iter().filter(|p| p.name == "notification-event").flat_map(|p| p.part);
        let parts = named.filter(|part| part.name == "focus").filter_map(|part| part.reference);
        events.chain(parts).filter_map(|focus| focus.reference)
    }
}

impl Notice {
    /// Reads a body.
    ///
    /// # Errors
    /// `NoticeError`.
    pub fn read(body: &Bytes) -> Result<Self, NoticeError> {
        let head: Head = serde_json::from_slice(body).map_err(|_| NoticeError)?;
        let whole = |kind: String| Self { resources: vec![(kind, body.clone())], ..Self::default() };
        if head.resource_type != "Bundle" {
            return Ok(whole(head.resource_type));
        }
        let bundle: RawBundle<'_> = serde_json::from_slice(body).map_err(|_| NoticeError)?;
        let is_history = matches!(bundle.kind.as_deref(), Some("history" | "subscription-notification"));
        let first = bundle.entry.first().and_then(|entry| entry.resource).filter(|_| is_history);
        let status = first.and_then(|first| serde_json::from_str::<Status>(first.get()).ok());
        let status = status.filter(|s| matches!(s.resource_type.as_str(), "SubscriptionStatus" | "Parameters"));
        let Some((status, kind)) = status.and_then(|s| s.kind().map(str::to_owned).map(|kind| (s, kind))) else {
            return Ok(whole(head.resource_type));
        };
        let mut notice = Self::default();
        if kind != "event-notification" {
            return Ok(notice);
        }
        for entry in bundle.entry.iter().skip(1).filter(|entry| !entry.is_deletion()) {
            match (entry.resource, &entry.full_url) {
                (Some(raw), _) => notice.resources.push(resource(body, raw)?),
                (None, Some(url)) => notice.references.push(url.clone()),
                (None, None) => {}
            }
        }
        if bundle.entry.len() == 1 {
            notice.references.extend(status.focuses());
        }
        notice.references.sort();
        notice.references.dedup();
        let deletions = bundle.entry.iter().skip(1).any(|entry| entry.is_deletion());
        notice.is_blind = notice.resources.is_empty() && notice.references.is_empty() && !deletions;
        if notice.references.len() > REFERENCES_MAX { Err(NoticeError) } else { Ok(notice) }
    }
}

fn resource(body: &Bytes, raw: &RawValue) -> Result<(String, Bytes), NoticeError> {
    let head: Head = serde_json::from_str(raw.get()).map_err(|_| NoticeError)?;
    Ok((head.resource_type, body.slice_ref(raw.get().as_bytes())))
}
