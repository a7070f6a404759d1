//! Proofs about state and log under attack: presence, absence and consistency, as records and as files, and COSE receipts. Every
//! bit flipped, other heights, chains and keys, certificates shortened: none may be accepted, and the honest ones must be.

#[path = "support/chain.rs"]
mod chain;
#[path = "support/tree.rs"]
mod tree;

use chain::{Chain, anchor, bytes, key, public, sign, statement};
use ledger_proof::{
    ValidatorSet, VerifiedFile, VerifyError, build_receipt, verify_consistency_proof, verify_cose_receipts,
    verify_file, verify_state_proof,
};
use schemas::block::ValidatorSignature;
use schemas::cbor::{self, Record};
use schemas::cose_receipt::{self, CoseReceipt, CoseReceipts, ReceiptBytes};
use schemas::id::{CaseId, Digest};
use schemas::proof::{AttestedHeader, ConsistencyProof, Filed, Proof, StateProof, Value};
use schemas::receipt::EntryProof;
use schemas::state::case_key;
use schemas::transaction::Outcome;
use schemas::tree::{Place, verify};
use tree::Tree;

fn value(number: u8) -> Vec<u8> {
    vec![number; 9]
}

/// A state of three cases: the first bit of all places is 0.
fn three() -> Tree {
    Tree { rows: (0..3).map(|number| (case_key(&CaseId([number; 16])), value(number))).collect() }
}

/// A chain whose second block has the state; attestations of the fewest validators that are enough.
fn attested() -> (Chain, Vec<AttestedHeader>, EntryProof) {
    let mut chain = Chain::new(4);
    let (mut headers, mut last) = (vec![], None);
    for height in 1..=5_u8 {
        chain.state_root = if height == 2 { three().root() } else { Digest([height; 32]) };
        let tx = anchor(chain.id, 50, vec![statement(height)]);
        let entries = chain.entries(std::slice::from_ref(&tx), Outcome::Accepted);
        let (mut block, mut proofs) = chain.block(vec![bytes(&tx)], &entries);
        block.attestations.truncate(3);
        headers.push(AttestedHeader { header: block.header, attestations: block.attestations });
        last = proofs.pop();
    }
    let mut entry = last.expect("blocks");
    entry.attestations.truncate(3);
    (chain, headers, entry)
}

/// No bit of the record can be flipped, nothing cut off.
fn is_tight<T: Record>(honest: &T, holds: impl Fn(&T) -> bool) {
    assert!(holds(honest));
    let bytes = cbor::encode(honest);
    for at in 0..bytes.len() {
        assert!(cbor::decode::<T>(&bytes[..at]).is_err());
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(!cbor::decode::<T>(&flipped).is_ok_and(|record| holds(&record)), "byte {at}, bit {bit}");
        }
    }
}

/// Not the absence of another key beside an absent one, which the same path proves: as true as the one that was asked for.
fn is_same(asked: &StateProof, found: &StateProof) -> bool {
    found.key == asked.key || asked.value.is_some() || found.value.is_some()
}

/// The same of a file.
fn is_tight_as_file<T: Proof>(chain: &Chain, proof: T) {
    let honest = Filed::new(chain.id, proof, vec![]).to_json().into_bytes();
    let asked = verify_file(&honest, &chain.genesis).expect("honest");
    let is_caught = |found| match (found, &asked) {
        (Ok(VerifiedFile::State(found)), VerifiedFile::State(asked)) => !is_same(asked, &found),
        (found, _) => found.is_err(),
    };
    for at in 0..honest.len() {
        assert!(verify_file(&honest[..at], &chain.genesis).is_err());
        let mut flipped = honest.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(is_caught(verify_file(&flipped, &chain.genesis)), "byte {at}");
    }
    for extra in [b' ', b'\n', b'}'] {
        assert!(verify_file(&[&honest[..], &[extra]].concat(), &chain.genesis).is_err());
        assert!(verify_file(&[&[extra], &honest[..]].concat(), &chain.genesis).is_err());
    }
    assert!(verify_file(&honest, &chain::genesis(5)).is_err(), "another genesis");
}

