//! The state and its tree in the store: each row under its place, so that a subtree is a range; the nodes of each block as one run
//! of rows with the root behind them, the names of what it replaced as one more, and the values that were overwritten, so that
//! what stood at a height can be shown later. Only nodes of cases are ever forgotten.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use ledger_contract::{Changes, NodeName, Nodes, StateError, StateTree, Written, find, forget};
use rocksdb::{DBRawIterator, Direction, IteratorMode, WriteBatch};
use schemas::cbor;
use schemas::id::{Digest, Height};
use schemas::proof::{StateProof, Value};
use schemas::tree::{Leaf, Place};

use super::format::{STATE, STATE_NODES, STATE_OLD, STATE_STALE};
use super::{Store, StoreError, Tip, height_key};

/// Stands where a piece's number would: the root after the block.
const ROOT: u16 = u16::MAX;
/// Bytes of a name in a row of replaced nodes.
const NAME_BYTES: usize = 12;

/// Names of forgotten nodes in one go, in bytes.
const FORGOTTEN_BYTES_MAX: usize = 2 << 20;
/// Pieces that are written anew together, in bytes.
const FORGET_BATCH_BYTES: usize = 256 << 10;

/// What was asked about a key.
#[derive(Debug)]
pub(crate) enum Shown {
    /// The proof.
    Proof(Box<StateProof>),
    /// The height is not final here.
    NotFinal,
    /// Nodes of that height were forgotten.
    Forgotten,
    /// Not a key of the tree.
    NoKey,
}

impl Store {
    /// The tree after the newest block, which must have the root that its header names.
    ///
    /// # Errors
    /// `StoreError::Corrupt` when rows are missing or have another root.
    pub fn tree(&self, tip: &Tip) -> Result<StateTree, StoreError> {
        let tree = StateTree::at(&self.root_row(tip.height())?)?;
        match &tip.header {
            Some(header) if header.state_root != tree.root() => Err(StoreError::Corrupt { row: "state root" }),
            _ => Ok(tree),
        }
    }

