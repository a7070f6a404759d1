//! SMART scopes v2: `system/Observation.rs?category=system|code`. v1's `.read` and `.write` are mapped, letters must stand in the
//! order of `cruds`, contexts may not be mixed. A scope only ever narrows: no scope, no rows. Pure.

use std::fmt;

use schemas::json::Value;

/// What a request does to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interaction {
    /// POST of a resource.
    Create,
    /// Read, vread, history, `$verify` of one.
    Read,
    /// PUT of a resource.
    Update,
    /// DELETE; granted to nobody here, parsed because v2 names it.
    Delete,
    /// Search.
    Search,
}

impl Interaction {
    const ALL: [(char, Self); 5] =
        [('c', Self::Create), ('r', Self::Read), ('u', Self::Update), ('d', Self::Delete), ('s', Self::Search)];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A scope that is none of ours. Names no part of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Not `system/Type.cruds?category=…`.
    #[error("found a scope that is not understood, expected such as system/Observation.rs")]
    Shape,
    /// `patient/` or `user/`: there is no launch context here.
    #[error("found a scope of another context, expected system/")]
    Context,
    /// More scopes than are accepted.
    #[error("found too many scopes")]
    TooMany,
}

/// Most scopes in one request or registration.
pub const SCOPES_MAX: usize = 128;

/// The scope type for inviting a patient to bind a key of her own, `system/PatientKey.c`. It is no FHIR type, and only who has
/// it by name has it: who hands out invitations says who speaks for a patient, and `*` must never mean that.
pub const PATIENT_KEY: &str = "PatientKey";

/// One scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `None` stands for `*`.
    resource_type: Option<String>,
    interactions: u8,
    /// `?category=system|code`: only resources with this category.
    category: Option<Token>,
}

/// `system|code` of a token parameter; a missing part matches anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// `None`: any system. `Some("")`: none.
    pub system: Option<String>,
    /// `None`: any code of the system.
    pub code: Option<String>,
}

impl Token {
    /// Reads `code`, `system|code`, `|code`, `system|`. `None` when both are empty.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('|') {
            None if text.is_empty() => None,
            None => Some(Self { system: None, code: Some(text.to_owned()) }),
            Some(("", "")) => None,
            Some((system, "")) => Some(Self { system: Some(system.to_owned()), code: None }),
            Some((system, code)) => Some(Self { system: Some(system.to_owned()), code: Some(code.to_owned()) }),
        }
    }

    /// Whether a Coding (or Identifier, by its `value`) is named by this token.
    pub fn names(&self, coding: &Value, code_member: &str) -> bool {
        let system = match &self.system {
            None => true,
            Some(s) => coding.text("system").unwrap_or_default() == s,
        };
        system && self.code.as_deref().is_none_or(|code| coding.text(code_member) == Some(code))
    }

    /// Whether a CodeableConcept, or a list of them, has a coding that this token names.
    pub fn names_concept(&self, concept: Option<&Value>) -> bool {
        match concept {
            Some(Value::Array(concepts)) => concepts.iter().any(|c| self.names_concept(Some(c))),
            Some(concept) => concept.list("coding").iter().any(|coding| self.names(coding, "code")),
            None => false,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system/{}.", self.resource_type.as_deref().unwrap_or("*"))?;
        for (letter, interaction) in Interaction::ALL {
            if self.interactions & interaction.bit() != 0 {
                write!(f, "{letter}")?;
            }
        }
        if let Some(Token { system, code }) = &self.category {
            f.write_str("?category=")?;
            if let Some(system) = system {
                write!(f, "{system}|")?;
            }
            f.write_str(code.as_deref().unwrap_or_default())?;
        }
        Ok(())
    }
}

