//! One case: run its segments, lay the references, fill what is required, wrap it as a Bundle.

use std::cell::Cell;
use std::sync::Arc;

use schemas::json::{Object, Text, Value};

use super::clear::Clearing;
use super::rows::Cursor;
use super::target::{put, refer};
use super::{Ground, Instance, Made, Memo, Reading, Run};
use crate::bounds::{MAX_RESOURCES, MAX_ROWS_RUN};
use crate::error::MapError;
use crate::hash::{QuickMap, QuickSet};
use crate::structure::CaseSplit;
use crate::table::{Filling, Group, Link, MessageTable};
use crate::{Cleared, Explained, PatientIdentifier};

/// What comes out of one case: the bundle and who it is about.
pub struct Built {
    pub bundle: Value,
    pub patients: Vec<PatientIdentifier>,
    pub replaced: Vec<(String, Vec<PatientIdentifier>)>,
    pub cleared: Vec<Cleared>,
}

/// Between which instances a link is laid; room that is used again.
#[derive(Default)]
struct Ends {
    from: Vec<usize>,
    to: Vec<usize>,
}

/// Builds one case of a message.
pub fn build_case(
    ground: Ground<'_>,
    table: &MessageTable,
    split: &CaseSplit,
    case: usize,
    reading: &mut Reading,
    (memo, manner): (&mut Memo, usize),
    explained: &mut Vec<Explained>,
) -> Result<Built, MapError> {
    let mut run = Run {
        ground,
        reading,
        instances: Vec::with_capacity(32),
        filling: None,
        made: Vec::with_capacity(16),
        again: QuickMap::with_capacity_and_hasher(16, Default::default()),
        memo,
        manner,
        beyond: 0,
        asked: Cell::new(None),
        zoned: 0,
        taken: QuickSet::with_capacity_and_hasher(64, Default::default()),
        ordinals: QuickMap::default(),
        cleared: Vec::new(),
        explained,
        trail: Vec::new(),
        scratch: String::new(),
        depth: 0,
        left: MAX_ROWS_RUN,
        defaults: false,
    };
    let foreign = |frame: usize| !split.holds(case, frame);
    for (index, placed) in ground.placed.segments.iter().enumerate() {
        let Some((frame, item)) = placed else { continue };
        if foreign(*frame) {
            continue;
        }
        for filling in &item.targets {
            run.fill(filling, *frame, index);
        }
        if run.instances.len() + run.made.len() > MAX_RESOURCES {
            let path = ground.message.segments[index].name().to_owned();
            let offset = ground.message.input_offset(ground.message.segments[index].span.start as usize);
            let text = format!("the case needs more than {MAX_RESOURCES} resources");
            return Err(MapError::new("too-many-resources", path, offset, text));
        }
    }
    run.lay_links(table, &foreign);
    run.fill_required();
    if run.left == 0 {
        let text = format!("the tables run more than {MAX_ROWS_RUN} rows: one runs itself over and over");
        return Err(MapError::new("too-many-rows", "MSH", ground.message.input_offset(0), text));
    }
    Ok(run.wrap())
}

