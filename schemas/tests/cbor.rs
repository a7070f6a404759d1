//! One spelling: whatever decodes re-encodes to the same bytes, and no other bytes decode to the same value.

#[path = "support/samples.rs"]
mod samples;

use std::fmt::Debug;

use proptest::prelude::*;
use schemas::block::{Block, Head, SignedHead};
use schemas::cbor::{self, CborError, Parts, Record};
use schemas::cose_receipt::{CoseReceipt, CoseReceipts};
use schemas::envelope::{Header, Statement, Wrap};
use schemas::id::{PublicKey, Signature};
use schemas::proof::{ConsistencyProof, EpochProof, StateProof};
use schemas::receipt::EntryProof;
use schemas::transaction::{LogEntry, Outcome, Transaction};

/// Tries every substitution, insertion and removal of a byte: none may decode to `value`.
fn has_one_spelling<T: Record + PartialEq + Debug>(value: &T) {
    let bytes = cbor::encode(value);
    assert_eq!(&cbor::decode::<T>(&bytes).expect("our own"), value);
    let other = |bytes: &[u8]| {
        if let Ok(decoded) = cbor::decode::<T>(bytes) {
            assert_ne!(&decoded, value);
            assert_eq!(cbor::encode(&decoded), bytes);
        }
    };
    for at in 0..bytes.len() {
        other(&bytes[..at]);
        other(&[&bytes[..at], &bytes[at + 1..]].concat());
        for byte in 0..=255 {
            if byte != bytes[at] {
                other(&[&bytes[..at], &[byte], &bytes[at + 1..]].concat());
            }
        }
    }
    for byte in 0..=255 {
        other(&[&bytes[..], &[byte]].concat());
        for at in 0..bytes.len().min(64) {
            other(&[&bytes[..at], &[byte], &bytes[at..]].concat());
        }
    }
}

#[test]
fn everything_that_travels_has_one_spelling() {
    samples::transactions().iter().for_each(has_one_spelling::<Transaction>);
    has_one_spelling::<Statement>(&samples::statement(1));
    has_one_spelling::<Statement>(&samples::statement(2));
    has_one_spelling::<LogEntry>(&samples::entry(Outcome::Accepted));
    has_one_spelling::<SignedHead>(&samples::head());
    has_one_spelling::<EntryProof>(&samples::entry_proof());
    has_one_spelling::<StateProof>(&samples::state_proof(true));
    has_one_spelling::<StateProof>(&samples::state_proof(false));
    has_one_spelling::<ConsistencyProof>(&samples::consistency_proof());
    has_one_spelling::<CoseReceipt>(&samples::cose_receipt());
    has_one_spelling::<CoseReceipts>(&samples::cose_receipts());
    has_one_spelling::<EpochProof>(&samples::epoch_proof());
    let of_later = CoseReceipts { epochs: vec![samples::epoch_proof()], ..samples::cose_receipts() };
    has_one_spelling::<CoseReceipts>(&of_later);
    // an empty list is another spelling of none
    let mut empty = cbor::encode(&samples::cose_receipts());
    empty[0] += 1;
    empty.push(0x80);
    assert!(cbor::decode::<CoseReceipts>(&empty).is_err());
    has_one_spelling::<Header>(&samples::case_header(&[samples::digest(1), samples::digest(2)]));
    has_one_spelling::<Wrap>(&samples::wrap());
    has_one_spelling::<PublicKey>(&samples::key(1));
    has_one_spelling::<Signature>(&samples::signature(1));
}

#[test]
fn other_encodings_of_the_same_are_refused() {
    let good = [0x82, 0x26, 0x58, 0x21].into_iter().chain(samples::key(1).as_bytes().to_owned()).collect::<Vec<_>>();
    assert_eq!(cbor::decode::<PublicKey>(&good), Ok(samples::key(1)));
    let point = &good[4..];
    let spellings: [(&str, Vec<u8>); 5] = [
        ("indefinite array", [&[0x9f, 0x26, 0x58, 0x21], point, &[0xff]].concat()),
        ("long array head", [&[0x98, 0x02, 0x26, 0x58, 0x21], point].concat()),
        ("long integer", [&[0x82, 0x38, 0x06, 0x58, 0x21], point].concat()),
        ("long bytes head", [&[0x82, 0x26, 0x59, 0x00, 0x21], point].concat()),
        ("tag", [&[0xc0, 0x82, 0x26, 0x58, 0x21], point].concat()),
    ];
    for (what, bytes) in spellings {
        assert!(cbor::decode::<PublicKey>(&bytes).is_err(), "{what}");
    }
    // maps: other order, a key twice, an unknown key, an explicit null, indefinite length
    let head = samples::head().head;
    let bytes = cbor::encode(&head);
    assert_eq!(bytes[0], 0xa5);
    let (chain, rest) = bytes[1..].split_at(35);
    let (epoch, rest) = rest.split_at(2);
    for (what, bytes) in [
        ("order", [&[0xa5], epoch, chain, rest].concat()),
        ("twice", [&[0xa6], chain, epoch, epoch, rest].concat()),
        ("unknown", [&[0xa6], chain, epoch, rest, &[0x18, 0x63, 0x00]].concat()),
        ("indefinite", [&[0xbf], chain, epoch, rest, &[0xff]].concat()),
        ("missing", [&[0xa4], chain, rest].concat()),
    ] {
        assert!(cbor::decode::<Head>(&bytes).is_err(), "{what}");
    }
    let statement = cbor::encode(&samples::statement(1));
    let (before, after) = statement[1..].split_at(17 + 1 + 2);
    let with_null = [&[statement[0] + 1], before, &[0x02, 0xf6], after].concat();
    assert!(cbor::decode::<Statement>(&with_null).is_err(), "explicit null");
}

#[test]
fn errors_show_no_content() {
    let mut bytes = cbor::encode(&samples::statement(1));
    bytes.push(0);
    let error = cbor::decode::<Statement>(&bytes).expect_err("trailing");
    assert_eq!(error, CborError::OtherSpelling { expected: "Statement" });
}

#[test]
fn parts_are_unambiguous() {
    let one = Parts::new("cs1/a").bytes(b"bc").bytes(b"").finish();
    let other = Parts::new("cs1/a").bytes(b"b").bytes(b"c").finish();
    assert_ne!(one, other);
    assert_eq!(one, [&[0x83, 0x65], &b"cs1/a"[..], &[0x42], b"bc", &[0x40]].concat());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(tx) = cbor::decode::<Transaction>(&bytes) {
            prop_assert_eq!(cbor::encode(&tx), bytes.clone());
        }
        if let Ok(block) = cbor::decode::<Block>(&bytes) {
            prop_assert_eq!(cbor::encode(&block), bytes);
        }
    }

    #[test]
    fn damaged_blocks_never_panic(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = cbor::encode(&samples::block());
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(block) = cbor::decode::<Block>(&bytes) {
            prop_assert_eq!(cbor::encode(&block), bytes);
        }
    }
}
