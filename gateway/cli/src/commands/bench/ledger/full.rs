//! `bench ledger --full`: the same load over ten thousand and over a million keys in turn, a million transactions, memory and disk
//! after them, 7 and 30 validators, a primary that dies under load, and in turn with ours etcd and RocksDB alone. One part after the
//! other on otherwise idle cores; each figure has the disk's sync beside it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use ledger_client::Ledger;
use schemas::limits::VIEW_TIMEOUT_MS;

use super::etcd::Etcd;
use super::load::{Client, IN_FLIGHT_MAX, Load, Phase, Until};
use super::report::{Full, Megabytes, Row, Target, ratio};
use super::steps::Meter;
use super::{Alone, figures, floor, load, start, targets};
use crate::cluster::Cluster;
use crate::commands::bench::{Figures, Fsync, round};
use crate::commands::run::runtime;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::usage::{Memory, disk_bytes, memory, written_bytes};

/// Keys of the small state.
const KEYS_SMALL: u64 = 10_000;
/// Cases in one transaction of the preload.
const CASES_MANY: u32 = 100;
/// Times that two run in turn.
const TURNS: usize = 2;
/// Primaries that die.
const DEATHS: usize = 3;
/// Load before the primary dies.
const DEATH_AFTER: Duration = Duration::from_secs(2);
/// Load around a death: long enough for the timeout, and for the new view to be at work.
const DEATH_PHASE: Duration = Duration::from_secs(8);
/// Memory of a validator after the long run, in megabytes.
const MEMORY_MB_MAX: f64 = 300.0;
/// Part of the rate over the small state that must be left over the large one.
const RATE_KEPT: f64 = 0.75;
/// Part of etcd's rate that must be reached.
const RATE_OF_ETCD: f64 = 0.6;
/// Megabyte, in kilobytes.
const MB_KB: u64 = 1024;

/// Runs everything; `seconds` is the length of the first phase, those in turn have a third of it.
pub fn run(
    folder: &Path,
    seconds: Duration,
    (keys, transactions): (u64, u64),
    output: Output,
) -> Result<Figures, Failure> {
    runtime()?.block_on(async {
        let mut bench =
            Bench { folder, turn: seconds / 3, output, full: Full::default(), targets: vec![], clusters: 0 };
        let mut figures = bench.small(seconds).await?;
        bench.large(keys, transactions, &mut figures).await?;
        bench.other_sizes().await;
        (figures.targets, figures.full) = (bench.targets, Some(bench.full));
        Ok(figures)
    })
}

struct Bench<'a> {
    folder: &'a Path,
    /// Length of a phase that has another one beside it.
    turn: Duration,
    output: Output,
    full: Full,
    targets: Vec<Target>,
    /// How many were started: each has a folder of its own.
    clusters: usize,
}

/// A running cluster with its client; its folder goes with it.
struct World {
    cluster: Cluster,
    client: Client,
    _folder: tempfile::TempDir,
}

impl World {
    fn nodes(&self) -> usize {
        self.cluster.validators.len()
    }
}

