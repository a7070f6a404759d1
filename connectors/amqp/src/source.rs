//! The source: a supervisor that keeps one connection with its queues (`lane.rs`) running and hands their deliveries over a bounded
//! channel. Its watchdog looks at the connection every second; a queue that ends, an error or a dead connection mean a new one,
//! without end. A channel that died alone means a new connection too: what was in hand on it comes again, and nothing is half alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use connectors_source::{
    Delivery, HealthReporter, NextDelivery, Redelivery, Rejection, Source, SourceHealth, TraceContext,
};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::Connection;
use lapin::types::{AMQPValue, FieldTable};
use schemas::id::TimeMs;
use schemas::limits;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::access::access;
use crate::config::AmqpConfig;
use crate::connection::{self, ConnectError};
use crate::lane::{End, Lane};
use crate::settle::AmqpSettle;
use crate::topology;

/// The watchdog looks this often, in milliseconds.
pub const WATCHDOG_MS: u64 = 1_000;
/// First delay between connections, in milliseconds; doubled up to `limits::RETRY_DELAY_MS_MAX` / 2.
const RETRY_FIRST_MS: u64 = 250;
/// Longest wait for deliveries in hand after `close`, in milliseconds.
const CLOSE_MS_MAX: u64 = 30_000;

/// A running AMQP source. Must be started inside a tokio runtime.
pub struct AmqpSource {
    name: Box<str>,
    deliveries: mpsc::Receiver<(u64, Delivery)>,
    /// Number of the connection that is alive: deliveries of earlier ones come again.
    epoch: Arc<AtomicU64>,
    health: watch::Receiver<SourceHealth>,
    closing: CancellationToken,
}

impl AmqpSource {
    /// Starts the supervisor. Connecting goes on in the background: an absent broker is no error.
    pub fn start(config: AmqpConfig) -> Self {
        let reporter = HealthReporter::default();
        let health = reporter.subscribe();
        let (to, deliveries) = mpsc::channel(usize::from(config.prefetch) * usize::from(config.lanes));
        let epoch = Arc::new(AtomicU64::new(0));
        let closing = CancellationToken::new();
        let name = config.name.as_str().into();
        let supervisor = Supervisor {
            config,
            reporter,
            to,
            epoch: Arc::clone(&epoch),
            closing: closing.clone(),
            runtime: Handle::current(),
        };
        tokio::spawn(supervisor.run());
        Self { name, deliveries, epoch, health, closing }
    }
}

impl Source for AmqpSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn next(&mut self) -> NextDelivery<'_> {
        Box::pin(async move {
            loop {
                let received = tokio::select! {
                    biased;
                    () = self.closing.cancelled() => None,
                    received = self.deliveries.recv() => received,
                };
                match received {
                    Some((epoch, delivery)) if epoch == self.epoch.load(Ordering::Acquire) => {
                        return Ok(Some(delivery));
                    }
                    Some(_) => {}
                    None => {
                        self.deliveries.close();
                        while self.deliveries.try_recv().is_ok() {}
                        return Ok(None);
                    }
                }
            }
        })
    }

    fn health(&self) -> watch::Receiver<SourceHealth> {
        self.health.clone()
    }

    fn close(&mut self) {
        self.closing.cancel();
        self.deliveries.close();
        // what was not yielded goes back
        while self.deliveries.try_recv().is_ok() {}
    }
}

impl Drop for AmqpSource {
    fn drop(&mut self) {
        self.close();
    }
}

pub struct Supervisor {
    pub config: AmqpConfig,
    pub reporter: HealthReporter,
    pub to: mpsc::Sender<(u64, Delivery)>,
    epoch: Arc<AtomicU64>,
    pub closing: CancellationToken,
    runtime: Handle,
}

impl Supervisor {
    async fn run(self) {
        let (mut delay_ms, mut attempt) = (RETRY_FIRST_MS, 0);
        while !self.closing.is_cancelled() {
            match self.open(attempt).await {
                Ok((connection, mut lanes)) => {
                    // when it is lost the preferred one is tried first
                    (delay_ms, attempt) = (RETRY_FIRST_MS, 0);
                    self.consume(&connection, &mut lanes).await;
                    self.reporter.failed(now_ms(), "a consumer or its connection ended");
                }
                Err(failure) => {
                    attempt += 1;
                    self.reporter.failed(now_ms(), &failure.to_string());
                    tracing::warn!(connector = %self.config.name, class = failure.class().name(), delay_ms, "not connected: {failure}");
                }
            }
            let jittered = delay_ms + now_ms() % (delay_ms / 2 + 1);
            tokio::select! {
                () = self.closing.cancelled() => {}
                () = tokio::time::sleep(Duration::from_millis(jittered)) => {}
            }
            delay_ms = (delay_ms * 2).min(limits::RETRY_DELAY_MS_MAX / 2);
        }
    }

