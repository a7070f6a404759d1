//! The key of a person: a patient, a guardian or a practitioner. The same P-256 key signs (grants, statements) and, for a
//! patient, opens wraps. In this version it lives in a key file; a wallet holds it later.

use std::path::Path;

use p256::SecretKey;
use schemas::cbor;
use schemas::cose;
use schemas::envelope::{Statement, Wrap};
use schemas::id::{ChainId, Digest, PractitionerId, PublicKey, RawPublicKey};
use schemas::transaction::{Authored, Core, Signer, Transaction};
use schemas::wallet::{Question, SignedQuestion};

use crate::check;
use crate::error::{AbandonError, OpenError, VaultError};
use crate::files;
use crate::open::OpenCase;
use crate::random::System;
use crate::sign::SignatureKey;
use crate::unit::Unit;

/// A person's private key. Zeroised when dropped (`p256`); has no Debug, no Clone.
pub struct PersonalKey {
    secret: SecretKey,
    signing: SignatureKey,
}

impl PersonalKey {
    #[cfg(test)]
    pub(crate) fn of(secret: SecretKey) -> Self {
        Self::new(secret)
    }

    fn new(secret: SecretKey) -> Self {
        let signing = SignatureKey::new(&secret);
        Self { secret, signing }
    }

    /// Makes a key file (PEM, PKCS#8, mode 0600), synced.
    ///
    /// # Errors
    /// `VaultError::Exists` when there is one, or the file's errors.
    pub fn create(path: &Path) -> Result<Self, VaultError> {
        files::create_p256(path, &mut System).map(Self::new)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// `VaultError` for a looser mode, a link or another content.
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        files::read_p256(path).map(Self::new)
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        self.signing.public()
    }

    /// A transaction signed in a role of this person.
    pub fn sign(&self, core: Core, signer: Signer) -> Transaction {
        let mut transaction =
            Transaction { core, statements: Vec::new(), signatures: Vec::new(), authored: Vec::new() };
        self.countersign(&mut transaction, signer);
        transaction
    }

    /// Adds a signature, such as the possession of a key that the institution registers (`Signer::NewKey`).
    pub fn countersign(&self, transaction: &mut Transaction, signer: Signer) {
        self.signing.sign_transaction(transaction, signer);
    }

    /// A practitioner's signature over one statement of a transaction to come.
    pub fn author(&self, chain: &ChainId, practitioner: PractitionerId, index: u32, statement: &Statement) -> Authored {
        let message = cose::sig_structure(chain.as_bytes(), &cbor::encode(statement));
        Authored { statement: index, practitioner, signature: self.signing.sign(&message) }
    }

    /// A question of this person's wallet.
    pub fn ask(&self, question: Question) -> SignedQuestion {
        let signature = self.signing.sign(&question.to_sign());
        SignedQuestion { question, signature }
    }

    /// Algorithm 2 as the patient runs it on a case that was handed to her: the wraps and the object are those of the statement,
    /// header and statement agree, K is the one that the header commits to, every unit verifies. `statement` must come from a
    /// verified receipt: institution, signature and anchor are proved there. The author of a case by a practitioner was checked
    /// before it was anchored; a receipt does not name them.
    ///
    /// # Errors
    /// `AbandonError`: the case is abandoned, nothing of it may be used.
    pub fn receive(
        &self,
        chain: &ChainId,
        statement: &Statement,
        wraps: &[Wrap],
        object: &[u8],
    ) -> Result<Vec<Unit>, AbandonError> {
        check::check_wraps(wraps, statement)?;
        let RawPublicKey(public) = self.public().0;
        let case = OpenCase::as_patient(&self.secret, &public, wraps, object, &statement.object)?;
        check::check_header(&case, statement, chain)?;
        Ok((0..case.unit_count()).map(|unit| case.decrypt(unit)).collect::<Result<_, _>>()?)
    }

    /// Opens a case as the patient: HPKE open of K, then every unit.
    ///
    /// # Errors
    /// `OpenError`.
    pub fn open_case(&self, wraps: &[Wrap], object: &[u8], expected: &Digest) -> Result<Vec<Unit>, OpenError> {
        let RawPublicKey(public) = self.public().0;
        let case = OpenCase::as_patient(&self.secret, &public, wraps, object, expected)?;
        (0..case.unit_count()).map(|unit| case.decrypt(unit)).collect()
    }
}
