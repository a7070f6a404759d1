//! Measures and spans along both spines. `Metrics` is the one set of instruments that every step is handed; `traces.rs` starts the
//! log output and, where configured, the OTLP export. No identifier, no text of a message and no URI may become a label,
//! a span field or a log line: labels come from closed sets (step, code, class, connector name).

pub mod traces;

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::TextEncoder;

/// Upper bounds of the duration histograms, in seconds.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// A counted moment on the way of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A delivery is durable in the inbox.
    Received,
    /// A delivery was there already.
    Duplicate,
    /// A message became canonical FHIR.
    Normalised,
    /// A case was sealed.
    Sealed,
    /// A case's object is durable.
    Stored,
    /// A case is anchored.
    Anchored,
    /// A case is visible.
    Indexed,
    /// A resource left under a permit.
    Disclosed,
    /// A resource was withheld.
    Denied,
}

impl Moment {
    const ALL: [Self; 9] = [
        Self::Received,
        Self::Duplicate,
        Self::Normalised,
        Self::Sealed,
        Self::Stored,
        Self::Anchored,
        Self::Indexed,
        Self::Disclosed,
        Self::Denied,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Duplicate => "duplicate",
            Self::Normalised => "normalised",
            Self::Sealed => "sealed",
            Self::Stored => "stored",
            Self::Anchored => "anchored",
            Self::Indexed => "indexed",
            Self::Disclosed => "disclosed",
            Self::Denied => "denied",
        }
    }
}

/// A timed step of one of the spines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Inbox commit of one group.
    Receive,
    /// One message to canonical FHIR.
    Normalise,
    /// One case.
    Seal,
    /// One group of objects.
    Store,
    /// One transaction, submission to certificate.
    Anchor,
    /// One group of index rows.
    Index,
    /// Rows of one request.
    Query,
    /// Consent of one request.
    Decide,
    /// The synced log entry of one request.
    Log,
    /// Units of one request.
    Open,
    /// One request, first to last byte of the answer.
    Disclose,
}

impl Step {
    const ALL: [Self; 11] = [
        Self::Receive,
        Self::Normalise,
        Self::Seal,
        Self::Store,
        Self::Anchor,
        Self::Index,
        Self::Query,
        Self::Decide,
        Self::Log,
        Self::Open,
        Self::Disclose,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Normalise => "normalise",
            Self::Seal => "seal",
            Self::Store => "store",
            Self::Anchor => "anchor",
            Self::Index => "index",
            Self::Query => "query",
            Self::Decide => "decide",
            Self::Log => "log",
            Self::Open => "open",
            Self::Disclose => "disclose",
        }
    }
}

/// The instruments. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Metrics(Arc<Instruments>);

struct Instruments {
    records: Counter<u64>,
    quarantined: Counter<u64>,
    requests: Counter<u64>,
    lag: Gauge<f64>,
    height: Gauge<u64>,
    waiting: Gauge<u64>,
    reload_failed: Gauge<u64>,
    unmapped: Counter<u64>,
    steps: Histogram<f64>,
    moment_labels: Vec<[KeyValue; 1]>,
    step_labels: Vec<[KeyValue; 1]>,
    registry: prometheus::Registry,
    // the readers live as long as the provider
    _provider: SdkMeterProvider,
}

/// The metrics exporter could not be built.
#[derive(Debug, thiserror::Error)]
#[error("metrics exporter: {0}")]
pub struct MetricsError(String);

impl MetricsError {
    /// Always our own mistake: the instruments are fixed.
    pub const fn class(&self) -> schemas::ErrorClass {
        schemas::ErrorClass::Bug
    }
}

