//! A COMMIT to PostgreSQL whose answer is lost, at each durable point: whether it was done or not, the way in goes on by itself, and
//! every message has its cases once, each anchored once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use gateway_server::ingest::Outcome;
use gateway_server::store::dead_letters::{self, Filter};
use gateway_server::store::{cases, intents};

use crate::journey::{FHIR, HL7, admission};
use crate::postgres::fresh_database;
use crate::proxy::{Cut, Point, Proxy};
use crate::world::{Running, World};

const CUTS: [Cut; 3] = [Cut::Before, Cut::Under, Cut::After];

async fn behind_a_proxy() -> Option<(World, Proxy)> {
    let Some(database) = fresh_database().await else {
        println!("skipped: no services; run tests/run");
        return None;
    };
    let proxy = Proxy::start(&database).await;
    Some((World::new(Some(proxy.url.clone())), proxy))
}

/// What one round sends: content type, body, what becomes of it. Three cases, two messages in quarantine.
fn round(number: usize) -> [(&'static str, String, Outcome); 4] {
    let patient = |id: usize| format!(r#"{{"resource":{{"resourceType":"Patient","id":"{number}-{id}"}}}}"#);
    let two = format!(r#"{{"resourceType":"Bundle","type":"collection","entry":[{},{}]}}"#, patient(1), patient(2));
    [
        (HL7, admission(&number.to_string(), "a"), Outcome::Received),
        (FHIR, two, Outcome::Received),
        (FHIR, format!(r#"{{"resourceType":"Observation","code":{{"text":"{number}"}}}}"#), Outcome::Received),
        // under the same key as the first message of all
        (HL7, admission("first", &number.to_string()), Outcome::Conflict),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_loses_nothing_and_doubles_nothing() {
    let Some((world, proxy)) = behind_a_proxy().await else { return };
    let running = world.start().await;
    assert_eq!(running.send(HL7, &admission("first", "a")).await, Outcome::Received);
    running.idle().await;
    let mut rounds = 0;
    for point in [Point::Inbox, Point::Intent, Point::Index, Point::Follow] {
        for cut in CUTS.into_iter().flat_map(|cut| [cut, cut]) {
            proxy.cut(point, cut);
            if cut == Cut::Before {
                // the next attempt is certain, and is cut too
                proxy.cut(point, Cut::After);
            }
            rounds += 1;
            let sent = round(rounds);
            let outcomes = join_all(sent.iter().map(|(kind, body, _)| running.send(kind, body))).await;
            assert_eq!(outcomes, sent.map(|(_, _, outcome)| outcome), "{point:?} {cut:?}");
            running.indexed(1 + 3 * rounds as u64).await;
            running.idle().await;
            running.until("the cut", || async { proxy.is_spent() }).await;
        }
    }
    assert_everything_once(&world, &running, 1 + 3 * rounds, 2 * rounds).await;
    for number in 1..=rounds {
        for (kind, body, outcome) in round(number) {
            let again = if outcome == Outcome::Received { Outcome::Duplicate } else { outcome };
            assert_eq!(running.send(kind, &body).await, again, "after all");
        }
    }
    running.stop().await;
    // a restart finds nothing left to do
    let running = world.start().await;
    running.idle().await;
    assert_everything_once(&world, &running, 1 + 3 * rounds, 2 * rounds).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_commit_of_what_is_signed_again_anchors_once() {
    let Some((world, proxy)) = behind_a_proxy().await else { return };
    let mut running = world.start().await;
    for (number, cut) in (1..).zip(CUTS) {
        world.ledger.loses.store(true, Ordering::SeqCst);
        running.send(HL7, &admission(&number.to_string(), "a")).await;
        let pending = || async { intents::pending(&running.store).await.expect("read") };
        running.until("an intent", || async { !pending().await.is_empty() }).await;
        let first = pending().await.remove(0);
        proxy.cut(Point::Renewal, cut);
        world.ledger.pass(first.valid_until + 1);
        assert!(running.follower.reach(first.valid_until + 1, Duration::from_secs(30)).await);
        running.until("the cut", || async { proxy.is_spent() }).await;
        running.until("another transaction", || async { pending().await.iter().all(|one| one.id != first.id) }).await;
        world.ledger.loses.store(false, Ordering::SeqCst);
        running.indexed(number).await;
        running.idle().await;
        running.stop().await;
        running = world.start().await;
    }
    assert_everything_once(&world, &running, CUTS.len(), 0).await;
    running.stop().await;
}

/// So many cases, each anchored once and none besides; so many messages in quarantine; nothing is left to do.
async fn assert_everything_once(world: &World, running: &Running, wanted: usize, aside: usize) {
    let anchors = world.ledger.anchors();
    assert!(anchors.values().all(|times| *times == 1), "each is anchored once");
    let found = cases::after(&running.store, 0, 1_000).await.expect("read");
    assert_eq!((found.len(), anchors.len()), (wanted, wanted), "nothing is lost, nothing is doubled");
    assert!(found.iter().all(|case| anchors.contains_key(&case.case)));
    assert!(intents::pending(&running.store).await.expect("read").is_empty());
    assert_eq!(dead_letters::list(&running.store, &Filter::default(), 0, 1_000).await.expect("read").len(), aside);
}
