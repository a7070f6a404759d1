//! Four validators with real TLS, real vote logs and real stores: proofs, restarts, catch-up, refusals. Whatever a client
//! gets here is verified by `ledger-client` against the genesis.

mod epochs;
mod log;
mod malice;
mod proofs;
mod recovery;
mod validators;

use std::time::{Duration, Instant};

use ledger_client::{Ledger, conformance};
use ledger_node::{LogError, NodeError};
use validators::{Validators, caught_up, execute, idle_heads, now, operators_say, silent};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_ledger_conforms_to_its_trait() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    execute(&ledger, validators.subject(1)).await;
    let (id, signed) = validators.anchor(1);
    idle_heads(&ledger).await;
    conformance::run(&ledger, &id, signed, now()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_dies_nobody_stops_and_it_catches_up() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    for number in 0..20 {
        execute(&ledger, validators.anchor(number)).await;
    }
    validators.stop(2).await;
    let mut last = 0;
    for number in 20..120 {
        last = execute(&ledger, validators.subject(number)).await.header.height;
    }
    assert!(last > 100, "each waited for its own block");
    validators.start(2);
    caught_up(&ledger, &[0, 1, 2, 3], last).await;
    // now its vote is needed
    validators.stop(3).await;
    let proof = execute(&ledger, validators.anchor(500)).await;
    assert!(proof.attestations.iter().any(|by| by.validator == 2), "it votes again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_primary_and_all_resume_in_the_same_view() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    execute(&ledger, validators.subject(1)).await;
    validators.stop(0).await;
    let (_, bytes) = validators.subject(2);
    ledger.submit(bytes).await.unwrap();
    validators.start(0);
    execute(&ledger, validators.subject(2)).await;
    for index in 0..4 {
        validators.stop(index).await;
    }
    validators.start_all();
    let proof = execute(&ledger, validators.subject(3)).await;
    assert_eq!(proof.header.log_size, proof.log_index + 1, "the log went on, nothing twice");
    // whoever answers below has it too
    caught_up(&ledger, &[0, 1, 2, 3], proof.header.height).await;
    let blocks = ledger.blocks(1, 64, Duration::ZERO).await.unwrap();
    assert_eq!(blocks.iter().map(|b| b.transactions.len()).sum::<usize>(), 3, "each transaction once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_primary_loses_its_view_and_rejoins() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    execute(&ledger, validators.subject(1)).await;
    validators.stop(0).await;
    let started = Instant::now();
    let proof = execute(&ledger, validators.anchor(1)).await;
    println!("executed {:?} after the primary's end", started.elapsed());
    // what is agreed in a later view is proven like everything else: the client verified proof, certificate and attestations
    let block = ledger.blocks(proof.header.height, 1, Duration::from_secs(5)).await.unwrap().remove(0);
    assert!(block.certificate.view >= 1);
    let mut last = proof.header.height;
    for number in 2..30 {
        last = execute(&ledger, validators.subject(number)).await.header.height;
    }
    validators.start(0);
    caught_up(&ledger, &[0, 1, 2, 3], last).await;
    // now its vote is needed, in the view that began without it
    validators.stop(3).await;
    let proof = execute(&ledger, validators.subject(30)).await;
    assert!(proof.attestations.iter().any(|by| by.validator == 0), "it votes again");
    let status = ledger.status().await;
    let view = |index: usize| status[index].status.as_ref().and_then(|s| s["view"].as_u64());
    assert!(view(0) >= Some(1) && view(0) == view(1) && view(1) == view(2), "{status:?}");
    validators.stop(1).await;
    validators.start(1);
    validators.start(3);
    let last = execute(&ledger, validators.subject(31)).await.header.height;
    caught_up(&ledger, &[0, 1, 2, 3], last).await;
    let blocks = ledger.blocks(1, 64, Duration::ZERO).await.unwrap();
    assert_eq!(blocks.iter().map(|b| b.transactions.len()).sum::<usize>(), 32, "each transaction once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_altered_vote_log_refuses_to_start() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    for number in 0..10 {
        execute(&ledger, validators.subject(number)).await;
    }
    validators.stop(1).await;
    let path = validators.votes(1);
    let good = std::fs::read(&path).unwrap();
    let used = good.iter().rposition(|&b| b != 0).unwrap();
    for at in [100, used / 2, used] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, bad).unwrap();
        let refused = validators.refusal(1).await;
        assert!(matches!(refused, NodeError::Log(LogError::Corrupt { .. })), "byte {at} of {used}: {refused}");
        assert!(refused.to_string().contains("chartseal restore"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn votes_of_another_chain_are_refused() {
    let (mut one, other) = (Validators::new(4), Validators::new(4));
    one.start_all();
    let ledger = one.ledger("transport.key");
    execute(&ledger, one.subject(1)).await;
    one.stop(0).await;
    std::fs::create_dir_all(&other.configs[0].data).unwrap();
    std::fs::rename(one.configs[0].data.join("votes"), other.configs[0].data.join("votes")).unwrap();
    let refused = other.refusal(0).await;
    assert!(matches!(refused, NodeError::Log(LogError::OtherChain { .. })), "{refused}");
    assert!(refused.to_string().contains("name the genesis file"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_without_a_key_keep_nobody_out() {
    let mut validators = Validators::new(4);
    validators.start(0);
    let ledger = validators.ledger("transport.key");
    let flooded = [validators.configs[0].listen.clone(), validators.configs[0].rpc.clone()];
    let mut flood = Vec::new();
    for address in flooded {
        // more than the places, and from another address than the honest ones
        flood.extend(silent(&address, 300).await);
    }
    (1..4).for_each(|index| validators.start(index));
    execute(&ledger, validators.subject(1)).await;
    let status = ledger.status().await;
    assert!(status[0].status.is_some(), "the flooded one answers");
    drop(flood);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn proof_against_a_validator_is_in_everyones_status() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    let height = execute(&ledger, validators.contradiction(2)).await.header.height;
    caught_up(&ledger, &[0, 1, 2, 3], height).await;
    for validator in ledger.status().await {
        let status = validator.status.expect("up");
        let expected = serde_json::json!([{
            "validator": "validator-3", "view": 5, "height": 70, "kind": "commit", "reported_at": height,
        }]);
        assert_eq!(status["evidence"], expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn operators_see_counts_and_heights() {
    let mut validators = Validators::new(4);
    let address = validators.with_operators(0);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    let height = execute(&ledger, validators.subject(1)).await.header.height;
    caught_up(&ledger, &[0], height).await;
    let ready = operators_say(&address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200") && ready.contains("loop turns, 4 validators"), "{ready}");
    let text = operators_say(&address, "/metrics").await;
    let level = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect(name);
        line.trim().parse::<u64>().expect("a number")
    };
    assert_eq!(level("chartseal_node_executed_total{verdict=\"accepted\"}"), 1);
    assert_eq!((level("chartseal_node_certified_height"), level("chartseal_node_waiting")), (height, 0));
    // one for each turn with votes: a slow machine has many of them in one turn
    assert!(level("chartseal_node_sync_seconds_count") >= 1, "votes are synced");
    assert!(operators_say(&address, "/ledger/v1/status").await.starts_with("HTTP/1.1 404"), "nothing else");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_keys_of_the_genesis_are_served() {
    let mut validators = Validators::new(4);
    validators.start_all();
    execute(&validators.ledger("transport.key"), validators.subject(1)).await;
    let stranger = validators.ledger("stranger.key");
    assert!(stranger.submit(validators.subject(2).1).await.is_err());
    assert!(stranger.heads().await.is_empty());
    assert!(validators.ledger("0.key").heads().await.len() >= 3, "a validator's own key is served: a quorum's heads");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_at_once_share_blocks_and_each_gets_its_proof() {
    let mut validators = Validators::new(4);
    validators.start_all();
    let ledger = validators.ledger("transport.key");
    execute(&ledger, validators.subject(1_000_000)).await;
    let started = Instant::now();
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..600 {
        let (ledger, transaction) = (ledger.clone(), validators.subject(number));
        waiting.spawn(async move { execute(&ledger, transaction).await.header.height });
    }
    let heights = waiting.join_all().await;
    let blocks = heights.iter().collect::<std::collections::BTreeSet<_>>().len();
    println!("600 transactions in {blocks} blocks, {:?}", started.elapsed());
    assert!(blocks < 300, "transactions share blocks");
}
