//! Walks a resource once and gathers its facts. Bounded: what exceeds the bound marks the facts incomplete.

use schemas::json::{Object, Value};
use schemas::limits::UNIT_FACTS_MAX;

use super::{RESOURCE_TYPES, UnitFacts};
use crate::coding::Coding;
use crate::reference::Reference;
use crate::time::Span;

const PROFILE: &str = "urn:ietf:rfc:3986";
/// Elements that say what a resource is.
const CODE: &[&str] = &["code", "type", "vaccineCode", "medicationCodeableConcept"];
/// Elements that name who made it.
const AUTHOR: &[&str] = &[
    "author",
    "performer",
    "recorder",
    "asserter",
    "requester",
    "authenticator",
    "informationSource",
    "source",
    "sender",
    "resultsInterpreter",
    "attester",
    "agent",
    "enterer",
    "provider",
    "custodian",
];
const DOCUMENTS: &[&str] =
    &["DocumentReference", "Composition", "DiagnosticReport", "DocumentManifest", "Media", "Bundle"];
/// When it happened.
const HAPPENED: &[&str] = &[
    "effectiveDateTime",
    "effectivePeriod",
    "effectiveInstant",
    "onsetDateTime",
    "onsetPeriod",
    "abatementDateTime",
    "abatementPeriod",
    "performedDateTime",
    "performedPeriod",
    "occurrenceDateTime",
    "occurrencePeriod",
    "period",
    "billablePeriod",
    "servicedDate",
    "servicedPeriod",
    "collectedDateTime",
    "collectedPeriod",
    "collection",
    "started",
    "start",
    "end",
    "whenHandedOver",
    "whenPrepared",
    "context",
];
/// When it was written down.
const RECORDED: &[&str] = &[
    "date",
    "authoredOn",
    "recordedDate",
    "assertedDate",
    "issued",
    "created",
    "authored",
    "dateTime",
    "dateAsserted",
    "recorded",
    "sent",
    "timestamp",
    "receivedTime",
];

pub(super) fn collect(resource: &Value) -> UnitFacts {
    let mut facts = UnitFacts::default();
    let Some(object) = resource.as_object() else {
        facts.incomplete = true;
        return facts;
    };
    let kind = resource.resource_type().unwrap_or("");
    facts.resource_type = kind.into();
    facts.incomplete = kind.is_empty();
    facts.is_document = DOCUMENTS.contains(&kind);
    facts.classes.push(Coding::new(RESOURCE_TYPES, kind));
    if let Some(id) = resource.text("id") {
        facts.identity.push(Reference::local(kind, id));
    }
    facts.date = match date_of(object, HAPPENED) {
        Dated::Nothing => date_of(object, RECORDED).span(),
        happened => happened.span(),
    };
    for (name, value) in object.iter() {
        match name {
            "meta" => meta(value, &mut facts),
            "text" => {}
            _ => element(name, value, &mut facts),
        }
    }
    if facts.is_document {
        let classes: Vec<Coding> = facts.codes.iter().chain(&facts.categories).cloned().collect();
        facts.classes.extend(classes);
    }
    facts
}

fn meta(meta: &Value, facts: &mut UnitFacts) {
    for label in meta.list("security") {
        match Coding::of(label) {
            Some(label) => facts.labels.push(label),
            None => facts.incomplete = true,
        }
    }
    let profiles = meta.list("profile").iter().filter_map(Value::as_str);
    facts.classes.extend(profiles.map(|p| Coding::new(PROFILE, p)));
}

fn element(name: &str, value: &Value, facts: &mut UnitFacts) {
    let known = if CODE.contains(&name) {
        Some(false)
    } else if name == "category" {
        Some(true)
    } else {
        None
    };
    if let Some(is_category) = known {
        let concepts = value.as_array().unwrap_or(std::slice::from_ref(value));
        for concept in concepts {
            let codings: Vec<Coding> = match concept.get("coding") {
                Some(codings) => codings.as_array().unwrap_or_default().iter().filter_map(Coding::of).collect(),
                None => Coding::of(concept).into_iter().collect(),
            };
            facts.uncoded |= codings.is_empty() && concept.as_object().is_some();
            if is_category { facts.categories.extend(codings) } else { facts.codes.extend(codings) }
        }
    }
    walk(value, AUTHOR.contains(&name), facts);
}

