//! Algorithm 2, *store*: before a case is anchored it is opened and checked exactly as its recipient will, and abandoned
//! on any mismatch. The paper's steps and where they are:
//!
//! 1. verify the institution's signature                 → `VerifiedAnchor::verify`, once per transaction
//! 2. check digests of object, header and wraps          → `Checked::check`
//! 3. unwrap K and check that the header commits to it   → `OpenCase::as_custodian`
//! 4. decrypt every part and check it against its leaf   → `OpenCase::check_unit`
//! 5. abandon on any mismatch, else hand to the ledger   → `AbandonError`, `Checked`
//!
//! `Checked` has private fields and is made here only, from a `VerifiedAnchor`, which is made here only: a case that was
//! not verified cannot be anchored by mistake.

use schemas::cose;
use schemas::envelope::{self, Header, Meaning, Statement, Wrap};
use schemas::id::{ChainId, InstitutionId, PractitionerId, PublicKey};
use schemas::transaction::{Authored, Body, Signer, Transaction};
use schemas::{cbor, limits};

use crate::error::AbandonError;
use crate::open::OpenCase;
use crate::sign::verify;
use crate::subject::SubjectKey;

/// The keys that signatures must be of, from the ledger's state or the vault; never from the transaction.
pub struct Trusted<'a> {
    /// The chain.
    pub chain: ChainId,
    /// The institution.
    pub institution: InstitutionId,
    /// Its registered key.
    pub key: PublicKey,
    /// Registered keys of practitioners who may have authored.
    pub practitioners: &'a [(PractitionerId, PublicKey)],
}

/// A transaction whose statements are what the institution signed. Made by `verify` only.
pub struct VerifiedAnchor<'a> {
    transaction: &'a Transaction,
}

impl<'a> VerifiedAnchor<'a> {
    /// Step 1: shape, root, the institution's signature over it, and the practitioners' over their statements.
    ///
    /// # Errors
    /// `AbandonError::Transaction` or `AbandonError::Signature`.
    pub fn verify(transaction: &'a Transaction, trusted: &Trusted<'_>) -> Result<Self, AbandonError> {
        let statements = &transaction.statements;
        let (institution, root) = match &transaction.core.body {
            Body::AnchorCases(body) if body.count as usize == statements.len() => (body.institution, body.root),
            Body::SupersedeCase(body) if statements.len() == 1 => (body.institution, body.root),
            _ => return Err(AbandonError::Transaction("type or count")),
        };
        if transaction.core.chain != trusted.chain {
            return Err(AbandonError::Transaction("chain"));
        }
        if statements.is_empty() || statements.len() > limits::STATEMENTS_MAX {
            return Err(AbandonError::Transaction("count"));
        }
        if institution != trusted.institution || statements.iter().any(|s| s.institution != institution) {
            return Err(AbandonError::Transaction("institution"));
        }
        let superseding = matches!(transaction.core.body, Body::SupersedeCase(_));
        if statements.iter().any(|s| s.previous.is_some() != superseding) {
            return Err(AbandonError::Transaction("previous version"));
        }
        if envelope::statements_root(statements) != root {
            return Err(AbandonError::Transaction("root"));
        }
        let [signed] = transaction.signatures.as_slice() else { return Err(AbandonError::Signature("institution")) };
        let message = cose::transaction_to_sign(&trusted.chain, &transaction.id());
        if signed.signer != Signer::Institution(institution) || !verify(&trusted.key, &message, &signed.signature) {
            return Err(AbandonError::Signature("institution"));
        }
        let authored = |authored: &Authored| verify_authored(transaction, authored, trusted);
        if !transaction.authored.iter().all(authored) {
            return Err(AbandonError::Signature("practitioner"));
        }
        Ok(Self { transaction })
    }

    /// The verified statements.
    pub fn statements(&self) -> &'a [Statement] {
        &self.transaction.statements
    }
}

fn verify_authored(transaction: &Transaction, authored: &Authored, trusted: &Trusted<'_>) -> bool {
    let statement = transaction.statements.get(authored.statement as usize);
    let key = trusted.practitioners.iter().find(|(id, _)| *id == authored.practitioner);
    let once = transaction.authored.iter().filter(|other| other.statement == authored.statement).count() == 1;
    let (Some(statement), Some((_, key)), true) = (statement, key, once) else { return false };
    let message = cose::sig_structure(trusted.chain.as_bytes(), &cbor::encode(statement));
    verify(key, &message, &authored.signature)
}

/// A case that its recipient could open and that is what its statement says. Made by `Vault::check` only.
#[derive(Debug)]
pub struct Checked {
    statement: Statement,
    header: Header,
}

impl Checked {
    /// Steps 2 to 5.
    pub(crate) fn check(
        anchor: &VerifiedAnchor<'_>,
        index: usize,
        object: &[u8],
        wraps: &[Wrap],
        subject: &SubjectKey,
    ) -> Result<Self, AbandonError> {
        let transaction = anchor.transaction;
        let statement = transaction.statements.get(index).ok_or(AbandonError::Statement { index })?;
        check_wraps(wraps, statement)?;
        let case = OpenCase::as_custodian(subject, wraps, object, &statement.object)?;
        check_header(&case, statement, &transaction.core.chain)?;
        let authored = transaction.authored.iter().find(|authored| authored.statement as usize == index);
        if authored.map(|authored| case.keys().practitioner(&authored.practitioner)) != case.header().practitioner {
            return Err(AbandonError::Header("practitioner"));
        }
        (0..case.unit_count()).try_for_each(|unit| case.check_unit(unit))?;
        Ok(Self { statement: statement.clone(), header: case.header().clone() })
    }

    /// The statement that was checked.
    pub const fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The header that was checked.
    pub const fn header(&self) -> &Header {
        &self.header
    }
}

/// The wraps are the ones that the statement names.
pub(crate) fn check_wraps(wraps: &[Wrap], statement: &Statement) -> Result<(), AbandonError> {
    let same = wraps.len() <= limits::CASE_WRAPS_MAX && envelope::wrap_set_hash(wraps) == statement.wraps;
    if same { Ok(()) } else { Err(AbandonError::Wraps) }
}

/// Every field that header and statement share.
pub(crate) fn check_header(case: &OpenCase<'_>, statement: &Statement, chain: &ChainId) -> Result<(), AbandonError> {
    let header = case.header();
    let meaning = if header.previous.is_some() { Meaning::Amended } else { Meaning::Released };
    let successor = header.case_version >= 1 && (header.case_version > 1) == header.previous.is_some();
    let same = [
        ("hash", *case.header_hash() == statement.header),
        ("chain", header.chain == *chain),
        ("case", header.case == statement.case),
        ("version", header.case_version == statement.version && successor),
        ("previous", header.previous == statement.previous),
        ("institution", header.institution == statement.institution),
        ("subject tag", header.subject_tag == statement.subject_tag),
        ("root", header.root == statement.root),
        ("time", header.time == statement.time),
        ("meaning", header.meaning == meaning),
        ("FHIR version", header.fhir_version == envelope::FHIR_R4),
    ];
    match same.iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(AbandonError::Header(what)),
        None => Ok(()),
    }
}
