//! Targets: finding, taking and putting values in the object that is being built.

use std::sync::Arc;

use schemas::json::{Name, Object, Value};

use crate::table::Step;

/// Whether the target already has a value: the row that came first wins.
#[inline]
pub(super) fn exists(object: &Object, target: &[Step]) -> bool {
    let Some((last, way)) = target.split_last() else { return false };
    let mut here = object;
    for step in way {
        match here.get_named(step.name) {
            Some(Value::Object(inner)) => here = inner,
            _ => return false,
        }
    }
    here.get_named(last.name).is_some()
}

/// Takes an object out to be filled further.
pub(super) fn take_object(object: &mut Object, target: &[Step]) -> Option<Object> {
    let (last, way) = target.split_last()?;
    let mut here = object;
    for step in way {
        here = here.get_mut(step.name.as_str())?.as_object_mut()?;
    }
    match here.get_named(last.name)? {
        Value::Object(_) => match here.remove(last.name.as_str())? {
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
    let Some(here) = reach(object, way) else { return false };
    let value = extended(last, value);
    if last.append {
        return push(here, last.name, value);
    }
    here.insert(last.name, value);
    true
}

/// The same where the target is known to have no value yet: it is not looked for.
pub(super) fn put_first(object: &mut Object, target: &[Step], value: Value) -> bool {
    let Some((last, way)) = target.split_last() else { return put(object, target, value) };
    let Some(here) = reach(object, way) else { return false };
    here.push_new(last.name, extended(last, value));
    true
}

/// The object that a target's last step is in.
#[inline]
fn reach<'o>(object: &'o mut Object, way: &[Step]) -> Option<&'o mut Object> {
    // most targets are members of the object itself
    if way.is_empty() { Some(object) } else { walk(object, way) }
}

fn walk<'o>(object: &'o mut Object, way: &[Step]) -> Option<&'o mut Object> {
    let mut here = object;
    for step in way {
        let member = here.entry_named(step.name, || {
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
        here = next?.as_object_mut()?;
    }
    Some(here)
}

/// An extension begins with its url.
#[inline]
fn extended(step: &Step, mut value: Value) -> Value {
    if let Some(url) = step.extension
        && let Some(extension) = value.as_object_mut()
    {
        extension.insert_first("url", Value::from(url));
    }
    value
}

fn push(object: &mut Object, name: &'static Name, value: Value) -> bool {
    match object.entry_named(name, || Value::Array(Vec::with_capacity(1))) {
        Value::Array(items) => {
            items.push(value);
            true
        }
        _ => false,
    }
}

/// A reference to a resource of the bundle.
pub(super) fn refer(to: Arc<str>) -> Value {
    let mut object = Object::with_capacity(1);
    object.push_new("reference", Value::String(to.into()));
    Value::Object(object)
}
