//! Looks at running gateways from outside, as an operator would: counters from `/metrics`, anchored cases from the database. Demo and
//! bench stand on it. It reads only.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{SystemTime, UNIX_EPOCH};

use gateway_server::store::Store;
use gateway_server::store::cases::{self, CaseRow};
use schemas::id::CaseId;

use crate::failure::Failure;
use crate::home::Hospital;

/// Most cases read at once.
const CASES_PER_READ: usize = 2_000;

/// One gateway, watched.
pub struct Watch {
    http: reqwest::Client,
    metrics_url: String,
    store: Store,
    /// Every message up to this inbox row was seen.
    watermark: i64,
    /// Rows above it that were seen, and their cases.
    rows: BTreeSet<i64>,
    cases: HashSet<CaseId>,
}

/// The value of every series of `/metrics`, by its text.
pub type Series = BTreeMap<String, f64>;

impl Watch {
    /// Opens a gateway's database beside it.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn open(hospital: &Hospital) -> Result<Self, Failure> {
        let url = format!("sqlite:{}", hospital.folder.join("gateway.db").display());
        let store = Store::open(&url).await.map_err(|e| Failure::classed(e.class(), e))?;
        let metrics_url = format!("http://{}/metrics", hospital.operators);
        let http = reqwest::Client::new();
        Ok(Self { http, metrics_url, store, watermark: 0, rows: BTreeSet::new(), cases: HashSet::new() })
    }

    /// The database.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Cases anchored and indexed since the last call, each once.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn new_cases(&mut self) -> Result<Vec<CaseRow>, Failure> {
        let found = cases::after(&self.store, self.watermark, CASES_PER_READ).await;
        let mut found = found.map_err(|e| Failure::classed(e.class(), e))?;
        found.retain(|row| self.cases.insert(row.case));
        self.rows.extend(found.iter().map(|row| row.inbox_id));
        while self.rows.remove(&(self.watermark + 1)) {
            self.watermark += 1;
        }
        // A message that never becomes a case (quarantine) leaves a gap for good.
        if self.rows.len() > CASES_PER_READ / 2 {
            self.watermark = self.rows.pop_first().unwrap_or(self.watermark);
        }
        Ok(found)
    }

    /// Every series of `/metrics`.
    ///
    /// # Errors
    /// When the operators' listener does not answer.
    pub async fn metrics(&self) -> Result<Series, Failure> {
        series(&self.http, &self.metrics_url).await
    }
}

/// Every series of a `/metrics`.
///
/// # Errors
/// When it does not answer.
pub async fn series(http: &reqwest::Client, url: &str) -> Result<Series, Failure> {
    let away = |e: reqwest::Error| Failure::unavailable(format_args!("{url}: {e}"));
    let text = http.get(url).send().await.map_err(away)?.text().await.map_err(away)?;
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    Ok(pairs.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect())
}

/// The sum of all series of a name whose labels contain `label` (`moment="received"`).
pub fn sum(series: &Series, name: &str, label: &str) -> f64 {
    let of_name = series.range(name.to_owned()..).take_while(|(key, _)| key.starts_with(name));
    of_name.filter(|(key, _)| key.contains(label)).map(|(_, value)| value).sum()
}

/// Records at a moment of their way.
pub fn records(series: &Series, moment: &str) -> u64 {
    sum(series, "chartseal_records_total", &format!("moment=\"{moment}\"")) as u64
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Series, records, sum};

    #[test]
    fn series_are_summed_by_name_and_label() {
        let series: Series = [
            ("chartseal_records_total{moment=\"received\"}", 3.0),
            ("chartseal_records_total{moment=\"anchored\"}", 2.0),
            ("chartseal_records_totals{moment=\"received\"}", 0.0),
            ("chartseal_quarantined_total{code=\"a\"}", 1.0),
            ("chartseal_quarantined_total{code=\"b\"}", 1.0),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        assert_eq!(records(&series, "received"), 3);
        assert_eq!(sum(&series, "chartseal_quarantined_total", ""), 2.0);
        assert_eq!(records(&series, "sealed"), 0);
    }
}
