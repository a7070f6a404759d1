//! Freezes the receipt: `schemas/wire/receipt.json` under `schemas/wire/genesis.json` is what this code builds and accepts.
//! Signatures are deterministic (RFC 6979), so the whole file is.

#[path = "support/chain.rs"]
mod chain;

use chain::{Chain, anchor, bytes, statement};
use ledger_proof::{build_receipt, verify_genesis, verify_receipt};
use schemas::genesis::Genesis;
use schemas::transaction::Outcome;

const GENESIS: &str = include_str!("../../../schemas/wire/genesis.json");
const RECEIPT: &str = include_str!("../../../schemas/wire/receipt.json");

#[test]
fn the_receipt_is_frozen() {
    let mut chain = Chain::new(4);
    let tx = anchor(chain.id, 50, vec![statement(1), statement(2), statement(3)]);
    let entries = chain.entries(std::slice::from_ref(&tx), Outcome::Accepted);
    let (_, proofs) = chain.block(vec![bytes(&tx)], &entries);
    let receipt = build_receipt(&tx, 1, &proofs[0], &[]).expect("belongs together").to_json();
    assert_eq!(chain.genesis.to_json(), GENESIS, "now:\n{}", chain.genesis.to_json());
    assert_eq!(receipt, RECEIPT, "now:\n{receipt}");
}

#[test]
fn the_frozen_receipt_verifies() {
    let genesis = Genesis::parse(GENESIS).expect("one spelling");
    verify_genesis(&genesis).expect("honest");
    let verified = verify_receipt(RECEIPT.as_bytes(), &genesis).expect("valid");
    assert_eq!((verified.case, verified.height), (statement(2).case, 1));
}
