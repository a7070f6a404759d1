//! What real validators prove: keys of the state at each height, growth of the log, COSE receipts, receipts of blocks that a later
//! view agreed on; and that executing the blocks again gives the same roots, also after everyone restarted.

use std::time::Duration;

use ledger_client::{HttpLedger, Ledger};
use ledger_contract::Replay;
use ledger_proof::{AwsLc, VerifiedFile, build_receipt, verify_cose_receipts, verify_file};
use schemas::cbor;
use schemas::genesis::Genesis;
use schemas::id::{CaseId, Height, SubjectId};
use schemas::proof::{Filed, StateProof};
use schemas::state::{CaseHead, case_key, subject_key, transaction_key};

use crate::validators::{Validators, caught_up, execute};

async fn version_at(ledger: &HttpLedger, case: &CaseId, height: Height) -> Option<u32> {
    let proof = ledger.state(&case_key(case), height).await.unwrap().expect("final");
    proof.value.map(|value| cbor::decode::<CaseHead>(&value.0).unwrap().version)
}

fn genesis(validators: &Validators) -> Genesis {
    Genesis::parse(&std::fs::read_to_string(&validators.configs[0].genesis).unwrap()).unwrap()
}

/// Executes all blocks again: every root is as the headers say.
async fn replay(ledger: &HttpLedger, genesis: &Genesis, last: Height) {
    let mut replay = Replay::new(genesis).unwrap();
    while replay.height() < last {
        let blocks = ledger.blocks(replay.height() + 1, 64, Duration::ZERO).await.unwrap();
        blocks.iter().for_each(|block| drop(replay.execute(block, &AwsLc).unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_stood_at_a_height_is_proved_also_after_a_restart() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let (ledger, genesis) = (validators.ledger("transport.key"), genesis(&validators));
    let first = execute(&ledger, validators.anchor(1)).await.header.height;
    let between = execute(&ledger, validators.subject(7)).await.header.height;
    let second = execute(&ledger, validators.amended(1)).await.header.height;
    let case = validators.case(1, 0);
    for restarted in [false, true] {
        if restarted {
            for index in 0..4 {
                validators.stop(index).await;
            }
            validators.start_all();
            execute(&ledger, validators.subject(8)).await;
        }
        for (height, version) in [(first, Some(1)), (between, Some(1)), (second, Some(2))] {
            assert_eq!(version_at(&ledger, &case, height).await, version, "height {height}");
            assert_eq!(version_at(&ledger, &validators.case(2, 0), height).await, None);
        }
        if first > 1 {
            assert_eq!(version_at(&ledger, &case, first - 1).await, None, "absent before");
        }
    }
    let no_key = transaction_key(&validators.subject(7).0);
    for height in [second, second + 1_000] {
        assert!(ledger.state(&no_key, height).await.is_err(), "no key of the tree, whether the height is final or not");
    }
    let mut subject = [7; 16];
    subject[..8].copy_from_slice(&7_u64.to_be_bytes());
    let key = subject_key(&SubjectId(subject));
    let absent = ledger.state(&key, first).await.unwrap().expect("final");
    let present = ledger.state(&key, between).await.unwrap().expect("final");
    assert!(absent.value.is_none() && present.value.is_some());
    // as files, offline
    for proof in [absent, present] {
        let file = Filed::new(validators.chain, proof.clone(), vec![]).to_json();
        let VerifiedFile::State(verified) = verify_file(file.as_bytes(), &genesis).unwrap() else { panic!("state") };
        assert_eq!(*verified, proof);
        let moved = Filed::new(validators.chain, StateProof { key: case_key(&case), ..proof }, vec![]).to_json();
        assert!(verify_file(moved.as_bytes(), &genesis).is_err());
    }
    let grown = ledger.consistency(first, second).await.unwrap().expect("final");
    assert!(verify_file(Filed::new(validators.chain, grown, vec![]).to_json().as_bytes(), &genesis).is_ok());
    replay(&ledger, &genesis, second + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn receipts_of_a_later_view_verify() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let (ledger, genesis) = (validators.ledger("transport.key"), genesis(&validators));
    execute(&ledger, validators.subject(1)).await;
    validators.stop(0).await;
    let (id, bytes) = validators.anchor(3);
    let proof = execute(&ledger, (id, bytes.clone())).await;
    let height = proof.header.height;
    // the one who is asked may be a block behind the one who proved
    let block = ledger.blocks(height, 1, Duration::from_secs(10)).await.unwrap().remove(0);
    assert!(block.certificate.view > 0, "agreed in a later view");
    let receipt = build_receipt(&cbor::decode(&bytes).unwrap(), 42, &proof, &[]).unwrap().to_json();
    let verified = ledger_proof::verify_receipt(receipt.as_bytes(), &genesis).unwrap();
    assert_eq!((verified.case, verified.height), (validators.case(3, 42), height));
    assert!(matches!(verify_file(receipt.as_bytes(), &genesis), Ok(VerifiedFile::Receipt(_))));
    assert_eq!(version_at(&ledger, &validators.case(3, 42), height).await, Some(1));
    // the same entry in receipts that others can check: the three who run are a quorum
    caught_up(&ledger, &[1, 2, 3], height).await;
    let receipts = ledger.cose_receipts(&id).await.unwrap().expect("a quorum's");
    assert_eq!(receipts.receipts.len(), 3);
    assert_eq!(verify_cose_receipts(ledger.validators().genesis(), &receipts), Ok(proof.entry.clone()));
    assert!(
        matches!(verify_file(&cbor::encode(&receipts), &genesis), Ok(VerifiedFile::Cose(entry)) if entry == proof.entry)
    );
    replay(&ledger, &genesis, height).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_looks_while_the_ledger_stands_is_told_what_is_proved_and_of_when() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    let last = execute(&ledger, validators.subject(1)).await.header;
    caught_up(&ledger, &[0, 1], last.height).await;
    validators.stop(2).await;
    validators.stop(3).await;
    let (heads, key) = (ledger.heads().await, schemas::state::newest_epoch_key());
    assert_eq!(
        ledger.validators().proved_fresh(0, &heads, crate::validators::now()),
        None,
        "two of four prove nothing fresh"
    );
    let proof = ledger.newest_state(&key).await.unwrap().expect("two of them prove a height");
    assert_eq!((proof.header.height, proof.header.time), (last.height, last.time));
    assert!(proof.value.is_some(), "the epoch is known");
    validators.stop(0).await;
    validators.stop(1).await;
    assert!(ledger.newest_state(&key).await.is_err(), "nobody answers");
}
