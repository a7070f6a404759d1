//! What is known of a resource and an HL7 v2 message's word about it → the resource as it is now (HL7 v2.5.1 chapter 2 §2.5.3: a field
//! that is absent keeps its value, `""` deletes it, any other replaces it). Pure. It must never lose a security label.

use connectors_hl7v2::Cleared;
use schemas::json::{Object, Value};

/// Lists of which a message names members: one that is named replaces those of the same key, the others stay.
const KEYED: [(&str, &[&[&str]]); 6] = [
    ("identifier", &[&["system"], &["type", "coding", "code"]]),
    ("name", &[&["use"]]),
    ("telecom", &[&["system"], &["use"]]),
    ("address", &[&["use"], &["type"]]),
    ("participant", &[&["type", "coding", "code"]]),
    ("extension", &[&["url"]]),
];
/// Elements of which parts are replaced.
const NESTED: [&str; 2] = ["period", "hospitalization"];
/// Of these one of several types is there at most.
const CHOICES: [&str; 2] = ["deceased", "multipleBirth"];
/// What another message said about itself, and links that are another step's.
const OF_THE_MESSAGE: [&str; 6] = ["resourceType", "id", "meta", "text", "link", "implicitRules"];
/// States of a visit that is over: any other has no end.
const OVER: [&str; 3] = ["finished", "cancelled", "entered-in-error"];

/// Folds `said` onto `known`. `moves`: it is of an event that moves a visit on, such as an admission.
pub fn fold(known: &Value, said: Value, cleared: &[Cleared], moves: bool) -> Value {
    let (Some(known), Value::Object(mut said)) = (known.as_object(), said) else { return Value::Null };
    without_guesses(known, &mut said, moves);
    let mut kept = Object::new();
    let gone =
        |name: &str, value: &Value| OF_THE_MESSAGE.contains(&name) || is_replaced(name, &said) || refers_abroad(value);
    let staying: Vec<(&str, &Value)> = known.iter().filter(|(name, value)| !gone(name, value)).collect();
    for (name, value) in staying {
        let own: Vec<&Cleared> =
            cleared.iter().filter(|cleared| cleared.element == name.trim_start_matches('_')).collect();
        match (value, said.remove(name)) {
            (Value::Array(items), said) => {
                let new = match said {
                    Some(Value::Array(new)) => new,
                    _ => Vec::new(),
                };
                let all = list(name, items, new, |item| own.iter().any(|cleared| takes(cleared, item)));
                if !all.is_empty() {
                    kept.insert(name.to_owned(), Value::Array(all));
                }
            }
            (_, Some(said)) if NESTED.contains(&name) => drop(kept.insert(name.to_owned(), nested(value, said))),
            (_, Some(said)) => drop(kept.insert(name.to_owned(), said)),
            (value, None) if own.is_empty() => drop(kept.insert(name.to_owned(), value.clone())),
            (_, None) => {}
        }
    }
    let mut folded = said;
    let meta = labels(known, folded.remove("meta"));
    for (name, value) in kept.iter() {
        folded.insert(name.to_owned(), value.clone());
    }
    if let Some(meta) = meta {
        folded.insert("meta", meta);
    }
    end_of_visit(&mut folded);
    Value::Object(folded)
}

/// Status and class of a visit are required, and so the mapping guesses them where a message is silent: what is known is better. An
/// update of a visit that is over does not open it again.
fn without_guesses(known: &Object, said: &mut Object, moves: bool) {
    if said.get("resourceType").and_then(Value::as_str) != Some("Encounter") {
        return;
    }
    let status = said.get("status").and_then(Value::as_str).unwrap_or_default();
    if status == "unknown" || !(moves || OVER.contains(&status)) {
        keep(known, said, "status");
    }
    if said.get("class").and_then(|class| class.text("code")) == Some("UNK") {
        keep(known, said, "class");
    }
}

fn keep(known: &Object, said: &mut Object, name: &str) {
    if known.get(name).is_some() {
        said.remove(name);
    }
}

