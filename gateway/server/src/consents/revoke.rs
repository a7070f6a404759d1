//! Ending a consent: for good, and with every version of it. A newer version may have come into force unseen, or be under way
//! still; the ledger keeps a tombstone of each id, so that what is under way cannot overtake the end.

use std::collections::BTreeSet;

use gateway_consent::Reference;
use schemas::id::{ConsentId, Height, SubjectId, TimeMs};
use schemas::json::Value;
use schemas::transaction::{Body, RevokeConsent};

use super::documents::Draft;
use super::{ATTEMPTS_MAX, ConsentError, Consents, Stored, Written};
use crate::disclose::decide::view;

impl Consents {
    /// Ends a consent for good. `document` is how it reads from now on (`inactive`, `entered-in-error`).
    ///
    /// # Errors
    /// `ConsentError`; after `OutcomeUnknown` some versions may have ended and others not: it is asked for again.
    pub async fn revoke(&self, before: &Stored, document: &Value) -> Result<Written, ConsentError> {
        let subject = before.subject;
        self.require_same_patient(&subject, document).await?;
        self.require_attestable(&subject).await?;
        let consent = before.granted;
        let (height, time) = self.end_all(before).await?;
        let row = Draft {
            consent: ConsentId(gateway_vault::random().map_err(|_| ConsentError::Vault)?),
            granted: consent,
            subject,
            logical_id: before.logical_id.clone(),
            height: Some(height),
            revoked: true,
        };
        self.keep(&row, document, time).await?;
        Ok(Written { consent, row: row.consent, subject, logical_id: row.logical_id, height, time })
    }

    /// Until no version is live and none that is under way could become so: a grant that begins after the last look replaces a
    /// version that has ended, and the ledger refuses it.
    async fn end_all(&self, before: &Stored) -> Result<(Height, TimeMs), ConsentError> {
        let mut last = self.end(&before.subject, before.granted).await?;
        let mut ended = BTreeSet::from([before.granted]);
        for _ in 0..ATTEMPTS_MAX {
            let open: Vec<ConsentId> = self.open(before).await?.into_iter().filter(|id| !ended.contains(id)).collect();
            if open.is_empty() {
                return Ok(last);
            }
            for id in open {
                last = self.end(&before.subject, id).await?;
                ended.insert(id);
            }
        }
        Err(ConsentError::OutcomeUnknown)
    }

    /// Versions that are live, or whose outcome is not known.
    pub(super) async fn open(&self, before: &Stored) -> Result<Vec<ConsentId>, ConsentError> {
        let versions = self.versions(&before.logical_id).await?;
        let live = view(&self.parts.store, &before.subject).await?.set.live;
        let is_open = |row: &Stored| row.height.is_none() || live.iter().any(|live| live.consent == row.granted);
        let ours = versions.into_iter().filter(|row| row.subject == before.subject && is_open(row));
        Ok(ours.map(|row| row.granted).collect())
    }

    async fn end(&self, subject: &SubjectId, consent: ConsentId) -> Result<(Height, TimeMs), ConsentError> {
        let body = Body::RevokeConsent(RevokeConsent { consent, subject: *subject });
        self.execute(body).await?.map_err(ConsentError::Refused)
    }

    async fn require_same_patient(&self, subject: &SubjectId, document: &Value) -> Result<(), ConsentError> {
        let named = document.get("patient").map(|patient| Reference::all_of(patient, &self.parts.base));
        let named = named.unwrap_or_default().into_iter().next().ok_or(ConsentError::UnknownPatient)?;
        match self.patient(&named).await? {
            Some(found) if found == *subject => Ok(()),
            _ => Err(ConsentError::OtherPatient),
        }
    }
}