impl Run<'_> {
    /// Runs one section of a segment's table on the resource it makes or fills.
    fn fill(&mut self, filling: &Filling, frame: usize, segment: usize) {
        let ground = self.ground;
        if let Some((others, with)) = &filling.only_with
            && others.iter().any(|other| ground.placed.below(ground.message, frame, *other)) != *with
        {
            return;
        }
        let known = if filling.makes {
            self.instances.iter().rposition(|i| i.frame == frame && same(i.resource, filling.resource))
        } else {
            self.any_in_reach(frame, filling.resource)
        };
        let index = match known {
            Some(index) => index,
            None if filling.makes => {
                let resource = filling.resource;
                let object = resource_of(resource);
                self.instances.push(Instance {
                    resource,
                    object,
                    frame,
                    live: false,
                    unexplained: Vec::new(),
                    reference: None,
                });
                self.instances.len() - 1
            }
            None => return,
        };
        if ground.options.explain {
            self.trail.push(filling.resource.to_owned());
        }
        let mut object = std::mem::take(&mut self.instances[index].object);
        let cursor = &Cursor { segment, frame, piece: None, parts: None, caller: None };
        self.filling = Some(index);
        let explained = self.explained.len();
        let live = self.rows(filling.program, &mut object, cursor);
        self.filling = None;
        let instance = &mut self.instances[index];
        instance.object = object;
        instance.live |= live;
        if instance.live {
            self.explained.append(&mut instance.unexplained);
        } else {
            instance.unexplained.extend(self.explained.drain(explained..));
        }
        self.clear(filling.program, index, segment);
        self.trail.clear();
    }

    /// The nearest live resource of a type, but for the one that is being filled: in the frame, then outwards.
    pub(super) fn in_reach(&self, frame: usize, resource: &'static str) -> Option<usize> {
        let other = |index: usize| self.instances[index].live && self.filling != Some(index);
        self.reach(frame, |index, i| same(i.resource, resource) && other(index))
    }

    fn any_in_reach(&self, frame: usize, resource: &'static str) -> Option<usize> {
        self.reach(frame, |_, i| same(i.resource, resource))
    }

    fn reach(&self, mut frame: usize, wanted: impl Fn(usize, &Instance) -> bool) -> Option<usize> {
        loop {
            let here = self.instances.iter().enumerate().rposition(|(at, i)| i.frame == frame && wanted(at, i));
            if here.is_some() {
                return here;
            }
            frame = self.ground.placed.frames[frame].parent?;
        }
    }

    /// Lays the links of every instance of every group, inner groups first as they stand in the message.
    fn lay_links(&mut self, table: &MessageTable, foreign: &dyn Fn(usize) -> bool) {
        let mut by_frame: Vec<(usize, usize)> =
            self.instances.iter().enumerate().filter(|(_, i)| i.live).map(|(at, i)| (i.frame, at)).collect();
        by_frame.sort_unstable();
        let mut ends = Ends::default();
        let frames = &self.ground.placed.frames;
        for (at, frame) in frames.iter().enumerate() {
            let Some(group) = frame.group.filter(|_| !foreign(at)) else { continue };
            let Group { links, .. } = &table.groups[group];
            if links.is_empty() {
                continue;
            }
            let from = by_frame.partition_point(|(f, _)| *f < at);
            let to = by_frame.partition_point(|(f, _)| *f < frame.end);
            for link in links {
                self.lay_link(link, at, &by_frame[from..to], &mut ends);
            }
        }
    }

    fn lay_link(&mut self, link: &Link, frame: usize, inside: &[(usize, usize)], ends: &mut Ends) {
        let of = |run: &Self, resource: &'static str, into: &mut Vec<usize>| {
            into.clear();
            into.extend(inside.iter().map(|(_, i)| *i).filter(|i| same(run.instances[*i].resource, resource)));
        };
        of(self, link.from, &mut ends.from);
        if ends.from.is_empty() {
            return;
        }
        of(self, link.to, &mut ends.to);
        if ends.to.is_empty() {
            ends.to.extend(self.in_reach(frame, link.to));
        }
        let many = link.target.iter().any(|step| step.append);
        for to in ends.to.iter().copied().take(if many { usize::MAX } else { 1 }) {
            let reference = self.reference_of(to);
            for index in &ends.from {
                let object = &mut self.instances[*index].object;
                if many || link.target.first().is_none_or(|step| object.get_named(step.name).is_none()) {
                    put(object, &link.target, refer(Arc::clone(&reference)));
                    self.explain_link(link);
                }
            }
        }
    }

    /// Rows of `require`: what FHIR demands and the message did not give.
    fn fill_required(&mut self) {
        self.defaults = true;
        for index in 0..self.instances.len() {
            let Instance { resource, live, frame, .. } = self.instances[index];
            if live {
                let mut object = std::mem::take(&mut self.instances[index].object);
                self.require(resource, frame, &mut object);
                self.instances[index].object = object;
            }
        }
        let mut made = std::mem::take(&mut self.made);
        for Made { resource, object, frame, .. } in &mut made {
            self.require(resource, *frame, object);
        }
        self.made.append(&mut made);
        self.defaults = false;
    }

    fn require(&mut self, resource: &str, frame: usize, object: &mut Object) {
        if let Some(program) = self.ground.tables.resources.get(resource).and_then(|t| t.defaults) {
            let cursor = &Cursor { segment: usize::MAX, frame, piece: None, parts: None, caller: None };
            if self.ground.options.explain {
                self.trail.push(resource.to_owned());
            }
            self.rows(program, object, cursor);
            self.trail.clear();
        }
    }

    /// Ids in, empty resources out, everything into one Bundle.
    fn wrap(mut self) -> Built {
        let mut bundle = Object::new();
        let mut entries: Vec<Value> = Vec::with_capacity(self.instances.len() + self.made.len());
        let mut patients: Vec<PatientIdentifier> = Vec::new();
        let mut replaced = Vec::new();
        let mut about: Option<Arc<str>> = None;
        for index in 0..self.instances.len() {
            if !self.instances[index].live {
                continue;
            }
            if self.instances[index].resource == "Bundle" {
                bundle = std::mem::take(&mut self.instances[index].object);
                bundle.remove("id");
                continue;
            }
            let reference = self.reference_of(index);
            let patient = self.instances[index].resource == "Patient";
            if patient && **about.get_or_insert_with(|| Arc::clone(&reference)) == *reference {
                let known = self.identifiers(index).into_iter().filter(|i| !patients.contains(i)).collect::<Vec<_>>();
                patients.extend(known);
            } else if patient && is_replaced(&self.instances[index].object) {
                replaced.push((reference.to_string(), self.identifiers(index)));
            }
            let mut object = std::mem::take(&mut self.instances[index].object);
            object.insert("id", id_of(self.instances[index].resource, &reference));
            let mut named = entries.iter_mut().filter(|e| e.text("fullUrl") == Some(&*reference));
            match if patient { named.next() } else { None } {
                Some(twin) => add_missing(twin, object),
                None => entries.push(entry(reference, object)),
            }
        }
        entries.extend(std::mem::take(&mut self.made).into_iter().map(|made| entry(made.reference, made.object)));
        let cleared = std::mem::take(&mut self.cleared).into_iter().filter(|c| self.instances[c.instance].live);
        let cleared = cleared.filter_map(|Clearing { instance, element, url, only }| {
            let resource = self.instances[instance].reference.as_deref()?.to_owned();
            Some(Cleared { resource, element, url, only })
        });
        let cleared = cleared.collect();
        bundle.insert("resourceType", Value::from("Bundle"));
        bundle.entry_or("type", || Value::from("collection"));
        bundle.insert("entry", Value::Array(entries));
        Built { bundle: Value::Object(bundle), patients, replaced, cleared }
    }
}

