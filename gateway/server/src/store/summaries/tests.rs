//! Sealed summaries open piece by piece, for their subject and case only.

use gateway_vault::Vault;
use schemas::id::CaseId;
use schemas::json::Value;

use super::{PIECE_UNITS, Reader, Summary, seal};

fn summary(n: usize) -> Summary {
    Summary {
        facts: Value::object([("codes", Value::from(format!("urn:oid:1.2.3.4.5.6.7.8|{n}")))]),
        matched: Value::object([("resourceType", Value::from("Observation"))]),
        references: vec![(format!("urn:uuid:{n}"), format!("Patient/{n}"))],
    }
}

#[test]
fn each_summary_opens_for_its_subject_and_case_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let vault = Vault::create(&folder.path().join("keys")).expect("keys");
    let ((_, key, _), (_, other, _)) = (vault.new_subject().expect("a key"), vault.new_subject().expect("a key"));
    let (case, count) = (CaseId([7; 16]), 2 * PIECE_UNITS + 3);
    let mut sealed = seal(&key, &case, (0..count).map(summary)).expect("sealed");
    let plain: usize = (0..count).map(|n| summary(n).encode().len()).sum();
    assert!(sealed.len() < plain / 2, "{} bytes of {plain}", sealed.len());
    let mut reader = Reader::new(&key);
    for n in [0, count - 1, PIECE_UNITS, PIECE_UNITS - 1, 0] {
        assert_eq!(reader.read(&case, n as u32, &sealed).ok(), Some(summary(n)));
    }
    assert!(reader.read(&case, count as u32, &sealed).is_err(), "one more than there are");
    assert!(reader.read(&CaseId([8; 16]), 0, &sealed).is_err(), "another case");
    assert!(Reader::new(&other).read(&case, 0, &sealed).is_err(), "another subject");
    let last = sealed.len() - 1;
    sealed[last] ^= 1;
    assert!(Reader::new(&key).read(&case, count as u32 - 1, &sealed).is_err(), "a flipped bit");
    let none = seal(&key, &case, std::iter::empty()).expect("sealed");
    assert!(Reader::new(&key).read(&case, 0, &none).is_err(), "a case without resources");
}
