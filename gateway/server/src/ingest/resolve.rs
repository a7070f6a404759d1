//! Who a patient is here: identifiers become aliases (HMAC), aliases name subjects, unknown ones get a new subject. Part of
//! *seal*; one task, so that two messages about one new patient make one subject. New rows become durable with the
//! batch's intents; until then later batches see them here.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::Ordering;

use gateway_vault::{Naming, SubjectKey};
use schemas::ErrorClass;
use schemas::id::{Digest, PublicKey, SubjectId};

use super::normalise::{PatientKeys, Refusal};
use super::{Control, Foundation, StepError};
use crate::store::subjects;

/// A subject with its key.
#[derive(Clone)]
pub struct Subject {
    pub id: SubjectId,
    pub key: SubjectKey,
    /// The patient's own key, when bound.
    pub public_key: Option<PublicKey>,
}

/// What a batch adds; written with its intents.
#[derive(Clone, Default)]
pub struct NewSubjects {
    pub subjects: Vec<(SubjectId, Vec<u8>)>,
    pub aliases: Vec<(Digest, SubjectId)>,
}

pub struct Resolver {
    on: Foundation,
    control: Control,
    /// What earlier batches add and may not have committed.
    pending: VecDeque<(u64, NewSubjects)>,
    aliases: HashMap<Digest, SubjectId>,
    subjects: HashMap<SubjectId, Subject>,
    new: NewSubjects,
}

impl Resolver {
    pub fn new(on: Foundation, control: Control) -> Self {
        let (aliases, subjects) = (HashMap::new(), HashMap::new());
        Self { on, control, pending: VecDeque::new(), aliases, subjects, new: NewSubjects::default() }
    }

    /// The alias of the institution's own subject, whose cases are about no patient.
    pub fn institution(&self) -> Digest {
        self.on.vault.alias_of(Naming::Institution, "", "")
    }

    /// Reads what is known of these aliases.
    pub async fn load(&mut self, aliases: &[Digest]) -> Result<(), StepError> {
        let committed = self.control.committed.load(Ordering::Acquire);
        while self.pending.front().is_some_and(|(batch, _)| *batch <= committed) {
            self.pending.pop_front();
        }
        self.aliases = subjects::by_aliases(&self.on.store, aliases).await?;
        let ids: BTreeSet<SubjectId> = self.aliases.values().copied().collect();
        let rows = subjects::get_many(&self.on.store, &ids.into_iter().collect::<Vec<_>>()).await?;
        self.subjects = HashMap::with_capacity(rows.len());
        for row in rows {
            self.open(row.id, &row.wrapped_key, row.public_key)?;
        }
        for (_, new) in self.pending.clone() {
            self.aliases.extend(new.aliases);
            for (id, wrapped) in new.subjects {
                if !self.subjects.contains_key(&id) {
                    self.open(id, &wrapped, None)?;
                }
            }
        }
        self.new = NewSubjects::default();
        Ok(())
    }

    fn open(&mut self, id: SubjectId, wrapped: &[u8], public_key: Option<PublicKey>) -> Result<(), StepError> {
        let key = self.on.vault.open_subject(&id, wrapped)?;
        self.subjects.insert(id, Subject { id, key, public_key });
        Ok(())
    }

    /// The aliases of a patient, and whether the message's source vouches for each.
    pub fn aliases_of(&self, keys: &PatientKeys) -> Vec<(Digest, bool)> {
        keys.0.iter().map(|key| (key.alias(&self.on.vault), key.vouched)).collect()
    }

    /// The subject that these aliases name; a new one when none is known. Call after `load` of them. What nobody vouches for finds a
    /// subject and is tied to none, but that a new one has to be found again: by the first of them.
    pub fn subject(&mut self, aliases: &[(Digest, bool)]) -> Result<Result<Subject, Refusal>, StepError> {
        let named: BTreeSet<SubjectId> =
            aliases.iter().filter_map(|(alias, _)| self.aliases.get(alias)).copied().collect();
        if named.len() > 1 {
            // two people or one? Nobody but the hospital can say, and mixing them cannot be taken back
            let refusal =
                Refusal { code: "identity-conflict", path: "Patient.identifier".into(), class: ErrorClass::Conflict };
            return Ok(Err(refusal));
        }
        let id = match named.first() {
            Some(id) => *id,
            None => {
                let (id, key, wrapped) = self.on.vault.new_subject()?;
                self.new.subjects.push((id, wrapped));
                self.subjects.insert(id, Subject { id, key, public_key: None });
                id
            }
        };
        let first = aliases.iter().position(|(_, vouched)| !vouched).filter(|_| named.is_empty());
        for (at, (alias, vouched)) in aliases.iter().enumerate() {
            if (*vouched || first == Some(at)) && self.aliases.insert(*alias, id).is_none() {
                self.new.aliases.push((*alias, id));
            }
        }
        self.subjects.get(&id).cloned().map(Ok).ok_or(StepError::Corrupt("a subject's row"))
    }

    /// What this batch adds.
    pub fn finish(&mut self, batch: u64) -> NewSubjects {
        let new = std::mem::take(&mut self.new);
        if !new.aliases.is_empty() || !new.subjects.is_empty() {
            self.pending.push_back((batch, new.clone()));
        }
        new
    }
}
