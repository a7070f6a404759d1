//! How a message names patients, and who may say that two names are one person's. A connector is the hospital's own system: what it
//! says of a Patient holds. Anybody else may find a patient by a number, but never tie another number to one who is known: whoever
//! could, would read what is filed under that number later, without a consent. Names never leave the process in plain.

use std::collections::HashMap;

use gateway_vault::{Naming, Vault};
use schemas::id::Digest;
use schemas::json::Value;

use super::Normaliser;

/// In front of a client's id, where it is the source of a message: no connector's name has such a sign.
const CLIENT: &str = "client:";

/// A registered client as the source of what it hands in.
pub fn client_source(id: &str) -> String {
    format!("{CLIENT}{id}")
}

/// One name of a patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatientKey {
    /// What kind of name it is: no text of one kind is a name of another.
    pub naming: Naming,
    /// The identifier's system, the source; empty for an address that is one everywhere.
    pub system: String,
    /// The value.
    pub value: String,
    /// Whether the source's word is enough to tie it to a patient who is known already.
    pub vouched: bool,
}

impl PatientKey {
    /// An identifier of a FHIR system.
    pub fn identifier(system: impl Into<String>, value: impl Into<String>, vouched: bool) -> Self {
        Self { naming: Naming::Identifier, system: system.into(), value: value.into(), vouched }
    }

    /// The id that a source gives; it means nothing elsewhere.
    pub fn of_source(source: &str, id: impl Into<String>) -> Self {
        Self { naming: Naming::Source, system: source.into(), value: id.into(), vouched: true }
    }

    /// An absolute address; that of a client's own server is known to it alone.
    pub fn url(source: &str, url: &str) -> Self {
        let system = if source.starts_with(CLIENT) { source } else { "" };
        Self { naming: Naming::Url, system: system.into(), value: url.into(), vouched: true }
    }

    /// The alias that stands for it.
    pub fn alias(&self, vault: &Vault) -> Digest {
        vault.alias_of(self.naming, &self.system, &self.value)
    }
}

/// How one patient is named, in order of appearance.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PatientKeys(pub Vec<PatientKey>);

/// The patients of one message; those that share a name are one.
#[derive(Default)]
pub(super) struct Patients {
    pub list: Vec<PatientKeys>,
    /// Whose a name is, and the how-manieth of theirs.
    of_key: HashMap<(Naming, String, String), (usize, usize)>,
}

impl Patients {
    pub fn add(&mut self, keys: PatientKeys) -> usize {
        let name = |key: &PatientKey| (key.naming, key.system.clone(), key.value.clone());
        let known = keys.0.iter().find_map(|key| self.of_key.get(&name(key))).map(|(patient, _)| *patient);
        let at = known.unwrap_or(self.list.len());
        if known.is_none() {
            self.list.push(PatientKeys::default());
        }
        for key in keys.0 {
            match self.of_key.get(&name(&key)) {
                // said twice, once with more weight
                Some((patient, nth)) => self.list[*patient].0[*nth].vouched |= key.vouched,
                None => {
                    self.of_key.insert(name(&key), (at, self.list[at].0.len()));
                    self.list[at].0.push(key);
                }
            }
        }
        at
    }
}

impl Normaliser {
    /// Whether a source's word ties numbers of this system to patients.
    pub(super) fn vouches(&self, source: &str, system: &str) -> bool {
        let own = || self.assigns.get(source).is_some_and(|systems| systems.iter().any(|of| of == system));
        !source.starts_with(CLIENT) || own()
    }
}

/// System and value of an Identifier that has both.
pub(super) fn identifier(value: &Value) -> Option<(String, String)> {
    let (system, value) = (value.text("system")?, value.text("value")?.trim());
    (!system.is_empty() && !value.is_empty()).then(|| (system.to_owned(), value.to_owned()))
}
