//! The typed view of FHIR: is this resource of a type of R4, with the elements and value types that the type has? The only
//! crate that names fhir-sdk's models, and it only reads them: what they serialise is never stored, hashed or served, for
//! it is not what was sent (decimals and offsets change). One non-generic function, so that the models are compiled once.

use std::collections::BTreeMap;

use fhir_sdk::r4b::resources::Resource;

/// Largest resource whose problem is looked for by taking elements away, in bytes; beyond, the place is its type alone.
const SEARCH_BYTES_MAX: usize = 128 << 10;
/// Most trials of that search.
const TRIALS_MAX: usize = 400;

/// Most elements of one resource of which only the reason for their absence is there.
const STAND_INS_MAX: usize = 32;

/// Types of R4 that R4B, which the models describe, no longer has or changed: known by name, not by element.
const NAMES_ONLY: [&str; 20] = [
    "EffectEvidenceSynthesis",
    "Evidence",
    "EvidenceVariable",
    "MedicinalProduct",
    "MedicinalProductAuthorization",
    "MedicinalProductContraindication",
    "MedicinalProductIndication",
    "MedicinalProductIngredient",
    "MedicinalProductInteraction",
    "MedicinalProductManufactured",
    "MedicinalProductPackaged",
    "MedicinalProductPharmaceutical",
    "MedicinalProductUndesirableEffect",
    "RiskEvidenceSynthesis",
    "SubstanceNucleicAcid",
    "SubstancePolymer",
    "SubstanceProtein",
    "SubstanceReferenceInformation",
    "SubstanceSourceMaterial",
    "SubstanceSpecification",
];
/// Types that R4B has and R4 has not.
const NOT_R4: [&str; 13] = [
    "AdministrableProductDefinition",
    "Citation",
    "ClinicalUseDefinition",
    "EvidenceReport",
    "Ingredient",
    "ManufacturedItemDefinition",
    "MedicinalProductDefinition",
    "NutritionProduct",
    "PackagedProductDefinition",
    "RegulatedAuthorization",
    "SubscriptionStatus",
    "SubscriptionTopic",
    "SubstanceDefinition",
];

/// A resource that is not of its type. Path within the resource, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}{}", if path.is_empty() { String::new() } else { format!(" at {path}") })]
pub struct FhirProblem {
    /// `unknown-resource-type`, `missing-element` or `bad-element`.
    pub code: &'static str,
    /// Element, as `component[2].valueQuantity`; empty for the resource itself.
    pub path: String,
}

/// Checks canonical bytes of one resource against its R4 type.
///
/// # Errors
/// `FhirProblem` with the element.
pub fn check(resource_type: &str, bytes: &[u8]) -> Result<(), FhirProblem> {
    if NAMES_ONLY.contains(&resource_type) {
        return Ok(());
    }
    let unknown = || FhirProblem { code: "unknown-resource-type", path: "resourceType".into() };
    if NOT_R4.contains(&resource_type) {
        return Err(unknown());
    }
    let Some(message) = read(bytes) else { return Ok(()) };
    if message.starts_with("unknown variant") && message.contains("`AllergyIntolerance`") {
        return Err(unknown());
    }
    let missing = missing_field(&message);
    let code = if missing.is_some() { "missing-element" } else { "bad-element" };
    if bytes.len() > SEARCH_BYTES_MAX {
        return Err(FhirProblem { code, path: String::new() });
    }
    let mut path = String::new();
    let mut missing = missing;
    if let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(bytes) {
        if missing.is_some() {
            explain_absence(&mut value);
            match read(&serde_json::to_vec(&value).unwrap_or_default()) {
                None => return Ok(()),
                Some(message) => missing = missing_field(&message),
            }
        }
        let mut trials = TRIALS_MAX;
        locate(&value, &mut trials, &mut path);
    }
    if let Some(field) = missing {
        path = if path.is_empty() { field } else { format!("{path}.{field}") };
    }
    Err(FhirProblem { code, path })
}

/// Reads the typed view; the reader's message when it cannot. The message may hold a value and never leaves this crate.
fn read(bytes: &[u8]) -> Option<String> {
    serde_json::from_slice::<Resource>(bytes).err().map(|e| e.to_string())
}

