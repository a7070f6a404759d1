//! Text of names and values in the lossless tree: borrowed from a table, kept in place when short, else on the heap.
//!
//! Most texts of a record are codes, numbers, names and times: kept in place, they cost no allocation. It must never
//! hold anything but UTF-8.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use super::name::{Name, beginning};

/// Bytes kept in place: a dateTime with its offset fits, and a value is still four words.
const SHORT: usize = 30;

/// Immutable text.
#[derive(Clone)]
pub struct Text(Place);

#[derive(Clone)]
enum Place {
    Name(&'static Name),
    Static(&'static str),
    Short(u8, [u8; SHORT]),
    Long(String),
    Shared(Arc<str>),
}

impl Text {
    /// A copy of `text`.
    #[inline]
    pub fn of(text: &str) -> Self {
        if text.len() > SHORT {
            return Self(Place::Long(text.to_owned()));
        }
        let mut bytes = [0; SHORT];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        // at most 30
        Self(Place::Short(text.len() as u8, bytes))
    }

    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Place::Name(name) => name.as_str().as_bytes(),
            Place::Static(text) => text.as_bytes(),
            Place::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Place::Long(text) => text.as_bytes(),
            Place::Shared(text) => text.as_bytes(),
        }
    }

    /// Names of tables are one text in memory: mostly the place alone tells.
    #[inline]
    fn is(&self, other: &[u8]) -> bool {
        let own = self.as_bytes();
        own.len() == other.len() && (own.as_ptr() == other.as_ptr() || own == other)
    }

    /// The name, when it is one that was known beforehand.
    #[inline]
    pub(super) fn name(&self) -> Option<&'static Name> {
        if let Place::Name(name) = self.0 { Some(name) } else { None }
    }

    /// Whether it is this name: mostly the place alone tells.
    #[inline]
    pub(super) fn is_named(&self, name: &'static Name) -> bool {
        match self.0 {
            Place::Name(own) => std::ptr::eq(own, name),
            _ => self.is(name.as_str().as_bytes()),
        }
    }

    /// The first eight bytes as a number that orders as they do, zeros behind a shorter text.
    #[inline]
    pub(super) fn order(&self) -> u64 {
        self.name().map_or_else(|| beginning(self.as_bytes()), Name::order)
    }

    /// The text.
    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Place::Name(name) => name.as_str(),
            Place::Static(text) => text,
            // whole texts only are put in: it is UTF-8
            Place::Short(..) => std::str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Place::Long(text) => text,
            Place::Shared(text) => text,
        }
    }
}

impl Deref for Text {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}
impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}
impl From<&'static str> for Text {
    #[inline]
    fn from(text: &'static str) -> Self {
        Self(Place::Static(text))
    }
}
impl From<&'static Name> for Text {
    #[inline]
    fn from(name: &'static Name) -> Self {
        Self(Place::Name(name))
    }
}
impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Place::Long(text))
    }
}
/// Text that stands in several places, such as a reference: one allocation for all.
impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self(Place::Shared(text))
    }
}
impl From<Cow<'static, str>> for Text {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}
impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.is(other.as_bytes())
    }
}
impl Eq for Text {}
impl PartialEq<str> for Text {
    #[inline]
    fn eq(&self, other: &str) -> bool {
        self.is(other.as_bytes())
    }
}
impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_the_same_wherever_it_is_kept() {
        for length in [0, 1, 29, 30, 31, 64] {
            let text = "ü".repeat(length / 2) + &"x".repeat(length % 2);
            let (copy, own, shared) = (Text::of(&text), Text::from(text.clone()), Text::from(Arc::from(text.as_str())));
            assert!(copy == own && own == shared && copy.as_str() == text && own.to_string() == text, "{length} bytes");
        }
        let (table, copy, other) = (Text::from("id"), Text::of("id"), Text::of("ids"));
        assert!(table == copy && copy != other && other == *"ids");
    }

    #[test]
    fn a_value_is_four_words() {
        assert_eq!(size_of::<super::super::Value>(), 32);
    }
}
