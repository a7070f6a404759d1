//! A page of a search or history: its entries' bytes as they stand there, and the link to the next page. Reads the type, id, version and
//! time of a resource and nothing else of it.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::FhirError;
use crate::marker::{Markers, Token};
use crate::time;

/// One resource of a page.
pub(crate) struct Entry {
    /// Its bytes: a part of the page's.
    pub body: Bytes,
    /// Its type.
    pub kind: String,
    /// `meta.lastUpdated`, ms.
    pub at: Option<i64>,
    /// Which version it is.
    pub token: Token,
}

/// A page.
pub(crate) struct Page {
    pub entries: Vec<Entry>,
    /// Versions that are deletions: nothing can be taken of them.
    pub deletions: usize,
    /// `link[relation=next]`, as it stands there.
    pub next: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct RawBundle<'b> {
    #[serde(rename = "resourceType")]
    pub resource_type: String,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    link: Vec<Link>,
    #[serde(borrow, default)]
    pub entry: Vec<RawEntry<'b>>,
}

#[derive(Deserialize)]
struct Link {
    relation: String,
    url: String,
}

#[derive(Deserialize)]
pub(crate) struct RawEntry<'b> {
    #[serde(rename = "fullUrl")]
    pub full_url: Option<String>,
    #[serde(borrow)]
    pub resource: Option<&'b RawValue>,
    search: Option<Search>,
    pub request: Option<Request>,
}

#[derive(Deserialize)]
struct Search {
    mode: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Request {
    pub method: Option<String>,
}

/// What of a resource is looked at.
#[derive(Default, Deserialize)]
pub(crate) struct Head {
    #[serde(rename = "resourceType")]
    pub resource_type: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(rename = "versionId", default)]
    version_id: String,
    #[serde(rename = "lastUpdated", default)]
    last_updated: String,
}

impl RawEntry<'_> {
    /// Whether it says that a resource is no more.
    pub fn is_deletion(&self) -> bool {
        self.request.as_ref().and_then(|request| request.method.as_deref()) == Some("DELETE")
    }
}

/// Reads a page.
pub(crate) fn read(bytes: &Bytes, markers: &dyn Markers) -> Result<Page, FhirError> {
    let shape = |found| FhirError::Shape { found, expected: "a Bundle of resources" };
    let bundle: RawBundle<'_> = serde_json::from_slice(bytes).map_err(|_| shape("something else"))?;
    if bundle.resource_type != "Bundle" {
        return Err(shape("another resource"));
    }
    let deletions = bundle.entry.iter().filter(|entry| entry.is_deletion()).count();
    let is_outcome = |e: &RawEntry<'_>| e.search.as_ref().and_then(|s| s.mode.as_deref()) == Some("outcome");
    let kept = bundle.entry.iter().filter(|entry| !is_outcome(entry) && !entry.is_deletion());
    let entries = kept.filter_map(|kept| kept.resource).map(|raw| entry(bytes, raw, markers)).collect();
    let next = bundle.link.into_iter().find(|link| link.relation == "next").map(|link| link.url);
    Ok(Page { entries, deletions, next })
}

/// What is no resource goes its way too: it becomes a dead letter, with its bytes, and holds up no neighbour.
fn entry(page: &Bytes, raw: &RawValue, markers: &dyn Markers) -> Entry {
    let head: Head = serde_json::from_str(raw.get()).unwrap_or_default();
    let Meta { version_id, last_updated } = head.meta;
    // without a version the time tells one from another; without both, the bytes
    let content = if version_id.is_empty() && last_updated.is_empty() { raw.get() } else { "" };
    let token = markers.token(&[&head.resource_type, &head.id, &version_id, &last_updated, content]);
    let at = time::instant_ms(&last_updated);
    Entry { body: page.slice_ref(raw.get().as_bytes()), kind: head.resource_type, at, token }
}
