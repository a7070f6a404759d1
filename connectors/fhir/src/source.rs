//! The source: a task that looks through each type again and again, for ever, and the deliveries that it found. It knows within seconds
//! whether the server is there, whether or not anybody asks for deliveries.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use connectors_source::{NextDelivery, Source, SourceHealth};
use schemas::limits;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::FhirConfig;
use crate::error::FhirError;
use crate::marker::Markers;
use crate::server::Server;
use crate::time::{instant_ms, now_ms};
use crate::window::Window;

/// Whoever waits looks this often whether the server is there, in milliseconds.
const PROBE_MS: u64 = 4_000;
/// First delay after a failure, in milliseconds; doubled up to `limits::RETRY_DELAY_MS_MAX` / 2.
const RETRY_FIRST_MS: u64 = 250;
/// A type that the server failed at is looked at again after this at the latest, in milliseconds.
const AGAIN_MS: u64 = 10_000;

/// A running poll of a FHIR server. Must be started inside a tokio runtime.
pub struct FhirSource {
    window: Arc<Window>,
    health: watch::Receiver<SourceHealth>,
    closing: CancellationToken,
}

/// The task.
pub(crate) struct Poller {
    pub config: FhirConfig,
    pub server: Server,
    pub window: Arc<Window>,
    /// Resources of one page: fewer than configured where a page was too large.
    pub count: u32,
    /// Whether the server was not seen yet to pass over the times that it is asked for.
    pub asks_since: bool,
    /// Whether a type failed in the last round: messages of it cannot arrive.
    failing: bool,
    delay_ms: u64,
    closing: CancellationToken,
}

/// How a look at a type went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Ended,
    /// The server, or what stands before it, could not.
    Failed,
    /// The server would not.
    Refused,
}

impl FhirSource {
    /// Starts to poll. A server that is away is no error, a file that cannot be read is one.
    ///
    /// # Errors
    /// `FhirError::File`.
    pub fn start(config: FhirConfig, markers: Arc<dyn Markers>) -> Result<Self, FhirError> {
        let server = Server::new(&config.server)?;
        let window = Window::new(&config.name, &config.types, markers, config.unsettled_max, config.overlap_ms);
        let window = Arc::new(window);
        let health = window.reporter.subscribe();
        let closing = CancellationToken::new();
        let poller = Poller {
            count: config.count,
            config,
            server,
            window: Arc::clone(&window),
            asks_since: true,
            failing: false,
            delay_ms: RETRY_FIRST_MS,
            closing: closing.clone(),
        };
        tokio::spawn(async move { poller.closing.clone().run_until_cancelled_owned(poller.run()).await });
        Ok(Self { window, health, closing })
    }
}

impl Source for FhirSource {
    fn name(&self) -> &str {
        &self.window.name
    }

    fn next(&mut self) -> NextDelivery<'_> {
        Box::pin(async move {
            loop {
                if self.closing.is_cancelled() {
                    return Ok(None);
                }
                if let Some(delivery) = self.window.take() {
                    return Ok(Some(delivery));
                }
                tokio::select! {
                    () = self.closing.cancelled() => {}
                    () = self.window.ready.notified() => {}
                }
            }
        })
    }

    fn health(&self) -> watch::Receiver<SourceHealth> {
        self.health.clone()
    }

    fn close(&mut self) {
        self.closing.cancel();
    }
}

impl Drop for FhirSource {
    fn drop(&mut self) {
        self.close();
    }
}

impl Poller {
    async fn run(mut self) {
        let since = self.config.since.as_deref().and_then(instant_ms);
        while let Err(error) = self.window.load(since).await {
            self.fail("markers", &error).await;
        }
        loop {
            let looks = self.window.kinds.len();
            let (mut failed, mut away) = (0, 0);
            for poll in 0..looks {
                let look = self.look(poll).await;
                failed += usize::from(look != Look::Ended);
                away += usize::from(look == Look::Failed);
            }
            if failed > 0 {
                self.window.reporter.disconnected(now_ms());
            } else {
                self.window.reporter.connected(now_ms());
            }
            self.failing = failed > 0;
            if away == looks {
                // it has waited after each, longer each time
                continue;
            }
            let soon = if away > 0 { AGAIN_MS } else { u64::MAX };
            let interval = Duration::from_millis(self.config.interval_ms.min(soon));
            if let Err(error) = self.watching(tokio::time::sleep(interval)).await {
                self.fail("probe", &error).await;
            }
        }
    }

    /// Looks at one type until a look ends or fails. One that fails holds up no other.
    async fn look(&mut self, poll: usize) -> Look {
        loop {
            let Err(error) = self.sweep(poll).await else {
                self.delay_ms = RETRY_FIRST_MS;
                return Look::Ended;
            };
            let ends = match &error {
                FhirError::TooLarge { .. } if self.count > 1 => {
                    self.count = self.count.div_ceil(2);
                    None
                }
                FhirError::Markers => None,
                FhirError::Busy { .. } | FhirError::Away { .. } | FhirError::Status { status: 500.., .. } => {
                    Some(Look::Failed)
                }
                _ => Some(Look::Refused),
            };
            let kind = self.window.kinds[poll].clone();
            self.fail(&kind, &error).await;
            if let Some(ends) = ends {
                return ends;
            }
        }
    }

    /// Says what failed and waits: longer each time, but for what the server asks for.
    async fn fail(&mut self, what: &str, error: &FhirError) {
        if matches!(error, FhirError::Away { .. }) {
            self.window.lost();
        }
        self.window.reporter.failed(now_ms(), &error.to_string());
        let delay_ms = match error {
            FhirError::Busy { after_ms } => (*after_ms).max(RETRY_FIRST_MS),
            _ => self.delay_ms + now_ms() % (self.delay_ms / 2 + 1),
        };
        tracing::warn!(connector = %self.window.name, what, class = error.class().name(), delay_ms, "{error}");
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        self.delay_ms = (self.delay_ms * 2).min(limits::RETRY_DELAY_MS_MAX / 2);
    }

    /// The server answered as it should.
    pub(crate) fn heard(&mut self) {
        if !self.failing {
            self.window.reporter.connected(now_ms());
        }
    }

    /// Waits until a page has room.
    pub(crate) async fn room(&self) -> Result<(), FhirError> {
        let most = self.count as usize / 2;
        while self.window.pending() > most {
            self.watching(self.window.room.notified()).await?;
        }
        Ok(())
    }

    /// Waits, and looks meanwhile whether the server is there.
    async fn watching(&self, until: impl Future<Output = ()>) -> Result<(), FhirError> {
        let mut until = pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return Ok(()),
                () = tokio::time::sleep(Duration::from_millis(PROBE_MS)) => self.server.probe().await?,
            }
        }
    }
}
