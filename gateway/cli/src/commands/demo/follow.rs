//! Follows the demo's messages until every one is an anchored case whose receipt verifies. A bar per stage on a terminal, a line per
//! case otherwise.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use gateway_server::store::cases::CaseRow;
use gateway_server::store::{anchors, units};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::Tally;
use crate::cluster::Cluster;
use crate::commands::verify;
use crate::failure::{Exit, Failure};
use crate::output::{Output, good};
use crate::watch::{Watch, records, sum};

/// Longest wait for all cases, in seconds.
const SECONDS_MAX: u64 = 120;
const STAGES: [&str; 4] = ["received", "sealed", "anchored", "verified"];

/// Waits for as many cases as messages were published; keeps every receipt in `receipts/`. Times
/// are shown from `first`, ms.
pub async fn follow(
    cluster: &mut Cluster,
    published: &[u64],
    first: i64,
    tally: &mut Tally,
    output: Output,
) -> Result<(), Failure> {
    let receipts = cluster.home.join("receipts");
    std::fs::create_dir_all(&receipts).with_context(|| format!("{}", receipts.display()))?;
    let mut watches = Vec::new();
    for hospital in &cluster.hospitals {
        watches.push(Watch::open(hospital).await?);
    }
    let bars = Bars::new(published.iter().sum(), output);
    if bars.is_none() {
        output.line(format_args!(
            "\n{:<7}{:<36}{:>9}{:>9}{:>10}  {:<9}what is new in it",
            "from", "case", "received", "sealed", "anchored", "receipt"
        ));
    }
    let start = Instant::now();
    loop {
        cluster.check()?;
        let mut stages = [0; 4];
        for (index, watch) in watches.iter_mut().enumerate() {
            for case in watch.new_cases().await? {
                let receipt = anchors::receipt(watch.store(), &case).await;
                let receipt = receipt.map_err(|e| Failure::classed(e.class(), e))?;
                keep_receipt(&receipts, &case, &receipt, &cluster.genesis)?;
                tally.verified += 1;
                tally.anchored += 1;
                tally.cases += 1;
                if bars.is_none() {
                    let short = Cluster::short_name(&cluster.hospitals[index]);
                    print_case(watch, short, &case, first, output).await?;
                }
            }
            let series = watch.metrics().await?;
            let refused = sum(&series, "chartseal_quarantined_total", "");
            if refused > 0.0 {
                let name = &cluster.hospitals[index].name;
                let found =
                    format!("{name}: {refused} messages are in quarantine, expected none: {}", reasons(watch).await);
                return Err(Failure::new(Exit::Failed, found));
            }
            stages[0] += records(&series, "received");
            stages[1] += records(&series, "sealed");
        }
        stages[2] = tally.anchored;
        stages[3] = tally.verified;
        tally.received = stages[0];
        if let Some(bars) = &bars {
            bars.show(stages);
        }
        if tally.cases >= published.iter().sum() {
            if let Some(bars) = bars {
                bars.end();
            }
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(SECONDS_MAX) {
            let (found, expected) = (tally.cases, published.iter().sum::<u64>());
            let found = format!(
                "found {found} anchored cases after {SECONDS_MAX} s, expected {expected}; see the logs in the folder"
            );
            return Err(Failure::new(Exit::Failed, found));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The receipt must verify with nothing but the genesis before it is kept.
fn keep_receipt(
    folder: &Path,
    case: &CaseRow,
    receipt: &str,
    genesis: &schemas::genesis::Genesis,
) -> Result<(), Failure> {
    let verified = verify::check(receipt.as_bytes(), genesis)
        .map_err(|e| Failure::new(Exit::Invalid, format_args!("case {}: {e}", case.case)))?;
    if verified.case != case.case {
        return Err(Failure::new(Exit::Invalid, format_args!("case {}: found another case's receipt", case.case)));
    }
    let path = folder.join(format!("{}.json", case.case));
    std::fs::write(&path, receipt).with_context(|| format!("{}", path.display()))?;
    Ok(())
}

async fn print_case(watch: &Watch, from: &str, case: &CaseRow, first: i64, output: Output) -> Result<(), Failure> {
    let since = |ms: i64| format!("{:.2} s", (ms - first).max(0) as f64 / 1000.0);
    let units = units::heads(watch.store(), &case.subject, None).await.map_err(|e| Failure::classed(e.class(), e))?;
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for unit in units.into_iter().filter(|unit| unit.case == case.case) {
        match kinds.iter_mut().find(|(kind, _)| *kind == unit.resource_type) {
            Some((_, n)) => *n += 1,
            None => kinds.push((unit.resource_type, 1)),
        }
    }
    let kinds: Vec<_> = kinds.into_iter().map(|(k, n)| if n == 1 { k } else { format!("{k}×{n}") }).collect();
    output.line(format_args!(
        "{from:<7}{:<36}{:>9}{:>9}{:>10}  {}  {}",
        case.case.to_string(),
        since(case.received),
        since(case.sealed),
        since(case.anchored_at),
        good("valid  "),
        kinds.join(" ")
    ));
    Ok(())
}

async fn reasons(watch: &Watch) -> String {
    let lines =
        gateway_server::store::dead_letters::list(watch.store(), &Default::default(), 0, 5).await.unwrap_or_default();
    lines.iter().map(|l| format!("{} at {}", l.code, l.path)).collect::<Vec<_>>().join(", ")
}

struct Bars {
    all: MultiProgress,
    stages: Vec<ProgressBar>,
}

impl Bars {
    fn new(total: u64, output: Output) -> Option<Self> {
        if !output.is_interactive() {
            return None;
        }
        let style = ProgressStyle::with_template("{prefix:>9} {bar:40.green} {pos}/{len}").ok()?;
        let all = MultiProgress::new();
        let stages = STAGES.map(|stage| all.add(ProgressBar::new(total).with_prefix(stage).with_style(style.clone())));
        Some(Self { all, stages: stages.into() })
    }

    fn show(&self, stages: [u64; 4]) {
        self.stages.iter().zip(stages).for_each(|(bar, done)| bar.set_position(done));
    }

    fn end(self) {
        self.stages.iter().for_each(ProgressBar::abandon);
        drop(self.all);
    }
}
