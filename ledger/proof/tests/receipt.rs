//! The verifier under attack (formats.md §5): every bit flipped, signers repeated, certificates shortened, failed results,
//! other statements, longer paths. None may be accepted, and an honest receipt must be.

#[path = "support/chain.rs"]
mod chain;

use chain::{Chain, INSTITUTION, amended, anchor, bytes, statement};
use ledger_proof::{
    EntryProof, ValidatorSet, VerifyError, build_receipt, build_receipts, verify_entry_proof, verify_receipt,
};
use schemas::block::quorum;
use schemas::cbor;
use schemas::cose;
use schemas::genesis::Genesis;
use schemas::id::Digest;
use schemas::receipt::{Encoded, Receipt};
use schemas::transaction::{Body, Outcome, Refusal, Transaction};

/// A chain of n with two blocks; the second holds three transactions, of which the middle one is returned.
fn anchored(n: u16, statements: u8, outcome: Outcome) -> (Genesis, Transaction, EntryProof) {
    let mut chain = Chain::new(n);
    let first = anchor(chain.id, 50, vec![statement(200), statement(201)]);
    let entries = chain.entries(std::slice::from_ref(&first), Outcome::Accepted);
    chain.block(vec![bytes(&first)], &entries);
    let txs: Vec<_> = [vec![statement(202)], (0..statements).map(statement).collect(), vec![statement(203)]]
        .into_iter()
        .map(|statements| anchor(chain.id, 50, statements))
        .collect();
    let entries = chain.entries(&txs, outcome);
    let (_, mut proofs) = chain.block(txs.iter().map(bytes).collect(), &entries);
    (chain.genesis.clone(), txs[1].clone(), proofs.remove(1))
}

/// The same receipt with the fewest signatures that are enough.
fn shortest(n: u16) -> (Genesis, Receipt) {
    let (genesis, tx, proof) = anchored(n, 5, Outcome::Accepted);
    let mut receipt = build_receipt(&tx, 3, &proof, &[]).expect("belongs together");
    receipt.attestations.truncate(quorum(usize::from(n)));
    (genesis, receipt)
}

fn verify(receipt: &Receipt, genesis: &Genesis) -> Result<ledger_proof::Verified, VerifyError> {
    verify_receipt(receipt.to_json().as_bytes(), genesis)
}

#[test]
fn an_honest_receipt_verifies_for_every_number_of_validators() {
    for n in 1..=10 {
        let (genesis, receipt) = shortest(n);
        let verified = verify(&receipt, &genesis).expect("honest");
        assert_eq!((verified.case, verified.version), (statement(3).case, 1));
        assert_eq!((verified.institution, verified.height), (INSTITUTION, 2));
        assert_eq!(verified.transaction, receipt.transaction.0.id());
        assert_eq!(verified.statement, statement(3));
    }
}

#[test]
fn receipts_of_a_whole_transaction_are_those_of_its_statements() {
    let (_, tx, proof) = anchored(4, 7, Outcome::Accepted);
    let one_by_one: Vec<_> =
        (0..7).map(|at| build_receipt(&tx, at, &proof, &[]).expect("belongs together").to_json()).collect();
    let all = build_receipts(&tx, &proof, &[]).expect("belongs together");
    assert_eq!(all.iter().map(Receipt::to_json).collect::<Vec<_>>(), one_by_one);
}

#[test]
fn a_superseding_case_has_a_receipt() {
    let mut chain = Chain::new(4);
    let tx = anchor(chain.id, 9, vec![amended(&statement(1))]);
    let entries = chain.entries(std::slice::from_ref(&tx), Outcome::Accepted);
    let (_, proofs) = chain.block(vec![bytes(&tx)], &entries);
    let receipt = build_receipt(&tx, 0, &proofs[0], &[]).expect("belongs together");
    assert_eq!(verify(&receipt, &chain.genesis).expect("honest").version, 2);
}