#[test]
fn presence_and_absence_are_tight() {
    let (chain, headers, _) = attested();
    let (set, state) = (ValidatorSet::of(&chain.genesis), three());
    for number in 0..24 {
        let key = case_key(&CaseId([number; 16]));
        let proof = state.prove(key.clone(), &headers[1]);
        assert_eq!(proof.value.is_some(), number < 3);
        if [0, 1, 3, 4, 5].contains(&number) {
            is_tight(&proof, |found| is_same(&proof, found) && verify_state_proof(&set, found).is_ok());
        }
        // another height's header, all else honest
        for other in headers.iter().filter(|other| other.header.height != 2) {
            let AttestedHeader { header, attestations } = other.clone();
            let moved = StateProof { header, attestations, ..proof.clone() };
            assert_eq!(verify_state_proof(&set, &moved), Err(VerifyError::Path { place: "state" }));
        }
        // absence for presence and the reverse, with every end that there is
        let value = if proof.value.is_some() { None } else { Some(Value(value(0))) };
        for other in state.leaves().into_iter().map(Some).chain([None]) {
            for length in 0..=proof.siblings.len() {
                let siblings = proof.siblings[..length].to_vec();
                let lie = StateProof { value: value.clone(), other, siblings, ..proof.clone() };
                assert!(verify_state_proof(&set, &lie).is_err());
            }
        }
        // another key under the same path
        for other in 0..24 {
            let other = case_key(&CaseId([other; 16]));
            let moved = StateProof { key: other.clone(), ..proof.clone() };
            let same_subtree = proof.value.is_none() && state.prove(other.clone(), &headers[1]).value.is_none();
            assert!(other == key || same_subtree || verify_state_proof(&set, &moved).is_err());
        }
    }
    let not_in_tree = StateProof { key: b"tx/1".to_vec(), ..state.prove(case_key(&CaseId([0; 16])), &headers[1]) };
    assert!(matches!(verify_state_proof(&set, &not_in_tree), Err(VerifyError::Contradiction { place: "key", .. })));
    is_tight_as_file(&chain, state.prove(case_key(&CaseId([1; 16])), &headers[1]));
    is_tight_as_file(&chain, state.prove(case_key(&CaseId([9; 16])), &headers[1]));
}

#[test]
fn too_few_validators_are_incomplete_and_other_chains_invalid() {
    let (chain, headers, _) = attested();
    let set = ValidatorSet::of(&chain.genesis);
    let honest = three().prove(case_key(&CaseId([1; 16])), &headers[1]);
    let with = |attestations: Vec<ValidatorSignature>| StateProof { attestations, ..honest.clone() };
    let short = verify_state_proof(&set, &with(honest.attestations[..2].to_vec())).expect_err("too few");
    assert!(short.is_incomplete());
    let twice = with(vec![honest.attestations[0]; 3]);
    assert!(verify_state_proof(&set, &twice).is_err_and(|e| !e.is_incomplete()));
    let mut other = chain::genesis(4);
    other.created += 1;
    let other = ValidatorSet::of(&other);
    assert!(verify_state_proof(&other, &honest).is_err_and(|e| !e.is_incomplete()));
    // a file says which chain it is about; the wrong one is refused although all signatures hold
    let mut filed = Filed::new(chain.id, honest, vec![]);
    filed.chain.0[0] ^= 1;
    let refused = verify_file(filed.to_json().as_bytes(), &chain.genesis);
    assert_eq!(refused, Err(VerifyError::OtherChain { place: "proof" }));
}

