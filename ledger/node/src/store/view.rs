//! The store as it was after one height, for those who copy it: a snapshot of RocksDB, which costs nothing to take and keeps what
//! is pruned meanwhile. It gives the manifest and the pieces of `schemas::transfer`; it never reads what came later.

use ledger_contract::{Nodes, StateError, subtrees};
use rocksdb::{DB, Direction, IteratorMode, SnapshotWithThreadMode};
use schemas::block::{Header, ValidatorSignature};
use schemas::cbor;
use schemas::id::Height;
use schemas::limits;
use schemas::merkle::{self, Frontier};
use schemas::proof::Value;
use schemas::transaction::LogEntry;
use schemas::transfer::{LOG_PIECE, LogManifest, Manifest, Row};
use schemas::tree::first_place;

use super::format::{LOG_ENTRIES, META, STATE, STATE_NODES, TIP_KEY};
use super::state::{node_key, root_before, row_of};
use super::{Store, StoreError, Tip, log};

/// A row of the state is taken to have so many bytes when pieces are planned.
const ROW_BYTES: u64 = 256;

/// The store after one height.
pub(crate) struct View<'a> {
    store: &'a Store,
    snapshot: SnapshotWithThreadMode<'a, DB>,
    header: Header,
    root_row: Vec<u8>,
}

impl<'a> View<'a> {
    /// The store as it is now; `None` at genesis, of which everyone has his own.
    ///
    /// # Errors
    /// `StoreError` when it cannot be read.
    pub fn take(store: &'a Store) -> Result<Option<Self>, StoreError> {
        let snapshot = store.db.snapshot();
        let tip = snapshot.get_cf(store.family(META), TIP_KEY)?.ok_or(StoreError::Corrupt { row: "tip" })?;
        let tip: Tip = cbor::decode(&tip).map_err(|_| StoreError::Corrupt { row: "tip" })?;
        let Some(header) = tip.header else { return Ok(None) };
        let root_row = root_before(snapshot.raw_iterator_cf(store.family(STATE_NODES)), header.height)?;
        Ok(Some(Self { store, snapshot, header, root_row }))
    }

    /// The height.
    pub const fn height(&self) -> Height {
        self.header.height
    }

    /// What it is cut into, with the attestations of its height; pieces of the state of about `piece_bytes`.
    ///
    /// # Errors
    /// `StoreError` when a row cannot be read or does not fit.
    pub fn manifest(&self, attestations: Vec<ValidatorSignature>, piece_bytes: usize) -> Result<Manifest, StoreError> {
        let property = self.store.db.property_int_value_cf(self.store.family(STATE), "rocksdb.estimate-num-keys")?;
        let bytes = property.unwrap_or(0).saturating_mul(ROW_BYTES);
        // cases fill one half of the tree
        let too_large = |depth: &u8| bytes >> (depth - 1) > piece_bytes as u64;
        let depth = (1..limits::TRANSFER_DEPTH_MAX).find(|depth| !too_large(depth));
        let depth = depth.unwrap_or(limits::TRANSFER_DEPTH_MAX);
        let state = subtrees(self, &self.root_row, depth)?.ok_or(StoreError::Corrupt { row: "state tree" })?;
        let manifest = Manifest { header: self.header.clone(), attestations, state, log: self.log()? };
        if manifest.fits() { Ok(manifest) } else { Err(StoreError::Corrupt { row: "snapshot" }) }
    }

    fn log(&self) -> Result<LogManifest, StoreError> {
        let (size, level) = (self.header.log_size, limits::TRANSFER_LOG_LEVEL);
        let first = self.store.log_needed_from(self.header.height)? / LOG_PIECE;
        let made = self.store.out_of_nodes(|node| {
            let before = Frontier::from_nodes(first, |above, index| node(level + above, index))?;
            let ends = |number: u64| (number * LOG_PIECE, ((number + 1) * LOG_PIECE).min(size));
            let pieces = (first..size.div_ceil(LOG_PIECE)).map(|number| {
                let (from, to) = ends(number);
                merkle::range_root(from, to, &mut *node)
            });
            Some(LogManifest { before, pieces: pieces.collect::<Option<_>>()? })
        })?;
        made.ok_or(StoreError::Corrupt { row: "log" })
    }

    /// All rows of a subtree; `None` when there is no such one, or it does not fit a frame.
    ///
    /// # Errors
    /// `StoreError` when a row cannot be read.
    pub fn rows(&self, depth: u8, index: u32) -> Result<Option<Vec<Row>>, StoreError> {
        let Some(first) = first_place(depth, index) else { return Ok(None) };
        let (mut out, mut bytes) = (Vec::new(), 0);
        let mode = IteratorMode::From(&first.0.0, Direction::Forward);
        for row in self.snapshot.iterator_cf(self.store.family(STATE), mode) {
            let (place, row) = row?;
            let place = schemas::id::Digest::from_slice(&place).map(schemas::tree::Place);
            let place = place.ok_or(StoreError::Corrupt { row: "state" })?;
            if !place.shares(&first, usize::from(depth)) {
                break;
            }
            bytes += row.len() + 16;
            if bytes > limits::PEER_FRAME_BYTES_MAX / 2 {
                return Ok(None);
            }
            let (key, value) = row_of(&row).ok_or(StoreError::Corrupt { row: "state" })?;
            out.push(Row { key: Value(key.to_vec()), value: Value(value.to_vec()) });
        }
        Ok(Some(out))
    }

    /// The entries of a piece of the log; `None` when there is no such one here.
    ///
    /// # Errors
    /// `StoreError` when a row cannot be read.
    pub fn entries(&self, number: u64) -> Result<Option<Vec<LogEntry>>, StoreError> {
        let Some(from) = number.checked_mul(LOG_PIECE).filter(|from| *from < self.header.log_size) else {
            return Ok(None);
        };
        if from < self.store.base.log.size() {
            return Ok(None);
        }
        let to = (from + LOG_PIECE).min(self.header.log_size);
        let rows = self.snapshot.raw_iterator_cf(self.store.family(LOG_ENTRIES));
        // those before the manifest's first piece may be gone
        Ok(log::entries(rows, from, to).ok())
    }
}

impl Nodes for View<'_> {
    fn piece(&self, height: Height, piece: u16) -> Result<Option<Vec<u8>>, StateError> {
        let row = self.snapshot.get_cf(self.store.family(STATE_NODES), node_key(height, piece));
        row.map_err(|e| StateError::Store(e.to_string()))
    }
}