impl Metrics {
    /// Instruments with a registry of their own.
    ///
    /// # Errors
    /// `MetricsError` when the exporter refuses its registry.
    pub fn new() -> Result<Self, MetricsError> {
        let registry = prometheus::Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .with_namespace("chartseal")
            .scope_info_enabled(false)
            .without_target_info()
            .build()
            .map_err(|e| MetricsError(e.to_string()))?;
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        let meter = provider.meter("chartseal");
        Ok(Self(Arc::new(Instruments {
            records: meter.u64_counter("records").with_description("Records by moment on their way").build(),
            quarantined: meter.u64_counter("quarantined").with_description("Messages in quarantine by code").build(),
            requests: meter.u64_counter("requests").with_description("Answers to clients by kind and status").build(),
            lag: meter.f64_gauge("lag").with_unit("s").with_description("Age of the oldest work by part").build(),
            height: meter.u64_gauge("ledger_height").with_description("Height up to which blocks are executed").build(),
            waiting: meter.u64_gauge("waiting").with_description("Items that wait, by part").build(),
            reload_failed: meter
                .u64_gauge("config_reload_failed")
                .with_description("1 when the configuration was not loaded again for a fault in it")
                .build(),
            unmapped: meter
                .u64_counter("unmapped_fields")
                .with_description("Populated fields of messages that reached no resource")
                .build(),
            steps: meter
                .f64_histogram("step_duration")
                .with_unit("s")
                .with_description("Time per step of the two spines")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            moment_labels: Moment::ALL.iter().map(|m| [KeyValue::new("moment", m.name())]).collect(),
            step_labels: Step::ALL.iter().map(|s| [KeyValue::new("step", s.name())]).collect(),
            registry,
            _provider: provider,
        })))
    }

    /// Counts `n` records at a moment.
    pub fn count(&self, moment: Moment, n: u64) {
        if let Some(labels) = self.0.moment_labels.get(moment as usize) {
            self.0.records.add(n, labels);
        }
    }

    /// Counts a message that went to quarantine. `code` is from the fixed set of codes.
    pub fn quarantined(&self, code: &'static str) {
        self.0.quarantined.add(1, &[KeyValue::new("code", code)]);
    }

    /// Counts populated fields of messages that reached no resource.
    pub fn unmapped(&self, n: usize) {
        self.0.unmapped.add(n as u64, &[]);
    }

    /// Whether the last attempt to load the configuration again failed.
    pub fn reload_failed(&self, failed: bool) {
        self.0.reload_failed.record(u64::from(failed), &[]);
    }

    /// Counts an answer: `kind` such as `read`, `search`, `token`.
    pub fn answered(&self, kind: &'static str, status: u16) {
        self.0.requests.add(1, &[KeyValue::new("kind", kind), KeyValue::new("status", i64::from(status))]);
    }

    /// Records the time of a step.
    pub fn step(&self, step: Step, took: Duration) {
        if let Some(labels) = self.0.step_labels.get(step as usize) {
            self.0.steps.record(took.as_secs_f64(), labels);
        }
    }

    /// Measures a step until the guard is dropped.
    pub fn timer(&self, step: Step) -> StepTimer {
        StepTimer { metrics: self.clone(), step, from: Instant::now() }
    }

    /// Age of the oldest work of a part (`ingest`, `access-log`, `ledger`).
    pub fn lag(&self, part: &'static str, age: Duration) {
        self.0.lag.record(age.as_secs_f64(), &[KeyValue::new("part", part)]);
    }

    /// Items that wait in a part (`inbox`, `access-log`).
    pub fn waiting(&self, part: &'static str, items: u64) {
        self.0.waiting.record(items, &[KeyValue::new("part", part)]);
    }

    /// Height up to which the follower has executed.
    pub fn height(&self, height: u64) {
        self.0.height.record(height, &[]);
    }

    /// The Prometheus text of everything.
    pub fn to_text(&self) -> String {
        TextEncoder::new().encode_to_string(&self.0.registry.gather()).unwrap_or_default()
    }
}

/// Records the time of its step when it is dropped.
pub struct StepTimer {
    metrics: Metrics,
    step: Step,
    from: Instant,
}

impl Drop for StepTimer {
    fn drop(&mut self) {
        self.metrics.step(self.step, self.from.elapsed());
    }
}
