//! The floor under any ledger that stores with RocksDB: one writer, every write synced, nothing signed, sent or hashed. Once a row
//! per write, once as many as a block of ours holds.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use ledger_node::SyncedWriter;

use crate::commands::bench::Latencies;
use crate::failure::Failure;
use crate::home;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// What was measured.
pub struct Written {
    /// Of every write.
    pub latencies: Latencies,
    /// Length of the measured part.
    pub elapsed: Duration,
    /// Rows in one write.
    pub group: usize,
}

impl Written {
    /// Rows per second.
    pub fn rate_per_s(&self) -> f64 {
        (self.latencies.count() * self.group as u64) as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Writes groups of rows of so many bytes each.
///
/// # Errors
/// When the store cannot be made or written.
pub fn write(folder: &Path, bytes: usize, group: usize, seconds: Duration) -> Result<Written, Failure> {
    let failed = |e: ledger_node::StoreError| Failure::classed(e.class(), e);
    let writer = SyncedWriter::create(folder).map_err(failed)?;
    let value = vec![0x5a; bytes.saturating_sub(KEY_BYTES)];
    let (mut latencies, start) = (Latencies::new()?, Instant::now());
    while start.elapsed() < seconds {
        let keys = (0..group).map(|_| home::random::<KEY_BYTES>()).collect::<Result<Vec<_>, _>>()?;
        let before = Instant::now();
        writer.write(keys.iter().map(|key| (&key[..], &value[..]))).map_err(failed)?;
        latencies.record(before.elapsed());
    }
    let elapsed = start.elapsed();
    drop(writer);
    std::fs::remove_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    Ok(Written { latencies, elapsed, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_not_writes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("floor");
        let written = write(&path, 100, 8, Duration::from_millis(20)).expect("written");
        assert!(written.latencies.count() > 0);
        let rows = written.rate_per_s() * written.elapsed.as_secs_f64();
        assert!((rows - written.latencies.count() as f64 * 8.0).abs() < 0.5);
        assert!(!path.exists(), "nothing is left behind");
    }
}
