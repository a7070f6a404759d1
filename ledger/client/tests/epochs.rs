//! `HttpLedger` while validators come and go: it starts from the genesis, learns each epoch from whoever proves it, and reaches
//! validators under the keys of the epochs. Those who left, and those who lie about epochs, change nothing.

#[path = "../../proof/tests/support/chain.rs"]
mod chain;
#[path = "support/double.rs"]
mod double;

use std::time::Duration;

use chain::{anchor, statement};
use double::{Double, Manner, now_ms};
use ledger_client::{HttpLedger, Ledger, LedgerError, conformance};
use ledger_proof::{VerifiedFile, verify_file};
use schemas::cbor;
use schemas::genesis::Genesis;
use schemas::proof::{Filed, Proof};
use schemas::state::{case_key, epoch_key};
use schemas::transaction::Transaction;

const HONEST: Manner = Manner::Honest;

/// From the genesis, with all addresses.
fn from_genesis(double: &Double) -> HttpLedger {
    HttpLedger::new(&double.config).expect("a good configuration")
}

fn genesis(double: &Double) -> Genesis {
    Genesis::parse(&std::fs::read_to_string(&double.config.genesis).expect("written")).expect("a genesis")
}

/// Anchors a case now; its transaction.
async fn anchored(double: &Double, ledger: &HttpLedger, case: u8) -> Transaction {
    let tx = anchor(double.chain, double.height() + 100, vec![statement(case)]);
    ledger.submit(cbor::encode(&tx)).await.expect("taken");
    tx
}

fn offline<T: Proof>(double: &Double, ledger: &HttpLedger, proof: T) -> VerifiedFile {
    let epochs = ledger.validators().proofs(proof.epoch()).expect("known").to_vec();
    let file = Filed::new(double.chain, proof, epochs).to_json();
    verify_file(file.as_bytes(), &genesis(double)).expect("valid with nothing but the genesis")
}

/// All blocks, as whoever follows from the genesis gets them.
async fn follow(double: &Double, ledger: &HttpLedger) {
    let mut next = 1;
    while next <= double.height() {
        let blocks = ledger.blocks(next, 64, Duration::ZERO).await.expect("from an honest one");
        assert!(!blocks.is_empty(), "at height {next} of {}", double.height());
        next += blocks.len() as u64;
    }
}

async fn fresh(ledger: &HttpLedger, from: u64) -> Option<u64> {
    let heads = ledger.heads().await;
    ledger.validators().proved_fresh(from, &heads, now_ms()).map(|fresh| fresh.height)
}

