//! Proofs of executed transactions and of the log's growth. New log nodes of a block are one row, keyed by the log's size before the block, in the order
//! of their making: leaf k brings 1 + trailing_ones(k) nodes, so the first k leaves brought 2k − popcount(k).

use ledger_proof::EntryProof;
use schemas::id::{Digest, Height};
use schemas::merkle;
use schemas::proof::{AttestedHeader, ConsistencyProof};
use schemas::transaction::LogEntry;

use super::{LOG_NODES, Store, StoreError};

impl Store {
    /// The proof of a transaction, with `signed` only of what decides about exactly these bytes; `None` while it is unknown
    /// or its block lies above `certified`.
    ///
    /// # Errors
    /// `StoreError` when a row does not fit.
    pub fn entry_proof(
        &self,
        transaction: &Digest,
        signed: Option<&Digest>,
        certified: Height,
    ) -> Result<Option<EntryProof>, StoreError> {
        let place = match signed {
            Some(signed) => self.verdict(transaction, signed)?,
            None => self.place(transaction)?,
        };
        let Some(place) = place.filter(|place| place.height <= certified) else { return Ok(None) };
        let Some(block) = self.block(place.height)? else { return Ok(None) };
        let size = block.header.log_size;
        let before = size.checked_sub(block.transactions.len() as u64).ok_or(StoreError::Corrupt { row: "block" })?;
        let log_index = before + u64::from(place.index);
        let path = self.log_path(|node| merkle::path_from_nodes(log_index, size, node))?;
        let entry = LogEntry {
            height: place.height,
            index: place.index,
            transaction: *transaction,
            signed: place.signed,
            outcome: place.outcome,
        };
        Ok(Some(EntryProof { entry, log_index, path, header: block.header, attestations: block.attestations }))
    }

    /// That the log of the later height continues that of the earlier one; `None` when one of them is not final, or they are
    /// given the wrong way round.
    ///
    /// # Errors
    /// `StoreError` when a row does not fit.
    pub fn consistency_proof(&self, from: Height, to: Height) -> Result<Option<ConsistencyProof>, StoreError> {
        let (Some(first), Some(second)) = (self.block(from)?, self.block(to)?) else { return Ok(None) };
        if from > to {
            return Ok(None);
        }
        let (old, size) = (first.header.log_size, second.header.log_size);
        let path = self.log_path(|node| merkle::consistency_from_nodes(old, size, node))?;
        let [first, second] =
            [first, second].map(|block| AttestedHeader { header: block.header, attestations: block.attestations });
        Ok(Some(ConsistencyProof { first, second, path }))
    }

    /// Makes a path out of nodes of the log.
    fn log_path(
        &self,
        make: impl FnOnce(&mut dyn FnMut(u32, u64) -> Option<Digest>) -> Option<Vec<Digest>>,
    ) -> Result<Vec<Digest>, StoreError> {
        let mut failed = None;
        let path = make(&mut |level, index| {
            self.log_node(level, index).unwrap_or_else(|e| {
                failed = Some(e);
                None
            })
        });
        match failed {
            Some(e) => Err(e),
            None => path.ok_or(StoreError::Corrupt { row: "log" }),
        }
    }

    /// A perfect node of the log.
    fn log_node(&self, level: u32, index: u64) -> Result<Option<Digest>, StoreError> {
        // the leaf that completed it
        let Some(leaf) = index.checked_add(1).and_then(|next| next.checked_shl(level)).map(|next| next - 1) else {
            return Ok(None);
        };
        let mut rows = self.db.raw_iterator_cf(self.family(LOG_NODES));
        rows.seek_for_prev(leaf.to_be_bytes());
        let (Some(key), Some(row)) = (rows.key(), rows.value()) else {
            rows.status()?;
            return Ok(None);
        };
        let first = u64::from_be_bytes(key.try_into().map_err(|_| StoreError::Corrupt { row: "log" })?);
        let at = made_by(leaf) - made_by(first) + u64::from(level);
        let at = usize::try_from(at).map_err(|_| StoreError::Corrupt { row: "log" })? * Digest::LEN;
        Ok(row.get(at..at + Digest::LEN).and_then(Digest::from_slice))
    }
}

/// Nodes that the first `leaves` leaves brought.
fn made_by(leaves: u64) -> u64 {
    2 * leaves - u64::from(leaves.count_ones())
}
