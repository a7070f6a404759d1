//! Kill -9 around each durable point: a thousand messages and two hundred duplicates go through a gateway that kills itself at
//! every failpoint in turn, while a backup validator is killed and restarted too. In the end: exactly a thousand anchors.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use schemas::genesis::Genesis;

use crate::chain::Chain;
use crate::feed::{CANARIES, Feed};
use crate::world::{Services, World};

/// Distinct messages.
const MESSAGES: usize = 1_000;
/// Every sixth that is sent was sent before: 200 of 1,200.
const REPEATED_EVERY: usize = 6;

/// Both sides of each durable point, in the order of the way in.
const FAILPOINTS: [&str; 10] = [
    "ingest::before_inbox_commit",
    "ingest::after_inbox_commit",
    "ingest::after_accept",
    "ingest::after_object",
    "ingest::before_intent_commit",
    "ingest::after_intent_commit",
    "ingest::after_submit",
    "ingest::after_proof",
    "ingest::before_index_commit",
    "ingest::after_index_commit",
];

/// Numbers to send, duplicates of earlier ones mixed in by a fixed rule.
fn numbers() -> Vec<usize> {
    let mut out = Vec::new();
    let mut next = 0;
    while next < MESSAGES {
        if out.len() % REPEATED_EVERY == REPEATED_EVERY - 1 {
            out.push(next * 7 / 11);
        } else {
            out.push(next);
            next += 1;
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_survive_kills_at_every_durable_point() {
    let Some(services) = Services::find() else { return };
    let mut world = World::start(services);
    let feed = Feed::connect(&world.services.amqp).await;
    let ledger = world.ledger();
    let text = std::fs::read_to_string(world.dir.join("genesis.json")).expect("genesis.json");
    let genesis = Genesis::parse(&text).expect("the genesis parses");
    let mut chain = Chain::new(&genesis);
    let key = world.routing_key();

    // The queue exists once a gateway has declared it.
    declare_queue(&world, &feed).await;
    let numbers = numbers();
    let distinct: BTreeSet<_> = numbers.iter().collect();
    assert_eq!((distinct.len(), numbers.len() - distinct.len()), (MESSAGES, 199), "a thousand, and a fifth twice");
    let slices: Vec<_> = numbers.chunks(numbers.len().div_ceil(FAILPOINTS.len() * 2)).collect();
    for (round, slice) in slices.iter().enumerate() {
        for &number in *slice {
            feed.send(&key, number).await;
        }
        let point = FAILPOINTS[round % FAILPOINTS.len()];
        // The second time round it dies at the second pass, with work of the first pass half done.
        let nth = 1 + round / FAILPOINTS.len();
        let kill_at = format!("{point}:{nth}");
        let mut gateway = world.gateway(Some(&kill_at));
        if round == 4 {
            world.kill_validator(2);
        }
        if nth == 1 {
            assert!(gateway.killed_itself().await, "{kill_at} was never passed");
        } else {
            killed_or_done(&mut gateway, &mut chain, &ledger, &feed, &world.queue).await;
        }
        gateway.kill().await;
        println!("killed at {kill_at}: {} anchored", chain.follow(&ledger).await);
        if round == 8 {
            world.restart_validator(2);
        }
    }

    let mut gateway = world.gateway(None);
    settle(&mut chain, &ledger, MESSAGES, &mut gateway).await;
    // One more message behind everything else: what was still under way would be anchored before it.
    feed.send(&key, MESSAGES).await;
    settle(&mut chain, &ledger, MESSAGES + 1, &mut gateway).await;
    assert_eq!(feed.waiting(&world.queue).await, 0, "nothing waits at the broker");
    assert_eq!(chain.anchors.len(), MESSAGES + 1, "one anchor for each message");
    assert!(chain.anchors.values().all(|&times| times == 1), "no case is anchored twice");
    gateway.kill().await;
    assert_no_canary(&world);
}

/// Starts a gateway until its queue can be asked for.
pub async fn declare_queue(world: &World, feed: &Feed) {
    let gateway = world.gateway(None);
    let deadline = Instant::now() + Duration::from_secs(60);
    while world.not_ready().await.is_none_or(|parts| !parts.is_empty()) {
        assert!(Instant::now() < deadline, "the gateway is not ready after 60 s");
        tokio::task::yield_now().await;
    }
    assert_eq!(feed.waiting(&world.queue).await, 0);
    gateway.kill().await;
}

/// Until the gateway has killed itself, or nothing is left for it to do.
async fn killed_or_done(
    gateway: &mut crate::world::Gateway,
    chain: &mut Chain,
    ledger: &dyn ledger_client::Ledger,
    feed: &Feed,
    queue: &str,
) {
    let mut before = chain.follow(ledger).await;
    while gateway.is_running() {
        let now = chain.follow(ledger).await;
        // `follow` waits a second for the next block: no block and nothing waiting is idle.
        if now == before && feed.waiting(queue).await == 0 {
            return;
        }
        before = now;
    }
}

/// Until `expected` cases are anchored; fails when none is added for two minutes.
pub async fn settle(
    chain: &mut Chain,
    ledger: &dyn ledger_client::Ledger,
    expected: usize,
    gateway: &mut crate::world::Gateway,
) {
    let (mut before, mut since) = (chain.anchors.len(), Instant::now());
    while before < expected {
        assert!(gateway.is_running(), "the gateway ended by itself");
        assert!(since.elapsed() < Duration::from_secs(120), "{before} of {expected} anchored, and none more for 120 s");
        let now = chain.follow(ledger).await;
        if now > before {
            (before, since) = (now, Instant::now());
        }
    }
}

/// Names of patients are in no file that gateway or validators wrote: database, objects, logs, vote logs, RocksDB.
fn assert_no_canary(world: &World) {
    let mut folders = vec![world.dir.clone()];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of ours").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("a file of ours");
            read += bytes.len();
            for canary in CANARIES {
                let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
                assert!(!found, "found a patient's name in {}", path.display());
            }
        }
    }
    assert!(read > MESSAGES * 4_000, "objects, databases and logs were looked at: {read} bytes");
}
