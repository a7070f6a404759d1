//! Three-valued truth (Kleene): what a criterion says about a request or a unit when something may be unknown.
//! A permit may act only on `True`; a denial acts on everything but `False`.

/// Whether a criterion holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
    /// It does.
    True,
}

impl Truth {
    /// Both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.min(other)
    }

    /// One of them holds.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.max(other)
    }

    /// At best unknown: `False` and `True` both become `Unknown` when `doubt`.
    #[must_use]
    pub(crate) fn doubted_if(self, doubt: bool) -> Self {
        if doubt { Self::Unknown } else { self }
    }

    /// `False` becomes `Unknown` when `doubt`: a match was not seen, but not everything could be looked at.
    #[must_use]
    pub(crate) fn not_excluded_if(self, doubt: bool) -> Self {
        if doubt { self.max(Self::Unknown) } else { self }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}
