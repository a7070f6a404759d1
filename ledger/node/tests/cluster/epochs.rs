//! Other validators, under load: four become seven, keys are exchanged, three leave; what was anchored in any epoch is proved to whoever
//! holds nothing but the genesis.

use std::time::Duration;

use ledger_client::{HttpLedger, Ledger};
use ledger_node::NodeError;
use ledger_proof::{Epochs, verify_entry_proof};
use schemas::block::Epoch;
use schemas::id::PublicKey;
use schemas::limits;
use schemas::state::confirmation_key;

use crate::log;
use crate::validators::{Validators, execute};

/// Waits until each of these validators is in the epoch.
async fn entered(ledger: &HttpLedger, validators: &[usize], epoch: Epoch) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        let all = ledger.status().await;
        let is_there = |&i: &usize| {
            let name = format!("validator-{}", i + 1);
            let status = all.iter().find(|validator| validator.name == name).and_then(|v| v.status.as_ref());
            status.is_some_and(|status| status["epoch"].as_u64() == Some(epoch))
        };
        if validators.iter().all(is_there) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "not in epoch {epoch}: {all:?}");
        drop(ledger.proof(&schemas::id::Digest([0xee; 32]), Duration::from_millis(50)).await);
    }
}

/// Waits until each of these keys took its seat in the list that is voted for.
async fn there(ledger: &HttpLedger, keys: &[PublicKey], epoch: Epoch) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    for key in keys {
        let row = confirmation_key(epoch, key);
        while ledger.newest_state(&row).await.unwrap().is_none_or(|proof| proof.value.is_none()) {
            assert!(tokio::time::Instant::now() < deadline, "a validator that stays is not there");
            drop(ledger.proof(&schemas::id::Digest([0xee; 32]), Duration::from_millis(50)).await);
        }
    }
}

/// Waits until an epoch is decided.
async fn decided(ledger: &HttpLedger, epoch: Epoch) -> std::sync::Arc<Epochs> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let epochs = ledger.newest_epochs().await;
        if epochs.newest().epoch() >= epoch {
            return epochs;
        }
        assert!(tokio::time::Instant::now() < deadline, "epoch {epoch} is not decided");
        drop(ledger.proof(&schemas::id::Digest([0xee; 32]), Duration::from_millis(50)).await);
    }
}

fn keys(validators: &Validators, indices: &[usize]) -> Vec<PublicKey> {
    indices.iter().map(|&index| ledger_node::key::open(&validators.configs[index].key).unwrap().public()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn four_become_seven_exchange_keys_and_become_four_under_load() {
    log::listen();
    let mut validators = Validators::among(4, 7);
    (0..4).for_each(|index| validators.start(index));
    let ledger = validators.ledger("transport.key");
    let first = execute(&ledger, validators.subject(0)).await;

    // load that does not end until told to
    let (other, loads): (_, Vec<_>) =
        (validators.ledger("transport.key"), (1_000..9_000).map(|n| validators.subject(n)).collect());
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = stop.clone();
    let loading = tokio::spawn(async move {
        let mut proofs = vec![];
        for load in loads {
            if stopped.is_cancelled() {
                break;
            }
            proofs.push(execute(&other, load).await);
        }
        proofs
    });

    let genesis = keys(&validators, &[0, 1, 2, 3]);
    for voter in 0..3 {
        execute(&ledger, validators.ballot(0, &genesis, voter, &[0, 1, 2, 3, 4, 5, 6])).await;
    }
    // four that stay say by themselves that they are there; they are no quorum of seven: nothing is decided by them
    let list = [0, 1, 2, 3, 4, 5, 6];
    there(&ledger, &genesis, 0).await;
    assert_eq!(ledger.newest_epochs().await.newest().epoch(), 0);
    execute(&ledger, validators.confirmation(0, 5, &list)).await;
    // the new ones come at once, before the epoch begins, with the genesis and what proves the epoch
    let epochs = decided(&ledger, 1).await;
    for index in 4..7 {
        ledger_node::keep_proofs(&validators.configs[index].key, epochs.proofs(1).unwrap()).unwrap();
        validators.start(index);
    }
    entered(&ledger, &[0, 1, 2, 3], 1).await;
    let second = execute(&ledger, validators.subject(1)).await;
    entered(&ledger, &[0, 1, 2, 3, 4, 5, 6], 1).await;
    assert_eq!((second.header.epoch, second.attestations.len() >= 5), (1, true));

    // the three leave again, and one gets another key
    let before = keys(&validators, &[0, 1, 2, 3, 4, 5, 6]);
    let renewed = validators.home.path().join("1-new.key");
    ledger_node::key::create(&renewed).unwrap();
    validators.configs[1].key = renewed;
    for voter in 2..7 {
        execute(&ledger, validators.ballot(1, &before, voter, &[0, 1, 2, 3])).await;
    }
    for gone in [1, 4, 5, 6] {
        let ended = validators.end(gone).await;
        assert!(matches!(ended, Err(NodeError::NoSeat { epoch: 2, .. })), "validator {gone}: {ended:?}");
    }
    validators.start(1);
    let third = execute(&ledger, validators.subject(2)).await;
    entered(&ledger, &[0, 1, 2, 3], 2).await;
    assert_eq!(third.header.epoch, 2);
    stop.cancel();
    let proofs = loading.await.unwrap();
    println!("{} transactions while the validators changed", proofs.len());

    // whoever holds the genesis alone verifies all of it, with the proofs of epochs
    let text = std::fs::read_to_string(validators.home.path().join("genesis.json")).unwrap();
    let genesis = schemas::genesis::Genesis::parse(&text).unwrap();
    let file = std::fs::read_to_string(validators.configs[0].key.with_extension("epochs.json")).unwrap();
    let epochs = Epochs::of(&genesis).extended(&serde_json::from_str::<Vec<_>>(&file).unwrap()).unwrap();
    for proof in proofs.iter().chain([&first, &second, &third]) {
        verify_entry_proof(&epochs, proof).unwrap();
    }
    let seals: Vec<_> =
        [first, second, third].iter().map(|proof| proof.header.height / limits::EPOCH_INTERVAL).collect();
    assert!(seals.is_sorted() && seals[0] < seals[1] && seals[1] < seals[2], "an epoch between each: {seals:?}");

    // a store that begins with the genesis fits no vote of a later epoch: whoever lost his blocks copies them, and nobody sends anything
    // while the others help him to his voice
    validators.stop(2).await;
    std::fs::remove_dir_all(validators.configs[2].data.join("blocks")).unwrap();
    validators.start(2);
    speaks(&ledger, 2).await;
    validators.stop(0).await;
    let last = execute(&ledger, validators.subject(3)).await;
    assert!(last.attestations.iter().any(|by| by.validator == 2), "now its vote is needed");
    // who is early or late in an epoch lies about nothing; only the malicious one of another test has this name
    let mut let_go = log::all(&["is let go for a while"]);
    let_go.retain(|line| !line.contains("validator-4"));
    assert_eq!(let_go, Vec::<String>::new());
}

/// Until it has a voice.
async fn speaks(ledger: &HttpLedger, index: usize) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        let status = ledger.status().await[index].status.clone();
        let is_silent = status.as_ref().and_then(|status| status["silent"].as_bool());
        if is_silent == Some(false) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "validator {index} has no voice: {status:?}");
        drop(ledger.proof(&schemas::id::Digest([0xee; 32]), Duration::from_millis(50)).await);
    }
}
