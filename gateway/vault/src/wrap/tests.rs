//! The wraps against outsiders: RFC 9180 vectors of our suite, and `rustls`' HPKE (aws-lc) as an independent second
//! implementation in both directions.

use super::*;
use crate::random::System;
use hpke::aead::AesGcm128;
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

/// RFC 9180 §A.3.1 (DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, base mode): the RFC prints this KEM and KDF with AES-128-GCM; the
/// AES-256-GCM of our suite is compared with another implementation above.
#[test]
fn rfc_9180_vector_of_our_kem_and_kdf() {
    let bytes = |text: &str| from_hex(text).unwrap();
    let ikm = bytes("668b37171f1072f3cf12ea8a236a45df23fc13b82af3609ad1e354f6ef817550");
    let (private, public) = DhP256HkdfSha256::derive_keypair(&ikm);
    let secret = bytes("f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2");
    assert_eq!(private.to_bytes().to_vec(), secret);
    let point = "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30a\
                 d6aa8f80e30f1d128aafd68a2ce72ea0";
    assert_eq!(public.to_bytes().to_vec(), bytes(point));
    let encapsulated = "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900\
                        be863c403ce65c9bfcb9382657222d18c4";
    let info = bytes("4f6465206f6e2061204772656369616e2055726e");
    let mut context = hpke::setup_receiver::<AesGcm128, HkdfSha256, DhP256HkdfSha256>(
        &OpModeR::Base,
        &private,
        &Deserializable::from_bytes(&bytes(encapsulated)).unwrap(),
        &info,
    )
    .unwrap();
    let messages = [
        ("Count-0", "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434"),
        ("Count-1", "fa6f037b47fc21826b610172ca9637e82d6e5801eb31cbd3748271affd4ecb06646e0329cbdf3c3cd655b28e82"),
        ("Count-2", "895cabfac50ce6c6eb02ffe6c048bf53b7f7be9a91fc559402cbc5b8dcaeb52b2ccc93e466c28fb55fed7a7fec"),
    ];
    for (additional, ciphertext) in messages {
        let plain = context.open(&bytes(ciphertext), additional.as_bytes()).unwrap();
        assert_eq!(plain, b"Beauty is truth, truth beauty");
    }
    let mut exported = [0; 32];
    context.export(b"TestContext", &mut exported).unwrap();
    assert_eq!(exported.to_vec(), bytes("d8f1ea7942adbba7412c6d431c62d01371ea476b823eb697e1f6e6cae1dab85a"));
}
