//! What `bench ledger` says: a row for each measured phase with the disk's sync beside it, ratios of what ran in turn, targets with
//! what was found. Arithmetic and columns only; it measures nothing.

use std::collections::BTreeMap;

use serde::Serialize;

use super::etcd::Puts;
use super::floor::Written;
use super::load::Phase;
use crate::commands::bench::{Fsync, Latencies, round};
use crate::output::{Output, bad, good, strong};

/// Longest idle latency beside the fsyncs in it, in milliseconds.
const IDLE_MS: f64 = 5.0;
/// Fsyncs on the way of a lone transaction.
const IDLE_FSYNCS: f64 = 4.0;
/// Longest latency of one in a hundred under load beside the fsyncs in it, in milliseconds.
const P99_MS: f64 = 150.0;
/// Fsyncs on the way of a transaction under load.
const P99_FSYNCS: f64 = 10.0;

/// One measured phase.
#[derive(Clone, Serialize)]
pub struct Row {
    /// What ran.
    pub what: String,
    /// Processes that replicate; 1 for a writer alone.
    pub nodes: usize,
    /// Transactions, puts or rows per second.
    pub rate_per_s: f64,
    /// Cases per second, where cases were anchored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cases_per_s: Option<f64>,
    /// Median latency.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// Length of the measured part.
    pub seconds: f64,
    /// Time on a core that all nodes together spend on one, in microseconds; none where it was not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us: Option<f64>,
    /// Each step's share of the time, where it was looked at.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub steps: BTreeMap<String, f64>,
    /// Whether every write was synced before it counted.
    pub synced: bool,
    /// Median of small synced appends on the same disk right before.
    pub fsync_p50_ms: f64,
    /// Their 99th percentile.
    pub fsync_p99_ms: f64,
}

impl Row {
    fn new(what: impl Into<String>, nodes: usize, latencies: &Latencies, seconds: f64, fsync: &Fsync) -> Self {
        Self {
            what: what.into(),
            nodes,
            rate_per_s: round(latencies.count() as f64 / seconds.max(f64::MIN_POSITIVE)),
            cases_per_s: None,
            p50_ms: latencies.ms(0.5),
            p99_ms: latencies.ms(0.99),
            seconds: round(seconds),
            cpu_us: None,
            steps: BTreeMap::new(),
            synced: true,
            fsync_p50_ms: round(fsync.p50_ms),
            fsync_p99_ms: round(fsync.p99_ms),
        }
    }

    /// A phase of the ledger.
    pub fn of_phase(what: impl Into<String>, nodes: usize, phase: &Phase, fsync: &Fsync) -> Self {
        let mut row = Self::new(what, nodes, &phase.latencies, phase.elapsed.as_secs_f64(), fsync);
        row.cases_per_s = Some(round(phase.rate_per_s() * f64::from(phase.statements)));
        let each_us = phase.used.validators_ms * 1000.0 / phase.transactions().max(1) as f64;
        row.cpu_us = Some(round(each_us)).filter(|us| *us > 0.0);
        row.steps = phase.used.shares();
        row
    }

    /// Lone transactions, one after the other.
    pub fn of_alone(what: impl Into<String>, nodes: usize, alone: &Latencies, seconds: f64, fsync: &Fsync) -> Self {
        Self::new(what, nodes, alone, seconds, fsync)
    }

    /// A phase of etcd.
    pub fn of_puts(what: impl Into<String>, puts: &Puts, fsync: &Fsync) -> Self {
        let mut row = Self::new(what, 3, &puts.latencies, puts.elapsed.as_secs_f64(), fsync);
        row.cpu_us = Some(round(puts.cpu_ms as f64 * 1000.0 / puts.latencies.count().max(1) as f64));
        row
    }

    /// A phase of the writer alone: latencies are of whole writes.
    pub fn of_written(what: impl Into<String>, written: &Written, fsync: &Fsync) -> Self {
        let mut row = Self::new(what, 1, &written.latencies, written.elapsed.as_secs_f64(), fsync);
        row.rate_per_s = round(written.rate_per_s());
        row
    }
}

/// Something that must hold, and what was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// What.
    pub what: String,
    /// What was measured.
    pub found: f64,
    /// The bound.
    pub expected: f64,
    /// Whether `found` is to be at least `expected`; else at most.
    pub is_floor: bool,
    /// Whether it holds.
    pub is_met: bool,
}

impl Target {
    /// As much or more.
    pub fn at_least(what: impl Into<String>, found: f64, expected: f64) -> Self {
        let (found, expected) = (round(found), round(expected));
        Self { what: what.into(), found, expected, is_floor: true, is_met: found >= expected }
    }

    /// As much or less.
    pub fn at_most(what: impl Into<String>, found: f64, expected: f64) -> Self {
        let (found, expected) = (round(found), round(expected));
        Self { what: what.into(), found, expected, is_floor: false, is_met: found <= expected }
    }

    /// A lone transaction's median.
    pub fn idle(p50_ms: f64, fsync: &Fsync) -> Self {
        Self::at_most("idle p50, ms: 5 + 4 fsyncs", p50_ms, IDLE_MS + IDLE_FSYNCS * fsync.p50_ms)
    }

    /// One in a hundred under load.
    pub fn loaded(p99_ms: f64, fsync: &Fsync) -> Self {
        Self::at_most("p99 under load, ms: 150 + 10 fsyncs", p99_ms, P99_MS + P99_FSYNCS * fsync.p50_ms)
    }
}

