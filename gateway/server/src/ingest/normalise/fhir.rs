//! FHIR input: a resource or a Bundle of any type, parsed losslessly and checked, never re-spelt. Its references are
//! understood beside it (`graph.rs`); the resources themselves stay as they were sent.

use schemas::cbor::sha256;
use schemas::json::{self, Value};

use super::graph::{Graph, Node};
use super::{Canonical, CanonicalCase, CanonicalUnit, Identity, Ids, Normaliser, Refusal, UNITS_MAX, instant_ms};

pub fn normalise(with: &Normaliser, source: &str, body: &[u8], ids: Ids<'_>) -> Result<Canonical, Refusal> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let tree = json::parse(body).map_err(|e| Refusal::json(&e))?;
    let Some(message_type) = tree.resource_type().map(str::to_owned) else {
        return Err(Refusal::caller("no-resource-type", "resourceType"));
    };
    let is_bundle = message_type == "Bundle";
    let time = if is_bundle { tree.text("timestamp").and_then(instant_ms) } else { None };
    let nodes = if is_bundle { bundle_nodes(tree)? } else { vec![node(tree, None, message_type.clone())?] };

    let mut graph = Graph::new(with, source, ids, nodes);
    let Some(owners) = graph.owners() else { return Err(Refusal::caller("too-many-units", message_type)) };
    let mut cases = Vec::new();
    for (patient, members) in graph.cases(&owners) {
        let units = members.iter().map(|at| graph.unit(*at)).collect();
        let updated = members.iter().filter_map(|at| graph.node(*at).updated).max();
        cases.push(CanonicalCase { patient, units, event_time: updated.or(time) });
    }
    Ok(Canonical { message_type, patients: graph.into_patients(), merges: Vec::new(), cases, unmapped: Vec::new() })
}

fn bundle_nodes(mut bundle: Value) -> Result<Vec<Node>, Refusal> {
    let entries = match bundle.as_object_mut().and_then(|object| object.remove("entry")) {
        None => return Ok(Vec::new()),
        Some(Value::Array(entries)) if entries.len() > UNITS_MAX => {
            return Err(Refusal::caller("too-many-units", "Bundle.entry"));
        }
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(Refusal::caller("not-a-list", "Bundle.entry")),
    };
    let mut nodes = Vec::with_capacity(entries.len());
    for (at, mut entry) in entries.into_iter().enumerate() {
        let path = format!("Bundle.entry[{at}]");
        let Some(members) = entry.as_object_mut() else { return Err(Refusal::caller("not-an-object", path)) };
        let full_url = members.get("fullUrl").and_then(Value::as_str).map(str::to_owned);
        // an entry without a resource asks for something (GET, DELETE) and says nothing
        let Some(resource) = members.remove("resource") else { continue };
        nodes.push(node(resource, full_url, format!("{path}.resource"))?);
    }
    Ok(nodes)
}

fn node(resource: Value, full_url: Option<String>, path: String) -> Result<Node, Refusal> {
    let Some(resource_type) = resource.resource_type().map(str::to_owned) else {
        return Err(Refusal::caller("no-resource-type", format!("{path}.resourceType")));
    };
    let bytes = resource.canonical();
    schemas_fhir::check(&resource_type, &bytes).map_err(|problem| {
        let place = match problem.path.as_str() {
            // a type that nobody knows is a value, and a root's path is its type
            "" if path == resource_type => "resource".to_owned(),
            "" => path.clone(),
            // a type that nobody knows is a value, and a root's path begins with its type
            "resourceType" if path == resource_type => "resourceType".to_owned(),
            inside => format!("{path}.{inside}"),
        };
        Refusal::caller(problem.code, place)
    })?;
    let id = match resource.get("id") {
        None => None,
        Some(Value::String(id)) if is_id(id) => Some(id.to_string()),
        Some(_) => return Err(Refusal::caller("bad-id", format!("{path}.id"))),
    };
    let updated = resource.path(&["meta", "lastUpdated"]).and_then(Value::as_str).and_then(instant_ms);
    Ok(Node { resource, bytes, resource_type, id, full_url, updated })
}

/// FHIR id: 1 to 64 of letters, digits, `-`, `.`.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

/// The logical id of a node that is no patient: source and id, else its address, else its content.
pub fn logical_id(node: &Node, source: &str, ids: Ids<'_>) -> String {
    match (&node.id, &node.full_url) {
        (Some(id), _) => ids(&node.resource_type, &[source, id]),
        (None, Some(url)) => ids(&node.resource_type, &[source, "url", url]),
        (None, None) => ids(&node.resource_type, &[source, "content", &sha256(&node.bytes).to_string()]),
    }
}

/// A unit of a node.
pub fn unit(node: &Node, identity: Identity, references: Vec<(String, super::Meaning)>) -> CanonicalUnit {
    CanonicalUnit {
        resource: node.resource.clone(),
        bytes: node.bytes.clone(),
        resource_type: node.resource_type.clone(),
        identity,
        references,
        partial: None,
    }
}