    /// The value of a key. `tx/` keys have no place in the tree: they follow from where transactions were executed.
    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(place) = Place::of(key) else {
            let id = key.get(b"tx/".len()..).and_then(Digest::from_slice).ok_or(StoreError::Corrupt { row: "key" })?;
            return Ok(self.accepted(&id)?.map(|height| cbor::encode(&height)));
        };
        let Some(row) = self.db.get_pinned_cf(self.family(STATE), place.0.0)? else { return Ok(None) };
        match row_of(&row) {
            Some((found, value)) if found == key => Ok(Some(value.to_vec())),
            _ => Err(StoreError::Corrupt { row: "state" }),
        }
    }

    /// Rows of the state. `tx/` rows come with the entries of the block.
    pub(super) fn put_changes(&self, batch: &mut WriteBatch, changes: &Changes) -> Result<(), StoreError> {
        for (key, value) in &changes.0 {
            let Some(place) = Place::of(key) else { continue };
            match value {
                Some(value) => batch.put_cf(self.family(STATE), place.0.0, to_row(key, value)?),
                None => batch.delete_cf(self.family(STATE), place.0.0),
            }
        }
        Ok(())
    }

    pub(super) fn put_tree(&self, batch: &mut WriteBatch, height: Height, written: &Written) {
        self.put_nodes(batch, height, written);
        self.put_root(batch, height, &written.root_row);
    }

    pub(super) fn put_root(&self, batch: &mut WriteBatch, height: Height, root_row: &[u8]) {
        batch.put_cf(self.family(STATE_NODES), node_key(height, ROOT), root_row);
    }

    /// New nodes and the names of those that they replace.
    pub(super) fn put_nodes(&self, batch: &mut WriteBatch, height: Height, written: &Written) {
        for (piece, bytes) in (0..).zip(&written.pieces) {
            batch.put_cf(self.family(STATE_NODES), node_key(height, piece), bytes);
        }
        if !written.stale.is_empty() {
            let names: Vec<u8> = written.stale.iter().flat_map(name_bytes).collect();
            batch.put_cf(self.family(STATE_STALE), height_key(height), names);
        }
    }

    /// Keeps the values that the block overwrites. To be asked before the changes are written.
    pub(super) fn put_old(
        &self,
        batch: &mut WriteBatch,
        height: Height,
        changes: &Changes,
        replaced: &[Place],
    ) -> Result<(), StoreError> {
        if replaced.is_empty() {
            return Ok(());
        }
        let was_there = |place: &Place| replaced.binary_search(place).is_ok();
        for key in changes.0.keys() {
            let Some(place) = Place::of(key).filter(was_there) else { continue };
            let old = self.value(key)?.ok_or(StoreError::Corrupt { row: "state" })?;
            batch.put_cf(self.family(STATE_OLD), old_key(&place, height), old);
        }
        Ok(())
    }

    /// What a key held after the block at `height`.
    ///
    /// # Errors
    /// `StoreError` when a row does not fit.
    pub fn state_proof(&self, key: &[u8], height: Height) -> Result<Shown, StoreError> {
        let Some(place) = Place::of(key) else { return Ok(Shown::NoKey) };
        let Some(attested) = self.attested(height)? else { return Ok(Shown::NotFinal) };
        let Some(found) = find(self, &self.root_row(height)?, &place)? else { return Ok(Shown::Forgotten) };
        let (value, other) = match found.leaf {
            Some(leaf) if leaf.place == place => {
                let value = self.value_at(key, height)?.filter(|value| Leaf::of(place, value) == leaf);
                (Some(Value(value.ok_or(StoreError::Corrupt { row: "state" })?)), None)
            }
            other => (None, other),
        };
        let (header, attestations) = (attested.header, attested.attestations);
        let proof = StateProof { key: key.to_vec(), value, other, siblings: found.siblings, header, attestations };
        Ok(Shown::Proof(Box::new(proof)))
    }

    /// The value that the key held after a height: the first one that was overwritten later, or the one of now.
    fn value_at(&self, key: &[u8], height: Height) -> Result<Option<Vec<u8>>, StoreError> {
        let place = Place::of(key).ok_or(StoreError::Corrupt { row: "key" })?;
        let from = old_key(&place, height + 1);
        let mut rows = self.db.iterator_cf(self.family(STATE_OLD), IteratorMode::From(&from, Direction::Forward));
        if let Some(row) = rows.next() {
            let (at, value) = row?;
            if at.starts_with(&place.0.0) {
                return Ok(Some(value.into()));
            }
        }
        self.value(key)
    }

    fn root_row(&self, height: Height) -> Result<Vec<u8>, StoreError> {
        root_before(self.db.raw_iterator_cf(self.family(STATE_NODES)), height)
    }

    /// Forgets the nodes of cases that no tree from `height` on needs, of many blocks together. Cut short, it begins with the same again:
    /// what is forgotten already stays so.
    ///
    /// # Errors
    /// `StoreError` when a row does not fit.
    pub fn forget_cases(&self, height: Height) -> Result<(), StoreError> {
        while self.forget_some(height)? {}
        Ok(())
    }

    /// As much of it as is kept in memory at once; whether there is more.
    fn forget_some(&self, height: Height) -> Result<bool, StoreError> {
        let (mut bytes, mut rows) = (0, WriteBatch::default());
        let mut by_piece: BTreeMap<[u8; 10], Vec<u16>> = BTreeMap::new();
        // what was removed lies about until it is merged away: no look at it again
        let mut last = height_key(self.forgotten.load(Ordering::Relaxed));
        let from = IteratorMode::From(&last.clone(), Direction::Forward);
        for row in self.db.iterator_cf(self.family(STATE_STALE), from) {
            let (at, names) = row?;
            if at[..] > height_key(height)[..] || bytes > FORGOTTEN_BYTES_MAX {
                break;
            }
            bytes += names.len();
            for name in names.chunks_exact(NAME_BYTES) {
                let (Some(piece), Some(number)) = (name.first_chunk(), name.last_chunk()) else { continue };
                by_piece.entry(*piece).or_default().push(u16::from_be_bytes(*number));
            }
            last.copy_from_slice(at.get(..8).ok_or(StoreError::Corrupt { row: "replaced nodes" })?);
            rows.delete_cf(self.family(STATE_STALE), at);
        }
        let mut batch = WriteBatch::default();
        for (piece, numbers) in by_piece {
            let Some(bytes) = self.db.get_pinned_cf(self.family(STATE_NODES), piece)? else { continue };
            match forget(&bytes, &numbers)? {
                Some(less) => batch.put_cf(self.family(STATE_NODES), piece, less),
                None => batch.delete_cf(self.family(STATE_NODES), piece),
            }
            if batch.size_in_bytes() > FORGET_BATCH_BYTES {
                self.db.write(std::mem::take(&mut batch))?;
            }
        }
        self.db.write(batch)?;
        self.db.write(rows)?;
        self.forgotten.store(u64::from_be_bytes(last), Ordering::Relaxed);
        Ok(bytes > FORGOTTEN_BYTES_MAX)
    }
}

impl Nodes for Store {
    fn piece(&self, height: Height, piece: u16) -> Result<Option<Vec<u8>>, StateError> {
        let row = self.db.get_cf(self.family(STATE_NODES), node_key(height, piece));
        row.map_err(|e| StateError::Store(e.to_string()))
    }
}

/// The root at a height: the newest that was written up to it.
pub(super) fn root_before(mut rows: DBRawIterator<'_>, height: Height) -> Result<Vec<u8>, StoreError> {
    rows.seek_for_prev(node_key(height, ROOT));
    rows.status()?;
    let found = rows.item().filter(|(key, _)| key.ends_with(&ROOT.to_be_bytes()));
    found.map(|(_, row)| row.to_vec()).ok_or(StoreError::Corrupt { row: "state root" })
}

/// Length of the key, key, value.
pub(super) fn to_row(key: &[u8], value: &[u8]) -> Result<Vec<u8>, StoreError> {
    let length = u16::try_from(key.len()).map_err(|_| StoreError::Corrupt { row: "key" })?;
    Ok([&length.to_be_bytes(), key, value].concat())
}

/// Key and value of a row.
pub(super) fn row_of(row: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = row.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

pub(super) fn node_key(height: Height, piece: u16) -> [u8; 10] {
    let mut key = [0; 10];
    let (at, number) = key.split_at_mut(8);
    at.copy_from_slice(&height_key(height));
    number.copy_from_slice(&piece.to_be_bytes());
    key
}

fn old_key(place: &Place, height: Height) -> Vec<u8> {
    [&place.0.0[..], &height_key(height)].concat()
}

fn name_bytes(name: &NodeName) -> [u8; NAME_BYTES] {
    let mut out = [0; NAME_BYTES];
    let (at, number) = out.split_at_mut(10);
    at.copy_from_slice(&node_key(name.height, name.piece));
    number.copy_from_slice(&name.number.to_be_bytes());
    out
}

#[cfg(test)]
mod tests;
