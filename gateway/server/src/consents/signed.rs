//! Consents that the patient's own key signed. The wallet makes the exact transaction; here is checked that it says what the
//! document says, signed by the bound key, before the document is kept and the bytes go to the ledger as they came. The
//! institution adds nothing to it and can change nothing of it.

use std::collections::BTreeSet;

use schemas::id::{ConsentId, PublicKey, SubjectId};
use schemas::json::Value;
use schemas::state::Subject;
use schemas::transaction::{Basis, Body, GrantConsent, Refusal, RevokeConsent, Signer, Transaction};
use schemas::wallet::KnownConsent;

use super::bind::{read_transaction, require_signed_by};
use super::documents::Draft;
use super::{ConsentError, Consents, Stored, Written, commitment, hex_id};
use crate::disclose::decide::view;
use crate::store::StoreError;

/// A grant that the bound key of its subject signed. Made by `Consents::read_grant` only: nothing else of a request is looked at
/// before.
pub struct SignedGrant {
    transaction: Transaction,
    body: GrantConsent,
}

impl Consents {
    /// A consent comes into force as the patient signed it. `replaces`: the head of the consent of which it is a new version.
    ///
    /// # Errors
    /// `ConsentError::Overtaken` when another change came first: the wallet looks again and signs anew.
    pub async fn grant_signed(
        &self,
        signed: SignedGrant,
        document: &Value,
        salt: [u8; 32],
        replaces: Option<&Stored>,
    ) -> Result<Written, ConsentError> {
        let SignedGrant { transaction, body } = signed;
        let (policy, subject) = self.read(document).await?;
        if subject != body.subject || replaces.is_some_and(|before| before.subject != subject) {
            return Err(ConsentError::OtherPatient);
        }
        if replaces.is_some_and(|before| before.revoked) {
            return Err(ConsentError::Revoked);
        }
        let same = [
            ("commitment", body.commitment == commitment(&salt, document)),
            ("window", (body.from, body.until) == policy.window()),
            ("replaced version", body.supersedes == replaces.map(|before| before.consent)),
        ];
        if let Some((what, _)) = same.iter().find(|(_, same)| !same) {
            return Err(ConsentError::Transaction(what));
        }
        let logical_id = match (self.kept_before(&body.consent, &subject, &salt).await?, replaces) {
            (Some(logical_id), _) => logical_id,
            (None, before) => {
                let logical_id = before.map_or_else(hex_id, |before| Ok(before.logical_id.clone()))?;
                let row = draft(&body, logical_id.clone());
                self.keep_salted(&row, document, salt, 0).await?;
                logical_id
            }
        };
        match self.carry(&transaction).await? {
            Ok((height, time)) => {
                self.mark_in_force(&body.consent, height, time).await?;
                let (consent, row) = (body.consent, body.consent);
                Ok(Written { consent, row, subject, logical_id, height, time })
            }
            Err(refusal) => match self.refused(draft(&body, logical_id), refusal).await {
                Err(ConsentError::Refused(Refusal::SetVersion)) => Err(ConsentError::Overtaken),
                other => other,
            },
        }
    }

    /// The grant in a transaction of a patient whose bound key signed it.
    ///
    /// # Errors
    /// `ConsentError`.
    pub async fn read_grant(&self, bytes: &[u8]) -> Result<SignedGrant, ConsentError> {
        let transaction = read_transaction(bytes)?;
        let Body::GrantConsent(body) = &transaction.core.body else {
            return Err(ConsentError::Transaction("type"));
        };
        let body = body.clone();
        self.require_signed(&transaction, &body.subject).await?;
        let same = [("basis", body.basis == Basis::Signed), ("custodian", body.custodian == self.parts.institution)];
        match same.iter().find(|(_, same)| !same) {
            Some((what, _)) => Err(ConsentError::Transaction(what)),
            None => Ok(SignedGrant { transaction, body }),
        }
    }

