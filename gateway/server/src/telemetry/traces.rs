//! Starts log output and, where an OTLP endpoint is configured, the export of spans. Reads no record; spans carry names and
//! durations only. The exporter's HTTP client needs a tokio runtime, so its work is moved there from the batch thread.

use std::fmt;
use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::TelemetryConfig;

/// Longest wait for the collector, in milliseconds.
const EXPORT_TIMEOUT_MS: u64 = 10_000;
/// Where a collector takes spans, below its address.
const TRACES_PATH: &str = "/v1/traces";
/// Name of this process in traces.
const SERVICE: &str = "chartseal-gateway";

/// Log output or export could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("CHARTSEAL_LOG: found a filter that does not parse, expected such as `info` or `gateway_server=debug`")]
    Filter,
    /// The exporter refused its endpoint.
    #[error("telemetry.otlp: {0}")]
    Exporter(String),
    /// Another subscriber is installed in this process.
    #[error("telemetry: log output was already started in this process")]
    Started,
}

impl TelemetryError {
    /// Configuration mistakes are the caller's.
    pub const fn class(&self) -> schemas::ErrorClass {
        match self {
            Self::Filter | Self::Exporter(_) => schemas::ErrorClass::Caller,
            Self::Started => schemas::ErrorClass::Bug,
        }
    }
}

/// Keeps the export running; flushes when dropped.
#[must_use]
pub struct Tracing(Option<SdkTracerProvider>);

impl Drop for Tracing {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take() {
            // best effort: the process ends, spans are no evidence
            let _ = provider.shutdown_with_timeout(Duration::from_secs(2));
        }
    }
}

/// Starts log output on standard error, filtered by the environment's `CHARTSEAL_LOG` (`info`, `gateway_server=debug`), and the
/// export of spans where one is configured. Call once.
///
/// # Errors
/// `TelemetryError` for a filter or endpoint that is none.
pub fn start(config: &TelemetryConfig) -> Result<Tracing, TelemetryError> {
    let filter = std::env::var("CHARTSEAL_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(filter).map_err(|_| TelemetryError::Filter)?;
    let output = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(is_coloured());
    let output = output.with_target(true).compact();
    let provider = config.otlp.as_deref().map(exporter).transpose()?;
    // our own spans only: those of libraries may hold what they were called with, and the exporter's would never end
    let ours = Targets::new().with_target("gateway_server", LevelFilter::INFO);
    let spans = provider.as_ref().map(|p| tracing_opentelemetry::layer().with_tracer(p.tracer(SERVICE)));
    let spans = spans.map(|layer| layer.with_filter(ours));
    tracing_subscriber::registry()
        .with(spans)
        .with(output.with_filter(filter))
        .try_init()
        .map_err(|_| TelemetryError::Started)?;
    Ok(Tracing(provider))
}

/// Colour on a terminal only: a log file keeps no escape codes.
fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn exporter(endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let runtime = export_runtime().map_err(|e| TelemetryError::Exporter(e.to_string()))?;
    let inner = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/')))
        .with_timeout(Duration::from_millis(EXPORT_TIMEOUT_MS))
        .build()
        .map_err(|e| TelemetryError::Exporter(e.to_string()))?;
    let resource = Resource::builder().with_service_name(SERVICE).build();
    let on_runtime = OnRuntime { inner: std::sync::Arc::new(inner), runtime };
    Ok(SdkTracerProvider::builder().with_batch_exporter(on_runtime).with_resource(resource).build())
}

/// A thread of its own for the exporter's connections; it ends with the process.
fn export_runtime() -> std::io::Result<tokio::runtime::Handle> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("otlp".into()).spawn(run)?;
    Ok(handle)
}

/// Runs an exporter's futures on tokio: the batch thread has no reactor.
struct OnRuntime<E> {
    inner: std::sync::Arc<E>,
    runtime: tokio::runtime::Handle,
}

impl<E: fmt::Debug> fmt::Debug for OnRuntime<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl<E: SpanExporter + 'static> SpanExporter for OnRuntime<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let inner = self.inner.clone();
        let task = self.runtime.spawn(async move { inner.export(batch).await });
        task.await.map_err(|_| OTelSdkError::InternalFailure("the export task ended early".into()))?
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }
}
