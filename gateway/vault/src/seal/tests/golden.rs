//! The bytes that ship: `schemas/wire/envelope-*.hex`. Whoever changes one of them changes the format, and needs a new
//! version or suite.

use super::*;
use crate::personal::PersonalKey;

const FIRST: &str = include_str!("../../../../../schemas/wire/envelope-first.hex");
const AMENDED: &str = include_str!("../../../../../schemas/wire/envelope-amended.hex");

fn lines(values: &[(&str, Vec<u8>)]) -> String {
    values.iter().map(|(name, bytes)| format!("{name} {}\n", schemas::id::to_hex(bytes))).collect()
}

fn first_units() -> Vec<Unit> {
    vec![
        unit("Patient", br#"{"active":true,"resourceType":"Patient"}"#),
        unit("Binary", b""),
        unit(unit::RAW, &[0x7c; 700]),
    ]
}

fn describe(sealed: &Sealed, transaction: &Transaction, seed: &'static str, skip: u32) -> String {
    // The same draws again: the case id of a first version, then K.
    let mut source = Fixed::new(seed);
    for _ in 0..skip {
        source.fill(&mut [0; 16]).ok().unwrap();
    }
    let k = random::secret(&mut source).ok().unwrap();
    let keys = CaseKeys::extract(&k, &sealed.header.case, sealed.header.case_version);
    let last = sealed.header.unit_count - 1;
    let mut values = vec![
        ("k", k.to_vec()),
        ("key_commitment", keys.commitment().0.to_vec()),
        ("k_first", keys.unit(0).encryption().to_vec()),
        ("k_last", keys.unit(last).encryption().to_vec()),
        ("subject_tag", sealed.header.subject_tag.0.to_vec()),
        ("header", cbor::encode(&sealed.header)),
        ("header_hash", sealed.statement.header.0.to_vec()),
        ("object", sealed.object.clone()),
        ("wrap_custodian", cbor::encode(&sealed.wraps[0])),
    ];
    if let Some(wrap) = sealed.wraps.get(1) {
        values.push(("wrap_patient", cbor::encode(wrap)));
    }
    values.extend([("statement", cbor::encode(&sealed.statement)), ("transaction", cbor::encode(transaction))]);
    lines(&values)
}

fn first() -> (Sealed, Transaction) {
    let (subject, units) = (subject(1), first_units());
    let sealed = seal_with(request(&subject, &units), &mut Fixed::new("golden first")).unwrap();
    let transaction = anchor(&vault(), vec![sealed.statement.clone()]);
    (sealed, transaction)
}

#[test]
fn a_first_version_for_the_custodian_alone() {
    let (sealed, transaction) = first();
    check(&vault(), &transaction, &sealed.object, &sealed.wraps, &subject(1)).unwrap();
    let found = describe(&sealed, &transaction, "golden first", 1);
    assert!(found == FIRST, "found:\n{found}");
}

#[test]
fn an_amended_version_with_patient_and_practitioner() {
    let (previous, _) = first();
    let (subject, doctor) = (subject(1), PersonalKey::of(private(0x41)));
    let practitioner = PractitionerId([0x44; 16]);
    let units = [unit("Observation", br#"{"valueQuantity":{"value":1.00}}"#)];
    let request = SealRequest {
        patient: Some(PersonalKey::of(private(0x31)).public()),
        practitioner: Some(practitioner),
        previous: Some((previous.header.case, 1, previous.statement.header)),
        time: TIME + 1,
        ..request(&subject, &units)
    };
    let sealed = seal_with(request, &mut Fixed::new("golden amended")).unwrap();
    let authored = doctor.author(&CHAIN, practitioner, 0, &sealed.statement);
    let transaction =
        vault().sign_supersede(CHAIN, INSTITUTION, 200, sealed.statement.clone(), Some(authored)).unwrap();
    let found = describe(&sealed, &transaction, "golden amended", 0);
    assert!(found == AMENDED, "found:\n{found}");
}

/// The stored bytes open with nothing but the keys: what an old case needs of a new build.
#[test]
fn the_golden_object_opens() {
    let value = |name: &str| {
        let line = FIRST.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
        schemas::id::from_hex(line).unwrap()
    };
    let wrap: Wrap = cbor::decode(&value("wrap_custodian")).unwrap();
    assert_eq!(open_all(&subject(1), std::slice::from_ref(&wrap), &value("object")).unwrap(), first_units());
    let transaction: Transaction = cbor::decode(&value("transaction")).unwrap();
    check(&vault(), &transaction, &value("object"), &[wrap], &subject(1)).unwrap();
}
