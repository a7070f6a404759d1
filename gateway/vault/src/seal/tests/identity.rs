//! seal → sign → check → open gives what was sealed, for any units.

use super::*;
use crate::personal::PersonalKey;
use proptest::prelude::*;
use schemas::envelope::WrapKind;

fn any_unit() -> impl Strategy<Value = Unit> {
    let chunk = limits::UNIT_CHUNK_BYTES;
    // Lengths around the padding granule and around one and two chunks, where an off-by-one would live.
    let length = prop_oneof![
        6 => 0..600usize,
        1 => chunk - 300..chunk + 300,
        1 => 2 * chunk - 300..2 * chunk + 300,
    ];
    ("[A-Za-z0-9-]{1,64}", length, any::<u8>())
        .prop_map(|(kind, length, salt)| Unit { kind, bytes: (0..length).map(|i| (i as u8) ^ salt).collect() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_was_sealed_is_opened(units in proptest::collection::vec(any_unit(), 1..6), bound: bool) {
        let (vault, subject, patient) = (vault(), subject(1), PersonalKey::of(private(0x31)));
        let request = SealRequest { patient: bound.then(|| patient.public()), ..request(&subject, &units) };
        let sealed = vault.seal(request).unwrap();
        let transaction = anchor(&vault, vec![sealed.statement.clone()]);
        check(&vault, &transaction, &sealed.object, &sealed.wraps, &subject).unwrap();
        prop_assert_eq!(&open_all(&subject, &sealed.wraps, &sealed.object).unwrap(), &units);
        let as_patient = patient.open_case(&sealed.wraps, &sealed.object, &sealed.statement.object);
        if bound {
            prop_assert_eq!(&as_patient.unwrap(), &units);
        } else {
            prop_assert_eq!(as_patient, Err(crate::OpenError::NoWrap));
        }
    }
}

#[test]
fn lengths_outside_tell_the_granule_only() {
    let subject = subject(1);
    let short = vault().seal(request(&subject, &[unit("Patient", b"")])).unwrap();
    let long = vault().seal(request(&subject, &[unit("QuestionnaireResponse", &[7; 200])])).unwrap();
    assert_eq!(short.header.padded_lengths, long.header.padded_lengths);
    assert_eq!(short.object.len(), long.object.len());
}

#[test]
fn an_empty_unit_and_a_large_one() {
    let (vault, subject) = (vault(), subject(1));
    let units = [unit("Binary", b""), unit("raw", &vec![0x5a; 5 * limits::UNIT_CHUNK_BYTES + 1])];
    let sealed = vault.seal(request(&subject, &units)).unwrap();
    check(&vault, &anchor(&vault, vec![sealed.statement]), &sealed.object, &sealed.wraps, &subject).unwrap();
    assert_eq!(open_all(&subject, &sealed.wraps, &sealed.object).unwrap(), units);
}

#[test]
fn a_new_version_is_signed_as_one() {
    let (vault, subject, units) = (vault(), subject(1), small());
    let first = vault.seal(request(&subject, &units)).unwrap();
    let previous = Some((first.header.case, 1, first.statement.header));
    let second = vault.seal(SealRequest { previous, ..request(&subject, &units) }).unwrap();
    assert_eq!((second.header.case, second.header.case_version), (first.header.case, 2));
    assert_eq!(second.header.meaning, Meaning::Amended);
    assert!(vault.sign_anchor(CHAIN, INSTITUTION, 9, vec![second.statement.clone()], vec![]).is_err());
    assert!(vault.sign_supersede(CHAIN, INSTITUTION, 9, first.statement, None).is_err());
    let transaction = vault.sign_supersede(CHAIN, INSTITUTION, 9, second.statement, None).unwrap();
    check(&vault, &transaction, &second.object, &second.wraps, &subject).unwrap();
}

#[test]
fn a_practitioners_word_is_checked() {
    let (vault, subject, units, doctor) = (vault(), subject(1), small(), PersonalKey::of(private(0x41)));
    let id = PractitionerId([0x44; 16]);
    let sealed = vault.seal(SealRequest { practitioner: Some(id), ..request(&subject, &units) }).unwrap();
    let sign = |authored: Vec<Authored>| {
        vault.sign_anchor(CHAIN, INSTITUTION, 9, vec![sealed.statement.clone()], authored).unwrap()
    };
    let known = [(id, doctor.public()), (PractitionerId([0x45; 16]), doctor.public())];
    let run = |transaction: &Transaction| {
        let trusted = Trusted { practitioners: &known, ..trusted(&vault) };
        let anchor = VerifiedAnchor::verify(transaction, &trusted)?;
        vault.check(&anchor, 0, &sealed.object, &sealed.wraps, &subject).map(drop)
    };
    let good = doctor.author(&CHAIN, id, 0, &sealed.statement);
    run(&sign(vec![good.clone()])).unwrap();
    let abandoned = AbandonError::Signature("practitioner");
    assert_eq!(run(&sign(vec![])), Err(AbandonError::Header("practitioner")));
    assert_eq!(run(&sign(vec![good.clone(), good.clone()])), Err(abandoned.clone()));
    assert_eq!(run(&sign(vec![Authored { statement: 1, ..good.clone() }])), Err(abandoned.clone()));
    let other_chain = doctor.author(&ChainId([0; 32]), id, 0, &sealed.statement);
    assert_eq!(run(&sign(vec![other_chain])), Err(abandoned.clone()));
    let forged = PersonalKey::of(private(0x42)).author(&CHAIN, id, 0, &sealed.statement);
    assert_eq!(run(&sign(vec![forged])), Err(abandoned));
    // Another registered practitioner signs for themself: the header commits to the author.
    let other = doctor.author(&CHAIN, known[1].0, 0, &sealed.statement);
    assert_eq!(run(&sign(vec![other])), Err(AbandonError::Header("practitioner")));
}

#[test]
fn a_hundred_cases_share_one_signature() {
    let (vault, subject, units) = (vault(), subject(1), small());
    let sealed: Vec<Sealed> = (0..100).map(|_| vault.seal(request(&subject, &units)).unwrap()).collect();
    let transaction = anchor(&vault, sealed.iter().map(|s| s.statement.clone()).collect());
    assert!(cbor::encode(&transaction).len() <= limits::TRANSACTION_BYTES_MAX);
    let verified = VerifiedAnchor::verify(&transaction, &trusted(&vault)).unwrap();
    for (index, case) in sealed.iter().enumerate() {
        let checked = vault.check(&verified, index, &case.object, &case.wraps, &subject).unwrap();
        assert_eq!(checked.statement(), &case.statement);
        let other = &sealed[(index + 1) % 100];
        assert!(vault.check(&verified, index, &other.object, &other.wraps, &subject).is_err());
    }
    assert!(vault.check(&verified, 100, &sealed[0].object, &sealed[0].wraps, &subject).is_err());
    let too_many = vec![sealed[0].statement.clone(); 101];
    assert!(vault.sign_anchor(CHAIN, INSTITUTION, 9, too_many, vec![]).is_err());
    assert_eq!(sealed[0].wraps[0].kind, WrapKind::Custodian);
}