impl Scope {
    /// Reads one scope.
    ///
    /// # Errors
    /// `ScopeError` for anything that is not a system scope on FHIR types.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let (context, rest) = text.split_once('/').ok_or(ScopeError::Shape)?;
        match context {
            "system" => {}
            "patient" | "user" => return Err(ScopeError::Context),
            _ => return Err(ScopeError::Shape),
        }
        let (target, query) = rest.split_once('?').map_or((rest, None), |(t, q)| (t, Some(q)));
        let (name, letters) = target.split_once('.').ok_or(ScopeError::Shape)?;
        let is_type = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphabetic());
        if name != "*" && !is_type {
            return Err(ScopeError::Shape);
        }
        let category = query.map(|q| category(q).ok_or(ScopeError::Shape)).transpose()?;
        Ok(Self {
            resource_type: (name != "*").then(|| name.to_owned()),
            interactions: interactions(letters).ok_or(ScopeError::Shape)?,
            category,
        })
    }

    fn covers(&self, resource_type: &str, interaction: Interaction) -> bool {
        let covers_type = match self.resource_type.as_deref() {
            Some(own) => own == resource_type,
            None => resource_type != PATIENT_KEY,
        };
        covers_type && self.interactions & interaction.bit() != 0
    }

    /// What both grant, when there is anything.
    fn and(&self, other: &Self) -> Option<Self> {
        let resource_type = match (&self.resource_type, &other.resource_type) {
            (Some(a), Some(b)) if a != b => return None,
            (Some(a), None) | (None, Some(a)) if a == PATIENT_KEY => return None,
            (Some(a), _) | (None, Some(a)) => Some(a.clone()),
            (None, None) => None,
        };
        let category = match (&self.category, &other.category) {
            (Some(a), Some(b)) if a != b => return None,
            (Some(a), _) | (None, Some(a)) => Some(a.clone()),
            (None, None) => None,
        };
        let interactions = self.interactions & other.interactions;
        (interactions != 0).then_some(Self { resource_type, interactions, category })
    }
}

fn category(query: &str) -> Option<Token> {
    let (name, value) = query.split_once('=')?;
    if name != "category" || value.contains('&') || value.contains(',') {
        return None;
    }
    Token::parse(value)
}

/// Letters of `cruds` in order, each at most once, at least one; v1's words; `*` of v1.
fn interactions(letters: &str) -> Option<u8> {
    match letters {
        "read" => return Some(Interaction::Read.bit() | Interaction::Search.bit()),
        "write" => return Some(Interaction::Create.bit() | Interaction::Update.bit() | Interaction::Delete.bit()),
        "*" => return Some(0b1_1111),
        _ => {}
    }
    let (mut bits, mut rest) = (0, letters);
    for (letter, interaction) in Interaction::ALL {
        if let Some(after) = rest.strip_prefix(letter) {
            bits |= interaction.bit();
            rest = after;
        }
    }
    (rest.is_empty() && bits != 0).then_some(bits)
}

/// The scopes of a client or a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Reads scopes separated by single spaces.
    ///
    /// # Errors
    /// `ScopeError` when one of them is none of ours.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let scopes: Vec<Scope> = text.split_ascii_whitespace().map(Scope::parse).collect::<Result<_, _>>()?;
        if scopes.len() > SCOPES_MAX {
            return Err(ScopeError::TooMany);
        }
        Ok(Self(scopes))
    }

    /// What of `self`, the request, is pre-authorised by `registered`.
    pub fn granted_by(&self, registered: &Self) -> Self {
        let mut out: Vec<Scope> = Vec::new();
        for scope in self.0.iter().flat_map(|asked| registered.0.iter().filter_map(|has| asked.and(has))) {
            if !out.contains(&scope) && out.len() < SCOPES_MAX {
                out.push(scope);
            }
        }
        Self(out)
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any type at all may be touched so: the test before a Bundle is read.
    pub fn cover_any(&self, interaction: Interaction) -> bool {
        let mut types = self.0.iter().filter(|scope| scope.resource_type.as_deref() != Some(PATIENT_KEY));
        types.any(|scope| scope.interactions & interaction.bit() != 0)
    }

    /// Whether some resource of the type may be touched so: the test before any row or body is read.
    pub fn covers(&self, resource_type: &str, interaction: Interaction) -> bool {
        self.0.iter().any(|scope| scope.covers(resource_type, interaction))
    }

    /// Whether this very resource (or its summary) may be touched so: categories are looked at.
    pub fn covers_resource(&self, resource_type: &str, interaction: Interaction, resource: &Value) -> bool {
        self.0.iter().any(|scope| {
            scope.covers(resource_type, interaction)
                && scope.category.as_ref().is_none_or(|token| token.names_concept(resource.get("category")))
        })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.0.iter().enumerate() {
            write!(f, "{}{scope}", if at > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
