//! How a validator is doing, as Prometheus text: what it was handed, what it executed, how long disk and execution take, how far it
//! is. Labels come from closed sets; no key, id, address or content ever is one.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder, core::Collector,
};
use schemas::transaction::Outcome;

use crate::NodeError;

/// Upper bounds of the durations, in seconds.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// The instruments of one validator.
pub(crate) struct Metrics {
    registry: Registry,
    /// Transactions that clients handed in, by what became of them.
    submitted: IntCounterVec,
    /// Transactions in executed blocks, by verdict.
    executed: IntCounterVec,
    /// Inputs that the busy loop did not take.
    pub dropped: IntCounter,
    /// Proofs against other validators that this one found.
    pub blamed: IntCounter,
    sync: Histogram,
    execution: Histogram,
    levels: Levels,
}

/// What is read when somebody asks.
struct Levels {
    height: IntGauge,
    certified: IntGauge,
    view: IntGauge,
    waiting: IntGauge,
    waiting_bytes: IntGauge,
    peers: IntGauge,
}

/// The levels now.
pub(crate) struct Now {
    pub height: u64,
    pub certified: u64,
    pub view: u64,
    pub waiting: usize,
    pub waiting_bytes: usize,
    pub peers: usize,
}

impl Metrics {
    /// Instruments with a registry of their own.
    ///
    /// # Errors
    /// `NodeError::Metrics` when the registry refuses one: a mistake in this file.
    pub fn new() -> Result<Self, NodeError> {
        Self::build().map_err(|e| NodeError::Metrics(e.to_string()))
    }

    fn build() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name, help, label| IntCounterVec::new(Opts::new(name, help), &[label]);
        let seconds = |name, help| Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()));
        let submitted = counters("chartseal_node_submitted_total", "Transactions of clients by status", "status")?;
        let executed = counters("chartseal_node_executed_total", "Executed transactions by verdict", "verdict")?;
        let dropped = IntCounter::new("chartseal_node_dropped_total", "Inputs that the busy loop did not take")?;
        let blamed = IntCounter::new("chartseal_node_blamed_total", "Validators found to contradict themselves")?;
        let sync = seconds("chartseal_node_sync_seconds", "Sync of the vote log")?;
        let execution = seconds("chartseal_node_execution_seconds", "Execution of a block")?;
        let level = |name, help| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let levels = Levels {
            height: level("chartseal_node_height", "Newest executed height")?,
            certified: level("chartseal_node_certified_height", "Newest final height")?,
            view: level("chartseal_node_view", "View")?,
            waiting: level("chartseal_node_waiting", "Transactions that wait")?,
            waiting_bytes: level("chartseal_node_waiting_bytes", "Bytes that wait")?,
            peers: level("chartseal_node_peers", "Connected validators")?,
        };
        let all: [Box<dyn Collector>; 6] = [
            Box::new(submitted.clone()),
            Box::new(executed.clone()),
            Box::new(dropped.clone()),
            Box::new(blamed.clone()),
            Box::new(sync.clone()),
            Box::new(execution.clone()),
        ];
        all.into_iter().try_for_each(|one| registry.register(one))?;
        Ok(Self { registry, submitted, executed, dropped, blamed, sync, execution, levels })
    }

    /// A client's transaction got this status code.
    pub fn submitted(&self, status: u16) {
        let label = match status {
            200 => "known",
            202 => "taken",
            429 => "no_room",
            _ => "refused",
        };
        self.submitted.with_label_values(&[label]).inc();
    }

    /// The vote log was synced.
    pub fn synced(&self, took: Duration) {
        self.sync.observe(took.as_secs_f64());
    }

    /// A block was executed.
    pub fn executed(&self, took: Duration, outcomes: impl Iterator<Item = Outcome>) {
        self.execution.observe(took.as_secs_f64());
        let (accepted, refused) = outcomes.fold((0, 0), |(accepted, refused), outcome| match outcome {
            Outcome::Accepted => (accepted + 1, refused),
            Outcome::Refused(_) => (accepted, refused + 1),
        });
        self.executed.with_label_values(&["accepted"]).inc_by(accepted);
        self.executed.with_label_values(&["refused"]).inc_by(refused);
    }

    /// The Prometheus text of everything.
    pub fn to_text(&self, now: &Now) -> String {
        let set = |gauge: &IntGauge, level: u64| gauge.set(i64::try_from(level).unwrap_or(i64::MAX));
        let Levels { height, certified, view, waiting, waiting_bytes, peers } = &self.levels;
        set(height, now.height);
        set(certified, now.certified);
        set(view, now.view);
        set(waiting, now.waiting as u64);
        set(waiting_bytes, now.waiting_bytes as u64);
        set(peers, now.peers as u64);
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
