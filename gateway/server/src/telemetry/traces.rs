//! Starts log output and, where an OTLP endpoint is configured, the export of spans. Reads no record; spans carry names and
//! durations only. The exporter's HTTP client needs a tokio runtime, so its work is moved there from the batch thread.

use std::fmt;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Longest wait for the collector, in milliseconds.
const EXPORT_TIMEOUT_MS: u64 = 10_000;

/// Log output or export could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("log filter: found one that does not parse, expected such as `info` or `gateway_server=debug`")]
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

/// Starts log output on standard error and, with `otlp` (an OTLP/HTTP endpoint such as `http://127.0.0.1:4318/v1/traces`),
/// the export of spans. `filter` is such as `info` or `gateway_server=debug`. Call once, inside the tokio runtime.
///
/// # Errors
/// `TelemetryError` for a filter or endpoint that is none.
pub fn start(service: &'static str, otlp: Option<&str>, filter: &str, json: bool) -> Result<Tracing, TelemetryError> {
    let filter = EnvFilter::try_new(filter).map_err(|_| TelemetryError::Filter)?;
    let text = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(true);
    let output = if json { text.json().boxed() } else { text.compact().boxed() };
    let provider = otlp.map(|endpoint| exporter(endpoint, service)).transpose()?;
    let spans = provider.as_ref().map(|p| tracing_opentelemetry::layer().with_tracer(p.tracer(service)));
    tracing_subscriber::registry()
        .with(spans)
        .with(output.with_filter(filter))
        .try_init()
        .map_err(|_| TelemetryError::Started)?;
    Ok(Tracing(provider))
}

fn exporter(endpoint: &str, service: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    let runtime = tokio::runtime::Handle::try_current().map_err(|e| TelemetryError::Exporter(e.to_string()))?;
    let inner = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_millis(EXPORT_TIMEOUT_MS))
        .build()
        .map_err(|e| TelemetryError::Exporter(e.to_string()))?;
    let resource = Resource::builder().with_service_name(service).build();
    let on_runtime = OnRuntime { inner: std::sync::Arc::new(inner), runtime };
    Ok(SdkTracerProvider::builder().with_batch_exporter(on_runtime).with_resource(resource).build())
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
