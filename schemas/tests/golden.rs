//! Freezes the wire: `schemas/wire/transactions.hex` is what this code encodes and hashes. A change here is a new format.

#[path = "support/samples.rs"]
mod samples;

use std::fmt::Write as _;

use schemas::ballot::possession_to_sign;
use schemas::block::attestation_to_sign;
use schemas::cbor;
use schemas::cose;
use schemas::cose_receipt::{self, CoseReceipts};
use schemas::id::to_hex;
use schemas::merkle;
use schemas::proof::Filed;
use schemas::transaction::{Outcome, signed_hash};
use schemas::tree::{EMPTY, Leaf, Place, node_hash};

fn vectors() -> String {
    let mut out = String::new();
    let mut line = |name: &str, bytes: &[u8]| writeln!(out, "{name} = {}", to_hex(bytes)).expect("a string");
    for tx in samples::transactions() {
        let (name, bytes) = (tx.core.body.name(), cbor::encode(&tx));
        line(name, &bytes);
        line(&format!("{name} id"), tx.id().as_bytes());
        line(&format!("{name} signed hash"), signed_hash(&bytes).as_bytes());
        line(&format!("{name} to sign"), &cose::transaction_to_sign(&samples::CHAIN, &tx.id()));
    }
    let statement = samples::statement(1);
    line("Statement", &cbor::encode(&statement));
    line("Statement leaf", statement.leaf().as_bytes());
    line("Statement to sign by its author", &cose::authored_to_sign(&samples::CHAIN, &cbor::encode(&statement)));
    line("LogEntry accepted", &cbor::encode(&samples::entry(Outcome::Accepted)));
    line("LogEntry accepted leaf", samples::entry(Outcome::Accepted).leaf().as_bytes());
    for refusal in samples::REFUSALS {
        line(&format!("LogEntry {refusal:?}"), &cbor::encode(&samples::entry(Outcome::Refused(refusal))));
    }
    line("Batch", &cbor::encode(&samples::batch()));
    line("Batch digest", samples::batch().digest().as_bytes());
    line("Header", &cbor::encode(&samples::header()));
    line("Header hash", samples::header().hash().as_bytes());
    line("Vote to sign", &samples::vote().to_sign());
    line("Attestation to sign", &attestation_to_sign(&samples::header()));
    line("Head to sign", &samples::head().head.to_sign());
    line("SignedHead", &cbor::encode(&samples::head()));
    line("EntryProof", &cbor::encode(&samples::entry_proof()));
    line("Block sha256", cbor::sha256(&cbor::encode(&samples::block())).as_bytes());
    line("empty tree", merkle::empty_root().as_bytes());
    for (name, key, value) in samples::records() {
        line(&format!("state {name} key"), &key);
        line(&format!("state {name}"), &value);
        if let Some(place) = Place::of(&key) {
            line(&format!("state {name} place"), place.0.as_bytes());
            line(&format!("state {name} leaf"), Leaf::of(place, &value).hash().as_bytes());
        }
    }
    let newcomer = &samples::ballot().members[3].validator();
    line("Seat to sign", &possession_to_sign(&samples::CHAIN, 6, newcomer));
    line("state node", node_hash(&samples::digest(1), &EMPTY).as_bytes());
    line("StateProof present", &cbor::encode(&samples::state_proof(true)));
    line("StateProof absent", &cbor::encode(&samples::state_proof(false)));
    line("StateProof file", Filed::new(samples::CHAIN, samples::state_proof(false), vec![]).to_json().as_bytes());
    line("ConsistencyProof", &cbor::encode(&samples::consistency_proof()));
    line(
        "ConsistencyProof file",
        Filed::new(samples::CHAIN, samples::consistency_proof(), vec![]).to_json().as_bytes(),
    );
    line("EntryProof file", Filed::new(samples::CHAIN, samples::entry_proof(), vec![]).to_json().as_bytes());
    line("EpochProof", &cbor::encode(&samples::epoch_proof()));
    let of_later = Filed::new(samples::CHAIN, samples::entry_proof(), vec![samples::epoch_proof()]);
    line("EntryProof file of a later epoch", of_later.to_json().as_bytes());
    line("COSE receipt", &cbor::encode(&samples::cose_receipt()));
    line("COSE receipt to sign", &cose_receipt::to_sign(&samples::key(3), &samples::CHAIN, &samples::digest(9)));
    line("COSE receipts file", &cbor::encode(&samples::cose_receipts()));
    let of_later = CoseReceipts { epochs: vec![samples::epoch_proof()], ..samples::cose_receipts() };
    line("COSE receipts file of a later epoch", &cbor::encode(&of_later));
    for conflict in samples::other_conflicts() {
        line(&format!("Conflict {}", conflict.kind.name()), &cbor::encode(&conflict));
        for word in conflict.words(samples::CHAIN) {
            line(&format!("Conflict {} to sign", conflict.kind.name()), &word.to_sign());
        }
    }
    out
}

#[test]
fn the_wire_is_frozen() {
    let frozen = include_str!("../wire/transactions.hex");
    let now = vectors();
    for (frozen, now) in frozen.lines().zip(now.lines()) {
        assert_eq!(frozen, now);
    }
    assert_eq!(frozen, now, "now:\n{now}");
}
