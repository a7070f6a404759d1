//! Where each transaction was executed and what was decided about it. The state's `tx/` rows (formats.md §3: no transaction twice)
//! are not written again: they are the places of accepted transactions.

use std::collections::BTreeSet;

use minicbor::{Decode, Encode};
use rocksdb::WriteBatch;
use schemas::cbor;
use schemas::id::{Digest, Height};
use schemas::transaction::{LogEntry, Outcome};

use super::format::TX_INDEX;
use super::{Store, StoreError};

/// Where a transaction was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Place {
    #[n(0)]
    pub height: Height,
    #[n(1)]
    pub index: u32,
    #[n(2)]
    pub signed: Digest,
    #[n(3)]
    pub outcome: Outcome,
}

impl Store {
    /// The place of an accepted transaction is never replaced by a refused copy, of this block or a later one. A refusal is
    /// also kept under the bytes that it is about, where no copy with other signatures reaches it; the first one stays.
    pub(super) fn put_places(&self, batch: &mut WriteBatch, entries: &[LogEntry]) -> Result<(), StoreError> {
        let mut accepted = BTreeSet::new();
        for entry in entries {
            let LogEntry { height, index, transaction, signed, outcome } = *entry;
            let place = cbor::encode(&Place { height, index, signed, outcome });
            if outcome == Outcome::Accepted {
                accepted.insert(transaction);
            } else {
                if self.refusal(&transaction, &signed)?.is_none() {
                    batch.put_cf(self.family(TX_INDEX), refusal_key(&transaction, &signed), &place);
                }
                if accepted.contains(&transaction) || self.accepted(&transaction)?.is_some() {
                    continue;
                }
            }
            batch.put_cf(self.family(TX_INDEX), transaction.0, place);
        }
        Ok(())
    }

    /// What was decided about the transaction with exactly these bytes: its acceptance with any signatures, or the refusal
    /// of these.
    ///
    /// # Errors
    /// `StoreError` when a row cannot be read.
    pub fn verdict(&self, transaction: &Digest, signed: &Digest) -> Result<Option<Place>, StoreError> {
        match self.place(transaction)? {
            Some(place) if place.outcome == Outcome::Accepted || place.signed == *signed => Ok(Some(place)),
            Some(_) => self.refusal(transaction, signed),
            None => Ok(None),
        }
    }

    fn refusal(&self, transaction: &Digest, signed: &Digest) -> Result<Option<Place>, StoreError> {
        self.read(TX_INDEX, &refusal_key(transaction, signed), "refusal")
    }

    /// Where a transaction was executed; of refused copies the newest.
    ///
    /// # Errors
    /// `StoreError` when the row cannot be read.
    pub fn place(&self, transaction: &Digest) -> Result<Option<Place>, StoreError> {
        self.read(TX_INDEX, &transaction.0, "transaction")
    }

    /// The `tx/` row of the state: the height at which a transaction was accepted.
    pub(super) fn accepted(&self, transaction: &Digest) -> Result<Option<Height>, StoreError> {
        let place = self.place(transaction)?.filter(|place| place.outcome == Outcome::Accepted);
        Ok(place.map(|place| place.height))
    }
}

fn refusal_key(transaction: &Digest, signed: &Digest) -> [u8; 2 * Digest::LEN] {
    let mut key = [0; 2 * Digest::LEN];
    let (id, bytes) = key.split_at_mut(Digest::LEN);
    id.copy_from_slice(&transaction.0);
    bytes.copy_from_slice(&signed.0);
    key
}
