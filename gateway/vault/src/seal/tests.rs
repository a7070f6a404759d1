//! The envelope as a whole: golden vectors, the way seal → check → open for anything, and an adversary who flips, swaps,
//! cuts and reorders.

use p256::SecretKey;
use zeroize::Zeroizing;

use super::*;
use crate::check::{Trusted, VerifiedAnchor};
use crate::error::AbandonError;
use crate::open::OpenCase;
use crate::random::fixed::{Dry, Fixed};
use crate::sign::SignatureKey;
use crate::unit::Unit;
use crate::vault::Vault;
use schemas::transaction::{Authored, Transaction};

mod attack;
mod golden;
mod identity;

pub(super) const CHAIN: ChainId = ChainId([0xc1; 32]);
pub(super) const INSTITUTION: InstitutionId = InstitutionId([0x11; 16]);
pub(super) const TIME: TimeMs = 1_700_000_000_000;

pub(super) fn private(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).unwrap()
}

pub(super) fn vault() -> Vault {
    let root = Zeroizing::new([0x52; 32]);
    Vault::new(&root, SignatureKey::new(&private(0x21)), SignatureKey::new(&private(0x22)))
}

pub(super) fn subject(byte: u8) -> SubjectKey {
    SubjectKey::new(&Zeroizing::new([byte; 32]))
}

pub(super) fn unit(kind: &str, bytes: &[u8]) -> Unit {
    Unit { kind: kind.to_owned(), bytes: bytes.to_vec() }
}

pub(super) fn small() -> Vec<Unit> {
    vec![unit("Patient", br#"{"resourceType":"Patient"}"#), unit("raw", b"MSH|^~\\&|\r")]
}

pub(super) fn request<'a>(subject: &'a SubjectKey, units: &'a [Unit]) -> SealRequest<'a> {
    SealRequest {
        chain: CHAIN,
        institution: INSTITUTION,
        subject,
        patient: None,
        practitioner: None,
        units: units.iter().map(Into::into).collect(),
        time: TIME,
        previous: None,
    }
}

pub(super) fn trusted(vault: &Vault) -> Trusted<'static> {
    Trusted { chain: CHAIN, institution: INSTITUTION, key: vault.institution_key(), practitioners: &[] }
}

pub(super) fn anchor(vault: &Vault, statements: Vec<Statement>) -> Transaction {
    vault.sign_anchor(CHAIN, INSTITUTION, 100, statements, vec![]).unwrap()
}

/// Algorithm 2 over one case that stands alone in its transaction.
pub(super) fn check(
    vault: &Vault,
    transaction: &Transaction,
    object: &[u8],
    wraps: &[Wrap],
    subject: &SubjectKey,
) -> Result<(), AbandonError> {
    let anchor = VerifiedAnchor::verify(transaction, &trusted(vault))?;
    vault.check(&anchor, 0, object, wraps, subject).map(drop)
}

/// Opens and decrypts all, trusting the object's own digest: what stands when the digest does not protect.
pub(super) fn open_all(subject: &SubjectKey, wraps: &[Wrap], object: &[u8]) -> Result<Vec<Unit>, crate::OpenError> {
    let case = OpenCase::as_custodian(subject, wraps, object, &cbor::sha256(object))?;
    (0..case.unit_count()).map(|index| case.decrypt(index)).collect()
}

#[test]
fn refuses_to_seal_without_randomness() {
    let (subject, units) = (subject(1), small());
    assert!(matches!(seal_with(request(&subject, &units), &mut Dry), Err(SealError::Randomness)));
}

#[test]
fn refuses_no_unit_and_unplain_types() {
    let (vault, subject) = (vault(), subject(1));
    assert!(matches!(vault.seal(request(&subject, &[])), Err(SealError::Units { found: 0, .. })));
    for kind in ["", "Pat ient", "Patiënt", "a\n", &"x".repeat(65)] {
        let units = [unit("Patient", b""), unit(kind, b"{}")];
        assert!(matches!(vault.seal(request(&subject, &units)), Err(SealError::Kind { unit: 1 })), "{kind:?}");
    }
}

#[test]
fn two_seals_of_the_same_share_nothing_that_can_be_linked() {
    let (vault, subject, units) = (vault(), subject(1), small());
    let (a, b) = (vault.seal(request(&subject, &units)).unwrap(), vault.seal(request(&subject, &units)).unwrap());
    assert_ne!(a.header.case, b.header.case);
    assert_ne!(a.header.subject_tag, b.header.subject_tag);
    assert_ne!(a.header.root, b.header.root);
    assert_ne!(a.header.key_commitment, b.header.key_commitment);
    assert_ne!(a.wraps[0].ciphertext, b.wraps[0].ciphertext);
}
