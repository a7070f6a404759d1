//! *disclose*: what leaves. The sealed bytes as a tree plus an overlay of `id`, `meta` and references, nothing else changed;
//! every entry links to its receipt. An answer can be made only with the proof that its log entry is on disk. Pure.

use std::collections::HashMap;

use gateway_vault::Vault;
use jiff::Timestamp;
use schemas::id::{ConsentId, TimeMs};
use schemas::json::{Object, Value};

use super::decide::Permitted;
use super::log::Logged;
use super::query::{Place, Row};

/// A resource ready to leave.
pub struct Disclosed {
    /// The resource with its overlay.
    pub resource: Value,
    /// `Type/id`.
    pub reference: String,
    /// `meta.versionId`.
    pub version_id: String,
    /// `meta.lastUpdated`, ms.
    pub last_updated: TimeMs,
}

/// The version id of a row: a pseudonym and not a number, so that it says nothing about versions that are hidden.
pub fn version_id(vault: &Vault, row: &Row) -> String {
    match &row.place {
        Place::Unit { case, case_version, unit, .. } => version_id_of(vault, &format!("{case}/{case_version}/{unit}")),
        Place::Document { consent, .. } => version_id_of_consent(vault, consent),
    }
}

/// The version id of a stored Consent.
pub fn version_id_of_consent(vault: &Vault, consent: &ConsentId) -> String {
    version_id_of(vault, &consent.to_string())
}

fn version_id_of(vault: &Vault, named: &str) -> String {
    let mut text = vault.blind("version-id", named).to_string();
    text.truncate(16);
    text
}

/// Lays the overlay over an opened resource.
pub fn overlay(permitted: &Permitted, mut resource: Value, version_id: String, _logged: &Logged) -> Disclosed {
    let row = &permitted.row;
    let references = permitted.known.references.iter().map(|(sent, here)| (sent.as_str(), here.as_str()));
    rewrite(&mut resource, &references.collect());
    if let Some(object) = resource.as_object_mut() {
        put_id(object, row);
        let meta = object.entry_or("meta", || Value::from(Object::new()));
        if let Some(meta) = meta.as_object_mut() {
            meta.insert("versionId", Value::from(version_id.clone()));
            meta.insert("lastUpdated", Value::from(instant(row.anchored)));
        }
    }
    let reference = format!("{}/{}", row.resource_type, row.logical_id);
    Disclosed { resource, reference, version_id, last_updated: row.anchored }
}

/// `resourceType`, `id`, then the rest as it was sealed.
fn put_id(object: &mut Object, row: &Row) {
    object.insert_first("id", Value::from(row.logical_id.clone()));
    object.insert_first("resourceType", Value::from(row.resource_type.clone()));
}

/// Rewrites every `reference` whose meaning here is known.
fn rewrite(value: &mut Value, references: &HashMap<&str, &str>) {
    if references.is_empty() {
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, references)),
        Value::Object(object) => {
            for (name, member) in object.iter_mut() {
                match member {
                    Value::String(text) if name == "reference" => {
                        if let Some(here) = references.get(text.as_str()) {
                            *text = (*here).to_owned().into();
                        }
                    }
                    other => rewrite(other, references),
                }
            }
        }
        _ => {}
    }
}

/// FHIR instant of a time.
pub fn instant(time: TimeMs) -> String {
    let timestamp = Timestamp::from_millisecond(time.cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// HTTP date of a time.
pub fn http_date(time: TimeMs) -> String {
    let timestamp = Timestamp::from_millisecond(time.cast_signed()).unwrap_or(Timestamp::UNIX_EPOCH);
    timestamp.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A Bundle of disclosed resources. `total` counts all matches, `links` are relation and URL.
pub fn bundle(
    kind: &'static str,
    base: &str,
    total: usize,
    links: Vec<(&'static str, String)>,
    entries: Vec<Disclosed>,
    _logged: &Logged,
) -> Value {
    let link = |(relation, url): (&'static str, String)| {
        Value::object([("relation", Value::from(relation)), ("url", Value::from(url))])
    };
    let mut bundle = vec![
        ("resourceType", Value::from("Bundle")),
        ("type", Value::from(kind)),
        ("total", Value::from(total as u64)),
        ("link", Value::from(links.into_iter().map(link).collect::<Vec<_>>())),
    ];
    let entries: Vec<Value> = entries.into_iter().map(|entry| entry_of(kind, base, entry)).collect();
    if !entries.is_empty() {
        bundle.push(("entry", Value::from(entries)));
    }
    Value::object(bundle)
}

fn entry_of(kind: &'static str, base: &str, entry: Disclosed) -> Value {
    let url = format!("{base}/{}", entry.reference);
    let history = format!("{}/_history/{}", entry.reference, entry.version_id);
    let receipt = if kind == "history" { format!("{base}/{history}/$verify") } else { format!("{url}/$verify") };
    let link = Value::object([("relation", Value::from("receipt")), ("url", Value::from(receipt))]);
    let mut members =
        vec![("link", Value::from(vec![link])), ("fullUrl", Value::from(url)), ("resource", entry.resource)];
    if kind == "history" {
        let request = [("method", Value::from("PUT")), ("url", Value::from(entry.reference))];
        let response = [
            ("status", Value::from("200")),
            ("etag", Value::from(format!("W/\"{}\"", entry.version_id))),
            ("lastModified", Value::from(instant(entry.last_updated))),
        ];
        members.push(("request", Value::object(request)));
        members.push(("response", Value::object(response)));
    } else {
        members.push(("search", Value::object([("mode", Value::from("match"))])));
    }
    Value::object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_references_is_rewritten_in_proportion() {
        let many = 60_000;
        let all: Vec<(String, String)> =
            (0..many).map(|n| (format!("Observation/source-{n}"), format!("Observation/here-{n}"))).collect();
        let sent = all.iter().map(|(sent, _)| Value::object([("reference", Value::from(sent.clone()))]));
        let mut resource = Value::object([("derivedFrom", Value::from(sent.collect::<Vec<_>>()))]);
        let begun = std::time::Instant::now();
        rewrite(&mut resource, &all.iter().map(|(sent, here)| (sent.as_str(), here.as_str())).collect());
        // compared one by one it is some 10^9 texts
        assert!(begun.elapsed() < std::time::Duration::from_secs(1), "{:?}", begun.elapsed());
        let here = resource.list("derivedFrom").iter().filter_map(|reference| reference.text("reference"));
        assert!(here.eq(all.iter().map(|(_, here)| here.as_str())));
    }
}
