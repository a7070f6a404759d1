//! Walks a resource once and gathers its facts. Bounded: what exceeds the bound marks the facts incomplete.

use schemas::json::{Object, Value};
use schemas::limits::UNIT_FACTS_MAX;

use super::once::Once;
use super::{Label, RESOURCE_TYPES, UnitFacts};
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
    let mut gathering = Gathering::of(facts);
    for (name, value) in object.iter() {
        match name {
            "meta" => gathering.meta(value),
            "text" => {}
            _ => gathering.element(name, value),
        }
    }
    gathering.finish()
}

/// The facts in the making, with the lists that are bounded.
struct Gathering {
    facts: UnitFacts,
    codes: Once<Coding>,
    categories: Once<Coding>,
    other_codes: Once<Coding>,
    labels: Once<Coding>,
    references: Once<Reference>,
    authors: Once<Reference>,
}

impl Gathering {
    fn of(facts: UnitFacts) -> Self {
        let codings = || Once::new(UNIT_FACTS_MAX);
        Self {
            facts,
            codes: codings(),
            categories: codings(),
            other_codes: codings(),
            // of confidentiality, which is a water mark, no label may be missing: there is room for its few codes beside the others
            labels: Once::new(UNIT_FACTS_MAX + Label::LEVELS.len()),
            references: Once::new(UNIT_FACTS_MAX),
            authors: Once::new(UNIT_FACTS_MAX),
        }
    }

    fn finish(self) -> UnitFacts {
        let mut facts = self.facts;
        if facts.is_document {
            facts.classes.extend(self.codes.iter().chain(self.categories.iter()).cloned());
        }
        facts.codes = self.codes.into_items();
        facts.categories = self.categories.into_items();
        facts.other_codes = self.other_codes.into_items();
        facts.labels = self.labels.into_items();
        facts.references = self.references.into_items();
        facts.authors = self.authors.into_items();
        facts
    }

    fn meta(&mut self, meta: &Value) {
        for label in meta.list("security") {
            let kept = match Coding::of(label) {
                Some(label) if Label::level(&label).is_none() && self.labels.len() >= UNIT_FACTS_MAX => {
                    self.labels.has(&label)
                }
                Some(label) => self.labels.add(label),
                None => false,
            };
            self.facts.incomplete |= !kept;
        }
        let profiles = meta.list("profile");
        self.facts.incomplete |= profiles.len() > UNIT_FACTS_MAX;
        let profiles = profiles.iter().filter_map(Value::as_str).take(UNIT_FACTS_MAX);
        self.facts.classes.extend(profiles.map(|p| Coding::new(PROFILE, p)));
    }

    fn element(&mut self, name: &str, value: &Value) {
        let list = if CODE.contains(&name) {
            Some(&mut self.codes)
        } else if name == "category" {
            Some(&mut self.categories)
        } else {
            None
        };
        if let Some(list) = list {
            let concepts = value.as_array().unwrap_or(std::slice::from_ref(value));
            for concept in concepts {
                let mut is_coded = false;
                let codings = match concept.get("coding") {
                    Some(codings) => codings.as_array().unwrap_or_default(),
                    None => std::slice::from_ref(concept),
                };
                for coding in codings.iter().filter_map(Coding::of) {
                    is_coded = true;
                    self.facts.incomplete |= !list.add(coding);
                }
                self.facts.uncoded |= !is_coded && concept.as_object().is_some();
            }
        }
        self.walk(value, AUTHOR.contains(&name));
    }

    /// Gathers codings, references and inner resources below an element. JSON depth is bounded by the parser.
    fn walk(&mut self, value: &Value, by_author: bool) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item, by_author)),
            Value::Object(object) => {
                if object.get("resourceType").is_some() {
                    return self.inner(value);
                }
                self.coding(value);
                self.reference(object, value, by_author);
                object.iter().for_each(|(name, v)| self.walk(v, by_author || AUTHOR.contains(&name)));
            }
            _ => {}
        }
    }

    fn inner(&mut self, resource: &Value) {
        if self.facts.inner.len() >= UNIT_FACTS_MAX {
            self.facts.incomplete = true;
            return;
        }
        let inner = collect(resource);
        self.facts.incomplete |= inner.incomplete;
        self.facts.unresolved |= inner.unresolved;
        for reference in &inner.references {
            self.facts.incomplete |= !self.references.add(reference.clone());
        }
        for author in &inner.authors {
            self.facts.incomplete |= !self.authors.add(author.clone());
        }
        self.facts.inner.push(inner);
    }

    fn coding(&mut self, value: &Value) {
        let is_quantity = value.get("value").is_some() || value.get("unit").is_some();
        let Some(coding) = Coding::of(value).filter(|_| !is_quantity) else { return };
        if !self.codes.has(&coding) && !self.categories.has(&coding) {
            self.facts.incomplete |= !self.other_codes.add(coding);
        }
    }

    fn reference(&mut self, object: &Object, value: &Value, by_author: bool) {
        let literal = object.get("reference").and_then(Value::as_str);
        let only_identifier = literal.is_none()
            && object.get("identifier").is_some_and(|i| i.as_object().is_some())
            && object.iter().all(|(name, _)| matches!(name, "identifier" | "type" | "display" | "id" | "extension"));
        if literal.is_none() && !only_identifier {
            return;
        }
        let names = Reference::all_of(value, "");
        self.facts.unresolved |= !names.iter().any(|n| matches!(n, Reference::Resource { .. }));
        for name in names {
            if by_author {
                self.facts.incomplete |= !self.authors.add(name.clone());
            }
            self.facts.incomplete |= !self.references.add(name);
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
