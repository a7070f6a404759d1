//! Validators change under a gateway: what it anchors before and after has receipts that verify with the genesis alone, and those
//! who left prove no freshness to it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gateway_server::ingest::Outcome;
use gateway_server::store::{anchors, cases};
use ledger_client::Ledger as _;
use ledger_proof::verify_receipt;
use schemas::id::Height;
use schemas::receipt::Receipt;

use crate::journey::{HL7, admission, subject_of};
use crate::world::{Running, World, worlds};

/// The epochs in which the cases of a patient were anchored, by receipts that verify offline.
async fn anchored_in(world: &World, running: &Running, patient: &str) -> Vec<usize> {
    let subject = subject_of(world, running, patient).await;
    let mut epochs = vec![];
    for case in cases::of_subject(&running.store, &subject, 10).await.expect("read") {
        let receipt = anchors::receipt(&running.store, &case).await.expect("a receipt");
        let verified = verify_receipt(receipt.as_bytes(), &world.ledger.genesis).expect("verifies offline");
        assert_eq!(verified.case, case.case);
        epochs.push(Receipt::parse(receipt.as_bytes()).expect("a receipt").epochs.len());
    }
    epochs.sort_unstable();
    epochs
}

async fn caught_up(world: &World, running: &Running) -> Option<Height> {
    let height = world.ledger.blocks(1, usize::MAX, Duration::ZERO).await.expect("there").len() as Height;
    assert!(running.follower.reach(height, Duration::from_secs(30)).await, "the follower executes every block");
    running.follower.fresh(Duration::from_secs(10)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_verify_across_epochs() {
    for world in worlds().await {
        let mut running = world.start().await;
        for epoch in 0..3_usize {
            assert_eq!(running.send(HL7, &admission(&epoch.to_string(), "a")).await, Outcome::Received);
            running.idle().await;
            assert_eq!(anchored_in(&world, &running, "a").await, (0..=epoch).collect::<Vec<_>>());
            assert!(caught_up(&world, &running).await.is_some(), "fresh in epoch {epoch}");
            assert_eq!(running.follower.view().borrow().epoch, epoch as u64);
            world.ledger.change_validators();
            assert!(caught_up(&world, &running).await.is_some(), "fresh behind the seal of epoch {epoch}");
            assert_eq!(running.follower.view().borrow().epoch, epoch as u64 + 1);
            // what is kept is enough, and so is where the state stands
            running.stop().await;
            running = world.start().await;
            assert_eq!(running.follower.view().borrow().epoch, epoch as u64 + 1);
            assert_eq!(anchored_in(&world, &running, "a").await, (0..=epoch).collect::<Vec<_>>());
        }
        running.stop().await;
    }
}

/// All keys of the first validators are in other hands, and nobody else can be reached.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_left_prove_no_freshness_to_a_gateway() {
    for world in worlds().await {
        let running = world.start().await;
        world.ledger.change_validators();
        assert!(caught_up(&world, &running).await.is_some());
        running.stop().await;
        world.ledger.stale.store(true, Ordering::SeqCst);
        let running = world.start().await;
        assert_eq!(running.follower.fresh(Duration::from_secs(3)).await, None, "a height that was reached long ago");
        world.ledger.stale.store(false, Ordering::SeqCst);
        assert!(running.follower.fresh(Duration::from_secs(10)).await.is_some());
        running.stop().await;
    }
}
