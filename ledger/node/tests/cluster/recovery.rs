//! Lost disks, lost votes, damaged files, backups: a validator comes back with the state that the others have, and says nothing that it
//! may have contradicted.

use std::time::Duration;

use ledger_client::{HttpLedger, Ledger};
use ledger_node::{LogError, NodeError, StoreError, backup, restore};
use schemas::id::Height;
use schemas::state::case_key;

use crate::validators::{Validators, caught_up, execute};

async fn status(ledger: &HttpLedger, index: usize, field: &str) -> Option<u64> {
    ledger.status().await[index].status.as_ref().and_then(|status| status[field].as_u64())
}

/// The validator's disk is gone; its key and the mark beside it are not.
fn lose(validators: &Validators, index: usize) {
    std::fs::remove_dir_all(&validators.configs[index].data).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_disk_is_copied_under_load_and_its_validator_votes_again() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    for number in 0..12 {
        execute(&ledger, validators.anchor(number)).await;
    }
    validators.stop(1).await;
    lose(&validators, 1);
    execute(&ledger, validators.anchor(20)).await;
    let other = validators.ledger("transport.key");
    let load: Vec<_> = (100..160).map(|number| validators.subject(number)).collect();
    let loading = tokio::spawn(async move {
        let mut last = 0;
        for transaction in load {
            last = execute(&other, transaction).await.header.height;
        }
        last
    });
    // whoever connects and says nothing keeps no copy from its end
    let address = validators.configs[1].listen.clone();
    let connecting = tokio::spawn(async move {
        let (mut held, mut pace) = (vec![], tokio::time::interval(Duration::from_millis(500)));
        loop {
            pace.tick().await;
            held.extend(tokio::net::TcpStream::connect(&address).await);
        }
    });
    validators.start(1);
    let last = loading.await.unwrap();
    caught_up(&ledger, &[0, 1, 2, 3], last).await;
    connecting.abort();
    let begins = status(&ledger, 1, "blocks_from").await.unwrap();
    assert!(begins > 12, "it did not execute the blocks before its loss again: from {begins}");
    // the copied state is the state: what was anchored before the loss is there, and its proofs are of later heights
    let proof = execute(&ledger, validators.amended(3)).await;
    caught_up(&ledger, &[1], proof.header.height).await;
    // the primary is away for a moment. Its successor is the silent one, so a second view begins, and in that one it speaks
    validators.stop(0).await;
    let (waiting, transaction) = (validators.ledger("transport.key"), validators.subject(200));
    let waiting = tokio::spawn(async move { execute(&waiting, transaction).await });
    let changing = async {
        while status(&ledger, 2, "view").await == Some(0) {
            drop(ledger.proof(&schemas::id::Digest([0xee; 32]), Duration::from_millis(50)).await);
        }
    };
    tokio::time::timeout(Duration::from_secs(30), changing).await.expect("a view change begins");
    validators.start(0);
    waiting.await.unwrap();
    for number in 201..240 {
        execute(&ledger, validators.subject(number)).await;
    }
    validators.stop(3).await;
    let proof = execute(&ledger, validators.subject(240)).await;
    assert!(proof.attestations.iter().any(|by| by.validator == 1), "now its vote is needed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lost_votes_beside_a_store_keep_its_history() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    for number in 0..5 {
        execute(&ledger, validators.subject(number)).await;
    }
    validators.stop(2).await;
    std::fs::remove_dir_all(validators.votes(2).parent().unwrap()).unwrap();
    let last = execute(&ledger, validators.subject(10)).await.header.height;
    validators.start(2);
    caught_up(&ledger, &[2], last).await;
    assert_eq!(status(&ledger, 2, "blocks_from").await, Some(1));
    // it was not heard: three others are needed, and are there
    let proof = execute(&ledger, validators.subject(11)).await;
    assert!(proof.attestations.iter().all(|by| by.validator != 2), "it is silent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_is_behind_all_blocks_copies_the_state_and_keeps_its_votes() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    for number in 0..3 {
        execute(&ledger, validators.subject(number)).await;
    }
    validators.stop(3).await;
    let mut last = 0;
    for number in 10..20 {
        last = execute(&ledger, validators.subject(number)).await.header.height;
    }
    // two of the others begin behind what the third one lacks
    for lost in [1, 2] {
        validators.stop(lost).await;
        lose(&validators, lost);
        validators.start(lost);
        caught_up(&ledger, &[lost], last).await;
    }
    validators.stop(0).await;
    validators.start(3);
    caught_up(&ledger, &[3], last).await;
    assert_eq!(status(&ledger, 3, "blocks_from").await, Some(last + 1), "no block was there to be fetched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_of_a_running_validator_is_restored() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    let mut height = 0;
    for number in 0..8 {
        height = execute(&ledger, validators.anchor(number)).await.header.height;
    }
    caught_up(&ledger, &[2], height).await;
    let (to, config) = (validators.home.path().join("backup"), validators.configs[2].clone());
    let made = {
        let (config, to) = (config.clone(), to.clone());
        tokio::task::spawn_blocking(move || backup(&config, &to, false)).await.unwrap().unwrap()
    };
    assert!(made.height >= height && made.chain == validators.chain && !to.join("validator.key").exists());
    let mut last = 0;
    for number in 10..30 {
        last = execute(&ledger, validators.subject(number)).await.header.height;
    }
    assert!(matches!(restore(&config, Some(&to)), Err(NodeError::InUse { .. })), "it runs");
    validators.stop(2).await;
    refuses_damaged_backups(&config, &to);
    lose(&validators, 2);
    assert_eq!(restore(&config, Some(&to)).unwrap(), made.height);
    assert!(!validators.votes(2).exists(), "no votes come back");
    validators.start(2);
    caught_up(&ledger, &[2], last).await;
    assert_eq!(status(&ledger, 2, "blocks_from").await, Some(1), "the backup's history is here");
    let proof = execute(&ledger, validators.subject(40)).await;
    assert!(proof.attestations.iter().all(|by| by.validator != 2), "it is silent");
    // a stopped one, too
    validators.stop(2).await;
    let again = validators.home.path().join("again");
    assert!(backup(&config, &again, true).unwrap().height >= last && again.join("validator.key").exists());
    assert!(backup(&config, &again, true).is_err(), "a backup is not written over");
}

/// Nothing is changed when a backup is not whole.
fn refuses_damaged_backups(config: &ledger_node::NodeConfig, backup: &std::path::Path) {
    let list = std::fs::read_to_string(backup.join("backup.json")).unwrap();
    let table = std::fs::read_dir(backup.join("blocks")).unwrap().map(|entry| entry.unwrap().path());
    let table = table.filter(|path| path.extension().is_some_and(|end| end == "sst")).max().expect("a table");
    let good = std::fs::read(&table).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&table, &bad).unwrap();
    assert!(matches!(restore(config, Some(backup)), Err(NodeError::Backup { .. })), "a flipped bit");
    std::fs::remove_file(&table).unwrap();
    assert!(matches!(restore(config, Some(backup)), Err(NodeError::Backup { .. })), "a lost file");
    std::fs::write(&table, good).unwrap();
    let other = list.replace(&list[list.find("\"chain\": \"").unwrap() + 10..][..8], "00000000");
    std::fs::write(backup.join("backup.json"), other).unwrap();
    assert!(matches!(restore(config, Some(backup)), Err(NodeError::Store(StoreError::OtherChain { .. }))));
    std::fs::write(backup.join("backup.json"), &list[..list.len() / 2]).unwrap();
    assert!(matches!(restore(config, Some(backup)), Err(NodeError::Backup { .. })), "half a list");
    std::fs::write(backup.join("backup.json"), list).unwrap();
    assert!(config.data.join("votes").exists() && config.data.join("blocks").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn damaged_files_are_refused_and_restore_begins_anew() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    let mut last: Height = 0;
    for number in 0..6 {
        last = execute(&ledger, validators.anchor(number)).await.header.height;
    }
    caught_up(&ledger, &[1], last).await;
    validators.stop(1).await;
    let blocks = validators.configs[1].data.join("blocks");
    let current = std::fs::read(blocks.join("CURRENT")).unwrap();
    std::fs::remove_file(blocks.join("CURRENT")).unwrap();
    let refused = validators.refusal(1).await;
    assert!(matches!(refused, NodeError::Store(StoreError::Damaged { .. })), "{refused}");
    std::fs::write(blocks.join("CURRENT"), b"MANIFEST-999999\n").unwrap();
    let refused = validators.refusal(1).await;
    assert!(matches!(refused, NodeError::Store(StoreError::Damaged { .. })), "{refused}");
    std::fs::write(blocks.join("CURRENT"), current).unwrap();
    // an older vote log is worse than none
    let votes = validators.votes(1);
    let newest = std::fs::read(&votes).unwrap();
    std::fs::write(&votes, vec![0; newest.len()]).unwrap();
    let refused = validators.refusal(1).await;
    assert!(matches!(refused, NodeError::Log(LogError::Older { .. })), "{refused}");
    assert!(refused.to_string().contains("chartseal restore"), "{refused}");
    assert_eq!(restore(&validators.configs[1], None).unwrap(), 0);
    validators.start(1);
    caught_up(&ledger, &[1], last).await;
    let next = execute(&ledger, validators.amended(2)).await;
    caught_up(&ledger, &[1], next.header.height).await;
    let of_case = ledger.state(&case_key(&validators.case(2, 0)), next.header.height).await.unwrap().expect("final");
    assert!(of_case.value.is_some());
}
