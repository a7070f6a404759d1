//! Consents on their way to the ledger: grant, narrow, revoke. The document stays here, sealed under the patient's key; the
//! ledger gets its salted commitment. A write returns once the ledger has executed it and this gateway has followed, so
//! that the next request already obeys. The institution attests (basis `Attested`) while no key of the patient is bound; then
//! only what that key signed goes to the ledger (`signed.rs`).

mod bind;
mod documents;
mod revoke;
mod signed;
mod submit;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gateway_consent::{Document, Policy, PolicyError, Reference};
use gateway_vault::Vault;
use ledger_client::{Ledger, LedgerError};
use schemas::ErrorClass;
use schemas::cbor;
use schemas::id::{ChainId, ConsentId, Digest, Height, InstitutionId, SubjectId, TimeMs};
use schemas::json::Value;
use schemas::state::{self, ConsentSet, Subject};
use schemas::transaction::{Basis, Body, GrantConsent, Refusal, RegisterSubject};
use schemas::wallet;

use crate::disclose::decide::view;
use crate::disclose::open::{DiscloseError, Kept, Opener};
use crate::disclose::progress::Progress;
use crate::disclose::query;
use crate::store::{self, Store, StoreError, subjects};

use documents::Draft;
pub use documents::{Stored, context as document_context};
pub use signed::SignedGrant;

/// Times that a grant is signed again because another write of the same patient came first.
const ATTEMPTS_MAX: usize = 8;
/// Longest wait for the ledger's word on one transaction.
const OUTCOME_WAIT: Duration = Duration::from_secs(15);

/// A consent that did not come into force, or whose outcome is not known.
#[derive(Debug, thiserror::Error)]
pub enum ConsentError {
    /// The document is no usable policy.
    #[error("{0}")]
    Policy(#[from] PolicyError),
    /// The document holds something that is not understood, so it would permit nothing.
    #[error("{path}: found an element that is not enforced here; the consent would permit nothing")]
    NotUnderstood {
        /// FHIRPath of the element.
        path: String,
    },
    /// The patient is not known here.
    #[error("Consent.patient: found a patient who is not known here")]
    UnknownPatient,
    /// The consent of another patient, or another patient than before.
    #[error("Consent.patient: found another patient than in the version before")]
    OtherPatient,
    /// The patient has a key: only it may grant and revoke.
    #[error("the patient's own key is bound: only it signs this patient's consents")]
    KeyBound,
    /// No key is bound, so nothing of hers can be signed with it.
    #[error("found no key of the patient, expected one to be bound")]
    NoKey,
    /// The key speaks for another patient here.
    #[error("found a key that is bound to another patient here, expected a key of her own")]
    KeyUsed,
    /// The invitation is another gateway's, changed or over.
    #[error("found an invitation that does not count here or has ended, expected a fresh one from the hospital's desk")]
    Invitation,
    /// A transaction that the patient signed is not the one that is expected.
    #[error("found a transaction with another {0}, expected exactly the one that was asked for")]
    Transaction(&'static str),
    /// The signature is not of the key that counts.
    #[error("found a signature that is not of the expected key")]
    Signature,
    /// Something else came first.
    #[error("found another change of this patient's consents before this one; look again and sign anew")]
    Overtaken,
    /// It was revoked; a revoked consent does not come back.
    #[error("the consent was revoked; grant a new one")]
    Revoked,
    /// The ledger refused it.
    #[error("the ledger refused the transaction: {0:?}")]
    Refused(Refusal),
    /// The ledger gave no word in time. It may still come into force.
    #[error("the ledger gave no word in time; read the consent to see whether it is in force")]
    OutcomeUnknown,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A key or row.
    #[error(transparent)]
    Open(#[from] DiscloseError),
    /// The vault does not sign or seal.
    #[error("the vault did not sign or seal")]
    Vault,
}

impl ConsentError {
    /// The class that decides about the status.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Policy(_)
            | Self::NotUnderstood { .. }
            | Self::UnknownPatient
            | Self::OtherPatient
            | Self::Invitation
            | Self::Transaction(_)
            | Self::Signature => ErrorClass::Caller,
            Self::KeyBound | Self::NoKey | Self::KeyUsed | Self::Overtaken | Self::Revoked | Self::Refused(_) => {
                ErrorClass::Conflict
            }
            Self::OutcomeUnknown => ErrorClass::Transient,
            Self::Store(e) => e.class(),
            Self::Ledger(e) => e.class(),
            Self::Open(e) => e.class(),
            Self::Vault => ErrorClass::Bug,
        }
    }

    /// The element of the Consent that is at fault.
    pub fn place(&self) -> Option<String> {
        match self {
            Self::Policy(error) => Some(error.path.to_string()),
            Self::NotUnderstood { path } => Some(path.clone()),
            Self::UnknownPatient | Self::OtherPatient => Some("Consent.patient".to_owned()),
            _ => None,
        }
    }
}

/// A consent as it stands after a write.
#[derive(Clone, Debug)]
pub struct Written {
    /// The version on the ledger.
    pub consent: ConsentId,
    /// Names the stored version: after a grant the same, after a revocation one of its own.
    pub row: ConsentId,
    /// Whose.
    pub subject: SubjectId,
    /// FHIR logical id, the same for all versions.
    pub logical_id: String,
    /// Height at which the ledger executed it.
    pub height: Height,
    /// Effective time of that block.
    pub time: TimeMs,
}

/// What the handle is made of.
pub struct Foundation {
    /// The database.
    pub store: Store,
    /// Signs and seals.
    pub vault: Arc<Vault>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// How far the state is.
    pub follower: Arc<dyn Progress>,
    /// Subject keys.
    pub opener: Opener,
    /// The chain.
    pub chain: ChainId,
    /// The institution that attests.
    pub institution: InstitutionId,
    /// Base URL of the FHIR endpoint: absolute references under it are our own.
    pub base: Arc<str>,
}

type Remembered = Arc<Mutex<Kept<ConsentId, (SubjectId, Digest, Document)>>>;

/// Grants, revokes and loads consents. Cheap to clone.
#[derive(Clone)]
pub struct Consents {
    parts: Arc<Foundation>,
    remembered: Remembered,
    /// One version at a time gets its number.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Consents {
    /// Over these parts.
    pub fn new(parts: Foundation) -> Self {
        let remembered = Kept::shared(documents::REMEMBERED_MAX);
        Self { parts: Arc::new(parts), remembered, turn: Arc::default() }
    }