/// Whether a Patient says that another one has taken its place.
fn is_replaced(patient: &Object) -> bool {
    let links = patient.get("link").and_then(Value::as_array).unwrap_or_default();
    links.iter().any(|link| link.text("type") == Some("replaced-by"))
}

fn entry(reference: Arc<str>, object: Object) -> Value {
    let mut entry = Object::with_capacity(2);
    entry.push_new("fullUrl", Value::String(reference.into()));
    entry.push_new("resource", Value::Object(object));
    Value::Object(entry)
}

/// A resource as it begins, its id still open.
pub(super) fn resource_of(resource: &'static str) -> Object {
    let mut object = Object::with_capacity(12);
    object.push_new("resourceType", Value::from(resource));
    object.push_new("id", Value::Null);
    object
}

/// The id in a reference to a resource.
pub(super) fn id_of(resource: &str, reference: &str) -> Value {
    Value::String(Text::of(reference.get(resource.len() + 1..).unwrap_or_default()))
}

/// The same patient a second time in one case: what the first time did not say is added.
fn add_missing(entry: &mut Value, mut twin: Object) {
    let resource = entry.as_object_mut().and_then(|e| e.get_mut("resource")).and_then(Value::as_object_mut);
    let Some(resource) = resource else { return };
    let names: Vec<String> = twin.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names.into_iter().filter(|name| resource.get(name).is_none()).collect::<Vec<_>>() {
        if let Some(value) = twin.remove(&name) {
            resource.insert(name, value);
        }
    }
}

/// Names of resource types are interned: the same name is the same text.
fn same(a: &'static str, b: &'static str) -> bool {
    a.as_ptr() == b.as_ptr() && a.len() == b.len()
}
