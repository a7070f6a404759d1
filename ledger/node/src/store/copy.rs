//! A store that is made out of another validator's snapshot: rows and entries as they come, each piece checked before, then the tree
//! and all that follows from the log at once. It is nobody's store before `finish` has written what makes it one; until then
//! its folder is thrown away at the next start.

use std::path::Path;

use ledger_contract::{Changes, StateTree};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{IteratorMode, WriteBatch, WriteOptions};
use schemas::block::{Header, ValidatorSignature};
use schemas::cbor;
use schemas::id::{ChainId, Height};
use schemas::limits;
use schemas::merkle::Frontier;
use schemas::transaction::LogEntry;
use schemas::transfer::{LOG_PIECE, Row};

use super::blocks::Kept;
use super::format::{self, ATTESTATIONS, BASE_KEY, HEADERS, LOG_ENTRIES, LOG_NODES, META, STATE};
use super::state::{row_of, to_row};
use super::{Base, Store, StoreError, Tip, height_key, log, synced};

/// Leaves of the tree that are made at once: about 25 MB of memory, and nodes that one height can name.
const LEAVES_AT_ONCE: usize = if cfg!(test) { 16 } else { 100_000 };
const DIFFERS: StoreError = StoreError::Corrupt { row: "copied" };

/// What makes a copy whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// The header of the snapshot.
    pub header: Header,
    /// At least q signatures over it.
    pub attestations: Vec<ValidatorSignature>,
    /// The pieces of the log before the first that was copied.
    pub before: Frontier,
}

impl Store {
    /// An empty folder for a copy; whatever lay there is gone.
    ///
    /// # Errors
    /// `StoreError` when it cannot be made.
    pub fn begin_copy(path: &Path, bytes: usize) -> Result<Self, StoreError> {
        remove(path)?;
        let db = format::open(path, bytes)?;
        Ok(Self { db, base: Base::default(), bodies_from: 0.into(), forgotten: 0.into() })
    }

    /// A copy of all files, linked where they do not change: for a backup. A folder that lies there is replaced.
    ///
    /// # Errors
    /// `StoreError` when it cannot be made.
    pub fn checkpoint_to(&self, path: &Path) -> Result<(), StoreError> {
        remove(path)?;
        Ok(Checkpoint::new(&self.db)?.create_checkpoint(path)?)
    }

