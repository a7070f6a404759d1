//! Freezes the wire: `schemas/wire/transactions.hex` is what this code encodes and hashes. A change here is a new format.

#[path = "support/samples.rs"]
mod samples;

use std::fmt::Write as _;

use schemas::block::attestation_to_sign;
use schemas::cbor;
use schemas::cose;
use schemas::id::to_hex;
use schemas::merkle;
use schemas::transaction::{Outcome, signed_hash};

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
