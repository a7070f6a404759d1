//! The facts as compact JSON: one object, short names, empty lists left out. Written and read only here; it lives inside
//! an encrypted summary.

use schemas::json::{Number, Object, Value};

use super::UnitFacts;
use crate::coding::Coding;
use crate::reference::Reference;
use crate::time::Span;

pub(super) fn write(facts: &UnitFacts) -> Value {
    let mut out = Object::new();
    out.insert("t", Value::string(facts.resource_type.to_string()));
    let lists = [
        ("k", &facts.classes),
        ("c", &facts.codes),
        ("g", &facts.categories),
        ("o", &facts.other_codes),
        ("l", &facts.labels),
    ];
    for (name, list) in lists {
        put(&mut out, name, list.iter().map(|c| pair(&c.system, &c.code)).collect());
    }
    if let Some(date) = facts.date {
        out.insert("d", Value::Array(vec![number(date.first_ms), number(date.last_ms)]));
    }
    for (name, list) in [("i", &facts.identity), ("r", &facts.references), ("a", &facts.authors)] {
        put(&mut out, name, list.iter().map(write_reference).collect());
    }
    for (name, flag) in flags(facts) {
        if flag {
            out.insert(name, Value::Bool(true));
        }
    }
    put(&mut out, "n", facts.inner.iter().map(write).collect());
    Value::Object(out)
}

pub(super) fn read(stored: &Value) -> Option<UnitFacts> {
    let object = stored.as_object()?;
    let known = ["t", "k", "c", "g", "o", "l", "d", "i", "r", "a", "fd", "fu", "fr", "fi", "n"];
    if object.iter().any(|(name, _)| !known.contains(&name)) {
        return None;
    }
    let flag = |name| object.get(name).map_or(Some(false), Value::as_bool);
    Some(UnitFacts {
        resource_type: stored.text("t")?.into(),
        classes: list(object, "k", read_coding)?,
        is_document: flag("fd")?,
        codes: list(object, "c", read_coding)?,
        uncoded: flag("fu")?,
        categories: list(object, "g", read_coding)?,
        other_codes: list(object, "o", read_coding)?,
        labels: list(object, "l", read_coding)?,
        date: match object.get("d") {
            None => None,
            Some(date) => Some(read_span(date)?),
        },
        identity: list(object, "i", read_reference)?,
        references: list(object, "r", read_reference)?,
        authors: list(object, "a", read_reference)?,
        unresolved: flag("fr")?,
        incomplete: flag("fi")?,
        inner: list(object, "n", read)?,
    })
}

const fn flags(facts: &UnitFacts) -> [(&'static str, bool); 4] {
    [("fd", facts.is_document), ("fu", facts.uncoded), ("fr", facts.unresolved), ("fi", facts.incomplete)]
}

fn put(out: &mut Object, name: &'static str, items: Vec<Value>) {
    if !items.is_empty() {
        out.insert(name, Value::Array(items));
    }
}

fn pair(a: &str, b: &str) -> Value {
    Value::Array(vec![Value::string(a.to_owned()), Value::string(b.to_owned())])
}

fn number(value: i64) -> Value {
    Number::from_token(&value.to_string()).map_or(Value::Null, Value::Number)
}

fn list<T>(object: &Object, name: &str, read: fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    object.get(name).map_or(Some(Vec::new()), |v| v.as_array()?.iter().map(read).collect())
}

fn read_coding(value: &Value) -> Option<Coding> {
    let [system, code] = value.as_array()? else { return None };
    Some(Coding::new(system.as_str()?, code.as_str()?))
}

fn read_span(value: &Value) -> Option<Span> {
    let [first, last] = value.as_array()? else { return None };
    let ms = |v: &Value| if let Value::Number(n) = v { n.as_str().parse().ok() } else { None };
    Some(Span { first_ms: ms(first)?, last_ms: ms(last)? })
}

fn write_reference(reference: &Reference) -> Value {
    match reference {
        Reference::Resource { base: None, kind, id } => pair(kind, id),
        Reference::Resource { base: Some(base), kind, id } => {
            Value::Array([base, kind, id].map(|part| Value::string(part.to_string())).into())
        }
        Reference::Identifier { system, value } => {
            Value::object([("s", Value::string(system.to_string())), ("v", Value::string(value.to_string()))])
        }
        Reference::Uri(uri) => Value::string(uri.to_string()),
    }
}

fn read_reference(value: &Value) -> Option<Reference> {
    match value {
        Value::String(uri) => Some(Reference::Uri(uri.as_ref().into())),
        Value::Object(_) => {
            Some(Reference::Identifier { system: value.text("s")?.into(), value: value.text("v")?.into() })
        }
        Value::Array(parts) => {
            let text = |i: usize| parts.get(i).and_then(Value::as_str);
            match parts.len() {
                2 => Some(Reference::local(text(0)?, text(1)?)),
                3 => Some(Reference::Resource {
                    base: Some(text(0)?.into()),
                    kind: text(1)?.into(),
                    id: text(2)?.into(),
                }),
                _ => None,
            }
        }
        _ => None,
    }
}