    /// Connects, declares and begins to consume every queue.
    async fn open(&self, attempt: usize) -> Result<(Connection, Vec<Lane<'_>>), ConnectError> {
        let connection = connection::connect(&access!(self.config), &self.config.name, attempt).await?;
        topology::declare(&self.config, &connection).await?;
        // of lanes that are too many the first is there whenever one is; `doctor` looks at all
        let others = if self.config.lanes > 1 { self.config.others() } else { Vec::new() };
        for queue in others.into_iter().take(2) {
            if topology::waiting(&connection, &queue).await?.is_some() {
                tracing::warn!(connector = %self.config.name, %queue, "found a queue of another number of lanes, which nobody reads");
            }
        }
        let mut lanes = Vec::new();
        for queue in self.config.queues() {
            lanes.push(Lane::open(self, &connection, queue).await?);
        }
        Ok((connection, lanes))
    }

    /// Hands deliveries over until one queue ends or the source is closed; then lets deliveries in hand be settled, and disconnects.
    async fn consume(&self, connection: &Connection, lanes: &mut [Lane<'_>]) {
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        self.reporter.connected(now_ms());
        tracing::info!(connector = %self.config.name, "connected");
        let mut patience = Duration::from_millis(CLOSE_MS_MAX);
        match self.watched(connection, lanes, epoch).await {
            End::Lost => {
                tracing::warn!(connector = %self.config.name, "found a consumer or its connection ended");
                patience = Duration::from_millis(WATCHDOG_MS);
            }
            End::Closing => {
                let settled = async {
                    for lane in &*lanes {
                        lane.settled().await;
                    }
                };
                drop(tokio::time::timeout(patience, settled).await);
            }
        }
        // the consumers are still there: with their connection everything that was not yielded goes back at once, in order
        drop(tokio::time::timeout(patience, connection.close(200, "closed".into())).await);
    }

    async fn watched(&self, connection: &Connection, lanes: &mut [Lane<'_>], epoch: u64) -> End {
        let mut running = FuturesUnordered::new();
        for lane in lanes {
            running.push(lane.run(epoch));
        }
        let mut watchdog = tokio::time::interval(Duration::from_millis(WATCHDOG_MS));
        watchdog.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                Some(end) = running.next() => return end,
                _ = watchdog.tick() => if !connection.status().connected() {
                    return End::Lost;
                },
            }
        }
    }

    /// Larger than any gateway takes: not even kept. The broker puts it aside; its bytes wait for nothing here.
    pub fn refuse(&self, message: lapin::message::Delivery, room: OwnedSemaphorePermit) {
        let mut delivery = self.delivery(message, room);
        tracing::warn!(connector = %self.config.name, bytes = delivery.take_body().len(), "refused: too large");
        // a refusal that does not reach the broker means that the message comes again
        self.runtime.spawn(async move { delivery.reject(Rejection::TooLarge).await.is_err() });
    }

    /// A delivery of ours, which is unsettled from now on.
    pub fn delivery(&self, from: lapin::message::Delivery, room: OwnedSemaphorePermit) -> Delivery {
        let redelivery = Redelivery { redelivered: from.redelivered, count: count(&from) };
        let settle = AmqpSettle {
            acker: from.acker,
            health: self.reporter.clone(),
            runtime: self.runtime.clone(),
            room,
            closing: self.closing.clone(),
        };
        let mut delivery = Delivery::new(&self.config.name, Bytes::from(from.data), now_ms(), Box::new(settle));
        let stated = from.properties.content_type().as_ref().map(|text| text.as_str().trim().to_ascii_lowercase());
        delivery.content_type = stated.unwrap_or_else(|| self.config.content_type.to_ascii_lowercase()).into();
        delivery.routing = from.routing_key.as_str().into();
        let headers = from.properties.headers().as_ref();
        let text = |name: &str| headers.and_then(|headers| header(headers, name));
        delivery.trace = TraceContext::new(text("traceparent").as_deref(), text("tracestate").as_deref());
        delivery.redelivery = redelivery;
        self.reporter.delivered(now_ms());
        delivery
    }
}

/// How often the broker says that a message was in somebody's hand before.
pub fn count(message: &lapin::message::Delivery) -> Option<u32> {
    match message.properties.headers().as_ref()?.inner().get("x-delivery-count")? {
        AMQPValue::LongLongInt(n) => u32::try_from(*n).ok(),
        AMQPValue::LongInt(n) => u32::try_from(*n).ok(),
        AMQPValue::LongUInt(n) => Some(*n),
        _ => None,
    }
}

fn header(headers: &FieldTable, name: &str) -> Option<String> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(str::to_owned),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

fn now_ms() -> TimeMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