    /// Ends a consent for good with the patient's own signatures: of its head and of every version that is or may come into
    /// force. Ending it again changes nothing.
    ///
    /// # Errors
    /// `ConsentError::Overtaken` when another version is open: the wallet looks again and signs for it too.
    pub async fn revoke_signed<'a>(
        &self,
        before: &Stored,
        all: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Written, ConsentError> {
        let subject = before.subject;
        let versions: BTreeSet<ConsentId> =
            self.versions(&before.logical_id).await?.iter().map(|row| row.granted).collect();
        let (mut transactions, mut named) = (Vec::new(), BTreeSet::new());
        for bytes in all {
            let transaction = read_transaction(bytes)?;
            let Body::RevokeConsent(RevokeConsent { consent, subject: of }) = transaction.core.body else {
                return Err(ConsentError::Transaction("type"));
            };
            if of != subject || !versions.contains(&consent) {
                return Err(ConsentError::Transaction("consent"));
            }
            self.require_signed(&transaction, &subject).await?;
            if !named.insert(consent) {
                return Err(ConsentError::Transaction("consent"));
            }
            transactions.push(transaction);
        }
        let covers = |open: &[ConsentId]| open.iter().all(|id| named.contains(id));
        if !named.contains(&before.granted) || !covers(&self.open(before).await?) {
            return Err(ConsentError::Overtaken);
        }
        let mut last = None;
        for transaction in &transactions {
            last = Some(self.carry(transaction).await?.map_err(ConsentError::Refused)?);
        }
        let (Some((height, time)), true) = (last, covers(&self.open(before).await?)) else {
            return Err(ConsentError::Overtaken);
        };
        let (consent, logical_id) = (before.granted, before.logical_id.clone());
        if before.revoked {
            return Ok(Written { consent, row: before.consent, subject, logical_id, height, time });
        }
        let mut document = self.document_of(before).await?;
        if let Some(object) = document.as_object_mut() {
            object.insert("status", Value::from("inactive"));
        }
        let row = ConsentId(gateway_vault::random().map_err(|_| ConsentError::Vault)?);
        let kept = Draft {
            consent: row,
            granted: consent,
            subject,
            logical_id: logical_id.clone(),
            height: Some(height),
            revoked: true,
        };
        self.keep(&kept, &document, time).await?;
        Ok(Written { consent, row, subject, logical_id, height, time })
    }

    /// Signed by the key that is bound to the subject, and by nobody else; for this chain.
    async fn require_signed(&self, transaction: &Transaction, subject: &SubjectId) -> Result<(), ConsentError> {
        if transaction.core.chain != self.parts.chain {
            return Err(ConsentError::Transaction("chain"));
        }
        let key = self.bound(subject).await?.ok_or(ConsentError::NoKey)?;
        require_signed_by(transaction, Signer::Subject(*subject), &key)
    }

    /// The key that is bound to a subject of this institution.
    async fn bound(&self, subject: &SubjectId) -> Result<Option<PublicKey>, StoreError> {
        let known = self.registered(subject).await?;
        Ok(known.and_then(|Subject { institution, key, .. }| key.filter(|_| institution == self.parts.institution)))
    }

    /// All consents of one patient as her wallet needs them.
    ///
    /// # Errors
    /// `StoreError`.
    pub async fn known(&self, subject: &SubjectId) -> Result<Vec<KnownConsent>, StoreError> {
        let live = view(&self.parts.store, subject).await?.set.live;
        let mut known: Vec<KnownConsent> = Vec::new();
        for row in self.list_all(subject).await? {
            let at = match known.iter().position(|one| one.logical_id == row.logical_id) {
                Some(at) => at,
                None => {
                    let logical_id = row.logical_id.clone();
                    known.push(KnownConsent { logical_id, head: row.granted, open: Vec::new(), revoked: false });
                    known.len() - 1
                }
            };
            let Some(one) = known.get_mut(at) else { continue };
            let is_open = row.height.is_none() || live.iter().any(|live| live.consent == row.granted);
            if is_open && !row.revoked && !one.open.contains(&row.granted) {
                one.open.push(row.granted);
            }
            if row.height.is_some() {
                (one.head, one.revoked) = (row.granted, row.revoked);
            }
        }
        Ok(known)
    }
}

fn draft(body: &GrantConsent, logical_id: String) -> Draft {
    let (consent, subject) = (body.consent, body.subject);
    Draft { consent, granted: consent, subject, logical_id, height: None, revoked: false }
}