impl Bench<'_> {
    /// A new cluster whose state holds so many keys.
    async fn world(&mut self, validators: usize, keys: u64) -> Result<World, Failure> {
        self.clusters += 1;
        let folder = tempfile::Builder::new().prefix("world-").tempdir_in(self.folder).context("a folder")?;
        let cluster = start(folder.path(), validators, self.output)?;
        let (client, meter) = (Client::open(&cluster)?, Meter::of(&cluster));
        let world = World { cluster, client, _folder: folder };
        let transactions = keys.div_ceil(u64::from(CASES_MANY) + 1);
        let bar = self.bar("cases by the hundred", transactions);
        let until = Until::Transactions(transactions);
        let preload = Load { statements: CASES_MANY, until, bar: &bar, ..load(&meter) };
        let phase = world.client.load(preload).await?;
        bar.finish_and_clear();
        let (found, rate) = (world.client.keys(), phase.rate_per_s() * f64::from(CASES_MANY));
        self.output.note(format_args!("{found} keys, at {rate:.0} cases per second"));
        Ok(world)
    }

    /// One phase of a running cluster, with a row.
    async fn phase(&mut self, world: &mut World, what: &str, load: Load<'_>) -> Result<(Phase, Fsync), Failure> {
        let fsync = Fsync::measure(self.folder)?;
        let phase = world.client.load(load).await?;
        world.cluster.check()?;
        self.add(Row::of_phase(what, world.nodes(), &phase, &fsync));
        Ok((phase, fsync))
    }

    /// One case per transaction for a turn; transactions per second.
    async fn turn(&mut self, world: &mut World, what: &str) -> Result<f64, Failure> {
        let meter = Meter::of(&world.cluster);
        let (phase, _) = self.phase(world, what, Load { until: Until::Elapsed(self.turn), ..load(&meter) }).await?;
        Ok(phase.rate_per_s())
    }

    fn add(&mut self, row: Row) {
        let Row { what, nodes, rate_per_s, p50_ms, p99_ms, steps, .. } = &row;
        self.output
            .note(format_args!("{what}, {nodes} nodes: {rate_per_s} per second, p50 {p50_ms} ms, p99 {p99_ms} ms"));
        let percent = steps.iter().map(|(step, share)| format!("{step} {:.1} %", share * 100.0));
        let percent: Vec<String> = percent.collect();
        if !percent.is_empty() {
            self.output.note(format_args!("  {}", percent.join(", ")));
        }
        self.full.rows.push(row);
    }

    /// What the plain bench measures, then etcd and the floor in turn, then deaths.
    async fn small(&mut self, seconds: Duration) -> Result<Figures, Failure> {
        let mut world = self.world(4, KEYS_SMALL).await?;
        let meter = Meter::of(&world.cluster);
        let fsync = Fsync::measure(self.folder)?;
        let alone = Alone::measure(&world.client, &meter).await?;
        self.add(Row::of_alone("one at a time", 4, &alone.latencies, alone.elapsed.as_secs_f64(), &fsync));
        let idle = Target::idle(alone.latencies.ms(0.5), &fsync);
        let until = Until::Elapsed(seconds);
        let (phase, fsync) = self.phase(&mut world, "1 case each", Load { until, ..load(&meter) }).await?;
        let mut figures = figures(&world.cluster, &alone, &phase);
        self.targets.push(idle);
        self.targets.extend(targets(&alone, &phase, &fsync).into_iter().filter(|t| !t.what.starts_with("idle")));
        let many = Load { statements: CASES_MANY, until, ..load(&meter) };
        let (many, fsync) = self.phase(&mut world, "100 cases each", many).await?;
        let of_many = targets(&alone, &many, &fsync);
        self.targets.extend(of_many.into_iter().filter(|target| !target.what.starts_with("idle")));
        self.etcd(&mut world, phase.transaction_bytes(), &mut figures).await?;
        self.floor(&phase, &mut figures)?;
        self.deaths(&mut world).await?;
        Ok(figures)
    }

    /// etcd and ours in turn.
    async fn etcd(&mut self, world: &mut World, bytes: usize, figures: &mut Figures) -> Result<(), Failure> {
        if !super::etcd::is_installed(std::env::var_os("PATH").as_deref()) {
            self.output.line("etcd is not installed: no ratio (compose/services install etcd)");
            return Ok(());
        }
        let etcd = Etcd::start(&self.folder.join("etcd")).await?;
        let version = super::etcd::version().unwrap_or_default();
        self.output.line(format_args!(
            "etcd {version} beside it: puts of {bytes} bytes over gRPC, {IN_FLIGHT_MAX} under way over {} connections; it tolerates \
             crashes only and checks no signatures, ours a validator that lies, and every signature at each of them",
            etcd.connections()
        ));
        let mut turns = vec![];
        for _ in 0..TURNS {
            let ours = self.turn(world, "1 case each, in turn with etcd").await?;
            let fsync = Fsync::measure(self.folder)?;
            let puts = etcd.load(bytes, self.turn).await?;
            self.add(Row::of_puts("etcd", &puts, &fsync));
            turns.push((ours, puts.rate_per_s()));
        }
        if let Some(ratio) = ratio(&turns) {
            figures.ratio.insert("etcd", ratio);
            self.targets.push(Target::at_least("part of etcd's rate", ratio, RATE_OF_ETCD));
        }
        Ok(())
    }

    /// RocksDB alone: a row a write, and as many as our blocks hold.
    fn floor(&mut self, phase: &Phase, figures: &mut Figures) -> Result<(), Failure> {
        let (folder, bytes) = (self.folder.join("floor"), phase.transaction_bytes());
        let groups = [(1, "rocksdb_synced"), (phase.block_transactions(), "rocksdb_synced_in_groups")];
        for (group, name) in groups {
            let fsync = Fsync::measure(self.folder)?;
            let written = floor::write(&folder, bytes, group, self.turn)?;
            let what = format!("RocksDB, synced, {group} × {bytes} bytes a write");
            self.add(Row::of_written(what, &written, &fsync));
            if let Some(ratio) = ratio(&[(phase.rate_per_s(), written.rate_per_s())]) {
                figures.ratio.insert(name, ratio);
            }
        }
        Ok(())
    }

    /// kill -9 of the primary under load, several times; each comes back before the next one goes.
    async fn deaths(&mut self, world: &mut World) -> Result<(), Failure> {
        for _ in 0..DEATHS {
            let primary = primary(&world.client).await?;
            let client = world.client.clone();
            let meter = Meter::of(&world.cluster);
            let around = Load { until: Until::Elapsed(DEATH_PHASE), meter: None, ..load(&meter) };
            let (phase, killed) = tokio::join!(client.load(around), async {
                tokio::time::sleep(DEATH_AFTER + super::WARM_UP).await;
                world.cluster.kill(primary)
            });
            killed?;
            let gap = phase?.longest_gap;
            self.output.note(format_args!("the primary, validator {}, died: {} ms", primary + 1, gap.as_millis()));
            self.full.view_change_gaps_ms.push(gap.as_millis() as f64);
            world.cluster.restart(primary)?;
            caught_up(world).await?;
        }
        let longest = self.full.view_change_gaps_ms.iter().copied().fold(0.0, f64::max);
        let expected = (VIEW_TIMEOUT_MS + 1_000) as f64;
        self.targets.push(Target::at_most(
            "longest gap when the primary dies, ms: the timeout + 1 s",
            longest,
            expected,
        ));
        Ok(())
    }

    /// A large state and a small one in turn, the long run, memory and disk, and in turn once more.
    async fn large(&mut self, keys: u64, transactions: u64, figures: &mut Figures) -> Result<(), Failure> {
        let mut large = self.world(4, keys).await?;
        let mut turns = vec![];
        for _ in 0..TURNS {
            turns.push(self.small_and_large(&mut large).await?);
        }
        self.keep_rate("large_state", &turns, &large, figures);
        let before = Disk::of(&large.cluster);
        let bar = self.bar("transactions of one case", transactions);
        let (until, meter) = (Until::Transactions(transactions), Meter::of(&large.cluster));
        let long = Load { until, bar: &bar, ..load(&meter) };
        let (phase, _) = self.phase(&mut large, &format!("{transactions} transactions of 1 case"), long).await?;
        bar.finish_and_clear();
        (self.full.transactions, self.full.keys) = (phase.transactions(), large.client.keys());
        self.memory(&large);
        let after = Disk::of(&large.cluster);
        self.full.disk_bytes_per_transaction =
            after.since(&before, phase.transactions() * large.nodes() as u64).by_name();
        self.full.disk_mb = after.since(&Disk::default(), (large.nodes() as u64) << 20).by_name();
        let turns = [self.small_and_large(&mut large).await?];
        self.keep_rate("after_long_run", &turns, &large, figures);
        Ok(())
    }

    /// One turn over each, the small state in a cluster of its own, so that it is small every time.
    async fn small_and_large(&mut self, large: &mut World) -> Result<(f64, f64), Failure> {
        let mut small = self.world(4, KEYS_SMALL).await?;
        let what = format!("1 case each, from {} keys", small.client.keys());
        let over_small = self.turn(&mut small, &what).await?;
        drop(small);
        let what = format!("1 case each, from {} keys", large.client.keys());
        Ok((self.turn(large, &what).await?, over_small))
    }

    fn keep_rate(&mut self, name: &'static str, turns: &[(f64, f64)], large: &World, figures: &mut Figures) {
        let Some(ratio) = ratio(turns) else { return };
        figures.ratio.insert(name, ratio);
        let what = format!("part of the rate that is left over {} keys", large.client.keys());
        self.targets.push(Target::at_least(what, ratio, RATE_KEPT));
    }

    fn memory(&mut self, world: &World) {
        let all = world.cluster.processes().into_iter().map(memory);
        let mb = |m: Memory| Megabytes {
            resident: m.resident_kb / MB_KB,
            anonymous: m.anonymous_kb / MB_KB,
            peak: m.peak_kb / MB_KB,
        };
        self.full.memory = all.map(mb).collect();
        let most = self.full.memory.iter().map(|memory| memory.peak).max().unwrap_or(0);
        self.targets.push(Target::at_most("most memory of a validator, MB", most as f64, MEMORY_MB_MAX));
    }

    /// Others than four validators: reported, without a target. More than the machine carries are no reason to lose what was measured.
    async fn other_sizes(&mut self) {
        for validators in [7, 30] {
            let measured = async {
                let mut world = self.world(validators, KEYS_SMALL).await?;
                self.turn(&mut world, "1 case each").await
            };
            if let Err(failure) = measured.await {
                self.output.note(format_args!("{validators} validators: no figure: {failure}"));
            }
        }
    }

    fn bar(&self, what: &'static str, length: u64) -> ProgressBar {
        if !self.output.is_interactive() {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{msg:<26} {bar:40} {pos}/{len} {per_sec} {eta}");
        let bar = ProgressBar::new(length).with_message(what);
        style.map_or(bar.clone(), |style| bar.with_style(style))
    }
}

