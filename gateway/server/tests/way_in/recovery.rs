//! A ledger that is away or loses what it took holds the way in; nothing is lost and nothing is anchored twice.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use gateway_server::ingest::Outcome;
use gateway_server::store::summaries::{self, Reader};
use gateway_server::store::{Store, StoreError, cases, chain, commit, intents, subjects, units};

use crate::journey::{HL7, admission, subject_of};
use crate::world::{Running, World, worlds};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_ledger_delays_and_a_restart_goes_on() {
    for world in worlds().await {
        let running = world.start().await;
        world.ledger.away.store(true, Ordering::SeqCst);
        for n in 0..20 {
            running.send(HL7, &admission(&n.to_string(), "a")).await;
        }
        running.until("intents", || async { !intents::pending(&running.store).await.expect("read").is_empty() }).await;
        running.until("trouble", || async { running.ingest.trouble().is_some() }).await;
        running.stop().await;

        world.ledger.away.store(false, Ordering::SeqCst);
        let running = world.start().await;
        running.indexed(20).await;
        running.idle().await;
        assert_eq!(cases::count(&running.store).await.expect("read"), 20);
        assert!(intents::pending(&running.store).await.expect("read").is_empty());
        assert_summaries_are_whole(&world, &running).await;
        running.until("no trouble", || async { running.ingest.trouble().is_none() }).await;
        running.stop().await;
    }
}

/// More than all steps together hold in memory.
const MANY: usize = 2_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_steps_have_no_room_for_is_taken_and_waits_in_the_inbox() {
    for world in worlds().await {
        let running = world.start().await;
        world.ledger.away.store(true, Ordering::SeqCst);
        for group in (0..MANY).collect::<Vec<_>>().chunks(250) {
            let messages: Vec<String> =
                group.iter().map(|n| admission(&n.to_string(), &format!("p{}", n % 50))).collect();
            let sent = join_all(messages.iter().map(|message| running.send(HL7, message))).await;
            assert!(sent.iter().all(|outcome| *outcome == Outcome::Received));
        }
        let again = running.send(HL7, &admission("2400", "p0")).await;
        assert_eq!(again, Outcome::Duplicate, "it waits and is known");
        running.stop().await;

        let running = world.start().await;
        assert_eq!(running.send(HL7, &admission("last", "p0")).await, Outcome::Received, "taken before what waits");
        world.ledger.away.store(false, Ordering::SeqCst);
        running.indexed(MANY as u64 + 1).await;
        running.idle().await;
        assert_eq!(cases::count(&running.store).await.expect("read"), MANY as u64 + 1);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ledger_lost_is_signed_again_after_its_time_only() {
    for world in worlds().await {
        let running = world.start().await;
        world.ledger.loses.store(true, Ordering::SeqCst);
        running.send(HL7, &admission("1", "a")).await;
        running
            .until("an intent", || async { !intents::pending(&running.store).await.expect("read").is_empty() })
            .await;
        let first = intents::pending(&running.store).await.expect("read").remove(0);
        world.ledger.pass(first.valid_until + 1);
        assert!(running.follower.reach(first.valid_until + 1, Duration::from_secs(30)).await);
        let renewed = || async {
            let pending = intents::pending(&running.store).await.expect("read");
            pending.first().is_some_and(|submission| submission.id != first.id)
        };
        running.until("another transaction", renewed).await;
        let second = intents::pending(&running.store).await.expect("read").remove(0);
        assert_eq!(second.intents[0].case, first.intents[0].case, "the same case");
        world.ledger.loses.store(false, Ordering::SeqCst);
        running.indexed(1).await;
        assert_eq!(world.ledger.executed(), 1);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_gateway_on_one_database_is_refused_until_the_first_ends() {
    for world in worlds().await {
        let first = Store::open(&world.url).await.expect("opens");
        let claim = first.claim(Duration::ZERO).await.expect("nobody has it");
        let second = Store::open(&world.url).await.expect("reading is free");
        assert!(matches!(second.claim(Duration::ZERO).await, Err(StoreError::Claimed)));
        drop(claim);
        second.claim(Duration::from_secs(30)).await.expect("the first is gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_block_removes_is_gone_from_the_state() {
    for world in worlds().await {
        let store = Store::open(&world.url).await.expect("opens");
        let key = |n: u8| b"test".iter().copied().chain([n]).collect::<Vec<_>>();
        let keys: Vec<_> = (0..3).map(key).collect();
        for (value, first) in [(Some(vec![1]), 0), (Some(vec![2]), 1), (None, 2)] {
            let mut write = store.begin_replayable().await.expect("begin");
            let changes: Vec<_> = keys[first..].iter().map(|key| (key.clone(), value.clone())).collect();
            chain::apply(&mut write, changes.iter().map(|(key, value)| (key, value))).await.expect("applied");
            commit(write).await.expect("committed");
        }
        let found = chain::get_all(&store, &keys).await.expect("read");
        assert_eq!(keys.iter().map(|key| found[key].clone()).collect::<Vec<_>>(), [Some(vec![1]), Some(vec![2]), None]);
        assert_eq!(chain::get_at(&store, &keys[2]).await.expect("read"), (None, 0));
    }
}

/// Summaries that a restart made from the sealed units say what those that were made at *seal* would.
async fn assert_summaries_are_whole(world: &World, running: &Running) {
    let subject = subject_of(world, running, "a").await;
    let row = subjects::get(&running.store, &subject).await.expect("read").expect("there");
    let key = world.vault.open_subject(&subject, &row.wrapped_key).expect("opens");
    let patient = world.vault.logical_id("Patient", &[&subject.to_string()]);
    let encounters = units::heads(&running.store, &subject, Some("Encounter")).await.expect("read");
    assert_eq!(encounters.len(), 20);
    let cases: Vec<_> = encounters.iter().map(|head| head.case).collect();
    let sealed = summaries::get(&running.store, &cases).await.expect("read");
    let mut reader = Reader::new(&key);
    for head in encounters {
        let summary = reader.read(&head.case, head.unit, &sealed[&head.case]).expect("a summary");
        assert_eq!(summary.matched.text("resourceType"), Some("Encounter"));
        assert!(summary.references.iter().any(|(_, here)| *here == format!("Patient/{patient}")));
    }
}
