//! The summary of a unit: the facts that the consent engine decides on, the few elements that a search matches, and what
//! the references mean here. Made once at *normalise*, sealed under the subject's key, read by the way out instead of the
//! object. Must say for the consent engine exactly what the resource says.

use gateway_consent::{Reference, UnitFacts};
use schemas::json::{Object, Value};

use crate::store::summaries::Summary;

/// Elements that search parameters match beside what the facts hold.
const MATCHED: [&str; 28] = [
    "resourceType",
    "id",
    "identifier",
    "status",
    "clinicalStatus",
    "verificationStatus",
    "intent",
    "class",
    "code",
    "category",
    "type",
    "effectiveDateTime",
    "effectivePeriod",
    "effectiveInstant",
    "onsetDateTime",
    "recordedDate",
    "performedDateTime",
    "performedPeriod",
    "occurrenceDateTime",
    "occurrencePeriod",
    "authoredOn",
    "issued",
    "date",
    "period",
    "started",
    "start",
    "birthDate",
    "created",
];

/// Summarises a resource. `served` is its type and logical id here, `references` what its references mean here.
pub fn summarise(resource: &Value, served: (&str, &str), references: Vec<(String, String)>) -> Summary {
    let mut facts = UnitFacts::of(resource);
    let own = Reference::local(served.0, served.1);
    if !facts.identity.contains(&own) {
        facts.identity.push(own);
    }
    let meant = references.iter().filter_map(|(_, meant)| meant.split_once('/'));
    facts.refer_to(meant.map(|(resource_type, id)| Reference::local(resource_type, id)));
    let mut matched = Object::new();
    for (name, value) in resource.as_object().into_iter().flat_map(Object::iter) {
        if let Some(known) = MATCHED.iter().find(|known| **known == name) {
            matched.insert(*known, value.clone());
        }
    }
    Summary { facts: facts.to_json(), matched: Value::from(matched), references }
}
