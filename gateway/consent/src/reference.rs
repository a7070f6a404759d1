//! References to resources and identified parties, normalised before they are compared: `Organization/1`, a version of
//! it and the same under the gateway's own base are one; the same id under another base is another.

use crate::truth::Truth;
use schemas::json::Value;

/// What a FHIR Reference points at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A resource by type and id.
    Resource {
        /// Base URL of a foreign server; `None` for our own.
        base: Option<Box<str>>,
        /// Resource type.
        kind: Box<str>,
        /// Logical id.
        id: Box<str>,
    },
    /// Anything by a business identifier.
    Identifier {
        /// Namespace of the identifier.
        system: Box<str>,
        /// The identifier.
        value: Box<str>,
    },
    /// A URI that names no REST resource (`urn:uuid:…`).
    Uri(Box<str>),
}

impl Reference {
    /// A resource of our own server.
    pub fn local(kind: &str, id: &str) -> Self {
        Self::Resource { base: None, kind: kind.into(), id: id.into() }
    }

    /// Reads `Type/id`, `Type/id/_history/v`, an absolute URL or a `urn:`; `None` for what names nothing outside its
    /// resource (`#contained`, conditional references, other text).
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_under(text, "")
    }

    /// As [`parse`](Self::parse); URLs under `own_base` are our own.
    pub fn parse_under(text: &str, own_base: &str) -> Option<Self> {
        if text.contains(['?', '#', ' ']) {
            return None;
        }
        if text.starts_with("urn:") {
            return Some(Self::Uri(text.into()));
        }
        let bare = text.split_once("/_history/").map_or(text, |(bare, _)| bare);
        let (head, id) = bare.rsplit_once('/')?;
        let (base, kind) = head.rsplit_once('/').map_or((None, head), |(base, kind)| (Some(base), kind));
        let is_kind =
            kind.starts_with(|c: char| c.is_ascii_uppercase()) && kind.bytes().all(|b| b.is_ascii_alphabetic());
        let is_id = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        if !is_kind || !is_id || base.is_some_and(|b| !b.contains("://")) {
            return None;
        }
        let own = own_base.trim_end_matches('/');
        let base = base.filter(|b| own.is_empty() || *b != own).map(Into::into);
        Some(Self::Resource { base, kind: kind.into(), id: id.into() })
    }

    /// Everything that a FHIR Reference element names: its literal reference and its identifier.
    pub fn all_of(element: &Value, own_base: &str) -> Vec<Self> {
        let literal = element.text("reference").and_then(|text| Self::parse_under(text, own_base));
        let identifier = element.get("identifier").and_then(|identifier| {
            let value = identifier.text("value")?;
            Some(Self::Identifier { system: identifier.text("system").unwrap_or("").into(), value: value.into() })
        });
        literal.into_iter().chain(identifier).collect()
    }

    /// Whether both name the same thing. Unknown where they cannot be compared.
    pub fn equals(&self, other: &Self) -> Truth {
        match (self, other) {
            (
                Self::Resource { base: a, kind: kind_a, id: id_a },
                Self::Resource { base: b, kind: kind_b, id: id_b },
            ) => {
                if kind_a != kind_b {
                    return Truth::Unknown;
                }
                // The same id under an unnamed and a named base: may be the same server under two names.
                let doubt = id_a == id_b && a.is_some() != b.is_some();
                Truth::from(id_a == id_b && a == b).doubted_if(doubt)
            }
            (Self::Identifier { system: a, value: value_a }, Self::Identifier { system: b, value: value_b }) => {
                if a.is_empty() || b.is_empty() {
                    return Truth::from(value_a == value_b).and(Truth::Unknown);
                }
                if a == b { (value_a == value_b).into() } else { Truth::Unknown }
            }
            (Self::Uri(a), Self::Uri(b)) => (a == b).into(),
            _ => Truth::Unknown,
        }
    }

    /// As [`equals`](Self::equals), where resources of different types are different for sure.
    pub(crate) fn same_resource(&self, other: &Self) -> Truth {
        match (self, other) {
            (Self::Resource { kind: a, .. }, Self::Resource { kind: b, .. }) if a != b => Truth::False,
            _ => self.equals(other),
        }
    }

    /// Whether `known`, the names of one party, include it. Nothing comparable among them: unknown.
    pub(crate) fn is_among<'a>(&self, known: impl IntoIterator<Item = &'a Self>) -> Truth {
        let mut excluded = false;
        let mut doubted = false;
        for name in known {
            match self.equals(name) {
                Truth::True => return Truth::True,
                Truth::False => excluded = true,
                Truth::Unknown => doubted |= self.may_equal(name),
            }
        }
        if excluded && !doubted { Truth::False } else { Truth::Unknown }
    }

    /// Whether the unknown of `equals` comes from equal ids, not from names of different kinds.
    fn may_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Resource { kind: a, .. }, Self::Resource { kind: b, .. }) => a == b,
            (Self::Identifier { value: a, .. }, Self::Identifier { value: b, .. }) => a == b,
            _ => false,
        }
    }
}

/// Whether `names`, all of one element, mean a party of `known`: they contradict each other → unknown.
pub(crate) fn any_names(names: &[Reference], known: &[Reference]) -> Truth {
    let verdicts = names.iter().map(|name| name.is_among(known));
    let (mut yes, mut no) = (false, false);
    for verdict in verdicts {
        yes |= verdict == Truth::True;
        no |= verdict == Truth::False;
    }
    match (yes, no) {
        (true, false) => Truth::True,
        (false, true) => Truth::False,
        _ => Truth::Unknown,
    }
}