/// The rate of what ran in turn: all of the first by all of the second. `None` where one of them did not run or did nothing.
pub fn ratio(turns: &[(f64, f64)]) -> Option<f64> {
    let (first, second) = turns.iter().fold((0.0, 0.0), |(a, b), turn| (a + turn.0, b + turn.1));
    (first > 0.0 && second > 0.0).then(|| round(first / second))
}

/// What `--full` adds.
#[derive(Default, Serialize)]
pub struct Full {
    /// Every phase in order.
    pub rows: Vec<Row>,
    /// Memory of each validator after the long run.
    pub memory: Vec<Megabytes>,
    /// What a transaction of one case costs on one validator's disk.
    pub disk_bytes_per_transaction: BTreeMap<&'static str, f64>,
    /// What one validator has on the disk after it, in megabytes.
    pub disk_mb: BTreeMap<&'static str, f64>,
    /// Transactions of the long run, after the preload.
    pub transactions: u64,
    /// Keys that the state held after it.
    pub keys: u64,
    /// Longest time between two commits around the death of each primary.
    pub view_change_gaps_ms: Vec<f64>,
}

/// Memory of one validator.
#[derive(Serialize)]
pub struct Megabytes {
    /// Resident, pages of files among it.
    pub resident: u64,
    /// Of that what no file stands behind.
    pub anonymous: u64,
    /// The most that was resident.
    pub peak: u64,
}

/// Prints what only `--full` measures.
pub fn print_full(full: &Full, output: Output) {
    output.line(strong(header()));
    full.rows.iter().for_each(|row| output.line(line(row)));
    for (number, memory) in (1..).zip(&full.memory) {
        output.line(format_args!(
            "validator {number}: {} MB resident, {} MB of it anonymous, {} MB at most, after {} transactions over {} keys",
            memory.resident, memory.anonymous, memory.peak, full.transactions, full.keys
        ));
    }
    for (what, bytes) in &full.disk_bytes_per_transaction {
        let mb = full.disk_mb.get(what).copied().unwrap_or_default();
        output.line(format_args!("disk of one validator, {what}: {bytes} bytes per transaction, {mb} MB after all"));
    }
    for gap in &full.view_change_gaps_ms {
        output.line(format_args!("kill -9 of the primary under load: {gap} ms between two commits at most"));
    }
}

fn header() -> String {
    format!(
        "{:<44}{:>6}{:>12}{:>12}{:>11}{:>11}{:>10}{:>16}{:>8}",
        "", "nodes", "per second", "cases/s", "p50 ms", "p99 ms", "CPU µs", "fsync p50/p99", "synced"
    )
}

fn line(row: &Row) -> String {
    let or_dash = |figure: Option<f64>| figure.map_or("–".to_owned(), |figure| figure.to_string());
    let fsync = format!("{}/{}", row.fsync_p50_ms, row.fsync_p99_ms);
    format!(
        "{:<44}{:>6}{:>12}{:>12}{:>11}{:>11}{:>10}{:>16}{:>8}",
        row.what,
        row.nodes,
        row.rate_per_s,
        or_dash(row.cases_per_s),
        row.p50_ms,
        row.p99_ms,
        or_dash(row.cpu_us),
        fsync,
        if row.synced { "yes" } else { "no" }
    )
}

/// Prints targets.
pub fn print_targets(targets: &[Target], output: Output) {
    for target in targets {
        let sign = if target.is_floor { "≥" } else { "≤" };
        let verdict = if target.is_met { good("met") } else { bad("missed") };
        let found = format!("{} {sign} {}", target.found, target.expected);
        output.line(format_args!("  {:<56}{found:>20}  {verdict}", target.what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FSYNC: Fsync = Fsync { p50_ms: 0.5, p99_ms: 2.0, per_s: 2_000.0 };

    #[test]
    fn bounds_hold_up_to_the_bound_itself() {
        assert!(Target::at_least("x", 2_500.0, 2_500.0).is_met);
        assert!(!Target::at_least("x", 2_499.0, 2_500.0).is_met);
        assert!(Target::at_most("x", 0.6, 0.6).is_met);
        assert!(!Target::at_most("x", 0.601, 0.6).is_met);
        assert!(Target::idle(7.0, &FSYNC).is_met && !Target::idle(7.001, &FSYNC).is_met);
        assert!(Target::loaded(155.0, &FSYNC).is_met && !Target::loaded(156.0, &FSYNC).is_met);
    }

    #[test]
    fn a_ratio_is_of_sums_and_of_nothing_there_is_none() {
        assert_eq!(ratio(&[(600.0, 1_000.0), (1_000.0, 1_000.0)]), Some(0.8));
        assert_eq!(ratio(&[]), None);
        assert_eq!(ratio(&[(5.0, 0.0)]), None);
        assert_eq!(ratio(&[(0.0, 5.0)]), None);
    }

    #[test]
    fn columns_stand_below_each_other() {
        let mut latencies = Latencies::new().expect("bounds");
        latencies.record(std::time::Duration::from_millis(3));
        let row = Row::new("one thing", 4, &latencies, 2.0, &FSYNC);
        assert_eq!((row.rate_per_s, row.p50_ms, row.fsync_p99_ms), (0.5, 3.001, 2.0));
        let row = line(&row);
        assert_eq!(row.chars().count(), header().chars().count());
        assert!(row.ends_with("yes") && row.contains("0.5/2"), "{row}");
    }
}
