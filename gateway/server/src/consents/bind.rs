//! A patient's own key: the desk invites, the patient binds. The invitation is a box that only this gateway opens and that names
//! subject and end; the key proves that it is held by signing the very registration; the ledger binds one key per subject.
//! The private key never comes here.

use minicbor::{Decode, Encode};
use schemas::cbor::{self, Parts};
use schemas::cose;
use schemas::id::{InstitutionId, PublicKey, SubjectId, TimeMs};
use schemas::limits;
use schemas::state::Subject;
use schemas::transaction::{Body, Refusal, RegisterSubject, Signed, Signer, Transaction};
use schemas::wallet::{Bound, Invitation, Standing};

use super::{ConsentError, Consents, Foundation};
use crate::store::subjects;

/// What an invitation's seal holds.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Sealed {
    #[n(0)]
    subject: SubjectId,
    #[n(1)]
    expires: TimeMs,
}

fn context(institution: &InstitutionId) -> Vec<u8> {
    Parts::new("cs1/invitation").part(institution).finish()
}

impl Consents {
    /// Where this gateway stands: what a wallet's transaction needs to name.
    pub fn standing(&self) -> Standing {
        let Foundation { chain, institution, follower, .. } = &*self.parts;
        Standing { chain: *chain, institution: *institution, height: follower.height() }
    }

    /// Invites a patient to bind a key of her own. Who holds the invitation speaks for her from then on: it is handed over in
    /// person. `gateway`: the address under which her wallet finds this gateway.
    ///
    /// # Errors
    /// `ConsentError::KeyBound` when she has one.
    pub async fn invite(&self, subject: SubjectId, gateway: &str, now: TimeMs) -> Result<Invitation, ConsentError> {
        self.require_attestable(&subject).await?;
        let expires = now + limits::INVITATION_MS_MAX;
        let institution = self.parts.institution;
        let seal = self.parts.vault.seal_row(&context(&institution), &cbor::encode(&Sealed { subject, expires }));
        Ok(Invitation {
            gateway: gateway.to_owned(),
            chain: self.parts.chain,
            institution,
            subject,
            expires,
            seal: seal.map_err(|_| ConsentError::Vault)?,
        })
    }

    /// Binds the key that signed this registration. Once: binding the same key again finds it bound, another one is refused.
    ///
    /// # Errors
    /// `ConsentError`.
    pub async fn bind(&self, seal: &[u8], transaction: &[u8], now: TimeMs) -> Result<Bound, ConsentError> {
        let institution = self.parts.institution;
        let plain = self.parts.vault.open_row(&context(&institution), seal).map_err(|_| ConsentError::Invitation)?;
        let Sealed { subject, expires } = cbor::decode(&plain).map_err(|_| ConsentError::Invitation)?;
        if now >= expires {
            return Err(ConsentError::Invitation);
        }
        let (possession, key) = self.registration(transaction, &subject)?;
        // a shredded subject has no row
        subjects::get(&self.parts.store, &subject).await?.ok_or(ConsentError::UnknownPatient)?;
        if let Some(Subject { key: Some(bound), height, .. }) = self.registered(&subject).await? {
            return if bound == key { Ok(Bound { subject, height }) } else { Err(ConsentError::KeyBound) };
        }
        if self.is_used(&key).await? {
            return Err(ConsentError::KeyUsed);
        }
        let core = possession.core.clone();
        let signed = self.parts.vault.sign(core, Signer::Institution(institution));
        let mut signed = signed.map_err(|_| ConsentError::Vault)?;
        signed.signatures.extend(possession.signatures);
        match self.carry(&signed).await? {
            Ok((height, _)) => Ok(Bound { subject, height }),
            Err(Refusal::IdUsed) => Err(ConsentError::KeyBound),
            Err(refusal) => Err(ConsentError::Refused(refusal)),
        }
    }

    /// The registration of this subject with a key, signed by that key alone.
    fn registration(&self, bytes: &[u8], of: &SubjectId) -> Result<(Transaction, PublicKey), ConsentError> {
        let wrong = ConsentError::Transaction;
        let transaction = read_transaction(bytes)?;
        let Body::RegisterSubject(body) = &transaction.core.body else { return Err(wrong("type")) };
        let RegisterSubject { subject, institution, key: Some(key), guardians } = body else {
            return Err(wrong("key"));
        };
        let same = [
            ("chain", transaction.core.chain == self.parts.chain),
            ("subject", subject == of),
            ("institution", *institution == self.parts.institution),
            ("guardian", guardians.is_empty()),
        ];
        if let Some((what, _)) = same.iter().find(|(_, same)| !same) {
            return Err(wrong(what));
        }
        let key = *key;
        require_signed_by(&transaction, Signer::NewKey, &key)?;
        Ok((transaction, key))
    }

    /// Whether some patient of this gateway has the key already: one key for two would let whoever reads the ledger tell that
    /// they are one person, and a wallet's question would have two answers.
    async fn is_used(&self, key: &PublicKey) -> Result<bool, ConsentError> {
        Ok(subjects::is_bound(&self.parts.store, key).await?)
    }
}

/// A transaction in its one spelling, within its bound.
pub(super) fn read_transaction(bytes: &[u8]) -> Result<Transaction, ConsentError> {
    if bytes.len() > limits::TRANSACTION_SMALL_BYTES_MAX {
        return Err(ConsentError::Transaction("size"));
    }
    cbor::decode(bytes).map_err(|_| ConsentError::Transaction("spelling"))
}

/// Exactly one signature, in this role, by this key; nothing beside it.
pub(super) fn require_signed_by(
    transaction: &Transaction,
    signer: Signer,
    key: &PublicKey,
) -> Result<(), ConsentError> {
    let [Signed { signer: found, signature }] = transaction.signatures.as_slice() else {
        return Err(ConsentError::Signature);
    };
    if !transaction.statements.is_empty() || !transaction.authored.is_empty() {
        return Err(ConsentError::Transaction("statement"));
    }
    let message = cose::transaction_to_sign(&transaction.core.chain, &transaction.id());
    if *found != signer || !gateway_vault::verify(key, &message, signature) {
        return Err(ConsentError::Signature);
    }
    Ok(())
}