    /// Begins anew, for another height.
    ///
    /// # Errors
    /// `StoreError` when RocksDB fails.
    pub fn clear_copy(&self) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for family in [STATE, LOG_ENTRIES] {
            batch.delete_range_cf(self.family(family), [].as_slice(), [0xff; 33].as_slice());
        }
        Ok(self.db.write_opt(batch, &unlogged())?)
    }

    /// Rows of the state, which were checked.
    ///
    /// # Errors
    /// `StoreError` when RocksDB fails.
    pub fn copy_rows(&self, rows: &[Row]) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for Row { key, value } in rows {
            let place = schemas::tree::Place::of(&key.0).ok_or(DIFFERS)?;
            batch.put_cf(self.family(STATE), place.0.0, to_row(&key.0, &value.0)?);
        }
        Ok(self.db.write_opt(batch, &unlogged())?)
    }

    /// Entries of a piece of the log, which were checked.
    ///
    /// # Errors
    /// `StoreError` when RocksDB fails.
    pub fn copy_entries(&self, number: u64, entries: &[LogEntry]) -> Result<(), StoreError> {
        let (key, row) = ((number * LOG_PIECE).to_be_bytes(), cbor::encode(&entries.to_vec()));
        Ok(self.db.put_cf_opt(self.family(LOG_ENTRIES), key, row, &unlogged())?)
    }

    /// Makes everything that follows from rows and entries, and the whole durable. Only now it is a store.
    ///
    /// # Errors
    /// `StoreError::Corrupt` when the roots are not those of the header; others when RocksDB fails.
    pub fn finish_copy(&self, chain: &ChainId, copy: &Copy) -> Result<(), StoreError> {
        let Copy { header, attestations, before } = copy;
        let log = before.clone().over_leaves(limits::TRANSFER_LOG_LEVEL).ok_or(DIFFERS)?;
        self.grow_tree(header)?;
        let (frontier, entries) = self.grow_log(log.clone(), header)?;
        let mut batch = WriteBatch::default();
        let key = height_key(header.height);
        let kept = Kept { header: header.clone(), entries, agreed: None };
        batch.put_cf(self.family(HEADERS), key, cbor::encode(&kept));
        batch.put_cf(self.family(ATTESTATIONS), key, cbor::encode(attestations));
        self.db.write_opt(batch, &unlogged())?;
        self.flush()?;
        let mut batch = WriteBatch::default();
        batch.put_cf(self.family(META), BASE_KEY, cbor::encode(&Base { height: header.height, log }));
        self.put_meta(&mut batch, chain, &Tip { header: Some(header.clone()), frontier });
        self.db.write_opt(batch, &synced())?;
        self.flush()
    }

    /// The tree of all rows. Its nodes are named by heights below the header's, which no block here has: as many as there are
    /// groups of leaves, fewer than heights, since a block never brings as many rows as a group holds.
    fn grow_tree(&self, header: &Header) -> Result<(), StoreError> {
        let (mut tree, mut changes, mut at) = (StateTree::default(), Changes::default(), header.height);
        for row in self.db.iterator_cf(self.family(STATE), IteratorMode::Start) {
            let (_, row) = row?;
            let (key, value) = row_of(&row).ok_or(DIFFERS)?;
            changes.0.insert(key.to_vec(), Some(value.to_vec()));
            if changes.0.len() == LEAVES_AT_ONCE {
                self.grow(&mut tree, at, &std::mem::take(&mut changes))?;
                at = at.checked_sub(1).filter(|at| *at > 0).ok_or(DIFFERS)?;
            }
        }
        let root_row = self.grow(&mut tree, at, &changes)?;
        let mut batch = WriteBatch::default();
        self.put_root(&mut batch, header.height, &root_row);
        self.db.write_opt(batch, &unlogged())?;
        if tree.root() == header.state_root { Ok(()) } else { Err(DIFFERS) }
    }

    fn grow(&self, tree: &mut StateTree, at: Height, changes: &Changes) -> Result<Vec<u8>, StoreError> {
        let written = tree.update(self, at, changes)?;
        let mut batch = WriteBatch::default();
        self.put_nodes(&mut batch, at, &written);
        self.db.write_opt(batch, &unlogged())?;
        Ok(written.root_row)
    }

    /// Nodes of the log and places of its transactions; the frontier, and how many entries are of the header's own block.
    fn grow_log(&self, mut frontier: Frontier, header: &Header) -> Result<(Frontier, u32), StoreError> {
        let mut of_header = 0;
        for row in self.db.iterator_cf(self.family(LOG_ENTRIES), IteratorMode::Start) {
            let (key, row) = row?;
            let entries: Vec<LogEntry> = cbor::decode(&row).map_err(|_| DIFFERS)?;
            if log::leaf_of(&key)? != frontier.size() {
                return Err(DIFFERS);
            }
            let mut nodes = Vec::with_capacity(entries.len() * 2);
            entries.iter().for_each(|entry| frontier.append(entry.leaf(), |_, _, node| nodes.push(*node)));
            let mut batch = WriteBatch::default();
            batch.put_cf(self.family(LOG_NODES), &key, log::bytes_of(&nodes));
            self.db.write_opt(batch, &unlogged())?;
            // block by block, as if they had been executed here
            for block in entries.chunk_by(|a, b| a.height == b.height) {
                let mut batch = WriteBatch::default();
                self.put_places(&mut batch, block)?;
                self.db.write_opt(batch, &unlogged())?;
            }
            of_header += entries.iter().filter(|entry| entry.height == header.height).count();
        }
        let fits = frontier.size() == header.log_size && frontier.root() == header.log_root;
        if fits { Ok((frontier, u32::try_from(of_header).unwrap_or(u32::MAX))) } else { Err(DIFFERS) }
    }
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::File { path: path.display().to_string(), cause })
        }
        _ => Ok(()),
    }
}

/// What is lost with a crash is fetched again.
fn unlogged() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

#[cfg(test)]
mod tests;
