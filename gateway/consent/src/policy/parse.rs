//! Walks the Consent resource: what must hold for all of it, then the tree of provisions, bounded in depth and number.
//! Criteria of one provision are read in `criteria.rs`.

use schemas::json::{Object, Value};
use schemas::limits;

use super::criteria::{self, Reader};
use super::{Effect, Policy, PolicyError, Problem, Provision};
use crate::reference::Reference;

const SCOPE: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";

/// Elements of an R4 Consent whose content does not change a decision, or is looked at below.
const KNOWN: &[&str] = &[
    "resourceType",
    "id",
    "_id",
    "meta",
    "language",
    "_language",
    "text",
    "contained",
    "extension",
    "identifier",
    "status",
    "scope",
    "category",
    "patient",
    "dateTime",
    "_dateTime",
    "performer",
    "organization",
    "sourceAttachment",
    "sourceReference",
    "policy",
    "policyRule",
    "verification",
    "provision",
];

pub(super) fn parse(consent: &Value, own_base: &str) -> Result<Policy, PolicyError> {
    let error = |path: &str, problem| PolicyError::new(path, problem);
    if consent.resource_type() != Some("Consent") {
        return Err(error("Consent", Problem::NotConsent));
    }
    let Some(object) = consent.as_object() else { return Err(error("Consent", Problem::NotConsent)) };
    match consent.get("status").map(Value::as_str) {
        Some(Some("active")) => {}
        Some(_) => return Err(error("Consent.status", Problem::NotActive)),
        None => return Err(error("Consent.status", Problem::Absent)),
    }
    for name in ["modifierExtension", "implicitRules"] {
        if object.get(name).is_some() {
            return Err(error(&format!("Consent.{name}"), Problem::Modifier));
        }
    }
    let patient = object.get("patient").ok_or_else(|| error("Consent.patient", Problem::Absent))?;
    let patient = Reference::all_of(patient, own_base).into_iter().next();
    let patient = patient.ok_or_else(|| error("Consent.patient", Problem::Shape("a reference or an identifier")))?;

    let mut reader = Reader::new(own_base);
    for (name, _) in object.iter() {
        if !KNOWN.contains(&name) {
            reader.not_understood("Consent", name);
        }
    }
    read_scope(consent, &mut reader)?;
    read_verification(consent, &mut reader)?;
    let base = base_rule(consent);
    let provisions = match object.get("provision") {
        Some(root) => {
            let mut tree = Tree { reader: &mut reader, provisions: Vec::new() };
            tree.read(root, "Consent.provision", 1, Some(base))?;
            tree.provisions
        }
        None => vec![criteria::unconditional(base, "Consent.policyRule")],
    };
    Ok(Policy { patient, provisions, unknown: reader.unknown })
}

/// Only consents about privacy and about research say anything about disclosure.
fn read_scope(consent: &Value, reader: &mut Reader<'_>) -> Result<(), PolicyError> {
    let scope = consent.get("scope").ok_or_else(|| PolicyError::new("Consent.scope", Problem::Absent))?;
    let codes = criteria::concept(scope, "Consent.scope")?;
    let is_ours = |c: &crate::Coding| *c.system == *SCOPE && matches!(&*c.code, "patient-privacy" | "research");
    if !codes.iter().any(is_ours) {
        reader.not_understood("Consent", "scope");
    }
    Ok(())
}

/// A consent that somebody tried to verify and could not must permit nothing.
fn read_verification(consent: &Value, reader: &mut Reader<'_>) -> Result<(), PolicyError> {
    let Some(verification) = consent.get("verification") else { return Ok(()) };
    let shape = || PolicyError::new("Consent.verification", Problem::Shape("a list of objects"));
    for item in verification.as_array().ok_or_else(shape)? {
        if item.get("verified").and_then(Value::as_bool) != Some(true) {
            reader.not_understood("Consent", "verification");
        }
    }
    Ok(())
}

/// The effect of a root provision that has no type of its own: R4's policyRule, else deny.
fn base_rule(consent: &Value) -> Effect {
    let Some(rule) = consent.get("policyRule") else { return Effect::Deny };
    let mut effects =
        rule.list("coding").iter().filter(|c| c.text("system") == Some(ACT_CODE)).map(|c| match c.text("code") {
            Some("OPTIN" | "OPTINR") => Effect::Permit,
            _ => Effect::Deny,
        });
    let first = effects.next().unwrap_or(Effect::Deny);
    if effects.all(|e| e == first) { first } else { Effect::Deny }
}

struct Tree<'r, 'b> {
    reader: &'r mut Reader<'b>,
    provisions: Vec<Provision>,
}

impl Tree<'_, '_> {
    /// Reads one provision and its children; returns its index. Only the root may go without a type.
    fn read(&mut self, value: &Value, path: &str, depth: usize, base: Option<Effect>) -> Result<usize, PolicyError> {
        if depth > limits::CONSENT_DEPTH_MAX {
            return Err(PolicyError::new(path, Problem::TooMany(limits::CONSENT_DEPTH_MAX)));
        }
        if self.provisions.len() >= limits::CONSENT_PROVISIONS_MAX {
            return Err(PolicyError::new(path, Problem::TooMany(limits::CONSENT_PROVISIONS_MAX)));
        }
        let object = value.as_object().ok_or_else(|| PolicyError::new(path, Problem::Shape("an object")))?;
        let effect = effect_of(object, path, base)?;
        let provision = self.reader.provision(object, effect, path)?;
        let index = self.provisions.len();
        self.provisions.push(provision);
        if let Some(nested) = object.get("provision") {
            let nested_path = format!("{path}.provision");
            for (i, child) in criteria::items(nested, &nested_path)?.iter().enumerate() {
                let child = self.read(child, &format!("{nested_path}[{i}]"), depth + 1, None)?;
                if let Some(parent) = self.provisions.get_mut(index) {
                    parent.children.push(child);
                }
            }
        }
        Ok(index)
    }
}

fn effect_of(provision: &Object, path: &str, base: Option<Effect>) -> Result<Effect, PolicyError> {
    let path = format!("{path}.type");
    match (provision.get("type").map(Value::as_str), base) {
        (Some(Some("permit")), _) => Ok(Effect::Permit),
        (Some(Some("deny")), _) => Ok(Effect::Deny),
        (Some(_), _) => Err(PolicyError::new(&path, Problem::Code("permit or deny"))),
        (None, Some(base)) => Ok(base),
        (None, None) => Err(PolicyError::new(&path, Problem::Absent)),
    }
}
