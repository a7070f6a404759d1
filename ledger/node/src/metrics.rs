//! How a validator is doing, as Prometheus text: what it was handed, what it executed, how long disk and execution take, how far it
//! is. Labels come from closed sets; no key, id, address or content ever is one.

use std::time::Duration;

use prometheus::{
    Counter, CounterVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::Collector,
};
use rustix::time::{ClockId, clock_gettime};
use schemas::transaction::Outcome;

use crate::NodeError;

/// Upper bounds of the durations, in seconds.
const SECONDS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0];

/// One of so many verifications is timed: looking at the clock costs a hundredth of one.
const TIMED_ONE_OF: u64 = 16;

/// Time on a core, which waiting for a core, the disk or a lock does not add to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnCore(ClockId, Duration);

impl OnCore {
    /// This thread from now on.
    pub fn of_thread() -> Self {
        Self(ClockId::ThreadCPUTime, now_of(ClockId::ThreadCPUTime))
    }

    /// Time since the last lap, or the start.
    pub fn lap(&mut self) -> Duration {
        let (before, now) = (self.1, now_of(self.0));
        self.1 = now;
        now.saturating_sub(before)
    }
}

fn now_of(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// What a validator's cores work on, apart from each other. The rest of the process is network, bookkeeping and the store's own threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The contract, look-ups in the state among it.
    Execute,
    /// The log's frontier and the state tree.
    Hash,
    /// Handing a block to the store.
    Store,
}

/// Counts signature verifications and times some.
#[derive(Clone, Debug)]
pub(crate) struct Verifications {
    count: IntCounter,
    seconds: Counter,
}

impl Verifications {
    /// Runs one.
    pub fn time(&self, verify: impl FnOnce() -> bool) -> bool {
        self.count.inc();
        if !self.count.get().is_multiple_of(TIMED_ONE_OF) {
            return verify();
        }
        let mut clock = OnCore::of_thread();
        let is_valid = verify();
        self.seconds.inc_by(clock.lap().as_secs_f64() * TIMED_ONE_OF as f64);
        is_valid
    }
}

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
    /// Signatures.
    pub verifications: Verifications,
    on_core: CounterVec,
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
        let verified = IntCounter::new("chartseal_node_verifications_total", "Signatures verified")?;
        let on_core = "Time on a core by step; of verifications one in 16 is timed";
        let on_core = CounterVec::new(Opts::new("chartseal_node_on_core_seconds_total", on_core), &["step"])?;
        let verifications = Verifications { count: verified.clone(), seconds: on_core.with_label_values(&["verify"]) };
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
        let all: [Box<dyn Collector>; 8] = [
            Box::new(submitted.clone()),
            Box::new(executed.clone()),
            Box::new(dropped.clone()),
            Box::new(blamed.clone()),
            Box::new(sync.clone()),
            Box::new(execution.clone()),
            Box::new(verified),
            Box::new(on_core.clone()),
        ];
        all.into_iter().try_for_each(|one| registry.register(one))?;
        Ok(Self { registry, submitted, executed, dropped, blamed, sync, execution, verifications, on_core, levels })
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

    /// A step of a block took this time on its core.
    pub fn worked(&self, step: Step, took: Duration) {
        let label = match step {
            Step::Execute => "execute",
            Step::Hash => "hash",
            Step::Store => "store",
        };
        self.on_core.with_label_values(&[label]).inc_by(took.as_secs_f64());
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