/// The primary of the view that a quorum is in.
async fn primary(client: &Client) -> Result<usize, Failure> {
    let all = client.ledger().status().await;
    let numbers = all.iter().filter_map(|one| one.status.as_ref()?.get("primary")?.as_u64());
    let mut found: Vec<usize> = numbers.filter_map(|number| usize::try_from(number).ok()).collect();
    found.sort_unstable();
    // in the middle there is one that an honest validator said
    let middle = found.get(found.len() / 2).copied();
    middle.ok_or_else(|| Failure::new(Exit::TryAgain, "no validator says who the primary is"))
}

/// Waits until all validators have seen the same height.
async fn caught_up(world: &mut World) -> Result<(), Failure> {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        world.cluster.check()?;
        let all = world.client.ledger().status().await;
        let heights: Vec<_> = all.iter().filter_map(|one| one.status.as_ref()?.get("height")?.as_u64()).collect();
        let is_level = heights.iter().min() == heights.iter().max();
        if heights.len() == world.nodes() && is_level {
            return Ok(());
        }
        if std::time::Instant::now() > deadline {
            let found = format!("a validator that came back: found heights {heights:?} after 60 s, expected all equal");
            return Err(Failure::new(Exit::Failed, found));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Bytes of validators on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Disk<T = u64> {
    blocks: T,
    votes: T,
    /// What went to the disk in all, also what was written over or merged since.
    written: T,
}

impl Disk {
    /// Of all validators.
    fn of(cluster: &Cluster) -> Self {
        let sum = |part: &str| cluster.validators.iter().map(|v| disk_bytes(&v.folder.join("data").join(part))).sum();
        let written = cluster.processes().into_iter().map(written_bytes).sum();
        Self { blocks: sum("blocks"), votes: sum("votes"), written }
    }

    /// Growth for each of so many; what became less counts as nothing.
    fn since(self, before: &Self, parts: u64) -> Disk<f64> {
        let each = |now: u64, then: u64| round(now.saturating_sub(then) as f64 / parts.max(1) as f64);
        Disk {
            blocks: each(self.blocks, before.blocks),
            votes: each(self.votes, before.votes),
            written: each(self.written, before.written),
        }
    }
}

impl Disk<f64> {
    fn by_name(self) -> BTreeMap<&'static str, f64> {
        [("block store", self.blocks), ("vote log", self.votes), ("written in all", self.written)].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_per_transaction_and_never_negative() {
        let (before, after) =
            (Disk { blocks: 1_000, votes: 900, written: 0 }, Disk { blocks: 3_000, votes: 500, written: 50 });
        assert_eq!(after.since(&before, 10), Disk { blocks: 200.0, votes: 0.0, written: 5.0 });
        assert_eq!(after.since(&before, 0).blocks, 2_000.0);
    }
}
