//! Files of later epochs: receipts, proofs and COSE receipts carry the epoch proofs that they need, no fewer and no others, and are
//! as tight as those of the genesis' epoch.

#[path = "support/chain.rs"]
mod chain;
#[path = "support/eras.rs"]
mod eras;
#[path = "support/tree.rs"]
mod tree;

use chain::{key, public, sign};
use eras::{SEATS, World};
use ledger_proof::{
    ValidatorSet, VerifiedFile, VerifyError, build_receipt, verify_consistency_proof, verify_cose_receipts,
    verify_file, verify_receipt, verify_state_proof,
};
use schemas::cbor;
use schemas::cose_receipt::{self, CoseReceipt, CoseReceipts, ReceiptBytes};
use schemas::proof::{AttestedHeader, ConsistencyProof, EpochProof, Filed, Proof};
use schemas::receipt::Receipt;
use schemas::state::epoch_key;

fn receipt(world: &World, epoch: usize) -> Receipt {
    let era = &world.eras[epoch];
    build_receipt(&era.tx, 1, &era.entry, &world.proofs[..epoch]).expect("belongs together")
}

#[test]
fn a_file_carries_the_epochs_it_needs_and_no_others() {
    let world = World::new();
    let genesis = &world.chain.genesis;
    for epoch in 0..4 {
        let era = &world.eras[epoch];
        let json = receipt(&world, epoch).to_json();
        let verified = verify_receipt(json.as_bytes(), genesis).expect("honest");
        assert_eq!((verified.height, verified.case), (era.block.header.height, era.tx.statements[1].case));
        assert_eq!(json.contains("epochs"), epoch > 0, "left out in epoch 0");
        let entry = |epochs: &[EpochProof]| {
            let file = Filed::new(world.chain.id, era.entry.clone(), epochs.to_vec()).to_json();
            verify_file(file.as_bytes(), genesis)
        };
        for count in 0..=3 {
            let proofs = &world.proofs[..count];
            assert_eq!(build_receipt(&era.tx, 1, &era.entry, proofs).is_ok(), count == epoch);
            let mut receipt = receipt(&world, epoch);
            receipt.epochs = proofs.to_vec();
            assert_eq!(verify_receipt(receipt.to_json().as_bytes(), genesis).is_ok(), count == epoch);
            assert_eq!(entry(proofs).is_ok(), count == epoch);
        }
        // as many, but others
        if epoch > 1 {
            let mut proofs = world.proofs[..epoch].to_vec();
            proofs.swap(0, 1);
            assert!(entry(&proofs).is_err());
            proofs.fill(world.proofs[0].clone());
            assert!(entry(&proofs).is_err());
        }
    }
    // an empty list is another spelling
    let json = receipt(&world, 0).to_json();
    let spelt = json.strip_suffix('}').map(|json| format!("{json},\"epochs\":[]}}")).expect("an object");
    assert!(matches!(verify_receipt(spelt.as_bytes(), genesis), Err(VerifyError::Receipt(_))));
}

#[test]
fn files_of_later_epochs_are_tight() {
    let world = World::new();
    let genesis = &world.chain.genesis;
    let era = &world.eras[2];
    let attested = AttestedHeader { header: era.block.header.clone(), attestations: era.block.attestations.clone() };
    // the state of epoch 2's header holds the record of epoch 3, and not that of epoch 4
    let present = world.state.prove(epoch_key(3), &attested);
    let first = &world.eras[0].block;
    let first = AttestedHeader { header: first.header.clone(), attestations: first.attestations.clone() };
    let path = world.chain.consistency(first.header.log_size, attested.header.log_size);
    let grown = ConsistencyProof { first, second: attested, path };
    assert_eq!(verify_state_proof(&world.epochs(3), &present), Ok(()));
    assert_eq!(verify_consistency_proof(&world.epochs(2), &grown), Ok(()));
    let files = [
        receipt(&world, 2).to_json(),
        file(&world, era.entry.clone()),
        file(&world, present),
        file(&world, grown.clone()),
    ];
    for file in files {
        verify_file(file.as_bytes(), genesis).expect("honest");
        // every third byte: each costs the signatures of two epochs
        for at in (0..file.len()).step_by(3) {
            assert!(verify_file(&file.as_bytes()[..at], genesis).is_err());
            let mut flipped = file.clone().into_bytes();
            flipped[at] ^= 1 << (at % 8);
            assert!(verify_file(&flipped, genesis).is_err(), "byte {at}");
        }
    }
    // the earlier header is of the later epoch: its height says no
    let ConsistencyProof { first, second, path } = grown;
    let moved = world.forged(0, 2, |header| header.epoch = 2);
    let lie = ConsistencyProof { first: moved, second: second.clone(), path: path.clone() };
    assert!(verify_consistency_proof(&world.epochs(2), &lie).is_err());
    assert!(verify_consistency_proof(&world.epochs(1), &ConsistencyProof { first, second, path }).is_err());
}