#[test]
fn consistency_is_tight() {
    let (chain, headers, _) = attested();
    let set = ValidatorSet::of(&chain.genesis);
    let proof = |from: usize, to: usize| {
        let (first, second) = (headers[from].clone(), headers[to].clone());
        let path = chain.consistency(first.header.log_size, second.header.log_size);
        ConsistencyProof { first, second, path }
    };
    for from in 0..5 {
        for to in from..5 {
            let honest = proof(from, to);
            assert!(verify_consistency_proof(&set, &honest).is_ok());
            let ConsistencyProof { first, second, path } = honest.clone();
            let backwards = ConsistencyProof { first: second.clone(), second: first.clone(), path: path.clone() };
            assert!(from == to || verify_consistency_proof(&set, &backwards).is_err());
            for other in (0..5).filter(|other| *other != to) {
                let moved = ConsistencyProof { second: headers[other].clone(), ..honest.clone() };
                assert!(verify_consistency_proof(&set, &moved).is_err(), "{from} to {to} as {other}");
            }
        }
    }
    is_tight(&proof(2, 4), |proof| verify_consistency_proof(&set, proof).is_ok());
    is_tight_as_file(&chain, proof(1, 4));
    // two headers of one height, both attested: a fork, not a continuation
    let mut fork = proof(3, 3);
    fork.second.header.state_root.0[0] ^= 1;
    fork.second.attestations = chain.all_sign(&schemas::block::attestation_to_sign(&fork.second.header));
    let found = verify_consistency_proof(&set, &fork);
    assert!(matches!(found, Err(VerifyError::Contradiction { place: "headers", .. })));
}

#[test]
fn entries_are_tight_as_files() {
    let (chain, _, entry) = attested();
    is_tight_as_file(&chain, entry);
}

fn cose(chain: &Chain, proof: &EntryProof, validators: impl IntoIterator<Item = u16>) -> CoseReceipts {
    let mut receipts: Vec<_> = validators
        .into_iter()
        .map(|index| {
            let own = public(&key(index));
            let signature = sign(&key(index), &cose_receipt::to_sign(&own, &chain.id, &proof.header.log_root));
            let (size, at, path) = (proof.header.log_size, proof.log_index, proof.path.clone());
            let receipt = CoseReceipt { key: own, chain: chain.id, size, index: at, path, signature };
            ReceiptBytes(cbor::encode(&receipt))
        })
        .collect();
    receipts.sort();
    CoseReceipts { entry: cbor::encode(&proof.entry), receipts, epochs: vec![] }
}

#[test]
fn cose_receipts_are_tight() {
    let (chain, _, proof) = attested();
    let set = ValidatorSet::of(&chain.genesis);
    let honest = cose(&chain, &proof, 0..3);
    assert_eq!(verify_cose_receipts(&set, &honest), Ok(proof.entry.clone()));
    assert_eq!(verify_cose_receipts(&set, &cose(&chain, &proof, 0..4)), Ok(proof.entry.clone()));
    assert!(verify_cose_receipts(&set, &cose(&chain, &proof, 0..2)).is_err_and(|e| e.is_incomplete()));
    // a stranger, one twice, out of order
    assert!(verify_cose_receipts(&set, &cose(&chain, &proof, [0, 1, 9])).is_err());
    assert!(verify_cose_receipts(&set, &cose(&chain, &proof, [0, 1, 1])).is_err());
    let mut reversed = honest.clone();
    reversed.receipts.reverse();
    assert!(verify_cose_receipts(&set, &reversed).is_err());
    is_tight(&honest, |receipts| verify_cose_receipts(&set, receipts).is_ok());
    let file = cbor::encode(&honest);
    assert_eq!(verify_file(&file, &chain.genesis), Ok(VerifiedFile::Cose(proof.entry)));
    assert!(verify_file(&file, &chain::genesis(5)).is_err());
}