/// Whether what is said makes a known member void: another type of the same choice, a primitive's extension.
fn is_replaced(name: &str, said: &Object) -> bool {
    if let Some(primitive) = name.strip_prefix('_') {
        return said.get(primitive).is_some() && said.get(name).is_none();
    }
    let choice = CHOICES.iter().find(|choice| name.starts_with(**choice));
    choice.is_some_and(|choice| said.get(name).is_none() && said.iter().any(|(other, _)| other.starts_with(choice)))
}

/// Whether it refers to what another source calls by names of its own: their meaning stays with the case that they came in.
fn refers_abroad(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(refers_abroad),
        Value::Object(object) => object.iter().any(|(name, member)| match (name, member.as_str()) {
            ("reference", Some(to)) => !is_ours(to),
            _ => refers_abroad(member),
        }),
        _ => false,
    }
}

/// `Type/` and 32 hex digits: a logical id, as the mapping gives them.
fn is_ours(reference: &str) -> bool {
    let id = reference.split_once('/').map_or("", |(_, id)| id);
    id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A list: members that are named anew stand where those of their key stood.
fn list(name: &str, known: &[Value], mut said: Vec<Value>, taken: impl Fn(&Value) -> bool) -> Vec<Value> {
    let Some((_, paths)) = KEYED.iter().find(|(keyed, _)| *keyed == name) else {
        return if said.is_empty() { known.iter().filter(|item| !taken(item)).cloned().collect() } else { said };
    };
    let key =
        |item: &Value| paths.iter().map(|path| item.path(path).and_then(Value::as_str).map(str::to_owned)).collect();
    let named: Vec<Vec<Option<String>>> = said.iter().map(key).collect();
    let mut all = Vec::with_capacity(known.len() + said.len());
    for item in known {
        if !named.contains(&key(item)) {
            all.extend((!taken(item)).then(|| item.clone()));
            continue;
        }
        let (here, rest) = said.into_iter().partition(|new| key(new) == key(item));
        said = rest;
        all.extend::<Vec<Value>>(here);
    }
    all.extend(said);
    all
}

/// Whether a null takes a member of a list away.
fn takes(cleared: &Cleared, item: &Value) -> bool {
    let url = cleared.url.is_none_or(|url| item.text("url") == Some(url));
    url && cleared.only.iter().all(|(path, text)| item.path(path).and_then(Value::as_str) == Some(text))
}

fn nested(known: &Value, said: Value) -> Value {
    let (Some(known), Value::Object(mut said)) = (known.as_object(), said) else { return Value::Null };
    for (name, value) in known.iter().filter(|(_, value)| !refers_abroad(value)) {
        if said.get(name).is_none() {
            said.insert(name.to_owned(), value.clone());
        }
    }
    Value::Object(said)
}

/// What is said with the labels of what was known: what is kept of it is as confidential as before.
fn labels(known: &Object, said: Option<Value>) -> Option<Value> {
    let before = known.get("meta").map(|meta| meta.list("security")).unwrap_or_default();
    if before.is_empty() {
        return said;
    }
    let mut meta = match said {
        Some(Value::Object(meta)) => meta,
        _ => Object::new(),
    };
    let mut all = meta.get("security").and_then(Value::as_array).unwrap_or_default().to_vec();
    all.extend(before.iter().filter(|label| !all.contains(label)).cloned().collect::<Vec<_>>());
    meta.insert("security", Value::Array(all));
    Some(Value::Object(meta))
}

/// A discharge that was cancelled leaves no end behind.
fn end_of_visit(resource: &mut Object) {
    let over = resource.get("status").and_then(Value::as_str).is_some_and(|status| OVER.contains(&status));
    let ended = |resource: &Object| resource.get("period").is_some_and(|period| period.get("end").is_some());
    if resource.get("resourceType").and_then(Value::as_str) != Some("Encounter") || over || !ended(resource) {
        return;
    }
    if let Some(period) = resource.get_mut("period").and_then(Value::as_object_mut) {
        period.remove("end");
        if period.is_empty() {
            resource.remove("period");
        }
    }
}

#[cfg(test)]
mod tests;
