//! Targets: finding, taking and putting values in the object that is being built.

use std::sync::Arc;

use schemas::json::{Object, Value};

use crate::table::Step;

/// Whether the target already has a value: the row that came first wins.
pub(super) fn exists(object: &Object, target: &[Step]) -> bool {
    let Some((last, way)) = target.split_last() else { return false };
    let mut here = object;
    for step in way {
        match here.get(step.name) {
            Some(Value::Object(inner)) => here = inner,
            _ => return false,
        }
    }
    here.get(last.name).is_some()
}

/// Takes an object out to be filled further.
pub(super) fn take_object(object: &mut Object, target: &[Step]) -> Option<Object> {
    let (last, way) = target.split_last()?;
    let mut here = object;
    for step in way {
        here = here.get_mut(step.name)?.as_object_mut()?;
    }
    match here.get(last.name)? {
        Value::Object(_) => match here.remove(last.name)? {
            Value::Object(inner) => Some(inner),
            _ => None,
        },
        _ => None,
    }
}

/// Puts a value at a target, making what is missing on the way. An empty target is a scalar's result.
pub(super) fn put(object: &mut Object, target: &[Step], value: Value) -> bool {
    let Some((last, way)) = target.split_last() else {
        object.insert("$", value);
        return true;
    };
    let mut here = object;
    for step in way {
        let member = here.entry_or(step.name, || {
            if step.append { Value::Array(Vec::with_capacity(1)) } else { Object::new().into() }
        });
        let next = match member {
            Value::Array(items) => {
                let mut fresh = Object::new();
                if let Some(url) = step.extension {
                    fresh.insert("url", Value::from(url));
                }
                items.push(Value::Object(fresh));
                items.last_mut()
            }
            other => Some(other),
        };
        match next {
            Some(Value::Object(inner)) => here = inner,
            _ => return false,
        }
    }
    let mut value = value;
    if let (Some(url), Some(extension)) = (last.extension, value.as_object_mut()) {
        extension.insert_first("url", Value::from(url));
    }
    if last.append {
        return push(here, last.name, value);
    }
    here.insert(last.name, value);
    true
}

fn push(object: &mut Object, name: &'static str, value: Value) -> bool {
    match object.entry_or(name, || Value::Array(Vec::with_capacity(1))) {
        Value::Array(items) => {
            items.push(value);
            true
        }
        _ => false,
    }
}

/// A reference to a resource of the bundle.
pub(super) fn refer(to: Arc<str>) -> Value {
    Value::object([("reference", Value::String(to.into()))])
}