/// What RFC 9942 §4 shows, byte by byte: tag 18, the protected header, the proof in the unprotected one, no payload.
#[test]
fn a_cose_receipt_is_what_the_rfc_shows() {
    let (chain, _, proof) = attested();
    let receipt = &cose(&chain, &proof, [0]).receipts[0].0;
    let mut d = minicbor::Decoder::new(receipt);
    assert_eq!((d.tag().expect("a tag").as_u64(), d.array().expect("an array")), (18, Some(4)));
    let protected = d.bytes().expect("protected").to_vec();
    assert_eq!(protected[..3], [0xa4, 0x01, 0x26], "alg ES256");
    assert_eq!(protected[protected.len() - 4..], [0x19, 0x01, 0x8b, 0x01], "395: RFC9162_SHA256");
    let unprotected = [d.map().ok().flatten(), d.u64().ok(), d.map().ok().flatten()];
    assert_eq!((unprotected, d.i64().ok()), ([Some(1), Some(396), Some(1)], Some(-1)));
    assert_eq!(d.array().expect("proofs"), Some(1));
    let mut inclusion = minicbor::Decoder::new(d.bytes().expect("a proof"));
    assert_eq!(inclusion.array().expect("a proof"), Some(3));
    let place = (inclusion.u64().ok(), inclusion.u64().ok());
    assert_eq!(place, (Some(proof.header.log_size), Some(proof.log_index)));
    assert_eq!(inclusion.array().expect("a path"), Some(proof.path.len() as u64));
    d.null().expect("a detached payload");
    let signature = d.bytes().expect("a signature");
    // Sig_structure of RFC 9052 §4.4 with the root as payload, put together by hand
    let mut message = vec![0x84, 0x6a];
    message.extend_from_slice(b"Signature1");
    message.extend_from_slice(&[0x58, u8::try_from(protected.len()).expect("short")]);
    message.extend_from_slice(&protected);
    message.extend_from_slice(&[0x40, 0x58, 0x20]);
    message.extend_from_slice(proof.header.log_root.as_bytes());
    assert_eq!(sign(&key(0), &message).as_bytes()[..], *signature);
}

/// One file of each kind, under `schemas/wire/genesis.json`: a change is a new format.
#[test]
fn the_files_are_frozen() {
    let (chain, headers, entry) = attested();
    let state = |number| three().prove(case_key(&CaseId([number; 16])), &headers[1]);
    let path = chain.consistency(headers[1].header.log_size, headers[4].header.log_size);
    let grown = ConsistencyProof { first: headers[1].clone(), second: headers[4].clone(), path };
    let files = [
        ("receipts.cose", cbor::encode(&cose(&chain, &entry, 0..3))),
        ("entry.json", Filed::new(chain.id, entry, vec![]).to_json().into_bytes()),
        ("present.json", Filed::new(chain.id, state(1), vec![]).to_json().into_bytes()),
        ("absent.json", Filed::new(chain.id, state(9), vec![]).to_json().into_bytes()),
        ("consistency.json", Filed::new(chain.id, grown, vec![]).to_json().into_bytes()),
    ];
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/wire/proofs"));
    for (name, bytes) in files {
        let path = folder.join(name);
        assert_eq!(std::fs::read(&path).unwrap_or_default(), bytes, "{name} is not what this version writes");
        verify_file(&bytes, &chain.genesis).expect("honest");
    }
}

#[test]
fn every_kind_of_file_is_told_by_its_format() {
    let (chain, headers, entry) = attested();
    let tx = anchor(chain.id, 50, vec![statement(5)]);
    let receipt = build_receipt(&tx, 0, &entry, &[]).expect("belongs together").to_json();
    assert!(matches!(verify_file(receipt.as_bytes(), &chain.genesis), Ok(VerifiedFile::Receipt(_))));
    let entry = Filed::new(chain.id, entry, vec![]).to_json();
    assert!(matches!(verify_file(entry.as_bytes(), &chain.genesis), Ok(VerifiedFile::Entry(_))));
    let renamed = entry.replacen("chartseal-entry-1", "chartseal-state-1", 1);
    assert!(verify_file(renamed.as_bytes(), &chain.genesis).is_err());
    for text in ["", "{}", "{\"format\":\"chartseal-entry-2\"}", "[1,2]", "null"] {
        assert!(matches!(verify_file(text.as_bytes(), &chain.genesis), Err(VerifyError::Receipt(_))), "{text}");
    }
    assert!(verify(&Place::of(b"case/").expect("a key"), None, None, &[], &Digest::ZERO), "the empty tree");
    let state = Filed::new(chain.id, three().prove(case_key(&CaseId([0; 16])), &headers[1]), vec![]).to_json();
    let Ok(VerifiedFile::State(proof)) = verify_file(state.as_bytes(), &chain.genesis) else { panic!("valid") };
    assert_eq!(proof.value, Some(Value(value(0))));
}
