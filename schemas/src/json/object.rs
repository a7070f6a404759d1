//! Objects of the lossless tree. Most belong to one record; what stands in many alike (a code, an address, a unit) is written once
//! and shared by all, until one of them changes it. It must never change what another record holds.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use super::{Name, Text, Value, canonical};

/// An object: members in the order in which they came, each name once.
#[derive(Clone)]
pub struct Object(Members);

#[derive(Clone)]
enum Members {
    Own(Vec<(Text, Value)>),
    Shared(Arc<Shared>),
}

/// What several records hold, with its canonical bytes.
struct Shared {
    members: Vec<(Text, Value)>,
    canonical: Box<[u8]>,
}

impl Default for Object {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.members() == other.members()
    }
}
impl Eq for Object {}

/// Number of members only.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "object({})", self.len())
    }
}

impl Object {
    #[inline]
    pub(super) fn members(&self) -> &[(Text, Value)] {
        match &self.0 {
            Members::Own(members) => members,
            Members::Shared(shared) => &shared.members,
        }
    }

    /// The members to change: its own, copied when they were shared.
    #[inline]
    fn own(&mut self) -> &mut Vec<(Text, Value)> {
        if let Members::Shared(shared) = &self.0 {
            self.0 = Members::Own(shared.members.clone());
        }
        match &mut self.0 {
            Members::Own(members) => members,
            Members::Shared(_) => unreachable!("it was made its own above"),
        }
    }

    /// The canonical bytes, where they were written when it was shared.
    #[inline]
    pub(super) fn written(&self) -> Option<&[u8]> {
        match &self.0 {
            Members::Own(_) => None,
            Members::Shared(shared) => Some(&shared.canonical),
        }
    }

    /// How many canonical bytes a shared object has; `None` for one that is not shared.
    pub fn written_bytes(&self) -> Option<usize> {
        self.written().map(<[u8]>::len)
    }

    /// The same object in a form whose copies cost next to nothing: for what will stand in many records.
    #[must_use]
    pub fn shared(self) -> Self {
        if self.written().is_some() {
            return self;
        }
        let mut bytes = Vec::new();
        canonical::write_object(&self, &mut bytes);
        Self(match self.0 {
            Members::Own(members) => Members::Shared(Arc::new(Shared { members, canonical: bytes.into() })),
            shared => shared,
        })
    }

    /// Shares the objects that stand directly in it, and those in its lists.
    pub fn share_inner(&mut self) {
        for (_, value) in self.own() {
            match value {
                Value::Object(object) => *object = std::mem::take(object).shared(),
                Value::Array(items) => {
                    for object in items.iter_mut().filter_map(Value::as_object_mut) {
                        *object = std::mem::take(object).shared();
                    }
                }
                _ => {}
            }
        }
    }

    /// An empty object.
    #[inline]
    pub const fn new() -> Self {
        Self(Members::Own(Vec::new()))
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members().iter().map(|(k, v)| (k.as_str(), v))
    }

    /// The members in order, values mutable.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.own().iter_mut().map(|(k, v)| (k.as_str(), v))
    }

    /// An empty object with room for `members`.
    #[inline]
    pub fn with_capacity(members: usize) -> Self {
        Self(Members::Own(Vec::with_capacity(members)))
    }

    /// Number of members.
    #[inline]
    pub fn len(&self) -> usize {
        self.members().len()
    }

    /// Whether there is no member.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    /// The value of `name`.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members().iter().find(|(k, _)| *k == *name).map(|(_, v)| v)
    }

    /// The value of `name`, mutable.
    #[inline]
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        let at = self.members().iter().position(|(k, _)| *k == *name)?;
        self.own().get_mut(at).map(|(_, v)| v)
    }

    /// The value of a name that was known beforehand.
    #[inline]
    pub fn get_named(&self, name: &'static Name) -> Option<&Value> {
        self.members().iter().find(|(k, _)| k.is_named(name)).map(|(_, v)| v)
    }

    /// The value of a name that was known beforehand, created by `default` when absent.
    #[inline]
    pub fn entry_named(&mut self, name: &'static Name, default: impl FnOnce() -> Value) -> &mut Value {
        let at = self.members().iter().position(|(k, _)| k.is_named(name));
        self.at_or(at, name.into(), default)
    }

    /// Sets `name`, in place when it exists, at the end otherwise. Returns the old value.
    #[inline]
    pub fn insert(&mut self, name: impl Into<Text>, value: Value) -> Option<Value> {
        let name = name.into();
        if let Some(slot) = self.get_mut(&name) {
            return Some(std::mem::replace(slot, value));
        }
        self.own().push((name, value));
        None
    }

    /// Sets `name` as the first member (FHIR readers like `resourceType` in front). Returns the old value.
    pub fn insert_first(&mut self, name: impl Into<Text>, value: Value) -> Option<Value> {
        let name = name.into();
        let old = self.remove(&name);
        self.own().insert(0, (name, value));
        old
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.members().iter().position(|(k, _)| *k == *name)?;
        Some(self.own().remove(at).1)
    }

    /// The value of `name`, created by `default` when absent.
    #[inline]
    pub fn entry_or(&mut self, name: impl Into<Text>, default: impl FnOnce() -> Value) -> &mut Value {
        let name = name.into();
        let at = self.members().iter().position(|(k, _)| *k == name);
        self.at_or(at, name, default)
    }

    #[inline]
    fn at_or(&mut self, at: Option<usize>, name: Text, default: impl FnOnce() -> Value) -> &mut Value {
        let members = self.own();
        let at = at.unwrap_or_else(|| {
            members.push((name, default()));
            members.len() - 1
        });
        &mut members[at].1
    }

    /// Appends copies of another's members without looking for their names: only for builders that know they are new.
    pub fn push_all_new(&mut self, other: &Self) {
        self.own().extend_from_slice(other.members());
    }

    /// Appends without looking for the name: only for builders that know it is new.
    #[inline]
    pub fn push_new(&mut self, name: impl Into<Text>, value: Value) {
        self.own().push((name.into(), value));
    }
}

impl FromIterator<(Text, Value)> for Object {
    fn from_iter<I: IntoIterator<Item = (Text, Value)>>(members: I) -> Self {
        const SMALL: usize = 24;
        let members = members.into_iter();
        let mut object = Self::with_capacity(members.size_hint().0.min(64));
        // once there are many they are found by a map: a hostile list must not cost its square
        let mut places: HashMap<Text, usize> = HashMap::new();
        for (name, value) in members {
            if object.len() < SMALL {
                object.insert(name, value);
                continue;
            }
            if places.is_empty() {
                places.extend(object.members().iter().enumerate().map(|(at, (name, _))| (name.clone(), at)));
            }
            match places.entry(name) {
                Entry::Occupied(known) => object.own()[*known.get()].1 = value,
                Entry::Vacant(new) => {
                    let name = new.key().clone();
                    new.insert(object.len());
                    object.own().push((name, value));
                }
            }
        }
        object
    }
}
