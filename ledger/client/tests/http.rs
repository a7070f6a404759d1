//! `HttpLedger` against validators that are honest, down, impostors or liars: up to f of four change nothing, and nothing
//! unverified comes through.

#[path = "../../proof/tests/support/chain.rs"]
mod chain;
#[path = "support/double.rs"]
mod double;

use std::time::Duration;

use chain::{anchor, statement};
use double::{Double, Manner, now_ms};
use ledger_client::{HttpLedger, Ledger, LedgerError, conformance};
use schemas::ErrorClass;
use schemas::cbor;
use schemas::limits;
use schemas::transaction::{Outcome, Refusal, Transaction, signed_hash};

const HONEST: Manner = Manner::Honest;

async fn start(manners: [Manner; 4]) -> (Double, HttpLedger) {
    let double = Double::start(&manners).await;
    let ledger = HttpLedger::new(&double.config).expect("a good configuration");
    (double, ledger)
}

async fn conforms(manners: [Manner; 4]) {
    let (double, ledger) = start(manners).await;
    let first = anchor(double.chain, 100, vec![statement(1)]);
    ledger.submit(cbor::encode(&first)).await.expect("submitted");
    let tx = anchor(double.chain, 100, vec![statement(2)]);
    conformance::run(&ledger, &tx.id(), cbor::encode(&tx), now_ms()).await.expect("conforms");
}

#[tokio::test]
async fn four_honest_validators_conform() {
    conforms([HONEST; 4]).await;
}

#[tokio::test]
async fn one_validator_may_be_down_an_impostor_a_liar_full_or_flooding() {
    for manner in [Manner::Down, Manner::Impostor, Manner::Full, Manner::Flooding] {
        conforms([manner, HONEST, HONEST, HONEST]).await;
        conforms([HONEST, HONEST, manner, HONEST]).await;
    }
}

#[tokio::test]
async fn submissions_at_once_travel_together_and_a_hanging_validator_delays_none() {
    let (double, ledger) = start([Manner::Hanging, HONEST, HONEST, HONEST]).await;
    let mut submitting = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (ledger, tx) = (ledger.clone(), anchor(double.chain, 100 + number, vec![statement(number as u8)]));
        submitting.spawn(async move { ledger.submit(cbor::encode(&tx)).await });
    }
    let started = std::time::Instant::now();
    let all = submitting.join_all().await;
    assert!(all.iter().all(Result::is_ok), "the others take them");
    assert!(started.elapsed() < Duration::from_millis(double.config.timeout_ms), "nobody waits for the hanging one");
    let lists = double.lists.load(std::sync::atomic::Ordering::Relaxed);
    assert!(lists < 200, "{lists} requests for 200 submissions to three validators");
}

#[tokio::test]
async fn what_no_validator_would_take_is_refused_at_once() {
    let (_double, ledger) = start([HONEST; 4]).await;
    let error = ledger.submit(vec![0; limits::TRANSACTION_BYTES_MAX + 1]).await.expect_err("too large");
    assert_eq!(error.class(), ErrorClass::Caller);
}

