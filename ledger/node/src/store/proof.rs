//! Proofs of executed transactions and of the log's growth. They need headers, attestations and nodes of the log, which are kept for
//! good; bodies of blocks are never asked for.

use ledger_proof::EntryProof;
use schemas::id::{Digest, Height};
use schemas::merkle;
use schemas::proof::ConsistencyProof;
use schemas::transaction::LogEntry;

use super::{Store, StoreError};

impl Store {
    /// The proof of a transaction, with `signed` only of what decides about exactly these bytes; `None` while it is unknown
    /// or its block lies above `certified`.
    ///
    /// # Errors
    /// `StoreError::NotHeld` when its block lies before the beginning of this store; others when a row does not fit.
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
        let Some((kept, attestations)) = self.final_at(place.height)? else { return Ok(None) };
        let size = kept.header.log_size;
        let before = size.checked_sub(u64::from(kept.entries)).ok_or(StoreError::Corrupt { row: "header" })?;
        let log_index = before + u64::from(place.index);
        let path = self.log_path(|node| merkle::path_from_nodes(log_index, size, node))?;
        let entry = LogEntry {
            height: place.height,
            index: place.index,
            transaction: *transaction,
            signed: place.signed,
            outcome: place.outcome,
        };
        Ok(Some(EntryProof { entry, log_index, path, header: kept.header, attestations }))
    }

    /// That the log of the later height continues that of the earlier one; `None` when one of them is not final, or they are
    /// given the wrong way round.
    ///
    /// # Errors
    /// `StoreError` when a row does not fit.
    pub fn consistency_proof(&self, from: Height, to: Height) -> Result<Option<ConsistencyProof>, StoreError> {
        let (Some(first), Some(second)) = (self.attested(from)?, self.attested(to)?) else { return Ok(None) };
        if from > to {
            return Ok(None);
        }
        let (old, size) = (first.header.log_size, second.header.log_size);
        let path = self.log_path(|node| merkle::consistency_from_nodes(old, size, node))?;
        Ok(Some(ConsistencyProof { first, second, path }))
    }
}
