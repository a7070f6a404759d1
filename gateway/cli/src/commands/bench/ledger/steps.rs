//! Where the time goes while a ledger is under load: what each step of the validators and the client spent on the cores, and how
//! long the validators' loops waited for the disk. From the validators' own counters (`/metrics`) and what the system says about
//! their threads; it changes nothing.

use std::collections::BTreeMap;

use crate::cluster::Cluster;
use crate::commands::bench::shares;
use crate::failure::Failure;
use crate::usage::{cpu_ms, threads_cpu_ms};
use crate::watch::{Series, series, sum};

/// The thread of a validator's protocol loop.
const LOOP: &str = "pbft";
/// How names of RocksDB's own threads begin: they write and merge files.
const STORE: &str = "rocksdb";

/// Whom to look at.
pub struct Meter {
    processes: Vec<u32>,
    metrics: Vec<String>,
    http: reqwest::Client,
}

impl Meter {
    /// The validators of a watched cluster.
    pub fn of(cluster: &Cluster) -> Self {
        let operators = cluster.validators.iter().filter_map(|validator| validator.operators.as_ref());
        let metrics = operators.map(|address| format!("http://{address}/metrics")).collect();
        Self { processes: cluster.processes(), metrics, http: reqwest::Client::new() }
    }

    /// How many they are.
    pub const fn validators(&self) -> usize {
        self.metrics.len()
    }
}

/// Time that was used, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Used {
    /// On the cores by the validators.
    pub validators_ms: f64,
    /// On the cores by this process.
    pub client_ms: f64,
    /// On the cores by the threads of the protocol loops.
    loops_ms: f64,
    /// On the cores by the store's own threads.
    store_ms: f64,
    /// By step, as the validators count it.
    counted_ms: BTreeMap<&'static str, f64>,
}

/// Steps as a validator counts them.
const COUNTED: [&str; 4] = ["verify", "execute", "hash", "store"];

impl Used {
    /// All time so far.
    ///
    /// # Errors
    /// When a validator does not answer.
    pub async fn until_now(meter: Option<&Meter>) -> Result<Self, Failure> {
        let Some(meter) = meter else { return Ok(Self::default()) };
        let mut used = Self { client_ms: cpu_ms(std::process::id()) as f64, ..Self::default() };
        for &process in &meter.processes {
            used.validators_ms += cpu_ms(process) as f64;
            for (name, ms) in threads_cpu_ms(process) {
                let place = if name == LOOP { Some(&mut used.loops_ms) } else { None };
                let place = if name.starts_with(STORE) { Some(&mut used.store_ms) } else { place };
                place.into_iter().for_each(|place| *place += ms as f64);
            }
        }
        for url in &meter.metrics {
            used.add(&series(&meter.http, url).await?);
        }
        Ok(used)
    }

    fn add(&mut self, series: &Series) {
        for step in COUNTED {
            let seconds = sum(series, "chartseal_node_on_core_seconds_total", &format!("step=\"{step}\""));
            *self.counted_ms.entry(step).or_default() += seconds * 1000.0;
        }
        *self.counted_ms.entry("fsync").or_default() += sum(series, "chartseal_node_sync_seconds_sum", "") * 1000.0;
    }

    /// What was used since then.
    pub fn since(&self, before: &Self) -> Self {
        let counted = self.counted_ms.iter();
        let earlier = |step: &str| before.counted_ms.get(step).copied().unwrap_or(0.0);
        Self {
            validators_ms: self.validators_ms - before.validators_ms,
            client_ms: self.client_ms - before.client_ms,
            loops_ms: self.loops_ms - before.loops_ms,
            store_ms: self.store_ms - before.store_ms,
            counted_ms: counted.map(|(step, ms)| (*step, ms - earlier(step))).collect(),
        }
    }

    /// Each step's share of all the time: on the cores by validators and client, and of the loops for the disk.
    pub fn shares(&self) -> BTreeMap<String, f64> {
        let counted = |step: &str| self.counted_ms.get(step).copied().unwrap_or(0.0);
        let in_loop = counted("execute") + counted("hash") + counted("store");
        let steps = [
            ("verify", counted("verify")),
            ("execute", counted("execute")),
            ("hash", counted("hash")),
            ("store", counted("store")),
            // files that RocksDB writes and merges beside the loop
            ("compact", self.store_ms),
            // the core, its records, frames on their way out
            ("protocol", self.loops_ms - in_loop),
            // TLS, HTTP, frames on their way in, decoding
            ("network", self.validators_ms - self.loops_ms - self.store_ms - counted("verify")),
            ("client", self.client_ms),
            ("fsync", counted("fsync")),
        ];
        shares(steps.map(|(step, ms)| (step.to_owned(), ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(factor: f64) -> Used {
        let counted = [("verify", 40.0), ("execute", 10.0), ("hash", 5.0), ("store", 5.0), ("fsync", 20.0)];
        Used {
            validators_ms: 130.0 * factor,
            client_ms: 50.0 * factor,
            loops_ms: 30.0 * factor,
            store_ms: 20.0 * factor,
            counted_ms: counted.map(|(step, ms)| (step, ms * factor)).into(),
        }
    }

    #[test]
    fn every_millisecond_belongs_to_one_step() {
        let shares = used(3.0).since(&used(2.0)).shares();
        let expected = [
            ("client", 0.25),
            ("compact", 0.1),
            ("execute", 0.05),
            ("fsync", 0.1),
            ("hash", 0.025),
            ("network", 0.2),
            ("protocol", 0.05),
            ("store", 0.025),
            ("verify", 0.2),
        ];
        assert_eq!(shares, expected.map(|(step, share)| (step.to_owned(), share)).into());
    }

    #[test]
    fn what_validators_count_is_found_in_their_text() {
        let series: Series = [
            ("chartseal_node_on_core_seconds_total{step=\"verify\"}", 0.5),
            ("chartseal_node_on_core_seconds_total{step=\"hash\"}", 0.25),
            ("chartseal_node_sync_seconds_sum", 2.0),
            ("chartseal_node_sync_seconds_count", 7.0),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let mut used = Used::default();
        used.add(&series);
        used.add(&series);
        assert_eq!(used.counted_ms["verify"], 1000.0);
        assert_eq!(used.counted_ms["hash"], 500.0);
        assert_eq!(used.counted_ms["fsync"], 4000.0);
        assert_eq!(used.counted_ms["store"], 0.0);
    }
}
