//! Names of members that tables and code know beforehand: kept once, compared by place, written with quotes and colon in one piece.
//! It must never hold a name that needs an escape.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

/// A member's name of letters, digits and `_`.
pub struct Name {
    /// `"name":`.
    quoted: &'static str,
    text: &'static str,
    /// Its first eight bytes as a number that orders as they do.
    order: u64,
}

impl Name {
    /// The name of a text, the same for all who ask; it lives as long as the process, so ask for names of tables only. `None` for a
    /// text that is no plain name.
    pub fn interned(text: &str) -> Option<&'static Self> {
        static POOL: OnceLock<Mutex<HashMap<&'static str, &'static Name>>> = OnceLock::new();
        if text.is_empty() || !text.bytes().all(is_plain) {
            return None;
        }
        let mut pool = POOL.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = pool.get(text) {
            return Some(known);
        }
        let quoted: &'static str = Box::leak(format!("\"{text}\":").into_boxed_str());
        let text: &'static str = &quoted[1..quoted.len() - 2];
        let name: &'static Self = Box::leak(Box::new(Self { quoted, text, order: beginning(text.as_bytes()) }));
        pool.insert(text, name);
        Some(name)
    }

    /// The text.
    #[inline]
    pub const fn as_str(&self) -> &'static str {
        self.text
    }

    /// Writes `"name":`.
    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.quoted.as_bytes());
    }

    #[inline]
    pub(super) const fn order(&self) -> u64 {
        self.order
    }
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The first eight bytes as a number that orders as they do, zeros behind a shorter name.
#[inline]
pub(super) fn beginning(name: &[u8]) -> u64 {
    if let Some(word) = name.first_chunk() {
        return u64::from_be_bytes(*word);
    }
    let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) else {
        return name.iter().rev().fold(0, |word, byte| word >> 8 | u64::from(*byte) << 56);
    };
    let behind = u64::from(u32::from_be_bytes(*last)) << (8 * (8 - name.len())) & u64::from(u32::MAX);
    u64::from(u32::from_be_bytes(*first)) << 32 | behind
}

#[cfg(test)]
mod tests {
    use super::super::{Object, Value, parse};
    use super::Name;

    #[test]
    fn a_name_is_one_for_all_and_nothing_but_a_plain_one() {
        let (one, two) = (Name::interned("birthDate").unwrap(), Name::interned(&String::from("birthDate")).unwrap());
        assert!(std::ptr::eq(one, two) && one.as_str() == "birthDate" && one.quoted == "\"birthDate\":");
        for none in ["", "a\"b", "a b", "ä", "a-b"] {
            assert!(Name::interned(none).is_none(), "{none:?}");
        }
    }

    #[test]
    fn an_object_with_such_names_is_the_same_object() {
        let text = br#"{"_id":1,"a":[{"z":true,"abcdefgh1":"x","abcdefgh0":null}],"birthDate":"1970"}"#;
        let parsed = parse(text).unwrap();
        let mut object = Object::new();
        for name in ["birthDate", "a", "_id"] {
            object.insert(Name::interned(name).unwrap(), parsed.get(name).unwrap().clone());
        }
        let mut inner = Object::new();
        for name in ["abcdefgh1", "z", "abcdefgh0"] {
            inner.push_new(
                Name::interned(name).unwrap(),
                parsed.get("a").unwrap().as_array().unwrap()[0].get(name).unwrap().clone(),
            );
        }
        object.insert("a", Value::Array(vec![inner.shared().into()]));
        assert_eq!(object.get("a").unwrap().as_array().unwrap()[0].get("z"), Some(&Value::Bool(true)));
        assert_eq!(object.get_named(Name::interned("birthDate").unwrap()).and_then(Value::as_str), Some("1970"));
        assert_eq!(Value::Object(object.clone()).canonical(), parsed.canonical());
        assert_eq!(Value::Object(object.shared()).canonical(), parsed.canonical());
    }
}