fn file<T: Proof>(world: &World, proof: T) -> String {
    let epochs = world.proofs[..proof.epoch() as usize].to_vec();
    Filed::new(world.chain.id, proof, epochs).to_json()
}

/// Receipts of the entry of an era by validators of an epoch, with the proofs up to `proved`.
fn cose(world: &World, era: usize, by: &[u16], proved: usize) -> CoseReceipts {
    let proof = &world.eras[era].entry;
    let mut receipts: Vec<_> = by
        .iter()
        .map(|seed| {
            let own = public(&key(*seed));
            let message = cose_receipt::to_sign(&own, &world.chain.id, &proof.header.log_root);
            let (size, index, path) = (proof.header.log_size, proof.log_index, proof.path.clone());
            let signature = sign(&key(*seed), &message);
            let receipt = CoseReceipt { key: own, chain: world.chain.id, size, index, path, signature };
            ReceiptBytes(cbor::encode(&receipt))
        })
        .collect();
    receipts.sort();
    CoseReceipts { entry: cbor::encode(&proof.entry), receipts, epochs: world.proofs[..proved].to_vec() }
}

/// Validators sign old entries as well as new ones, each under the key of now; the file proves the earliest epoch that will do.
#[test]
fn cose_receipts_are_by_one_epoch_that_is_proved() {
    let world = World::new();
    let set = ValidatorSet::of(&world.chain.genesis);
    for era in 0..4 {
        for (by, seats) in SEATS.into_iter().enumerate().take(4) {
            let honest = cose(&world, era, seats, by);
            let found = verify_cose_receipts(&set, &honest);
            if by >= era {
                assert_eq!(found.as_ref(), Ok(&world.eras[era].entry.entry), "{by} of {era}");
                let bytes = cbor::encode(&honest);
                let file = verify_file(&bytes, &world.chain.genesis);
                assert!(matches!(file, Ok(VerifiedFile::Cose(entry)) if entry == world.eras[era].entry.entry));
            }
            for proved in (0..4).filter(|proved| *proved != by) {
                assert!(verify_cose_receipts(&set, &cose(&world, era, seats, proved)).is_err());
            }
        }
    }
    // whoever sat in both epochs: the earlier one is enough for an early entry, and not for a later one
    let stayed = &[0, 1, 2, 3];
    assert!(verify_cose_receipts(&set, &cose(&world, 0, stayed, 0)).is_ok());
    assert!(verify_cose_receipts(&set, &cose(&world, 0, stayed, 1)).is_err(), "four of seven, and one proof too many");
    assert!(verify_cose_receipts(&set, &cose(&world, 1, stayed, 1)).is_err_and(|e| e.is_incomplete()));
    assert!(verify_cose_receipts(&set, &cose(&world, 2, &[3, 4, 5, 6], 2)).is_ok());
    assert!(verify_cose_receipts(&set, &cose(&world, 0, &[2, 3, 4, 5, 6], 1)).is_ok(), "five of seven");
    // two epochs' receipts in one file
    assert!(verify_cose_receipts(&set, &cose(&world, 0, &[0, 1, 4, 5], 0)).is_err());
    assert!(verify_cose_receipts(&set, &cose(&world, 1, &[0, 5, 6, 7], 2)).is_err());
    // the validators of a later epoch are no place to begin
    let later = ValidatorSet::of_epoch(world.chain.id, &world.eras[1].record, &ledger_proof::AwsLc);
    assert!(verify_cose_receipts(&later, &cose(&world, 1, SEATS[1], 0)).is_err());
    let honest = cose(&world, 2, &SEATS[2][..4], 2);
    let bytes = cbor::encode(&honest);
    for at in (0..bytes.len()).step_by(3) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(verify_file(&flipped, &world.chain.genesis).is_err(), "byte {at}");
    }
}

/// One file of a later epoch of each kind, under `schemas/wire/genesis.json`: a change is a new format.
#[test]
fn the_files_are_frozen() {
    let world = World::new();
    let files = [
        ("receipt-epoch-2.json", receipt(&world, 2).to_json().into_bytes()),
        ("entry-epoch-1.json", file(&world, world.eras[1].entry.clone()).into_bytes()),
        ("receipts-epoch-2.cose", cbor::encode(&cose(&world, 2, &SEATS[2][..4], 2))),
    ];
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/wire/proofs"));
    for (name, bytes) in files {
        let path = folder.join(name);
        let found = std::fs::read(&path).unwrap_or_default();
        assert!(found == bytes, "{name} is not what this version writes");
        verify_file(&bytes, &world.chain.genesis).expect("honest");
    }
}