#[test]
fn every_flipped_bit_is_caught() {
    let (genesis, receipt) = shortest(4);
    let honest = receipt.to_json().into_bytes();
    assert!(verify_receipt(&honest, &genesis).is_ok());
    for at in 0..honest.len() {
        for bit in 0..8 {
            let mut flipped = honest.clone();
            flipped[at] ^= 1 << bit;
            assert!(verify_receipt(&flipped, &genesis).is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn every_shortening_and_addition_is_caught() {
    let (genesis, receipt) = shortest(4);
    let honest = receipt.to_json().into_bytes();
    for length in 0..honest.len() {
        assert!(verify_receipt(&honest[..length], &genesis).is_err(), "cut at {length}");
    }
    for extra in [b' ', b'\n', b'}', b'0'] {
        assert!(verify_receipt(&[&honest[..], &[extra]].concat(), &genesis).is_err());
        assert!(verify_receipt(&[&[extra], &honest[..]].concat(), &genesis).is_err());
    }
}

#[test]
fn other_spellings_are_refused() {
    let (genesis, receipt) = shortest(4);
    let text = receipt.to_json();
    let upper = text.replacen("es256:", "ES256:", 1);
    let spaced = text.replacen(':', ": ", 1);
    let key = "\"chain\"";
    let repeated = text.replacen(key, &format!("{key}:\"{}\",{key}", receipt.chain), 1);
    for other in [upper, spaced, repeated, text.to_uppercase()] {
        assert!(matches!(verify_receipt(other.as_bytes(), &genesis), Err(VerifyError::Receipt(_))));
    }
}

#[test]
fn too_few_attestations_are_incomplete_not_invalid() {
    let (genesis, mut receipt) = shortest(4);
    while !receipt.attestations.is_empty() {
        receipt.attestations.pop();
        let error = verify(&receipt, &genesis).expect_err("too few");
        assert!(error.is_incomplete(), "{error}");
    }
}

#[test]
fn attestations_must_be_sorted_distinct_known_and_all_valid() {
    let (genesis, tx, proof) = anchored(4, 5, Outcome::Accepted);
    let honest = build_receipt(&tx, 0, &proof, &[]).expect("belongs together");
    let attack = |change: &dyn Fn(&mut Receipt)| {
        let mut receipt = honest.clone();
        change(&mut receipt);
        let error = verify(&receipt, &genesis).expect_err("attack");
        assert!(!error.is_incomplete(), "{error}");
    };
    attack(&|r| r.attestations.swap(0, 1));
    attack(&|r| r.attestations.reverse());
    attack(&|r| {
        let one = r.attestations[0];
        r.attestations = vec![one; 3];
    });
    attack(&|r| r.attestations.insert(1, r.attestations[0]));
    attack(&|r| r.attestations[3].validator = 4);
    attack(&|r| r.attestations[3].validator = u16::MAX);
    attack(&|r| r.attestations[0].signature = r.attestations[1].signature);
    // a superfluous invalid signature spoils a certificate that would be enough without it
    attack(&|r| r.attestations[3].signature.0.0[40] ^= 1);
}

#[test]
fn a_high_s_is_refused_everywhere() {
    let (genesis, receipt) = shortest(4);
    let mut other = receipt.clone();
    other.signature = high(&other.signature);
    assert!(matches!(verify(&other, &genesis), Err(VerifyError::Signature { place: "institution" })));
    let mut other = receipt;
    other.attestations[1].signature = high(&other.attestations[1].signature);
    assert!(matches!(verify(&other, &genesis), Err(VerifyError::Signature { place: "attestations" })));
}

/// n − s: the other signature that plain ECDSA would accept.
fn high(signature: &schemas::id::Signature) -> schemas::id::Signature {
    let low = p256::ecdsa::Signature::from_slice(signature.as_bytes()).expect("valid");
    let (r, s) = low.split_scalars();
    let high = p256::ecdsa::Signature::from_scalars(*r, -*s).expect("valid");
    assert_ne!(high, low);
    schemas::id::Signature(schemas::id::RawSignature(high.to_bytes().into()))
}

#[test]
fn another_genesis_is_refused() {
    let (genesis, receipt) = shortest(4);
    let mut later = genesis.clone();
    later.created += 1;
    assert!(matches!(verify(&receipt, &later), Err(VerifyError::OtherChain { .. })));
    let mut without = genesis;
    without.institutions.clear();
    assert!(verify(&receipt, &without).is_err());
}

#[test]
fn a_refused_transaction_proves_nothing() {
    for refusal in [Refusal::IdUsed, Refusal::Expired, Refusal::Signature] {
        let (genesis, tx, proof) = anchored(4, 2, Outcome::Refused(refusal));
        let receipt = build_receipt(&tx, 0, &proof, &[]).expect("belongs together");
        assert_eq!(verify(&receipt, &genesis), Err(VerifyError::NotAccepted));
    }
}

#[test]
fn an_outcome_cannot_be_turned() {
    let (genesis, tx, mut proof) = anchored(4, 2, Outcome::Refused(Refusal::IdUsed));
    proof.entry.outcome = Outcome::Accepted;
    let receipt = build_receipt(&tx, 0, &proof, &[]).expect("belongs together");
    assert_eq!(verify(&receipt, &genesis), Err(VerifyError::Path { place: "log" }));
}

#[test]
fn another_statement_path_or_place_is_refused() {
    let (genesis, tx, proof) = anchored(4, 5, Outcome::Accepted);
    let honest = build_receipt(&tx, 2, &proof, &[]).expect("belongs together");
    let attacks: [&dyn Fn(&mut Receipt); 12] = [
        &|r| r.statement.leaf = Encoded(statement(77)),
        &|r| r.statement.leaf.0.object = Digest::ZERO,
        &|r| r.statement.index = 1,
        &|r| r.statement.size = 6,
        &|r| r.statement.path.push(Digest::ZERO),
        &|r| r.statement.path.truncate(1),
        &|r| r.entry.index += 1,
        &|r| r.entry.size += 1,
        &|r| r.entry.path.push(Digest::ZERO),
        &|r| r.entry.path.rotate_left(1),
        &|r| r.entry.leaf.0.signed = Digest::ZERO,
        &|r| r.transaction.0.valid_until = 1,
    ];
    for (at, attack) in attacks.iter().enumerate() {
        let mut receipt = honest.clone();
        attack(&mut receipt);
        let error = verify(&receipt, &genesis).expect_err("attack");
        assert!(!error.is_incomplete(), "attack {at}: {error}");
    }
}

#[test]
fn another_epoch_height_or_institution_is_refused_even_when_all_sign() {
    let mut chain = Chain::new(4);
    let tx = anchor(chain.id, 50, vec![statement(1)]);
    let entries = chain.entries(std::slice::from_ref(&tx), Outcome::Accepted);
    let (_, proofs) = chain.block(vec![bytes(&tx)], &entries);
    let honest = build_receipt(&tx, 0, &proofs[0], &[]).expect("belongs together");
    let attest = |receipt: &mut Receipt| {
        let by = chain.all_sign(&schemas::block::attestation_to_sign(&receipt.header.0));
        for (attestation, by) in receipt.attestations.iter_mut().zip(by) {
            attestation.signature = by.signature;
        }
    };
    for change in [|r: &mut Receipt| r.header.0.epoch = 1, |r: &mut Receipt| r.header.0.height = 2] {
        let mut receipt = honest.clone();
        change(&mut receipt);
        attest(&mut receipt);
        assert!(matches!(verify(&receipt, &chain.genesis), Err(VerifyError::Contradiction { .. })));
    }
    // signed by another institution than the statement names
    let mut receipt = honest;
    let message = cose::transaction_to_sign(&chain.id, &receipt.transaction.0.id());
    receipt.signature = chain::sign(&chain::other_institution_key(), &message);
    assert!(matches!(verify(&receipt, &chain.genesis), Err(VerifyError::Signature { place: "institution" })));
}

#[test]
fn a_count_that_contradicts_the_tree_is_refused() {
    let mut chain = Chain::new(4);
    let mut tx = anchor(chain.id, 50, vec![statement(1), statement(2)]);
    if let Body::AnchorCases(body) = &mut tx.core.body {
        body.count = 3;
    }
    let entries = chain.entries(std::slice::from_ref(&tx), Outcome::Accepted);
    let (_, proofs) = chain.block(vec![bytes(&tx)], &entries);
    let receipt = build_receipt(&tx, 0, &proofs[0], &[]).expect("belongs together");
    assert!(matches!(verify(&receipt, &chain.genesis), Err(VerifyError::Contradiction { .. })));
}

#[test]
fn parts_that_do_not_belong_together_make_no_receipt() {
    let (_, tx, proof) = anchored(4, 2, Outcome::Accepted);
    let (_, other, _) = anchored(4, 3, Outcome::Accepted);
    assert!(build_receipt(&other, 0, &proof, &[]).is_err());
    assert!(build_receipt(&tx, 2, &proof, &[]).is_err());
    let mut exchanged = tx;
    exchanged.statements[0] = statement(9);
    assert!(build_receipt(&exchanged, 0, &proof, &[]).is_err());
}

#[test]
fn every_flipped_bit_of_an_entry_proof_is_caught() {
    let (genesis, _, mut proof) = anchored(4, 2, Outcome::Accepted);
    proof.attestations.truncate(3);
    let set = ValidatorSet::of(&genesis);
    verify_entry_proof(&set, &proof).expect("honest");
    let honest = cbor::encode(&proof);
    for at in 0..honest.len() {
        for bit in 0..8 {
            let mut flipped = honest.clone();
            flipped[at] ^= 1 << bit;
            let caught = cbor::decode::<EntryProof>(&flipped).map_or(true, |p| verify_entry_proof(&set, &p).is_err());
            assert!(caught, "byte {at}, bit {bit}");
        }
    }
}
