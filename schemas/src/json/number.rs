//! A number of the lossless tree: the digits of its source. It must never become a float.

use std::fmt;

use super::parse;

/// A JSON number token, verbatim (RFC 8259 grammar is checked on construction).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Number(pub(super) Box<str>);

impl Number {
    /// Takes a token such as `1.00` or `-5e3`; `None` when it is not a JSON number.
    pub fn from_token(token: &str) -> Option<Self> {
        Self::is_token(token).then(|| Self(token.into()))
    }

    /// Whether a text is a JSON number.
    pub fn is_token(token: &str) -> bool {
        parse::is_number(token.as_bytes())
    }

    /// The digits as they were written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value as an unsigned integer when it is written as one.
    pub fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self(value.to_string().into())
    }
}

/// Shape only, as of all values.
impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "number({})", self.0.len())
    }
}
