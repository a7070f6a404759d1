//! A search as it was asked: which patient, which criteria, which page. Parsed strictly: an unknown or malformed parameter
//! is refused, never ignored, because what is ignored widens the answer. Matching reads summaries that were decided before.
//! Pure.

use gateway_consent::{Reference, Span};
use schemas::json::Value;
use schemas::limits;

use super::decide::Known;
use crate::smart::scope::Token;

/// Most parameters of one search.
pub const PARAMETERS_MAX: usize = 32;
/// Most alternatives of one parameter.
const ALTERNATIVES_MAX: usize = 64;

/// A search that cannot be asked. Names the parameter where it is one that FHIR has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// A parameter that this server does not offer for the type.
    #[error("found a search parameter that is not offered here, expected one of the CapabilityStatement")]
    Unknown,
    /// A modifier such as `:not`.
    #[error("parameter {0}: found a modifier, expected none")]
    Modifier(&'static str),
    /// A value that does not parse.
    #[error("parameter {0}: found a value that is malformed or too long")]
    Value(&'static str),
    /// A parameter that may occur once occurs twice.
    #[error("parameter {0}: found it twice, expected it once")]
    Twice(&'static str),
    /// Too many parameters or alternatives.
    #[error("found more search parameters or alternatives than are accepted")]
    TooMany,
    /// No patient is named.
    #[error(
        "expected `patient` (for Patient: `_id` or `identifier`): searches across patients are not offered, because consents are decided per patient before anything is matched"
    )]
    Unscoped,
    /// The page link belongs to another query or client, or was changed.
    #[error("found a page link that is not one of this server's for this type")]
    Page,
}

/// Whom a search is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// A Patient by logical id.
    Patient(String),
    /// A patient by a business identifier: system and value.
    Identifier(String, String),
}

/// Values of one parameter: any of them.
type AnyOf<T> = Vec<T>;

/// A search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The type searched for.
    pub resource_type: String,
    /// Whom it is about.
    pub whom: Whom,
    code: Vec<AnyOf<Token>>,
    category: Vec<AnyOf<Token>>,
    identifier: Vec<AnyOf<Token>>,
    ids: Vec<AnyOf<String>>,
    date: Vec<AnyOf<DateTest>>,
    /// Entries per page; zero asks for the count only.
    pub count: usize,
    /// As it was asked: what a page link repeats.
    pub parameters: Vec<(String, String)>,
}

/// `ge2020-01`: a comparison with a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DateTest {
    comparison: Comparison,
    span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
    StartsAfter,
    EndsBefore,
    Approximate,
}

impl DateTest {
    fn parse(text: &str) -> Option<Self> {
        let (comparison, rest) = match text.get(..2) {
            Some("eq") => (Comparison::Equal, &text[2..]),
            Some("ne") => (Comparison::NotEqual, &text[2..]),
            Some("gt") => (Comparison::Greater, &text[2..]),
            Some("ge") => (Comparison::GreaterEqual, &text[2..]),
            Some("lt") => (Comparison::Less, &text[2..]),
            Some("le") => (Comparison::LessEqual, &text[2..]),
            Some("sa") => (Comparison::StartsAfter, &text[2..]),
            Some("eb") => (Comparison::EndsBefore, &text[2..]),
            Some("ap") => (Comparison::Approximate, &text[2..]),
            _ => (Comparison::Equal, text),
        };
        Some(Self { comparison, span: Span::of_date(rest)? })
    }

    /// FHIR R4 §3.1.1.5.6: `of` is the resource's span.
    fn holds(&self, of: Span) -> bool {
        let asked = self.span;
        match self.comparison {
            Comparison::Equal => asked.contains(of),
            Comparison::NotEqual => !asked.contains(of),
            Comparison::Greater => of.last_ms > asked.last_ms,
            Comparison::GreaterEqual => of.last_ms > asked.last_ms || asked.contains(of),
            Comparison::Less => of.first_ms < asked.first_ms,
            Comparison::LessEqual => of.first_ms < asked.first_ms || asked.contains(of),
            Comparison::StartsAfter => of.first_ms > asked.last_ms,
            Comparison::EndsBefore => of.last_ms < asked.first_ms,
            Comparison::Approximate => asked.overlaps(of),
        }
    }
}