/// The element that the reader missed: a name of its own, not of the input.
fn missing_field(message: &str) -> Option<String> {
    let name = message.split("missing field `").nth(1)?.split('`').next()?;
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then(|| name.to_owned())
}

/// Puts a value for the reader where FHIR allows that there is none: an element that only its extension (`_status`, with a reason why
/// it is absent) stands for. The models want one. Elements of one name get the same value at once: while one of them is still missed,
/// nobody can tell whether the other's value is taken.
fn explain_absence(root: &mut serde_json::Value) {
    let mut places = Vec::new();
    absent(root, &mut String::new(), &mut places);
    let mut of_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (pointer, name) in places.into_iter().take(STAND_INS_MAX) {
        of_name.entry(name).or_default().push(pointer);
    }
    for (name, pointers) in of_name {
        let texts = ["unknown", "urn:x:unknown", "2000-01-01", "2000-01-01T00:00:00Z"].map(serde_json::Value::from);
        let others = [true.into(), 0.into()];
        let mut left: Vec<serde_json::Value> = texts.into_iter().chain(others).rev().collect();
        while let Some(value) = left.pop() {
            for pointer in &pointers {
                if let Some(object) = root.pointer_mut(pointer).and_then(serde_json::Value::as_object_mut) {
                    object.insert(name.clone(), value.clone());
                }
            }
            match read(&serde_json::to_vec(root).unwrap_or_default()) {
                None => break,
                Some(message) if missing_field(&message).is_some_and(|missed| missed != name) => break,
                // a code of a closed set: the first of the set
                Some(message) => left.extend(message.split("expected one of `").nth(1).and_then(|set| {
                    let first = set.split('`').next()?;
                    left.is_empty().then(|| first.into())
                })),
            }
        }
    }
}

/// Where there is `_name` and no `name`.
fn absent(value: &serde_json::Value, pointer: &mut String, into: &mut Vec<(String, String)>) {
    let length = pointer.len();
    match value {
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                match name.strip_prefix('_') {
                    Some(plain) if member.is_object() && !members.contains_key(plain) => {
                        into.push((pointer.clone(), plain.to_owned()));
                    }
                    _ => {
                        pointer.push('/');
                        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                        absent(member, pointer, into);
                        pointer.truncate(length);
                    }
                }
            }
        }
        serde_json::Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                pointer.push_str(&format!("/{at}"));
                absent(item, pointer, into);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

/// Follows the element without which the resource would be accepted, as deep as it goes.
fn locate(root: &serde_json::Value, trials: &mut usize, path: &mut String) {
    let mut pointer = String::new();
    while let Some(next) = step(root, &pointer, trials) {
        match next {
            Step::Member(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&name);
                pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
            }
            Step::Item(at) => {
                path.push_str(&format!("[{at}]"));
                pointer = format!("{pointer}/{at}");
            }
        }
    }
}

enum Step {
    Member(String),
    Item(usize),
}

fn step(root: &serde_json::Value, pointer: &str, trials: &mut usize) -> Option<Step> {
    // gone is the problem when the rest is accepted, or when all that is missed is what was taken away
    let mut without = |taken: &str, change: &dyn Fn(&mut serde_json::Value)| {
        if *trials == 0 {
            return false;
        }
        *trials -= 1;
        let mut candidate = root.clone();
        if let Some(place) = candidate.pointer_mut(pointer) {
            change(place);
        }
        match read(&serde_json::to_vec(&candidate).unwrap_or_default()) {
            None => true,
            Some(message) => missing_field(&message).is_some_and(|missed| missed == taken),
        }
    };
    match root.pointer(pointer)? {
        serde_json::Value::Object(members) => {
            let mut names = members.keys().filter(|name| *name != "resourceType" && is_element(name));
            let name = names.find(|name| {
                without(name, &|place| {
                    place.as_object_mut().map(|object| object.remove(name.as_str()));
                })
            })?;
            Some(Step::Member(name.clone()))
        }
        serde_json::Value::Array(items) => (0..items.len())
            .find(|at| {
                without("", &|place| {
                    place.as_array_mut().map(|list| list.remove(*at));
                })
            })
            .map(Step::Item),
        _ => None,
    }
}

/// A name that may be shown: shaped like a FHIR element's.
fn is_element(name: &str) -> bool {
    let name = name.strip_prefix('_').unwrap_or(name);
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric())
}
