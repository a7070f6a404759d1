//! The access log: every answer has its entry on disk, permits and denials alike; entries go to the ledger in contiguous
//! batches, survive a restart between any two steps, and prove themselves against the batch's root.

use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use gateway_server::disclose::log::{self, Deed};
use schemas::cbor;
use schemas::state::{self, AccessCursor};
use serde_json::json;

use crate::world::{World, permit, worlds};

async fn cursor(world: &World) -> AccessCursor {
    let key = state::access_cursor_key(&world.vault.gateway_key());
    let bytes = gateway_server::store::chain::get(&world.store, &key).await.expect("state");
    bytes.map_or(AccessCursor::START, |bytes| cbor::decode(&bytes).expect("a cursor"))
}

#[tokio::test]
async fn permits_and_denials_are_on_disk_and_then_on_the_ledger() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
        world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
        let clinic = world.token("clinic", "system/*.rs").await;
        let stranger = world.token("stranger", "system/*.rs").await;
        let before = log::read(&world.store, &world.vault, 0, 100).await.expect("entries").len() as u64;
        assert_eq!(world.get(&clinic, &format!("Observation/{lab}")).await.0, StatusCode::OK);
        assert_eq!(world.get(&stranger, &format!("Observation/{lab}")).await.0, StatusCode::NOT_FOUND);
        assert_eq!(world.get(&stranger, "Observation/unknown").await.0, StatusCode::NOT_FOUND);
        assert_eq!(world.get(&clinic, &format!("Observation?patient={}", patient.id)).await.0, StatusCode::OK);
        let entries = log::read(&world.store, &world.vault, before, 100).await.expect("entries");
        let told: Vec<_> = entries
            .iter()
            .map(|(_, e)| {
                (e.client.as_str(), e.deed, e.disclosed.len(), e.withheld, e.subject == Some(patient.subject))
            })
            .collect();
        assert_eq!(
            told,
            [
                ("clinic", Deed::Read, 1, 0, true),
                ("stranger", Deed::Read, 0, 1, true),
                ("stranger", Deed::Read, 0, 0, false),
                ("clinic", Deed::Search, 1, 0, true),
            ]
        );
        let anchored = world.recorder().look().await.expect("anchored");
        assert_eq!(anchored, before + 4);
        assert_eq!(cursor(&world).await.next, before + 4);
        assert_eq!(world.recorder().look().await.expect("nothing new"), 0);
        world.get(&clinic, &format!("Observation/{lab}")).await;
        assert_eq!(world.recorder().look().await.expect("anchored"), 1);
        assert_eq!(cursor(&world).await.next, before + 5);
    }
}

#[tokio::test]
async fn a_batch_survives_an_outage_and_goes_once() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let stranger = world.token("stranger", "system/*.rs").await;
        world.get(&stranger, &format!("Patient/{}", patient.id)).await;
        world.ledger.stopped.store(true, Ordering::SeqCst);
        world.recorder().look().await.expect_err("the ledger is away");
        world.get(&stranger, &format!("Patient/{}", patient.id)).await;
        world.recorder().look().await.expect_err("still away");
        assert_eq!(cursor(&world).await.next, 0);
        world.ledger.stopped.store(false, Ordering::SeqCst);
        // another recorder, as after a restart: the first batch as it was signed, then the rest
        assert_eq!(world.recorder().look().await.expect("anchored"), 2);
        assert_eq!(cursor(&world).await.next, 2);
    }
}

#[tokio::test]
async fn a_batch_whose_time_is_over_is_signed_again_with_what_came_since() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let stranger = world.token("stranger", "system/*.rs").await;
        let ask = async || world.get(&stranger, &format!("Patient/{}", patient.id)).await;
        for round in 0..2 {
            ask().await;
            assert_eq!(world.recorder().look().await.expect("anchored"), 1);
            world.ledger.stopped.store(true, Ordering::SeqCst);
            ask().await;
            world.recorder().look().await.expect_err("the ledger is away");
            ask().await;
            world.ledger.pass(2_000).await;
            world.ledger.stopped.store(false, Ordering::SeqCst);
            assert_eq!(world.recorder().look().await.expect("anchored"), 2);
            assert_eq!(cursor(&world).await.next, 3 * (round + 1));
        }
    }
}

#[tokio::test]
async fn without_a_log_there_is_no_answer() {
    for world in worlds().await {
        let patient = world.patient("1").await;
        let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
        world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
        let clinic = world.token("clinic", "system/*.rs").await;
        let mut write = world.store.begin().await.expect("begin");
        sqlx::query("ALTER TABLE access_log RENAME TO access_log_gone").execute(&mut *write).await.expect("rename");
        gateway_server::store::commit(write).await.expect("commit");
        let (status, body) = world.get(&clinic, &format!("Observation/{lab}")).await;
        assert_eq!((status, &body["resourceType"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("OperationOutcome")));
        let mut write = world.store.begin().await.expect("begin");
        sqlx::query("ALTER TABLE access_log_gone RENAME TO access_log").execute(&mut *write).await.expect("rename");
        gateway_server::store::commit(write).await.expect("commit");
        assert_eq!(world.get(&clinic, &format!("Observation/{lab}")).await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn concurrent_requests_share_commits_and_keep_the_sequence() {
    for world in worlds().await {
        let world = std::sync::Arc::new(world);
        let patient = world.patient("1").await;
        let lab = world.observation(&patient, "718-7", "laboratory", "2026-01-01").await;
        world.grant(&permit(&patient.id, "Organization/clinic", &json!({}))).await;
        let clinic = world.token("clinic", "system/*.rs").await;
        let mut readers = tokio::task::JoinSet::new();
        for _ in 0..32 {
            let (world, clinic, lab) = (world.clone(), clinic.clone(), lab.clone());
            readers.spawn(async move {
                for _ in 0..8 {
                    assert_eq!(world.get(&clinic, &format!("Observation/{lab}")).await.0, StatusCode::OK);
                }
            });
        }
        while let Some(done) = readers.join_next().await {
            done.expect("a reader");
        }
        let entries = log::read(&world.store, &world.vault, 0, 1000).await.expect("entries");
        assert!(entries.iter().zip(0..).all(|((sequence, _), expected)| *sequence == expected), "no gap");
        assert_eq!(entries.iter().filter(|(_, e)| e.deed == Deed::Read).count(), 256);
    }
}
