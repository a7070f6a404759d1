//! The log in the store. New nodes of a block are one row, keyed by the log's size before the block, in the order of their making:
//! leaf k brings 1 + trailing_ones(k) nodes, so the first k leaves brought 2k − popcount(k). Entries are kept as long as a
//! state transfer hands them on: until no transaction of theirs could be executed again.

use rocksdb::{DBRawIterator, WriteBatch};
use schemas::cbor;
use schemas::id::{Digest, Height};
use schemas::limits;
use schemas::transaction::LogEntry;
use schemas::transfer::LOG_PIECE;

use super::format::{LOG_ENTRIES, LOG_NODES};
use super::{Executed, Store, StoreError};

const DAMAGED: StoreError = StoreError::Corrupt { row: "log" };

impl Store {
    /// A null batch adds nothing.
    pub(super) fn put_log(&self, batch: &mut WriteBatch, block: &Executed<'_>) {
        if block.nodes.is_empty() {
            return;
        }
        let first = block.first_leaf.to_be_bytes();
        batch.put_cf(self.family(LOG_NODES), first, bytes_of(block.nodes));
        batch.put_cf(self.family(LOG_ENTRIES), first, cbor::encode(&block.entries.to_vec()));
    }

    /// The first entry of the log that a snapshot of this height must hold: the first of the piece in which stands the newest
    /// one whose transaction has expired.
    ///
    /// # Errors
    /// `StoreError` when a row cannot be read.
    pub(super) fn log_needed_from(&self, height: Height) -> Result<u64, StoreError> {
        let expired = height.saturating_sub(limits::VALID_UNTIL_AHEAD_MAX);
        if expired <= self.base.height {
            return Ok(self.base.log.size());
        }
        let size = self.kept(expired)?.ok_or(StoreError::Corrupt { row: "header" })?.header.log_size;
        let last = size.saturating_sub(1);
        Ok((last - last % LOG_PIECE).max(self.base.log.size()))
    }

    /// Drops the entries that no snapshot of this height or a later one holds.
    ///
    /// # Errors
    /// `StoreError` when RocksDB fails.
    pub fn forget_entries(&self, height: Height) -> Result<(), StoreError> {
        let needed = self.log_needed_from(height)?;
        let mut rows = self.db.raw_iterator_cf(self.family(LOG_ENTRIES));
        // the row in which the first needed one stands
        rows.seek_for_prev(needed.to_be_bytes());
        let Some(first) = rows.key() else { return Ok(rows.status()?) };
        Ok(self.db.delete_range_cf(self.family(LOG_ENTRIES), 0_u64.to_be_bytes().as_slice(), first)?)
    }

    /// Makes a path out of nodes of the log.
    pub(super) fn log_path(
        &self,
        make: impl FnOnce(&mut dyn FnMut(u32, u64) -> Option<Digest>) -> Option<Vec<Digest>>,
    ) -> Result<Vec<Digest>, StoreError> {
        let path = self.out_of_nodes(make)?;
        let missing = || if self.base.height > 0 { StoreError::NotHeld { from: self.base.height } } else { DAMAGED };
        path.ok_or_else(missing)
    }

    /// Makes something out of nodes of the log; `None` when one is missing.
    pub(super) fn out_of_nodes<T>(
        &self,
        make: impl FnOnce(&mut dyn FnMut(u32, u64) -> Option<Digest>) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        let mut failed = None;
        let made = make(&mut |level, index| {
            self.log_node(level, index).unwrap_or_else(|e| {
                failed = Some(e);
                None
            })
        });
        failed.map_or(Ok(made), Err)
    }

    /// A perfect node of the log.
    fn log_node(&self, level: u32, index: u64) -> Result<Option<Digest>, StoreError> {
        // the leaf that completed it
        let Some(leaf) = index.checked_add(1).and_then(|next| next.checked_shl(level)).map(|next| next - 1) else {
            return Ok(None);
        };
        if leaf < self.base.log.size() {
            return Ok(self.base.log.peak(level, index));
        }
        let mut rows = self.db.raw_iterator_cf(self.family(LOG_NODES));
        rows.seek_for_prev(leaf.to_be_bytes());
        let (Some(key), Some(row)) = (rows.key(), rows.value()) else {
            rows.status()?;
            return Ok(None);
        };
        let at = made_by(leaf) - made_by(leaf_of(key)?) + u64::from(level);
        let at = usize::try_from(at).map_err(|_| DAMAGED)? * Digest::LEN;
        Ok(row.get(at..at + Digest::LEN).and_then(Digest::from_slice))
    }
}

/// Entries `from..to` out of the rows of `LOG_ENTRIES`.
pub(super) fn entries(mut rows: DBRawIterator<'_>, from: u64, to: u64) -> Result<Vec<LogEntry>, StoreError> {
    let mut out = Vec::new();
    rows.seek_for_prev(from.to_be_bytes());
    while let Some((key, row)) = rows.item() {
        let first = leaf_of(key)?;
        if first >= to {
            break;
        }
        let entries: Vec<LogEntry> = cbor::decode(row).map_err(|_| DAMAGED)?;
        out.extend((first..).zip(entries).filter(|(leaf, _)| (from..to).contains(leaf)).map(|(_, entry)| entry));
        rows.next();
    }
    rows.status()?;
    if out.len() as u64 == to.saturating_sub(from) { Ok(out) } else { Err(DAMAGED) }
}

pub(super) fn leaf_of(key: &[u8]) -> Result<u64, StoreError> {
    key.try_into().map(u64::from_be_bytes).map_err(|_| DAMAGED)
}

/// Nodes as a row.
pub(super) fn bytes_of(nodes: &[Digest]) -> Vec<u8> {
    nodes.iter().flat_map(|node| node.0).collect()
}

/// Nodes that the first `leaves` leaves brought.
fn made_by(leaves: u64) -> u64 {
    2 * leaves - u64::from(leaves.count_ones())
}