/// Gathers codings, references and inner resources below an element. JSON depth is bounded by the parser.
fn walk(value: &Value, by_author: bool, facts: &mut UnitFacts) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, by_author, facts)),
        Value::Object(object) => {
            if object.get("resourceType").is_some() {
                return inner(value, facts);
            }
            coding(value, facts);
            reference(object, value, by_author, facts);
            object.iter().for_each(|(name, v)| walk(v, by_author || AUTHOR.contains(&name), facts));
        }
        _ => {}
    }
}

fn inner(resource: &Value, facts: &mut UnitFacts) {
    if facts.inner.len() >= UNIT_FACTS_MAX {
        facts.incomplete = true;
        return;
    }
    let inner = collect(resource);
    facts.incomplete |= inner.incomplete;
    facts.unresolved |= inner.unresolved;
    let spare = UNIT_FACTS_MAX.saturating_sub(facts.references.len());
    facts.incomplete |= inner.references.len() > spare;
    facts.references.extend(inner.references.iter().take(spare).cloned());
    let spare = UNIT_FACTS_MAX.saturating_sub(facts.authors.len());
    facts.incomplete |= inner.authors.len() > spare;
    facts.authors.extend(inner.authors.iter().take(spare).cloned());
    facts.inner.push(inner);
}

fn coding(value: &Value, facts: &mut UnitFacts) {
    let is_quantity = value.get("value").is_some() || value.get("unit").is_some();
    let Some(coding) = Coding::of(value).filter(|_| !is_quantity) else { return };
    let seen = [&facts.codes, &facts.categories, &facts.other_codes].iter().any(|list| list.contains(&coding));
    if seen {
        return;
    }
    if facts.other_codes.len() >= UNIT_FACTS_MAX {
        facts.incomplete = true;
        return;
    }
    facts.other_codes.push(coding);
}

fn reference(object: &Object, value: &Value, by_author: bool, facts: &mut UnitFacts) {
    let literal = object.get("reference").and_then(Value::as_str);
    let only_identifier = literal.is_none()
        && object.get("identifier").is_some_and(|i| i.as_object().is_some())
        && object.iter().all(|(name, _)| matches!(name, "identifier" | "type" | "display" | "id" | "extension"));
    if literal.is_none() && !only_identifier {
        return;
    }
    let names = Reference::all_of(value, "");
    facts.unresolved |= !names.iter().any(|n| matches!(n, Reference::Resource { .. }));
    for name in names {
        if facts.references.len() >= UNIT_FACTS_MAX {
            facts.incomplete = true;
            return;
        }
        if by_author && !facts.authors.contains(&name) {
            facts.authors.push(name.clone());
        }
        if !facts.references.contains(&name) {
            facts.references.push(name);
        }
    }
}

/// What the date elements of a resource say together.
enum Dated {
    /// None is there.
    Nothing,
    /// One cannot be read.
    Unreadable,
    /// The span over all of them.
    Over(Span),
}

impl Dated {
    const fn span(self) -> Option<Span> {
        if let Self::Over(span) = self { Some(span) } else { None }
    }
}

fn date_of(object: &Object, names: &[&str]) -> Dated {
    let mut hull: Option<Span> = None;
    for (name, value) in object.iter().filter(|(name, _)| names.contains(name)) {
        let dated = match value {
            Value::String(text) => Span::of_date(text).map_or(Dated::Unreadable, Dated::Over),
            Value::Object(nested) if matches!(name, "collection" | "context") => date_of(nested, HAPPENED),
            Value::Object(_) if name.ends_with("eriod") => {
                Span::of_period(value).map_or(Dated::Unreadable, Dated::Over)
            }
            _ => Dated::Nothing,
        };
        match dated {
            Dated::Nothing => {}
            Dated::Unreadable => return Dated::Unreadable,
            Dated::Over(span) => hull = Some(hull.map_or(span, |h| h.hull(span))),
        }
    }
    hull.map_or(Dated::Nothing, Dated::Over)
}
