//! Reads the criteria of one provision. A criterion of the wrong shape refuses the document, since an empty or skipped
//! criterion would widen a permit; an element that R4 does not define is recorded as not understood.

use schemas::json::{Object, Value};
use schemas::limits;

use super::{ActorRule, DataMeaning, DataRule, Effect, PolicyError, Problem, Provision};
use crate::coding::{Codes, Coding};
use crate::reference::Reference;
use crate::time::Span;

/// Elements of a provision that are read.
const PROVISION: &[&str] = &[
    "id",
    "type",
    "period",
    "actor",
    "action",
    "securityLabel",
    "purpose",
    "class",
    "code",
    "dataPeriod",
    "data",
    "provision",
    "modifierExtension",
];
const ACTOR: &[&str] = &["id", "role", "reference", "modifierExtension"];
const DATA: &[&str] = &["id", "meaning", "reference", "modifierExtension"];
const CODING: &[&str] = &["id", "system", "version", "code", "display", "userSelected"];
const CONCEPT: &[&str] = &["id", "coding", "text"];
const PERIOD: &[&str] = &["id", "start", "end"];
const REFERENCE: &[&str] = &["id", "reference", "type", "identifier", "display"];

/// Reads provisions and collects what is not understood.
pub(super) struct Reader<'b> {
    own_base: &'b str,
    /// Criteria read so far, against the bound.
    criteria: usize,
    pub(super) unknown: Vec<Box<str>>,
}

/// The items of a non-empty list.
pub(super) fn items<'v>(value: &'v Value, path: &str) -> Result<&'v [Value], PolicyError> {
    let items = value.as_array().filter(|items| !items.is_empty());
    items.ok_or_else(|| PolicyError::new(path, Problem::Shape("a list that is not empty")))
}

/// The codings of a CodeableConcept; opaque when it has none.
pub(super) fn concept(value: &Value, path: &str) -> Result<Codes, PolicyError> {
    let object = object(value, path)?;
    let Some(codings) = object.get("coding") else { return Ok(Codes::new(Vec::new(), true)) };
    Ok(codings_of(items(codings, &format!("{path}.coding"))?))
}

/// A provision without criteria.
pub(super) fn unconditional(effect: Effect, path: &str) -> Provision {
    Provision {
        effect,
        path: path.into(),
        modified: false,
        period: None,
        actors: None,
        actions: None,
        labels: None,
        purposes: None,
        classes: None,
        codes: None,
        data_period: None,
        data: None,
        children: Vec::new(),
    }
}

fn object<'v>(value: &'v Value, path: &str) -> Result<&'v Object, PolicyError> {
    value.as_object().ok_or_else(|| PolicyError::new(path, Problem::Shape("an object")))
}

fn codings_of(items: &[Value]) -> Codes {
    let codings: Vec<Coding> = items.iter().filter_map(Coding::of).collect();
    let opaque = codings.len() < items.len();
    Codes::new(codings, opaque)
}

impl<'b> Reader<'b> {
    pub(super) const fn new(own_base: &'b str) -> Self {
        Self { own_base, criteria: 0, unknown: Vec::new() }
    }

    /// Records an element; a name that no FHIR element could have is not repeated.
    pub(super) fn not_understood(&mut self, path: &str, name: &str) {
        let is_element = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if self.unknown.len() < limits::CONSENT_PROVISIONS_MAX {
            self.unknown.push(format!("{path}.{}", if is_element { name } else { "?" }).into());
        }
    }

    fn only(&mut self, object: &Object, known: &[&str], path: &str) {
        for (name, _) in object.iter() {
            if !known.contains(&name) {
                self.not_understood(path, name);
            }
        }
    }

    /// Counts criteria: a policy is bounded as a whole.
    fn count(&mut self, more: usize, path: &str) -> Result<(), PolicyError> {
        self.criteria += more;
        if self.criteria > limits::CONSENT_CRITERIA_MAX {
            return Err(PolicyError::new(path, Problem::TooMany(limits::CONSENT_CRITERIA_MAX)));
        }
        Ok(())
    }

