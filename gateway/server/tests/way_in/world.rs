//! One institution's way in in a temporary folder, on SQLite or on a fresh PostgreSQL database.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connectors_hl7v2::Mapper;
use gateway_server::follow::Follower;
use gateway_server::ingest::normalise::Normaliser;
use gateway_server::ingest::{Foundation, Ingest, Message, Outcome};
use gateway_server::objects::Objects;
use gateway_server::store::{Store, cases, inbox};
use gateway_server::telemetry::Metrics;
use gateway_vault::Vault;
use ledger_client::Ledger;
use schemas::id::InstitutionId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Double, now_ms};
use crate::postgres::fresh_database;

/// Longest wait for anything, in seconds.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(5);
pub const INSTITUTION: InstitutionId = InstitutionId([7; 16]);

pub struct World {
    pub folder: tempfile::TempDir,
    pub url: String,
    pub vault: Arc<Vault>,
    pub ledger: Arc<Double>,
    pub stop: CancellationToken,
}

/// A running way in.
pub struct Running {
    pub ingest: Arc<Ingest>,
    pub tables: watch::Sender<Arc<Normaliser>>,
    pub store: Store,
    pub objects: Objects,
    pub follower: Follower,
    pub on: Foundation,
    stop: CancellationToken,
}

/// One world per engine that there is.
pub async fn worlds() -> Vec<World> {
    let mut worlds = vec![World::new(None)];
    worlds.extend(fresh_database().await.map(|url| World::new(Some(url))));
    worlds
}

impl World {
    pub fn new(url: Option<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let vault = Vault::create(&folder.path().join("keys")).expect("keys");
        let ledger = Double::new(vault.register("Test Clinic", INSTITUTION, Vec::new()));
        let url = url.unwrap_or_else(|| format!("sqlite:{}", folder.path().join("gateway.db").display()));
        Self { folder, url, vault: Arc::new(vault), ledger, stop: CancellationToken::new() }
    }

    pub async fn start(&self) -> Running {
        let store = Store::open(&self.url).await.expect("the database opens").with_notices();
        let objects = Objects::open(&self.folder.path().join("objects").display().to_string()).expect("objects");
        let ledger: Arc<dyn Ledger> = self.ledger.clone();
        let metrics = Metrics::new().expect("instruments");
        let stop = self.stop.child_token();
        let genesis = Arc::new(self.ledger.genesis.clone());
        let follower =
            Follower::start(store.clone(), ledger.clone(), genesis.clone(), metrics.clone(), stop.clone()).await;
        let follower = follower.expect("the state reads");
        let (tables, normaliser) = watch::channel(Arc::new(normaliser(Mapper::embedded())));
        let foundation = Foundation {
            store: store.clone(),
            objects: objects.clone(),
            vault: self.vault.clone(),
            ledger,
            follower: follower.clone(),
            chain: genesis.chain_id(),
            institution: INSTITUTION,
            normaliser,
            metrics,
            message_bytes_max: 1 << 20,
        };
        let ingest = Arc::new(Ingest::start(foundation.clone()));
        Running { ingest, tables, store, objects, follower, on: foundation, stop }
    }
}

pub fn normaliser(mapper: Mapper) -> Normaliser {
    let authorities = [("HOSP".to_owned(), "urn:oid:1.2.3".to_owned())].into();
    Normaliser { authorities, ..Normaliser::new(mapper) }
}

impl Running {
    pub async fn send(&self, content_type: &str, body: &str) -> Outcome {
        self.send_as("ehr", content_type, body).await
    }

    pub async fn send_as(&self, connector: &str, content_type: &str, body: &str) -> Outcome {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let message = Message {
            connector: connector.into(),
            content_type: content_type.into(),
            body,
            trace: None,
            received: now_ms(),
            tells_outcome: false,
        };
        self.ingest.take(message).await.expect("taken")
    }

    /// Waits until so many cases are indexed.
    pub async fn indexed(&self, wanted: u64) {
        self.until("cases", || async { cases::count(&self.store).await.expect("counted") >= wanted }).await;
    }

    /// Waits until no message waits or is on its way.
    pub async fn idle(&self) {
        let busy = [inbox::State::Received as i64, inbox::State::Sealed as i64, inbox::State::Several as i64];
        self.until("the inbox", || async {
            let counts = inbox::counts(&self.store).await.expect("counted");
            busy.iter().all(|state| !counts.contains_key(state))
        })
        .await;
    }

    pub async fn until<F: Future<Output = bool>>(&self, what: &str, done: impl Fn() -> F) {
        // looks often, but leaves the cores to those who are waited for
        let mut look = tokio::time::interval(LOOK);
        let waiting = async {
            while !done().await {
                look.tick().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "{what}: not there in time");
    }

    pub async fn stop(self) {
        self.ingest.stop(PATIENCE).await;
        self.stop.cancel();
        self.store.close().await;
    }
}
