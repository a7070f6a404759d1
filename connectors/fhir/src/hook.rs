//! The receiving end of subscriptions: the gateway's listener hands in what a FHIR server sends to `/hooks/NAME`, and hears what became of
//! it. A source like every other: it is paused, drained and watched as they are. It keeps nothing: the server sends again what was not
//! answered with success.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connectors_source::{
    Delivery, HealthReporter, NextDelivery, Settle, SettleFuture, Settlement, Source, SourceHealth, TraceContext,
};
use futures_util::future::join_all;
use schemas::cbor::sha256;
use schemas::limits;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::config::HookConfig;
use crate::error::FhirError;
use crate::server::{FHIR_JSON, Server, secret};
use crate::time::now_ms;

/// Shortest secret, in bytes.
const SECRET_BYTES_MIN: usize = 32;
/// How far a copy of a server may be behind another, in milliseconds.
const BEHIND_MS: u64 = 1_000;

/// A running receiver.
pub struct HookSource {
    name: Box<str>,
    deliveries: mpsc::Receiver<Delivery>,
    health: watch::Receiver<SourceHealth>,
    closing: CancellationToken,
}

/// Where notifications are handed in. Cheap to clone.
#[derive(Clone)]
pub struct Hook {
    name: Arc<str>,
    /// Hash of the secret.
    secret: [u8; 32],
    server: Option<Arc<Server>>,
    to: mpsc::Sender<Delivery>,
    unsettled: Arc<Semaphore>,
    reporter: HealthReporter,
    closing: CancellationToken,
}

/// What became of a notification: of several resources the last of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taken {
    /// All of it is durable.
    Accepted,
    /// Something of it can never be taken.
    Rejected,
    /// Not now: the server sends it again.
    NotNow,
}

impl HookSource {
    /// Starts to receive; gives the place where notifications are handed in beside the source.
    ///
    /// # Errors
    /// `FhirError::File`.
    pub fn start(config: &HookConfig) -> Result<(Self, Hook), FhirError> {
        let secret = sha256(secret(&config.secret_file, SECRET_BYTES_MIN)?.as_bytes()).0;
        let server = config.server.as_ref().map(Server::new).transpose()?.map(Arc::new);
        let reporter = HealthReporter::default();
        let health = reporter.subscribe();
        reporter.connected(now_ms());
        let unsettled = usize::from(config.unsettled_max);
        let (to, deliveries) = mpsc::channel(unsettled);
        let closing = CancellationToken::new();
        let hook = Hook {
            name: config.name.as_str().into(),
            secret,
            server,
            to,
            unsettled: Arc::new(Semaphore::new(unsettled)),
            reporter,
            closing: closing.clone(),
        };
        Ok((Self { name: config.name.as_str().into(), deliveries, health, closing }, hook))
    }
}

impl Source for HookSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn next(&mut self) -> NextDelivery<'_> {
        Box::pin(async move {
            let received = tokio::select! {
                biased;
                () = self.closing.cancelled() => None,
                received = self.deliveries.recv() => received,
            };
            if received.is_none() {
                self.close();
            }
            Ok(received)
        })
    }

    fn health(&self) -> watch::Receiver<SourceHealth> {
        self.health.clone()
    }

    fn close(&mut self) {
        self.closing.cancel();
        self.deliveries.close();
        // what was not yielded goes back: its sender hears so
        while self.deliveries.try_recv().is_ok() {}
    }
}

impl Drop for HookSource {
    fn drop(&mut self) {
        self.close();
    }
}

impl Hook {
    /// Whether this is the secret. Hashes are compared: how long that takes tells nothing about the secret.
    pub fn knows(&self, shown: &str) -> bool {
        sha256(shown.as_bytes()).0 == self.secret
    }

    /// Whether resources can be fetched that a notification only names.
    pub const fn fetches(&self) -> bool {
        self.server.is_some()
    }

    /// Fetches what a notification names; what is gone meanwhile is left out.
    ///
    /// # Errors
    /// `FhirError`, also for a reference to another server.
    pub async fn fetch(&self, references: &[String]) -> Result<Vec<(String, Bytes)>, FhirError> {
        let doing = "fetching what a notification names";
        let Some(server) = &self.server else { return Err(FhirError::Origin("a reference")) };
        let mut found = Vec::with_capacity(references.len());
        let mut behind = Duration::from_millis(BEHIND_MS);
        for reference in references {
            let url = server.below(reference)?;
            let mut fetched = server.get(&url, limits::MESSAGE_BYTES_MAX, doing).await;
            if matches!(fetched, Err(FhirError::Status { status: 404, .. })) {
                // a copy that is asked may be behind the one that notified: once for all that is named
                tokio::time::sleep(std::mem::take(&mut behind)).await;
                fetched = server.get(&url, limits::MESSAGE_BYTES_MAX, doing).await;
            }
            match fetched {
                Ok(fetched) => {
                    let head: crate::page::Head = serde_json::from_slice(&fetched.bytes)
                        .map_err(|_| FhirError::Shape { found: "something else", expected: "a resource" })?;
                    found.push((head.resource_type, fetched.bytes));
                }
                Err(FhirError::Status { status: status @ (404 | 410), .. }) => {
                    tracing::info!(connector = %self.name, status, "passed over what a notification names and is gone");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Hands resources in with their types; returns when it is known what became of all of them.
    pub async fn take(&self, resources: Vec<(String, Bytes)>, trace: TraceContext) -> Taken {
        let all = join_all(resources.into_iter().map(|(kind, body)| self.take_one(kind, body, trace.clone()))).await;
        all.into_iter().max().unwrap_or(Taken::Accepted)
    }

    async fn take_one(&self, kind: String, body: Bytes, trace: TraceContext) -> Taken {
        let (to, outcome) = oneshot::channel();
        let handing = async {
            let place = Arc::clone(&self.unsettled).acquire_owned().await.ok()?;
            let settle = HookSettle { to, reporter: self.reporter.clone(), _place: place };
            let mut delivery = Delivery::new(&self.name, body, now_ms(), Box::new(settle));
            delivery.content_type = FHIR_JSON.into();
            delivery.routing = kind.into();
            delivery.trace = trace;
            self.reporter.delivered(now_ms());
            self.to.send(delivery).await.ok()
        };
        let handed = self.closing.run_until_cancelled(handing).await.flatten();
        match (handed, outcome.await) {
            (Some(()), Ok(Settlement::Accepted)) => Taken::Accepted,
            (Some(()), Ok(Settlement::Rejected(_))) => Taken::Rejected,
            _ => Taken::NotNow,
        }
    }
}

struct HookSettle {
    to: oneshot::Sender<Settlement>,
    reporter: HealthReporter,
    _place: tokio::sync::OwnedSemaphorePermit,
}

impl Settle for HookSettle {
    fn settle(self: Box<Self>, how: Settlement) -> SettleFuture {
        self.reporter.settled();
        // a sender that does not wait any more sends again, and the inbox knows it
        let told = self.to.send(how).map_err(|_| connectors_source::SettleError::ConnectionLost);
        Box::pin(async move { told })
    }

    fn abandon(self: Box<Self>) {
        self.reporter.settled();
    }
}
