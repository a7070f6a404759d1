//! Identity: the key of a resource, and by it its `Type/id`. The caller turns keys into ids; nothing here is random.

use std::borrow::Cow;
use std::sync::Arc;

use schemas::json::Value;

use super::{Ground, Run};
use crate::PatientIdentifier;

/// Keys of up to this many parts are handed over without an allocation.
const FEW: usize = 8;

/// Identifier types that name a patient in the institution, best first.
const PREFERRED: [&str; 5] = ["MR", "PI", "PT", "PE", "AN"];

impl<'r> Run<'r> {
    /// `Type/id` of a declared resource; made on first use.
    pub(super) fn reference_of(&mut self, index: usize) -> Arc<str> {
        if let Some(known) = &self.instances[index].reference {
            return Arc::clone(known);
        }
        let resource = self.instances[index].resource;
        let key = if resource == "Patient" { self.patient_key(index) } else { self.table_key(index) };
        // what has no key of its own is told apart by message and order, and so is a key that comes twice
        let own = key.is_some();
        let mut key = key.unwrap_or_else(|| self.ground.source.iter().map(|part| (*part).into()).collect());
        let mut reference = self.named(resource, &key);
        let twin = own && resource == "Patient"; // two PIDs of one case: one patient
        if !own || (!twin && self.taken.contains(&reference)) {
            let first = Arc::clone(&reference);
            while reference == first || self.taken.contains(&reference) {
                let nth = self.ordinals.entry(Arc::clone(&first)).and_modify(|n| *n += 1).or_insert(1);
                key.push(nth.to_string().into());
                reference = self.named(resource, &key);
                key.pop();
            }
        }
        self.taken.insert(Arc::clone(&reference));
        self.instances[index].reference = Some(Arc::clone(&reference));
        reference
    }

    /// The caller's id for a key, as `Type/id`.
    pub(super) fn named(&mut self, resource: &'static str, key: &[Cow<'_, str>]) -> Arc<str> {
        let ids = self.ground.options.ids;
        let mut few = [""; FEW];
        let id = match few.get_mut(..key.len()) {
            Some(parts) => {
                parts.iter_mut().zip(key).for_each(|(part, text)| *part = text);
                ids(resource, parts)
            }
            None => ids(resource, &key.iter().map(AsRef::as_ref).collect::<Vec<_>>()),
        };
        self.scratch.clear();
        for part in [resource, "/", &id] {
            self.scratch.push_str(part);
        }
        self.scratch.as_str().into()
    }

    /// The first key of the resource's table of which every field is valued.
    fn table_key(&self, index: usize) -> Option<Vec<Cow<'r, str>>> {
        let instance = &self.instances[index];
        let table = self.ground.tables.resources.get(instance.resource)?;
        let Ground { message, placed, .. } = self.ground;
        // most alternatives fail on a field that is not there: look before anything is read
        let there = |segment, field| {
            let at = placed.nearest(message, instance.frame, segment);
            at.and_then(|at| message.field(at, field)).is_some_and(|span| !span.is_empty())
        };
        let mut keys =
            table.keys.iter().filter(|key| key.iter().rev().all(|(segment, field, _)| there(*segment, *field)));
        keys.find_map(|key| {
            key.iter()
                .map(|(segment, field, path)| {
                    let segment = placed.nearest(message, instance.frame, *segment)?;
                    let piece = message.repetitions(message.field(segment, *field)?).next()?;
                    let piece = if path.component > 0 { message.part(piece, path.component)? } else { piece };
                    let text = message.whole(piece).filter(|_| message.is_valued(piece.span))?;
                    Some(trimmed(text))
                })
                .collect()
        })
    }

    fn patient_key(&self, index: usize) -> Option<Vec<Cow<'r, str>>> {
        let identifiers = self.identifiers(index);
        let best = PREFERRED
            .iter()
            .find_map(|kind| identifiers.iter().find(|i| i.type_code == *kind))
            .or_else(|| identifiers.first())?;
        let mut key: Vec<Cow<'r, str>> =
            [&best.authority, &best.value, &best.type_code].map(|part| Cow::Owned(part.clone())).into();
        if !best.is_system {
            key.push(self.ground.source[1].into());
        }
        Some(key)
    }

    /// The identifiers of a Patient as it stands.
    pub(super) fn identifiers(&self, index: usize) -> Vec<PatientIdentifier> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(identifiers) = self.instances[index].object.get("identifier").and_then(Value::as_array) else {
            return Vec::new();
        };
        identifiers
            .iter()
            .filter_map(|identifier| {
                let value = text(identifier.get("value"));
                let system = identifier.get("system");
                let authority = text(system.or_else(|| identifier.path(&["assigner", "display"])));
                let type_code = text(identifier.path(&["type", "coding", "code"]));
                let is_system = system.is_some();
                (!value.is_empty()).then_some(PatientIdentifier { authority, is_system, value, type_code })
            })
            .collect()
    }
}

fn trimmed(text: Cow<'_, str>) -> Cow<'_, str> {
    let graphic = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    if graphic(text.as_bytes().first()) && graphic(text.as_bytes().last()) {
        return text;
    }
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    }
}
