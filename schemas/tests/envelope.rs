//! The layout of an object: it comes apart as it was put together, and nothing else comes apart at all.

#[path = "support/samples.rs"]
mod samples;

use proptest::prelude::*;
use schemas::cbor;
use schemas::envelope::{ObjectError, assemble, ciphertext_bytes, take_apart, wrap_set_hash};
use schemas::id::Digest;
use schemas::limits;

fn object() -> (Vec<Digest>, Vec<u8>) {
    let leaves = vec![samples::digest(1), samples::digest(2)];
    let units = [vec![7; ciphertext_bytes(256)], vec![8; ciphertext_bytes(512)]];
    let object = assemble(&samples::case_header(&leaves), &leaves, &units);
    (leaves, object)
}

#[test]
fn it_comes_apart_as_it_was_put_together() {
    let (leaves, object) = object();
    let parts = take_apart(&object).expect("our own");
    assert_eq!(parts.header, samples::case_header(&leaves));
    assert_eq!(parts.header_hash, parts.header.hash());
    assert_eq!(parts.leaves, leaves);
    assert_eq!(parts.units.iter().map(|unit| unit.len()).collect::<Vec<_>>(), vec![272, 528]);
    assert!(parts.units[0].iter().all(|byte| *byte == 7) && parts.units[1].iter().all(|byte| *byte == 8));
}

#[test]
fn every_flip_outside_the_ciphertext_is_caught_by_layout_root_or_header_hash() {
    let (_, object) = object();
    let hash = take_apart(&object).expect("our own").header_hash;
    let outside = object.len() - 272 - 528;
    for at in 0..outside {
        for bit in 0..8 {
            let mut flipped = object.clone();
            flipped[at] ^= 1 << bit;
            let caught = take_apart(&flipped).map_or(true, |parts| parts.header_hash != hash);
            assert!(caught, "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn lengths_must_fill_the_object() {
    let (_, object) = object();
    for length in 0..object.len() {
        assert!(take_apart(&object[..length]).is_err(), "cut at {length}");
    }
    let longer = [&object[..], &[0]].concat();
    assert!(matches!(take_apart(&longer), Err(ObjectError::Length { .. })));
}

#[test]
fn unknown_versions_and_wrong_counts_are_refused() {
    let leaves = vec![samples::digest(1), samples::digest(2)];
    let units = [vec![7; ciphertext_bytes(256)], vec![8; ciphertext_bytes(512)]];
    let with = |change: &dyn Fn(&mut schemas::envelope::Header)| {
        let mut header = samples::case_header(&leaves);
        change(&mut header);
        take_apart(&assemble(&header, &leaves, &units)).map(drop)
    };
    assert_eq!(with(&|_| {}), Ok(()));
    assert_eq!(with(&|h| h.version = 2), Err(ObjectError::Unknown));
    assert_eq!(with(&|h| h.suite = 2), Err(ObjectError::Unknown));
    assert_eq!(with(&|h| h.canonical_form = 0), Err(ObjectError::Unknown));
    assert_eq!(with(&|h| h.unit_count = 3), Err(ObjectError::Leaves));
    assert_eq!(with(&|h| h.root = Digest::ZERO), Err(ObjectError::Leaves));
    assert_eq!(with(&|h| h.padded_lengths.clear()), Err(ObjectError::Leaves));
    assert!(matches!(with(&|h| h.padded_lengths[0] = u32::MAX), Err(ObjectError::Length { .. })));
    let many = vec![0; limits::CASE_UNITS_MAX + 1];
    assert_eq!(with(&|h| h.padded_lengths = many.clone()), Err(ObjectError::Leaves));
}

#[test]
fn ciphertext_lengths_count_every_chunk() {
    let chunk = limits::UNIT_CHUNK_BYTES;
    for (padded, chunks) in [(0, 1), (1, 1), (chunk, 1), (chunk + 1, 2), (3 * chunk, 3)] {
        assert_eq!(ciphertext_bytes(padded), padded + 16 * chunks, "{padded}");
    }
}

#[test]
fn the_wrap_set_hash_covers_every_wrap_and_its_order() {
    let one = samples::wrap();
    let mut other = one.clone();
    other.epoch = 1;
    let hashes = [
        wrap_set_hash(&[]),
        wrap_set_hash(std::slice::from_ref(&one)),
        wrap_set_hash(&[one.clone(), other.clone()]),
        wrap_set_hash(&[other, one]),
    ];
    for (at, hash) in hashes.iter().enumerate() {
        assert!(!hashes[..at].contains(hash));
    }
}

proptest! {
    #[test]
    fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
        let bytes = if magic { [&b"CS1\0"[..], &bytes].concat() } else { bytes };
        prop_assert!(take_apart(&bytes).is_err());
    }

    #[test]
    fn a_damaged_header_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (leaves, mut object) = object();
        let at = 4 + at.index(object.len() - 4 - 272 - 528);
        let original = object[at];
        object[at] = byte;
        if let Ok(parts) = take_apart(&object) {
            prop_assert!(byte == original || parts.header != samples::case_header(&leaves));
            prop_assert_eq!(cbor::sha256(&cbor::encode(&parts.header)), parts.header_hash);
        }
    }
}
