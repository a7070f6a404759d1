//! Lossless JSON: the tree in which every record travels from receive to disclose.
//!
//! Objects keep their order, numbers keep their digits, duplicate keys are refused, and the canonical form
//! (`canonical.rs`) is what is hashed and sealed. It must never turn a number into a float, never drop a member,
//! and never put a value into an error.

mod canonical;
mod name;
mod number;
mod object;
mod parse;
mod text;

use std::fmt;

pub use name::Name;
pub use number::Number;
pub use object::Object;
pub use parse::{JsonError, JsonErrorKind, parse};
pub use text::Text;

/// One JSON value.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// `null`. FHIR allows it only inside arrays of primitives with extensions.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number with the digits of its source.
    Number(Number),
    /// A string, unescaped.
    String(Text),
    /// An array.
    Array(Vec<Value>),
    /// An object in the order of its source.
    Object(Object),
}

impl Value {
    /// A string value.
    pub fn string(text: impl Into<Text>) -> Self {
        Self::String(text.into())
    }

    /// An object from members.
    #[inline]
    pub fn object(members: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    /// Member `name` when this is an object that has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_object()?.get(name)
    }

    /// Follows `names` through objects; into the first element where an array stands.
    pub fn path(&self, names: &[&str]) -> Option<&Value> {
        names.iter().try_fold(self, |value, name| match value {
            Self::Array(items) => items.first()?.get(name),
            other => other.get(name),
        })
    }

    /// The text when this is a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The truth value when this is one.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The items when this is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The object when this is one.
    #[inline]
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The object when this is one, mutable.
    #[inline]
    pub fn as_object_mut(&mut self) -> Option<&mut Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The items of an array member, or nothing: for reading FHIR lists.
    pub fn list(&self, name: &str) -> &[Value] {
        self.get(name).and_then(Value::as_array).unwrap_or_default()
    }

    /// The text of a string member.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }

    /// `resourceType`, when this is a FHIR resource.
    pub fn resource_type(&self) -> Option<&str> {
        self.text("resourceType")
    }

    /// Canonical bytes: RFC 8785 member order and string rules, numbers as written.
    pub fn canonical(&self) -> Vec<u8> {
        // one resource, or a Bundle of them; it grows when they are large
        let mut out = Vec::with_capacity(512 + 768 * self.list("entry").len());
        canonical::write(self, &mut out);
        out
    }

    /// Bytes in the order of the source, no white space: for answers to clients.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        canonical::write_in_order(self, &mut out);
        out
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Number(value.into())
    }
}
impl From<&'static str> for Value {
    #[inline]
    fn from(value: &'static str) -> Self {
        Self::String(value.into())
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value.into())
    }
}
impl From<Text> for Value {
    fn from(value: Text) -> Self {
        Self::String(value)
    }
}
impl From<Object> for Value {
    #[inline]
    fn from(value: Object) -> Self {
        Self::Object(value)
    }
}
impl From<Vec<Value>> for Value {
    fn from(value: Vec<Value>) -> Self {
        Self::Array(value)
    }
}

/// Shape only: a record's values never reach a log by accident.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(_) => f.write_str("bool"),
            Self::Number(_) => f.write_str("number"),
            Self::String(text) => write!(f, "string({})", text.len()),
            Self::Array(items) => write!(f, "array({})", items.len()),
            Self::Object(object) => fmt::Debug::fmt(object, f),
        }
    }
}