/// Parameters that are about the answer and not about matching.
#[derive(Default)]
struct Shape {
    count: Option<usize>,
    summary: bool,
}

impl Search {
    /// Reads decoded parameters, in their order.
    ///
    /// # Errors
    /// `SearchError` for anything that is not offered.
    pub fn parse(resource_type: &str, own_base: &str, parameters: &[(String, String)]) -> Result<Self, SearchError> {
        if parameters.len() > PARAMETERS_MAX {
            return Err(SearchError::TooMany);
        }
        let mut search = Self {
            resource_type: resource_type.to_owned(),
            whom: Whom::Patient(String::new()),
            code: Vec::new(),
            category: Vec::new(),
            identifier: Vec::new(),
            ids: Vec::new(),
            date: Vec::new(),
            count: limits::PAGE_DEFAULT,
            parameters: parameters.to_vec(),
        };
        let (mut whom, mut shape) = (None, Shape::default());
        for (name, value) in parameters {
            let known = known(resource_type, name)?;
            search.add(known, value, own_base, &mut whom, &mut shape)?;
        }
        search.whom = match whom {
            Some(whom) => whom,
            None if resource_type == "Patient" => search.patient_by_itself()?,
            None => return Err(SearchError::Unscoped),
        };
        search.count = match (shape.summary, shape.count) {
            (true, _) => 0,
            (false, count) => count.unwrap_or(limits::PAGE_DEFAULT).min(limits::PAGE_MAX),
        };
        Ok(search)
    }

    fn add(
        &mut self,
        name: &'static str,
        value: &str,
        own_base: &str,
        whom: &mut Option<Whom>,
        shape: &mut Shape,
    ) -> Result<(), SearchError> {
        match name {
            "patient" | "subject" => {
                let named = patient(value, own_base).ok_or(SearchError::Value(name))?;
                if whom.as_ref().is_some_and(|whom| *whom != named) {
                    return Err(SearchError::Twice(name));
                }
                *whom = Some(named);
            }
            "code" => self.code.push(any_of(name, value, Token::parse)?),
            "category" => self.category.push(any_of(name, value, Token::parse)?),
            "identifier" => self.identifier.push(any_of(name, value, Token::parse)?),
            "_id" => self.ids.push(any_of(name, value, |id| is_id(id).then(|| id.to_owned()))?),
            "date" => self.date.push(any_of(name, value, DateTest::parse)?),
            "_count" => {
                let count = value.parse().map_err(|_| SearchError::Value(name))?;
                if shape.count.replace(count).is_some() {
                    return Err(SearchError::Twice(name));
                }
            }
            "_summary" => match value {
                "count" => shape.summary = true,
                "false" => {}
                _ => return Err(SearchError::Value(name)),
            },
            "_format" => {
                if !matches!(value, "json" | "application/json" | "application/fhir+json") {
                    return Err(SearchError::Value(name));
                }
            }
            _ => return Err(SearchError::Unknown),
        }
        Ok(())
    }

    /// A search for Patient names its patient by `_id` or by one full identifier.
    fn patient_by_itself(&self) -> Result<Whom, SearchError> {
        if let [one] = self.ids.as_slice()
            && let [id] = one.as_slice()
        {
            return Ok(Whom::Patient(id.clone()));
        }
        if let [one] = self.identifier.as_slice()
            && let [Token { system: Some(system), code: Some(value) }] = one.as_slice()
        {
            return Ok(Whom::Identifier(system.clone(), value.clone()));
        }
        Err(SearchError::Unscoped)
    }

    /// Whether a permitted row matches.
    pub fn matches(&self, logical_id: &str, known: &Known) -> bool {
        let Known { facts, matched, .. } = known;
        self.ids.iter().all(|any| any.iter().any(|id| id == logical_id))
            && self.code.iter().all(|any| any.iter().any(|token| self.is_code(token, known)))
            && self.category.iter().all(|any| any.iter().any(|token| is_category(token, matched.get("category"))))
            && self.identifier.iter().all(|any| any.iter().any(|token| is_identifier(token, matched.get("identifier"))))
            && self.date.iter().all(|any| facts.date.is_some_and(|of| any.iter().any(|test| test.holds(of))))
    }
}