/// Four, then seven, then four others of which one was there from the beginning.
#[tokio::test]
async fn a_client_follows_from_four_to_seven_and_back() {
    let double = Double::start(&[HONEST; 7]).await;
    let old = from_genesis(&double);
    let first = anchored(&double, &old, 1).await;
    assert_eq!(fresh(&old, 0).await, Some(1));
    double.change_validators(&[0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(fresh(&old, 1).await, Some(double.height()));
    let second = anchored(&double, &old, 2).await;
    double.change_validators(&[6, 5, 4, 3]);
    let third = anchored(&double, &old, 3).await;
    let new = from_genesis(&double);
    for ledger in [&old, &new] {
        follow(&double, ledger).await;
        assert_eq!(ledger.validators().newest().epoch(), 2);
        assert_eq!(fresh(ledger, 2).await, Some(double.height()));
        for (epoch, tx) in [&first, &second, &third].into_iter().enumerate() {
            let proof = ledger.proof(&tx.id(), Duration::ZERO).await.expect("answers").expect("decided");
            assert_eq!(proof.header.epoch, epoch as u64);
            assert!(matches!(offline(&double, ledger, proof.clone()), VerifiedFile::Entry(_)));
            let key = case_key(&tx.statements[0].case);
            let held = ledger.state(&key, proof.header.height).await.expect("answers").expect("provable");
            assert!(held.value.is_some());
            assert!(matches!(offline(&double, ledger, held), VerifiedFile::State(_)));
            let grown = ledger.consistency(1, proof.header.height).await.expect("answers").expect("provable");
            assert!(matches!(offline(&double, ledger, grown), VerifiedFile::Consistency(_)));
        }
    }
    let tx = anchor(double.chain, double.height() + 100, vec![statement(9)]);
    conformance_of_later(&new, &tx).await;
}

/// What of the suite does not begin at height 1 with a valid_until of its own.
async fn conformance_of_later(ledger: &HttpLedger, tx: &Transaction) {
    conformance::run(ledger, &tx.id(), cbor::encode(tx), now_ms()).await.expect("conforms");
}

/// Nobody of the genesis is left, and none of them answers: the addresses of the new ones and the genesis are enough.
#[tokio::test]
async fn a_new_client_reaches_validators_that_it_has_no_key_of() {
    let mut manners = [HONEST; 12];
    manners[..4].fill(Manner::Down);
    let double = Double::start(&manners).await;
    double.change_validators(&[3, 4, 5, 6]);
    double.change_validators(&[7, 8, 9, 10, 11]);
    for question in 0..5 {
        let ledger = from_genesis(&double);
        let height = double.height();
        match question {
            0 => assert_eq!(fresh(&ledger, 2).await, Some(height)),
            1 => assert_eq!(ledger.blocks(1, 10, Duration::ZERO).await.expect("answers").len(), 10),
            2 => {
                let held = ledger.state(&epoch_key(2), height).await.expect("answers").expect("provable");
                assert!(held.value.is_some());
            }
            3 => assert!(ledger.consistency(1, height).await.expect("answers").is_some()),
            _ => {
                let tx = anchor(double.chain, height + 100, vec![statement(1)]);
                ledger.submit(cbor::encode(&tx)).await.expect("taken");
                assert!(ledger.proof(&tx.id(), Duration::ZERO).await.expect("answers").is_some());
            }
        }
        assert_eq!(ledger.validators().newest().epoch(), 2, "question {question}");
    }
}

/// Liars put themselves on seats; they are not believed, and the honest ones are heard.
#[tokio::test]
async fn whoever_lies_about_epochs_is_not_believed() {
    for lying in [0, 2, 4] {
        let mut manners = [HONEST; 5];
        manners[lying] = Manner::Lying;
        let double = Double::start(&manners).await;
        double.change_validators(&[1, 2, 3, 4]);
        let ledger = from_genesis(&double);
        follow(&double, &ledger).await;
        let epochs = ledger.validators();
        assert_eq!(epochs.newest().names(), ["v1", "v2", "v3", "v4"]);
        assert_eq!(fresh(&ledger, 1).await, Some(double.height()));
        let tx = anchored(&double, &ledger, 1).await;
        let mut found = None;
        // a liar says that it took it: until an honest one has it there is nothing
        while found.is_none() {
            found = ledger.proof(&tx.id(), Duration::ZERO).await.expect("answers");
        }
        let receipts = ledger.cose_receipts(&tx.id()).await.expect("answers").expect("of a quorum");
        assert_eq!(receipts.epochs.len(), 1);
        let file = verify_file(&cbor::encode(&receipts), &genesis(&double));
        assert!(matches!(file, Ok(VerifiedFile::Cose(entry)) if entry.transaction == tx.id()));
    }
    // nobody else answers: the client stays where it is
    let liars = Double::start(&[Manner::Lying; 4]).await;
    liars.change_validators(&[0, 1, 2, 3, 4]);
    let ledger = from_genesis(&liars);
    assert!(ledger.blocks(1, 10, Duration::ZERO).await.is_err());
    assert_eq!(ledger.validators().newest().epoch(), 0);
}

/// Two who left are no voice against a transaction, and no help for its refusal by one who is there.
#[tokio::test]
async fn those_who_left_have_no_voice() {
    let mut manners = [Manner::Down; 7];
    manners[..3].fill(Manner::Refusing);
    let double = Double::start(&manners).await;
    double.change_validators(&[2, 4, 5, 6]);
    let ledger = from_genesis(&double);
    follow(&double, &ledger).await;
    let tx = anchor(double.chain, double.height() + 100, vec![statement(1)]);
    let one = ledger.submit(cbor::encode(&tx)).await;
    assert!(matches!(one, Err(LedgerError::Unreachable { .. })), "{one:?}");
}

/// An old entry has receipts of validators of today: the file proves the earliest epoch that will do.
#[tokio::test]
async fn cose_receipts_name_the_epoch_of_their_signers() {
    let mut manners = [HONEST; 8];
    manners[..2].fill(Manner::Down);
    let double = Double::start(&manners).await;
    let ledger = from_genesis(&double);
    let tx = anchored(&double, &ledger, 1).await;
    assert_eq!(ledger.cose_receipts(&tx.id()).await.expect("answers"), None, "two of four answer");
    double.change_validators(&[2, 3, 4, 5, 6, 7]);
    follow(&double, &ledger).await;
    let receipts = ledger.cose_receipts(&tx.id()).await.expect("answers").expect("of a quorum");
    assert_eq!((receipts.epochs.len(), receipts.receipts.len()), (1, 4));
    let file = verify_file(&cbor::encode(&receipts), &genesis(&double));
    assert!(matches!(file, Ok(VerifiedFile::Cose(entry)) if entry.transaction == tx.id()));
}
