//! The source: a supervisor that keeps one consumer running and hands its deliveries over a bounded channel. Its watchdog
//! looks at the connection every second; an ended stream, an error or a dead connection mean a new one, without end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use connectors_source::{
    Delivery, HealthReporter, NextDelivery, Redelivery, Rejection, Source, SourceHealth, TraceContext,
};
use futures_util::StreamExt as _;
use lapin::options::BasicCancelOptions;
use lapin::types::{AMQPValue, FieldTable};
use schemas::id::TimeMs;
use schemas::limits;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::AmqpConfig;
use crate::connection::{self, Live};
use crate::settle::AmqpSettle;

/// The watchdog looks this often, in milliseconds.
const WATCHDOG_MS: u64 = 1_000;
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
        let (to, deliveries) = mpsc::channel(usize::from(config.prefetch));
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

struct Supervisor {
    config: AmqpConfig,
    reporter: HealthReporter,
    to: mpsc::Sender<(u64, Delivery)>,
    epoch: Arc<AtomicU64>,
    closing: CancellationToken,
    runtime: Handle,
}

impl Supervisor {
    async fn run(self) {
        let (mut delay_ms, mut attempt) = (RETRY_FIRST_MS, 0);
        while !self.closing.is_cancelled() {
            match connection::open(&self.config, attempt).await {
                Ok(live) => {
                    // when it is lost the preferred one is tried first
                    (delay_ms, attempt) = (RETRY_FIRST_MS, 0);
                    let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
                    self.reporter.connected(now_ms());
                    tracing::info!(connector = %self.config.name, "connected");
                    self.consume(live, epoch).await;
                    self.reporter.disconnected(now_ms());
                }
                Err(failure) => {
                    attempt += 1;
                    self.reporter.disconnected(now_ms());
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

    /// Hands deliveries over until the connection ends or the source is closed.
    async fn consume(&self, mut live: Live, epoch: u64) {
        let mut watchdog = tokio::time::interval(Duration::from_millis(WATCHDOG_MS));
        watchdog.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return self.finish(live).await,
                _ = watchdog.tick() => {
                    if !live.connection.status().connected() || !live.channel.status().connected() {
                        tracing::warn!(connector = %self.config.name, "found the connection dead");
                        return;
                    }
                }
                next = live.consumer.next() => match next {
                    Some(Ok(delivery)) if delivery.data.len() > limits::MESSAGE_BYTES_MAX => self.refuse(delivery),
                    Some(Ok(delivery)) => {
                        let delivery = self.delivery(delivery);
                        self.reporter.delivered(now_ms());
                        // room for the whole prefetch: waits only while deliveries of a lost connection are in the way
                        if self.to.send((epoch, delivery)).await.is_err() {
                            return self.finish(live).await;
                        }
                    }
                    // the queue was deleted, the channel refused something, or the connection ended
                    Some(Err(_)) | None => {
                        tracing::warn!(connector = %self.config.name, "found the consumer ended");
                        drop(tokio::time::timeout(
                            Duration::from_millis(WATCHDOG_MS),
                            live.connection.close(200, "consumer ended".into()),
                        ).await);
                        return;
                    }
                },
            }
        }
    }

    /// Larger than any gateway takes: not even kept. The broker puts it aside; its bytes wait for nothing here.
    fn refuse(&self, delivery: lapin::message::Delivery) {
        let mut delivery = self.delivery(delivery);
        self.reporter.delivered(now_ms());
        tracing::warn!(connector = %self.config.name, bytes = delivery.take_body().len(), "refused: too large");
        // a refusal that does not reach the broker means that the message comes again
        self.runtime.spawn(async move { delivery.reject(Rejection::TooLarge).await.is_err() });
    }

    /// Takes nothing new, lets deliveries in hand be settled, then closes.
    async fn finish(&self, mut live: Live) {
        let patience = Duration::from_millis(CLOSE_MS_MAX);
        let tag = live.consumer.tag();
        drop(tokio::time::timeout(patience, live.channel.basic_cancel(tag, BasicCancelOptions::default())).await);
        let mut health = self.reporter.subscribe();
        let ending = async {
            // what the broker had sent already goes back
            while let Some(Ok(delivery)) = live.consumer.next().await {
                drop(self.delivery(delivery));
            }
            drop(health.wait_for(|health| health.unsettled == 0).await);
        };
        drop(tokio::time::timeout(patience, ending).await);
        drop(tokio::time::timeout(patience, live.connection.close(200, "closed".into())).await);
    }

    fn delivery(&self, from: lapin::message::Delivery) -> Delivery {
        let settle = AmqpSettle { acker: from.acker, health: self.reporter.clone(), runtime: self.runtime.clone() };
        let mut delivery = Delivery::new(&self.config.name, Bytes::from(from.data), now_ms(), Box::new(settle));
        let stated = from.properties.content_type().as_ref().map(|text| text.as_str().trim().to_ascii_lowercase());
        delivery.content_type = stated.unwrap_or_else(|| self.config.content_type.to_ascii_lowercase()).into();
        delivery.routing = from.routing_key.as_str().into();
        let headers = from.properties.headers().as_ref();
        let text = |name: &str| headers.and_then(|headers| header(headers, name));
        delivery.trace = TraceContext::new(text("traceparent").as_deref(), text("tracestate").as_deref());
        let count = headers.and_then(|headers| match headers.inner().get("x-delivery-count") {
            Some(AMQPValue::LongLongInt(n)) => u32::try_from(*n).ok(),
            Some(AMQPValue::LongInt(n)) => u32::try_from(*n).ok(),
            Some(AMQPValue::LongUInt(n)) => Some(*n),
            _ => None,
        });
        delivery.redelivery = Redelivery { redelivered: from.redelivered, count };
        delivery
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
