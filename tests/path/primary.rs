//! Kill -9 of the primary under load, three times, each time another one, then one that is only stopped for a while: the chain
//! goes on in the next view, nothing is lost or anchored twice, and the old primary comes back into the view that began
//! without it.

use std::time::{Duration, Instant};

use ledger_client::{HttpLedger, Ledger};
use schemas::genesis::Genesis;
use schemas::id::Digest;

use crate::chain::Chain;
use crate::crash::{declare_queue, settle};
use crate::feed::Feed;
use crate::world::{Services, World};

/// Messages before and after each kill.
const MESSAGES: usize = 100;
/// Primaries that fail in turn; the last one is stopped, the others are killed.
const ROUNDS: usize = 4;
/// Longest wait for the validators.
const WAIT_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_primary_stops_nobody_loses_nothing_and_rejoins() {
    let Some(services) = Services::find() else { return };
    let mut world = World::start(services);
    let feed = Feed::connect(&world.services.amqp).await;
    let ledger = world.ledger();
    let text = std::fs::read_to_string(world.dir.join("genesis.json")).expect("genesis.json");
    let genesis = Genesis::parse(&text).expect("the genesis parses");
    let mut chain = Chain::new(&genesis);
    let key = world.routing_key();
    declare_queue(&world, &feed).await;
    let mut gateway = world.gateway(None);
    let mut sent = 0;
    let mut views_before = 0;
    for round in 0..ROUNDS {
        let (view, primary) = agreed_view(&ledger).await;
        assert!(view >= views_before, "round {round}: the failed primary lost its view");
        views_before = view + 1;
        for _ in 0..MESSAGES {
            feed.send(&key, sent).await;
            sent += 1;
        }
        // in the middle of the work
        let half = sent - MESSAGES / 2;
        settle(&mut chain, &ledger, half, &mut gateway).await;
        let is_killed = round + 1 < ROUNDS;
        if is_killed {
            world.kill_validator(primary);
        } else {
            world.signal_validator(primary, "STOP");
        }
        let dead_since = Instant::now();
        for _ in 0..MESSAGES {
            feed.send(&key, sent).await;
            sent += 1;
        }
        let before = chain.follow(&ledger).await;
        settle(&mut chain, &ledger, sent, &mut gateway).await;
        let gap = dead_since.elapsed();
        println!("primary {primary} failed at {before} anchored: all {sent} anchored {gap:?} later");
        if is_killed {
            world.restart_validator(primary);
        } else {
            world.signal_validator(primary, "CONT");
        }
        let back_since = Instant::now();
        rejoined(&ledger, primary).await;
        println!("it rejoined {:?} after it came back", back_since.elapsed());
    }
    // one more behind everything else: what was still under way would be anchored before it
    feed.send(&key, sent).await;
    settle(&mut chain, &ledger, sent + 1, &mut gateway).await;
    assert_eq!(feed.waiting(&world.queue).await, 0, "nothing waits at the broker");
    assert_eq!(chain.anchors.len(), sent + 1, "one anchor for each message");
    assert!(chain.anchors.values().all(|&times| times == 1), "no case is anchored twice");
    gateway.kill().await;
}

/// What each validator says: height, view, primary; `None` for those that are down or between views.
async fn views(ledger: &HttpLedger) -> Vec<Option<(u64, u64, usize)>> {
    let all = ledger.status().await.into_iter().map(|validator| {
        let status = validator.status.filter(|status| status["changing"] == false)?;
        let number = |name: &str| status[name].as_u64();
        Some((number("height")?, number("view")?, usize::try_from(number("primary")?).ok()?))
    });
    all.collect()
}

/// The view in which all validators are, and its primary.
async fn agreed_view(ledger: &HttpLedger) -> (u64, usize) {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let all = views(ledger).await;
        if let Some(Some((_, view, primary))) = all.first().copied()
            && all.iter().all(|status| status.is_some_and(|(_, other, _)| other == view))
        {
            return (view, primary);
        }
        assert!(Instant::now() < deadline, "the validators are not in one view: {all:?}");
        pause(ledger).await;
    }
}

/// Until this validator is in the others' view and as far as they are.
async fn rejoined(ledger: &HttpLedger, index: usize) {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let all = views(ledger).await;
        let newest = all.iter().flatten().map(|&(height, view, _)| (view, height)).max();
        let own = all.get(index).copied().flatten().map(|(height, view, _)| (view, height));
        if own.is_some() && own >= newest {
            return;
        }
        assert!(Instant::now() < deadline, "validator {index} did not rejoin: {all:?}");
        pause(ledger).await;
    }
}

/// A look-up of nothing, which the validators hold open for a moment.
async fn pause(ledger: &HttpLedger) {
    drop(ledger.proof(&Digest([0xee; 32]), Duration::from_millis(100)).await);
}