impl Search {
    /// Vaccines and medications have their code elsewhere: the facts have collected it.
    fn is_code(&self, token: &Token, known: &Known) -> bool {
        if self.resource_type != "Immunization" && !self.resource_type.starts_with("Medication") {
            return token.names_concept(known.matched.get("code"));
        }
        known.facts.codes.iter().any(|coding| {
            token.system.as_deref().is_none_or(|system| system == &*coding.system)
                && token.code.as_deref().is_none_or(|code| code == &*coding.code)
        })
    }
}

/// The names that a type is searched by; `:` starts a modifier, `.` a chain.
fn known(resource_type: &str, name: &str) -> Result<&'static str, SearchError> {
    let bare = name.split([':', '.']).next().unwrap_or(name);
    let all = parameters_of(resource_type).iter().chain(&["_count", "_summary", "_format"]);
    let known = all.into_iter().find(|known| **known == bare).ok_or(SearchError::Unknown)?;
    if bare.len() != name.len() {
        return Err(SearchError::Modifier(known));
    }
    Ok(known)
}

/// Search parameters of a type, as the CapabilityStatement lists them.
pub fn parameters_of(resource_type: &str) -> &'static [&'static str] {
    match resource_type {
        "Patient" => &["_id", "identifier"],
        "Observation" | "DiagnosticReport" | "Procedure" | "ServiceRequest" => {
            &["_id", "patient", "subject", "code", "category", "date", "identifier"]
        }
        "Condition" | "MedicationRequest" => &["_id", "patient", "subject", "code", "category", "identifier"],
        "AllergyIntolerance" => &["_id", "patient", "code", "category", "date", "identifier"],
        "Immunization" => &["_id", "patient", "code", "date", "identifier"],
        "DocumentReference" | "CarePlan" => &["_id", "patient", "subject", "category", "date", "identifier"],
        "Encounter" => &["_id", "patient", "subject", "date", "identifier"],
        "Consent" => &["_id", "patient", "category", "date", "identifier"],
        _ => &["_id", "patient", "subject", "code", "category", "date", "identifier"],
    }
}

fn is_category(token: &Token, category: Option<&Value>) -> bool {
    // AllergyIntolerance.category is a list of plain codes
    let plain = category.and_then(Value::as_array).unwrap_or_default().iter().filter_map(Value::as_str);
    let is_plain = plain.into_iter().any(|code| token.system.is_none() && token.code.as_deref() == Some(code));
    is_plain || token.names_concept(category)
}

fn is_identifier(token: &Token, identifier: Option<&Value>) -> bool {
    match identifier {
        Some(Value::Array(all)) => all.iter().any(|one| token.names(one, "value")),
        Some(one) => token.names(one, "value"),
        None => false,
    }
}

/// `Patient/id`, `id`, or an absolute URL under our own base.
fn patient(value: &str, own_base: &str) -> Option<Whom> {
    if is_id(value) {
        return Some(Whom::Patient(value.to_owned()));
    }
    match Reference::parse_under(value, own_base)? {
        Reference::Resource { base: None, kind, id } if &*kind == "Patient" => Some(Whom::Patient(id.into())),
        _ => None,
    }
}

/// FHIR's id: 1 to 64 letters, digits, `-`, `.`.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

/// Splits at commas that are not escaped by `\` and reads each alternative.
fn any_of<T>(name: &'static str, value: &str, read: impl Fn(&str) -> Option<T>) -> Result<AnyOf<T>, SearchError> {
    let mut pieces = vec![String::new()];
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        match (c, pieces.last_mut()) {
            ('\\', Some(piece)) => piece.push(characters.next().ok_or(SearchError::Value(name))?),
            (',', _) => pieces.push(String::new()),
            (c, Some(piece)) => piece.push(c),
            (_, None) => return Err(SearchError::Value(name)),
        }
        if pieces.len() > ALTERNATIVES_MAX {
            return Err(SearchError::TooMany);
        }
    }
    pieces.iter().map(|piece| read(piece).ok_or(SearchError::Value(name))).collect()
}

#[cfg(test)]
mod tests;