    /// A new consent.
    ///
    /// # Errors
    /// `ConsentError`.
    pub async fn grant(&self, document: &Value) -> Result<Written, ConsentError> {
        let (policy, subject) = self.read(document).await?;
        let logical_id = hex_id()?;
        self.put_in_force(document, &policy, subject, logical_id, None).await
    }

    /// A new version in place of the one in force: narrower, wider, longer, shorter.
    ///
    /// # Errors
    /// `ConsentError::Revoked` when the one before was revoked.
    pub async fn replace(&self, before: &Stored, document: &Value) -> Result<Written, ConsentError> {
        let (policy, subject) = self.read(document).await?;
        if subject != before.subject {
            return Err(ConsentError::OtherPatient);
        }
        if before.revoked {
            return Err(ConsentError::Revoked);
        }
        self.put_in_force(document, &policy, subject, before.logical_id.clone(), Some(before.consent)).await
    }

    async fn put_in_force(
        &self,
        document: &Value,
        policy: &Policy,
        subject: SubjectId,
        logical_id: String,
        supersedes: Option<ConsentId>,
    ) -> Result<Written, ConsentError> {
        self.register(&subject).await?;
        let consent = ConsentId(gateway_vault::random().map_err(|_| ConsentError::Vault)?);
        let row = Draft { consent, granted: consent, subject, logical_id, height: None, revoked: false };
        // on disk before the ledger knows of it: a live consent without its document would deny everything
        let commitment = self.keep(&row, document, 0).await?;
        let (from, until) = policy.window();
        for _ in 0..ATTEMPTS_MAX {
            let ConsentSet { version: set_version, .. } = view(&self.parts.store, &subject).await?.set;
            let body = Body::GrantConsent(GrantConsent {
                consent,
                subject,
                set_version: set_version + 1,
                commitment,
                basis: Basis::Attested,
                custodian: self.parts.institution,
                from,
                until,
                supersedes,
            });
            match self.execute(body).await? {
                Ok((height, time)) => {
                    self.mark_in_force(&consent, height, time).await?;
                    return Ok(Written { consent, row: consent, subject, logical_id: row.logical_id, height, time });
                }
                // another write of this patient came first: sign again on top of it
                Err(Refusal::SetVersion) => {}
                Err(refusal) => return self.refused(row, refusal).await,
            }
        }
        self.refused(row, Refusal::SetVersion).await
    }