/// A liar's yes to a submission is believed: the submission still reaches the others, and the proof decides.
#[tokio::test]
async fn a_liar_delays_nothing_and_proves_nothing() {
    let (double, ledger) = start([Manner::Lying, HONEST, HONEST, HONEST]).await;
    let tx = anchor(double.chain, 100, vec![statement(1)]);
    ledger.submit(cbor::encode(&tx)).await.expect("taken");
    // until the honest ones have it they answer None
    let mut proof = None;
    for _ in 0..1_000 {
        proof = ledger.proof(&tx.id(), Duration::from_millis(100)).await.expect("answers");
        if proof.is_some() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(proof.expect("executed").entry.outcome, schemas::transaction::Outcome::Accepted);
    let blocks = ledger.blocks(1, 10, Duration::ZERO).await.expect("from an honest one");
    assert_eq!(blocks.len(), 1);
    let heads = ledger.heads().await;
    assert_eq!(heads.len(), 3);
    assert!(heads.iter().all(|head| head.head.height == 1 && head.by.validator != 0));
    let unknown = anchor(double.chain, 100, vec![statement(9)]).id();
    assert_eq!(ledger.proof(&unknown, Duration::ZERO).await.expect("answers"), None);
}

#[tokio::test]
async fn liars_alone_are_no_answer() {
    let (double, ledger) = start([Manner::Impostor, Manner::Impostor, Manner::Impostor, Manner::Down]).await;
    let tx = anchor(double.chain, 100, vec![statement(1)]);
    let error = ledger.submit(cbor::encode(&tx)).await.expect_err("nobody");
    assert!(matches!(error, LedgerError::Unreachable { asked: 4 }));
    assert_eq!(error.class(), ErrorClass::Transient);
    assert!(ledger.proof(&tx.id(), Duration::ZERO).await.is_err_and(|e| e.class().is_retried()));
    assert!(ledger.blocks(1, 1, Duration::ZERO).await.is_err_and(|e| e.class().is_retried()));
    assert!(ledger.heads().await.is_empty());
    assert!(ledger.status().await.iter().all(|status| status.status.is_none()));
}

#[tokio::test]
async fn a_stopped_cluster_is_transient_and_names_nobody() {
    let (mut double, ledger) = start([HONEST; 4]).await;
    assert_eq!(ledger.status().await.iter().filter(|status| status.status.is_some()).count(), 4);
    double.stop();
    let tx = anchor(double.chain, 100, vec![statement(1)]);
    let mut last = Ok(());
    for _ in 0..100 {
        last = ledger.submit(cbor::encode(&tx)).await;
        if last.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert!(last.is_err_and(|e| e.class().is_retried()));
}

#[tokio::test]
async fn refusal_needs_more_voices_than_can_be_faulty() {
    let submit = async |manners| {
        let (double, ledger) = start(manners).await;
        let tx: Transaction = anchor(double.chain, 100, vec![statement(1)]);
        ledger.submit(cbor::encode(&tx)).await
    };
    let one = submit([Manner::Refusing, Manner::Down, Manner::Down, Manner::Down]).await;
    assert!(matches!(one, Err(LedgerError::Unreachable { .. })));
    let two = submit([Manner::Refusing, Manner::Refusing, Manner::Down, Manner::Down]).await;
    assert!(matches!(two, Err(LedgerError::Refused { votes: 2 })));
    let full = submit([Manner::Refusing, Manner::Full, Manner::Full, Manner::Down]).await;
    assert!(matches!(full, Err(LedgerError::Busy)));
    let rest = submit([Manner::Refusing, Manner::Full, HONEST, Manner::Down]).await;
    assert!(rest.is_ok());
}

/// The same transaction with a signature that does not count: its id is the same.
fn forged(tx: &Transaction) -> Transaction {
    let mut forged = tx.clone();
    forged.signatures[0].signature = chain::sign(&chain::key(999), b"something else");
    assert_eq!(forged.id(), tx.id());
    forged
}

#[tokio::test]
async fn a_strangers_copy_is_no_verdict() {
    for hiding in [0, 3] {
        let mut manners = [HONEST; 4];
        manners[hiding] = Manner::Hiding;
        let (double, ledger) = start(manners).await;
        let tx = anchor(double.chain, 100, vec![statement(1)]);
        let (id, bytes, copy) = (tx.id(), cbor::encode(&tx), cbor::encode(&forged(&tx)));
        let (signed, of_copy) = (signed_hash(&bytes), signed_hash(&copy));
        ledger.submit(copy).await.expect("taken");
        let verdict = async |of| ledger.verdict(&id, of, Duration::ZERO).await.expect("answers");
        assert_eq!(verdict(&signed).await, None, "nothing was decided about our bytes");
        let refused = verdict(&of_copy).await.expect("decided").entry;
        assert_eq!((refused.outcome, refused.signed), (Outcome::Refused(Refusal::Signature), of_copy));
        let shown = ledger.proof(&id, Duration::ZERO).await.expect("answers").expect("the copy");
        assert!(!shown.decides(&signed) && shown.decides(&of_copy));
        ledger.submit(bytes).await.expect("taken");
        for of in [&signed, &of_copy] {
            assert_eq!(verdict(of).await.expect("decided").entry.outcome, Outcome::Accepted, "the id was accepted");
        }
        let shown = ledger.proof(&id, Duration::ZERO).await.expect("answers").expect("decided");
        assert_eq!(shown.entry.outcome, Outcome::Accepted, "an acceptance goes before any refusal");
    }
}

#[tokio::test]
async fn a_refusal_needs_answers_of_a_quorum() {
    let (double, ledger) = start([Manner::Hiding, HONEST, Manner::Down, Manner::Down]).await;
    let tx = anchor(double.chain, 100, vec![statement(1)]);
    let copy = cbor::encode(&forged(&tx));
    ledger.submit(copy.clone()).await.expect("taken");
    let found = ledger.verdict(&tx.id(), &signed_hash(&copy), Duration::ZERO).await.expect("answers");
    assert_eq!(found, None, "two of four may not know of an acceptance");
}

#[tokio::test]
async fn cose_receipts_are_of_a_quorum_and_verify() {
    let (double, ledger) = start([Manner::Lying, HONEST, HONEST, HONEST]).await;
    for case in 1..4 {
        ledger.submit(cbor::encode(&anchor(double.chain, 100, vec![statement(case)]))).await.expect("taken");
    }
    let tx = anchor(double.chain, 100, vec![statement(9)]);
    ledger.submit(cbor::encode(&tx)).await.expect("taken");
    let mut found = None;
    while found.is_none() {
        found = ledger.cose_receipts(&tx.id()).await.expect("answers");
    }
    let receipts = found.expect("just seen");
    assert_eq!(receipts.receipts.len(), 3);
    let entry = ledger_proof::verify_cose_receipts(ledger.validators().genesis(), &receipts).expect("valid");
    assert_eq!((entry.transaction, entry.outcome), (tx.id(), Outcome::Accepted));
    let unknown = anchor(double.chain, 100, vec![statement(8)]).id();
    assert_eq!(ledger.cose_receipts(&unknown).await.expect("answers"), None);
    let (double, ledger) = start([Manner::Lying, Manner::Down, HONEST, HONEST]).await;
    let tx = anchor(double.chain, 100, vec![statement(1)]);
    ledger.submit(cbor::encode(&tx)).await.expect("taken");
    assert_eq!(ledger.cose_receipts(&tx.id()).await.expect("answers"), None, "two are no quorum");
}

#[tokio::test]
async fn one_who_boasts_does_not_stop_freshness() {
    for boasting in 0..4 {
        let mut manners = [HONEST; 4];
        manners[boasting] = Manner::Boasting;
        let (double, ledger) = start(manners).await;
        ledger.submit(cbor::encode(&anchor(double.chain, 100, vec![statement(1)]))).await.expect("submitted");
        let heads = ledger.heads().await;
        let fresh = ledger.validators().proved_fresh(0, &heads, now_ms()).map(|fresh| fresh.height);
        assert_eq!(fresh, Some(1), "{} heads, validator {boasting} boasts", heads.len());
    }
}

#[tokio::test]
async fn a_bad_configuration_is_named() {
    let double = Double::start(&[Manner::Down; 4]).await;
    let refused = |change: &dyn Fn(&mut ledger_client::LedgerConfig)| {
        let mut config = double.config.clone();
        change(&mut config);
        let error = HttpLedger::new(&config).expect_err("bad");
        assert_eq!(error.class(), ErrorClass::Caller);
        error.to_string()
    };
    assert!(refused(&|c| c.validators.truncate(2)).contains("found 2 validators, expected at least 3"));
    assert!(refused(&|c| c.validators[0].name = "x y".into()).contains("\"x y\": expected a validator's name"));
    assert!(refused(&|c| c.validators[1] = c.validators[0].clone()).contains("twice"));
    assert!(refused(&|c| c.validators[0].url = "http://127.0.0.1:1".into()).contains("https"));
    assert!(refused(&|c| c.genesis = "/nowhere/genesis.json".into()).contains("/nowhere/genesis.json"));
    assert!(refused(&|c| c.key = c.genesis.clone()).contains("chmod 600"));
    let empty = double.config.key.with_file_name("empty.key");
    double::write_key(&empty, &chain::key(1));
    std::fs::write(&empty, "no key").expect("written");
    assert!(refused(&|c| c.key = empty.clone()).contains("PKCS#8"));
}
