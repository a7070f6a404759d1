//! A ledger that is away or loses what it took holds the way in; nothing is lost and nothing is anchored twice.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway_server::store::summaries::{self, Reader};
use gateway_server::store::{Store, StoreError, cases, intents, subjects, units};

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
