//! What `/readyz` asks each part: database, objects, ledger, way in; connectors are asked where they run. It must say which part is not ready and
//! nothing of what went through it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Ground;
use crate::ingest::Ingest;
use crate::operators::{PartState, Probe};

/// Longest wait for a proof of freshness, in milliseconds.
const FRESH_MS_MAX: u64 = 1_500;

/// One probe for each part, by name.
pub fn probes(ground: &Ground, ingest: &Arc<Ingest>) -> BTreeMap<String, Probe> {
    let state = |ready: bool, detail: &str| PartState { ready, detail: detail.to_owned() };
    let mut probes: BTreeMap<String, Probe> = BTreeMap::new();
    let store = ground.store.clone();
    let database: Probe = Arc::new(move || {
        let store = store.clone();
        Box::pin(async move {
            store.ping().await.map_or_else(|e| state(false, &e.to_string()), |()| state(true, "answers"))
        })
    });
    let objects = ground.objects.clone();
    let objects: Probe = Arc::new(move || {
        let objects = objects.clone();
        Box::pin(async move {
            objects.ping().await.map_or_else(|e| state(false, &e.to_string()), |()| state(true, "answers"))
        })
    });
    let follower = ground.follower.clone();
    let ledger: Probe = Arc::new(move || {
        let follower = follower.clone();
        Box::pin(async move {
            match follower.fresh(Duration::from_millis(FRESH_MS_MAX)).await {
                Some(height) => state(true, &format!("fresh at height {height}")),
                None => state(false, &format!("not proved fresh; state at height {}", follower.height())),
            }
        })
    });
    let ingest = Arc::clone(ingest);
    let way_in: Probe = Arc::new(move || {
        let trouble = ingest.trouble();
        Box::pin(async move {
            trouble
                .map_or_else(|| state(true, "runs"), |(step, class)| state(false, &format!("{step}: {}", class.name())))
        })
    });
    probes.insert("database".into(), database);
    probes.insert("objects".into(), objects);
    probes.insert("ledger".into(), ledger);
    probes.insert("ingest".into(), way_in);
    probes
}
