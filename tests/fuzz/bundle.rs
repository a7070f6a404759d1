//! What holds of every bundle that the mapper makes, whatever the message: each entry has a name of its own, references stay
//! inside, nothing is empty, and the size follows from that of the message. It must never know what a table says.

use std::collections::HashSet;

use schemas::json::Value;

/// A byte of a message makes at most so many of a bundle: a repetition of one letter may become a practitioner, a participant
/// that refers to it, and the codes of both.
const BYTES_PER_BYTE: usize = 1_000;
/// What the shortest message makes.
const BYTES_BASE: usize = 64 << 10;

/// Largest bundle of one case, in bytes, of a message of so many.
pub const fn bytes_max(input_bytes: usize) -> usize {
    BYTES_PER_BYTE * input_bytes + BYTES_BASE
}

/// The bundle grows with its message, not faster.
pub fn bounded(bundle: &Value, input_bytes: usize) {
    let bytes = bundle.canonical().len();
    assert!(bytes <= bytes_max(input_bytes), "{bytes} bytes of a message of {input_bytes}");
}

/// Every entry is named once, every reference is to one of them, and nothing in them is empty.
pub fn whole(bundle: &Value) {
    let mut known = HashSet::new();
    for entry in bundle.list("entry") {
        let resource = entry.get("resource").expect("an entry holds a resource");
        let kind = resource.resource_type().expect("a resource has a type");
        let name = format!("{kind}/{}", resource.text("id").expect("a resource has an id"));
        assert_eq!(entry.text("fullUrl"), Some(name.as_str()), "an entry is named as its resource");
        assert!(known.insert(name), "two entries have one name, both a {kind}");
    }
    complete(bundle, "Bundle", &known);
}

fn complete(value: &Value, place: &str, known: &HashSet<String>) {
    match value {
        Value::Array(items) => {
            assert!(!items.is_empty(), "{place}: an empty list");
            items.iter().for_each(|item| complete(item, place, known));
        }
        Value::Object(object) => {
            assert!(!object.is_empty(), "{place}: an empty element");
            for (name, member) in object.iter() {
                let place = format!("{place}.{name}");
                if let Some(text) = member.as_str() {
                    assert!(!text.is_empty(), "{place}: an empty text");
                    assert!(name != "reference" || known.contains(text), "{place}: dangles");
                }
                complete(member, &place, known);
            }
        }
        Value::Null => panic!("{place}: a null"),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