    pub(super) fn provision(&mut self, from: &Object, effect: Effect, path: &str) -> Result<Provision, PolicyError> {
        self.only(from, PROVISION, path);
        let at = |name: &str| format!("{path}.{name}");
        let mut provision = unconditional(effect, path);
        for (name, value) in from.iter() {
            let path = at(name);
            match name {
                "period" => provision.period = Some(self.period(value, &path)?),
                "actor" => provision.actors = Some(self.actors(value, &path)?),
                "action" => provision.actions = Some(self.concepts(value, &path)?),
                "securityLabel" => provision.labels = Some(self.codings(value, &path)?),
                "purpose" => provision.purposes = Some(self.codings(value, &path)?),
                "class" => provision.classes = Some(self.codings(value, &path)?),
                "code" => provision.codes = Some(self.concepts(value, &path)?),
                "dataPeriod" => provision.data_period = Some(self.period(value, &path)?),
                "data" => provision.data = Some(self.data(value, &path)?),
                _ => {}
            }
        }
        provision.modified = from
            .iter()
            .any(|(name, value)| name == "modifierExtension" || (name != "provision" && has_modifier(value)));
        if provision.modified {
            self.not_understood(path, "modifierExtension");
        }
        Ok(provision)
    }

    fn period(&mut self, value: &Value, path: &str) -> Result<Span, PolicyError> {
        self.only(object(value, path)?, PERIOD, path);
        Span::of_period(value).ok_or_else(|| PolicyError::new(path, Problem::Date))
    }

    fn codings(&mut self, value: &Value, path: &str) -> Result<Codes, PolicyError> {
        let items = items(value, path)?;
        self.count(items.len(), path)?;
        for item in items {
            self.only(object(item, path)?, CODING, path);
        }
        Ok(codings_of(items))
    }

    /// A list of concepts is one list of codings: any coding of any of them. A concept of text alone may mean anything.
    fn concepts(&mut self, value: &Value, path: &str) -> Result<Codes, PolicyError> {
        let mut all = Vec::new();
        let mut opaque = false;
        for item in items(value, path)? {
            let codes = self.one_concept(item, path)?;
            opaque |= codes.opaque;
            all.extend(codes.iter().cloned());
        }
        Ok(Codes::new(all, opaque))
    }

    fn one_concept(&mut self, value: &Value, path: &str) -> Result<Codes, PolicyError> {
        self.only(object(value, path)?, CONCEPT, path);
        if let Some(codings) = value.get("coding") {
            return self.codings(codings, &format!("{path}.coding"));
        }
        concept(value, path)
    }

    fn actors(&mut self, value: &Value, path: &str) -> Result<Vec<ActorRule>, PolicyError> {
        let items = items(value, path)?;
        self.count(items.len(), path)?;
        items.iter().map(|item| self.actor(item, path)).collect()
    }

    fn actor(&mut self, item: &Value, path: &str) -> Result<ActorRule, PolicyError> {
        let actor = object(item, path)?;
        self.only(actor, ACTOR, path);
        let role_path = format!("{path}.role");
        let role = actor.get("role").ok_or_else(|| PolicyError::new(&role_path, Problem::Absent))?;
        let role = self.one_concept(role, &role_path)?;
        let reference_path = format!("{path}.reference");
        let names = match actor.get("reference") {
            Some(reference) => Some(self.reference(reference, &reference_path)?),
            None => None,
        };
        Ok(ActorRule { role, names })
    }

    /// What a reference names; empty when it names nothing that can be compared (a contained resource, text alone).
    fn reference(&mut self, value: &Value, path: &str) -> Result<Vec<Reference>, PolicyError> {
        self.only(object(value, path)?, REFERENCE, path);
        Ok(Reference::all_of(value, self.own_base))
    }

    fn data(&mut self, value: &Value, path: &str) -> Result<Vec<DataRule>, PolicyError> {
        let items = items(value, path)?;
        self.count(items.len(), path)?;
        let mut rules = Vec::with_capacity(items.len());
        for item in items {
            self.only(object(item, path)?, DATA, path);
            let meaning = match item.text("meaning") {
                Some("instance") => DataMeaning::Instance,
                Some("related") => DataMeaning::Related,
                Some("dependents") => DataMeaning::Dependents,
                Some("authoredby") => DataMeaning::AuthoredBy,
                _ => {
                    let expected = Problem::Code("instance, related, dependents or authoredby");
                    return Err(PolicyError::new(&format!("{path}.meaning"), expected));
                }
            };
            let reference_path = format!("{path}.reference");
            let reference = item.get("reference").ok_or_else(|| PolicyError::new(&reference_path, Problem::Absent))?;
            rules.push(DataRule { meaning, names: self.reference(reference, &reference_path)? });
        }
        Ok(rules)
    }
}

/// Whether a modifier extension stands anywhere below; JSON depth is bounded by the parser.
fn has_modifier(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_modifier),
        Value::Object(object) => object.iter().any(|(name, v)| name == "modifierExtension" || has_modifier(v)),
        _ => false,
    }
}