    /// Drops the document of a grant that was refused. One that is live all the same keeps it: without its document all of
    /// the patient's records would be denied.
    async fn refused(&self, row: Draft, refusal: Refusal) -> Result<Written, ConsentError> {
        let Draft { consent, subject, logical_id, .. } = row;
        let live = view(&self.parts.store, &subject).await?.set.live;
        let Some(live) = live.into_iter().find(|live| live.consent == consent) else {
            self.forget(&consent).await?;
            return Err(match refusal {
                Refusal::Revoked => ConsentError::Revoked,
                other => ConsentError::Refused(other),
            });
        };
        let (height, time) = (live.height, self.parts.follower.time());
        self.mark_in_force(&consent, height, time).await?;
        Ok(Written { consent, row: consent, subject, logical_id, height, time })
    }

    /// Parses a document and finds its patient.
    async fn read(&self, document: &Value) -> Result<(Policy, SubjectId), ConsentError> {
        let policy = Policy::parse_under(document, &self.parts.base)?;
        if let Some(path) = policy.not_understood().next() {
            return Err(ConsentError::NotUnderstood { path: path.to_owned() });
        }
        let subject = self.patient(policy.patient()).await?.ok_or(ConsentError::UnknownPatient)?;
        Ok((policy, subject))
    }

    async fn patient(&self, patient: &Reference) -> Result<Option<SubjectId>, StoreError> {
        match patient {
            Reference::Resource { base: None, kind, id } if &**kind == "Patient" => {
                query::subject_of(&self.parts.store, id).await
            }
            Reference::Identifier { system, value } => {
                let alias = self.parts.vault.alias(system, value);
                Ok(subjects::by_aliases(&self.parts.store, &[alias]).await?.remove(&alias))
            }
            _ => Ok(None),
        }
    }

    /// What the ledger knows of a subject.
    async fn registered(&self, subject: &SubjectId) -> Result<Option<Subject>, StoreError> {
        let bytes = store::chain::get(&self.parts.store, &state::subject_key(subject)).await?;
        let corrupt = |_| StoreError::Corrupt { what: "chain_state subject" };
        bytes.map(|bytes| cbor::decode(&bytes).map_err(corrupt)).transpose()
    }

    async fn require_attestable(&self, subject: &SubjectId) -> Result<bool, ConsentError> {
        match self.registered(subject).await? {
            Some(Subject { key: Some(_), .. }) => Err(ConsentError::KeyBound),
            Some(_) => Ok(true),
            None => Ok(false),
        }
    }

    /// Registers a subject that the ledger does not know yet.
    async fn register(&self, subject: &SubjectId) -> Result<(), ConsentError> {
        if self.require_attestable(subject).await? {
            return Ok(());
        }
        let body = Body::RegisterSubject(RegisterSubject {
            subject: *subject,
            institution: self.parts.institution,
            key: None,
            guardians: Vec::new(),
        });
        match self.execute(body).await? {
            // refused: another request of the same patient registered it in the meantime
            Ok(_) | Err(Refusal::IdUsed) => Ok(()),
            Err(refusal) => Err(ConsentError::Refused(refusal)),
        }
    }
}

fn hex_id() -> Result<String, ConsentError> {
    let id: [u8; 16] = gateway_vault::random().map_err(|_| ConsentError::Vault)?;
    Ok(schemas::id::to_hex(&id))
}

/// Salted hash of the canonical document: what the ledger commits to.
pub fn commitment(salt: &[u8], document: &Value) -> Digest {
    wallet::consent_commitment(salt, &document.canonical())
}
