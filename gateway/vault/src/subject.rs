//! The key of one subject: everything about one patient at one institution hangs on it, so destroying its stored form
//! shreds all of the subject's cases and rows.

use std::sync::Arc;

use schemas::cbor::Parts;
use schemas::id::{CaseId, SubjectTag};

use crate::boxed;
use crate::derive::{Secret, expand, mac};
use crate::error::VaultError;
use crate::random::System;

struct Keys {
    tag: Secret,
    row: Secret,
    custodian: Secret,
}

/// A subject's key, unwrapped. Cheap to clone; zeroised with its last clone; has no Debug.
#[derive(Clone)]
pub struct SubjectKey(Arc<Keys>);

impl SubjectKey {
    pub(crate) fn new(secret: &Secret) -> Self {
        let of = |label: &[u8]| expand(secret, label);
        Self(Arc::new(Keys { tag: of(b"cs1/tag"), row: of(b"cs1/row"), custodian: of(b"cs1/custodian") }))
    }

    /// Subject tag = HMAC(tag key, "cs1/subject-tag" ‖ case id): one per case.
    pub fn tag(&self, case: &CaseId) -> SubjectTag {
        SubjectTag(mac(&self.0.tag, &Parts::new("cs1/subject-tag").part(case).finish()).0)
    }

    /// Seals a database row of this subject. `context` names table, column and row, so that rows cannot be exchanged.
    ///
    /// # Errors
    /// `VaultError::Randomness`.
    pub fn seal_row(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, VaultError> {
        boxed::seal(&self.0.row, context, plain, &mut System).map_err(|_| VaultError::Randomness)
    }

    /// Opens a row that `seal_row` sealed under the same context.
    ///
    /// # Errors
    /// `VaultError::Box` for another subject, another context or changed bytes.
    pub fn open_row(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
        boxed::open(&self.0.row, context, sealed).ok_or(VaultError::Box { what: "row" })
    }

    pub(crate) fn custodian(&self) -> &Secret {
        &self.0.custodian
    }
}
