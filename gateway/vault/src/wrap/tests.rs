//! The wraps against outsiders: RFC 9180 vectors of our suite, and `rustls`' HPKE (aws-lc) as an independent second
//! implementation in both directions.

use super::*;
use crate::random::System;
use hpke::kem::DhP256HkdfSha256;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256 as OTHER;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use schemas::id::from_hex;

fn key(byte: u8) -> (p256::SecretKey, PublicKey, Vec<u8>) {
    let secret = p256::SecretKey::from_slice(&[byte; 32]).unwrap();
    let public =
        PublicKey(schemas::id::RawPublicKey::from_slice(secret.public_key().to_sec1_point(true).as_bytes()).unwrap());
    let long = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
    (secret, public, long)
}

#[test]
fn another_implementation_opens_our_wrap() {
    let (secret, public, _) = key(0x31);
    let (hash, k) = (Digest([7; 32]), Zeroizing::new([9; 32]));
    let wrap = for_patient(&public, &hash, &k, &mut System).unwrap();
    let theirs = OTHER.open(
        &EncapsulatedSecret(wrap.encapsulated.clone()),
        &info(&hash),
        &additional(&wrap),
        &wrap.ciphertext,
        &HpkePrivateKey::from(secret.to_bytes().to_vec()),
    );
    assert_eq!(theirs.unwrap(), k.to_vec());
}

#[test]
fn we_open_another_implementations_wrap() {
    let (secret, public, long) = key(0x32);
    let (hash, k) = (Digest([7; 32]), [9; 32]);
    let mut wrap = blank(WrapKind::Patient, public.as_bytes());
    let (encapsulated, ciphertext) = OTHER.seal(&info(&hash), &additional(&wrap), &k, &HpkePublicKey(long)).unwrap();
    wrap.encapsulated = encapsulated.0;
    wrap.ciphertext = ciphertext;
    assert_eq!(*open_as_patient(&secret, &wrap, &hash).unwrap(), k);
    wrap.epoch = 1;
    assert!(open_as_patient(&secret, &wrap, &hash).is_none());
}

#[test]
fn invalid_points_and_lengths_are_refused() {
    let (hash, k) = (Digest([7; 32]), Zeroizing::new([9; 32]));
    for raw in [[0; 33], [0xff; 33], [2; 33]] {
        let key = PublicKey(schemas::id::RawPublicKey(raw));
        if p256::PublicKey::from_sec1_bytes(&raw).is_err() {
            assert!(matches!(for_patient(&key, &hash, &k, &mut System), Err(SealError::PatientKey)));
        }
    }
    let (secret, public, _) = key(0x33);
    let wrap = for_patient(&public, &hash, &k, &mut System).unwrap();
    for encapsulated in [vec![], vec![4; 64], vec![4; 65], [wrap.encapsulated.clone(), vec![0]].concat()] {
        assert!(open_as_patient(&secret, &Wrap { encapsulated, ..wrap.clone() }, &hash).is_none());
    }
    for ciphertext in [vec![], vec![0; 47], [wrap.ciphertext.clone(), vec![0]].concat()] {
        let changed = Wrap { ciphertext, ..wrap.clone() };
        assert!(open_as_patient(&secret, &changed, &hash).is_none());
        assert!(open_as_custodian(&k, &changed, &hash).is_none());
    }
}

/// Base-mode vectors of DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM: key pairs and the ten sequenced messages.
#[test]
fn rfc_9180_vectors_of_our_suite() {
    let Some(data) = std::env::var_os("CHARTSEAL_DATA") else { return println!("skipped: no CHARTSEAL_DATA") };
    let path = std::path::Path::new(&data).join("vectors/hpke/test-vectors-5f503c5.json");
    let text = std::fs::read_to_string(&path).unwrap();
    if text.is_empty() {
        return println!("skipped: {} is empty", path.display());
    }
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ours: Vec<_> = all.as_array().unwrap().iter().filter(|v| suite(v) == [0, 16, 1, 2]).collect();
    assert!(!ours.is_empty(), "no vector of suite 16, 1, 2 in base mode");
    for vector in ours {
        let bytes = |value: &serde_json::Value| from_hex(value.as_str().unwrap()).unwrap();
        let (private, public) = DhP256HkdfSha256::derive_keypair(&bytes(&vector["ikmR"]));
        assert_eq!(private.to_bytes().to_vec(), bytes(&vector["skRm"]));
        assert_eq!(public.to_bytes().to_vec(), bytes(&vector["pkRm"]));
        let encapsulated = Deserializable::from_bytes(&bytes(&vector["enc"])).unwrap();
        let mut context = hpke::setup_receiver::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
            &OpModeR::Base,
            &private,
            &encapsulated,
            &bytes(&vector["info"]),
        )
        .unwrap();
        for message in vector["encryptions"].as_array().unwrap() {
            let plain = context.open(&bytes(&message["ct"]), &bytes(&message["aad"])).unwrap();
            assert_eq!(plain, bytes(&message["pt"]));
        }
    }
}

fn suite(vector: &serde_json::Value) -> [u64; 4] {
    ["mode", "kem_id", "kdf_id", "aead_id"].map(|name| vector[name].as_u64().unwrap())
}
