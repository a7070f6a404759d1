//! The versioned key space that the contract reads and changes: a trait for whoever stores it, an overlay of changes, and
//! typed reads. Keys and records are in `schemas::state`.

use std::cell::RefCell;
use std::collections::BTreeMap;

use schemas::ErrorClass;
use schemas::block::{Epoch, ValidatorIndex};
use schemas::cbor::{self, Record};
use schemas::genesis::Genesis;
use schemas::id::{CaseId, ConsentId, Digest, Height, InstitutionId, PractitionerId, PublicKey, SubjectId};
use schemas::state::{self, AccessCursor, CaseHead, ConsentSet, Evidence, Institution, Practitioner, Subject};

/// The state could not be read. Never a verdict about a transaction: execution stops and is tried again or the node ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error("ledger state: the store failed: {0}")]
    Store(String),
    /// A row is not what the contract wrote.
    #[error("ledger state: found a {record} row that does not decode, expected what the contract wrote")]
    Corrupt {
        /// Which record.
        record: &'static str,
    },
    /// A block that changes more keys than any batch can.
    #[error(
        "ledger state: found a block that makes more nodes of the state tree than a batch can, expected at most a batch"
    )]
    TooMany,
}

impl StateError {
    /// The class that decides about retries.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Store(_) => ErrorClass::Transient,
            Self::Corrupt { .. } => ErrorClass::Corrupt,
            Self::TooMany => ErrorClass::Bug,
        }
    }
}

/// A key space at one height.
pub trait State {
    /// The value of `key`.
    ///
    /// # Errors
    /// `StateError` when the store fails; absence is `None`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;
}

/// Changes of a block, sorted by key: `None` removes. Laid over a state it is a state again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Changes {
    /// Sets a record.
    pub(crate) fn put<T: Record>(&mut self, key: Vec<u8>, record: &T) {
        self.0.insert(key, Some(cbor::encode(record)));
    }

    /// Takes a record away.
    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.0.insert(key, None);
    }

    /// Takes over later changes.
    pub fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }
}

/// Changes without a base are a state too: the tests' and small tools' whole store.
impl State for Changes {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.get(key).cloned().flatten())
    }
}

/// The state before the block with the block's earlier changes over it.
pub(crate) struct Overlay<'a> {
    base: &'a dyn State,
    pub(crate) changes: Changes,
    /// What was found in the base: a block asks for the same few keys again and again.
    found: RefCell<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn over(base: &'a dyn State) -> Self {
        Self { base, changes: Changes::default(), found: RefCell::default() }
    }
}

impl State for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        if let Some(value) = self.changes.0.get(key) {
            return Ok(value.clone());
        }
        if let Some(value) = self.found.borrow().get(key) {
            return Ok(Some(value.clone()));
        }
        let value = self.base.get(key)?;
        if let Some(value) = &value {
            self.found.borrow_mut().insert(key.to_vec(), value.clone());
        }
        Ok(value)
    }
}

pub(crate) fn read<T: Record>(from: &dyn State, key: &[u8], record: &'static str) -> Result<Option<T>, StateError> {
    let Some(bytes) = from.get(key)? else { return Ok(None) };
    cbor::decode(&bytes).map(Some).map_err(|_| StateError::Corrupt { record })
}

/// The head of a case.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn case_head(from: &dyn State, case: &CaseId) -> Result<Option<CaseHead>, StateError> {
    read(from, &state::case_key(case), "case")
}

/// A subject.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn subject(from: &dyn State, id: &SubjectId) -> Result<Option<Subject>, StateError> {
    read(from, &state::subject_key(id), "subject")
}

/// All live consents of a subject; the empty set of version 0 before the first.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn consent_set(from: &dyn State, subject: &SubjectId) -> Result<ConsentSet, StateError> {
    Ok(read(from, &state::consent_set_key(subject), "consent set")?.unwrap_or_default())
}

/// Whether a consent of the subject has ended for good, by revocation or because another superseded it.
///
/// # Errors
/// `StateError` when the store fails.
pub fn is_revoked(from: &dyn State, subject: &SubjectId, consent: &ConsentId) -> Result<bool, StateError> {
    Ok(from.get(&state::tombstone_key(subject, consent))?.is_some())
}

/// An institution.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn institution(from: &dyn State, id: &InstitutionId) -> Result<Option<Institution>, StateError> {
    read(from, &state::institution_key(id), "institution")
}

/// A practitioner.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn practitioner(from: &dyn State, id: &PractitionerId) -> Result<Option<Practitioner>, StateError> {
    read(from, &state::practitioner_key(id), "practitioner")
}

/// Where a gateway's access log stands; `AccessCursor::START` before the first batch.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn access_cursor(from: &dyn State, gateway: &PublicKey) -> Result<AccessCursor, StateError> {
    Ok(read(from, &state::access_cursor_key(gateway), "access cursor")?.unwrap_or(AccessCursor::START))
}

/// The key of a validator of an epoch.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn validator_key(
    from: &dyn State,
    epoch: Epoch,
    validator: ValidatorIndex,
) -> Result<Option<PublicKey>, StateError> {
    read(from, &state::validator_key(epoch, validator), "validator")
}

/// The proof against a validator of an epoch.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn evidence(from: &dyn State, epoch: Epoch, validator: ValidatorIndex) -> Result<Option<Evidence>, StateError> {
    read(from, &state::evidence_key(epoch, validator), "evidence")
}

/// The height at which a transaction was accepted. Refused ones are in the log only.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn transaction_height(from: &dyn State, id: &Digest) -> Result<Option<Height>, StateError> {
    read(from, &state::transaction_key(id), "transaction")
}

/// The state at height 0: validators and institutions of the genesis, which `ledger_proof::verify_genesis` has checked.
pub fn genesis_changes(genesis: &Genesis) -> Changes {
    let mut changes = Changes::default();
    crate::epoch::write_genesis(&mut changes, genesis);
    for institution in &genesis.institutions {
        changes.put(state::institution_key(&institution.register.institution), &institution.register);
    }
    changes
}
