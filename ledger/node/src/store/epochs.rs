//! Proofs of epochs: what each epoch decided to follow it, under its own attested header. Made from the state at the height of the
//! decision and kept from then on: a store that begins later, by state transfer, has them from others. They are never forgotten:
//! whoever starts from the genesis needs all of them.

use ledger_contract::epoch_record;
use schemas::block::Epoch;
use schemas::cbor;
use schemas::id::Height;
use schemas::proof::EpochProof;
use schemas::state::epoch_key;

use super::{META, Shown, Store, StoreError};

impl Store {
    /// The proof of an epoch from 1 on; `None` while its decision lies above `certified`.
    ///
    /// # Errors
    /// `StoreError` when a row does not fit.
    pub fn epoch_proof(&self, epoch: Epoch, certified: Height) -> Result<Option<EpochProof>, StoreError> {
        if let Some(row) = self.db.get_cf(self.family(META), kept_key(epoch))? {
            return cbor::decode(&row).map(Some).map_err(|_| StoreError::Corrupt { row: "epoch proof" });
        }
        let Some(record) = epoch_record(self, epoch)? else { return Ok(None) };
        // any header from the decision to the seal proves it: a copied store may begin between them
        let height = record.decided_at.max(self.begins());
        if epoch == 0 || height > certified || height >= record.first {
            return Ok(None);
        }
        let Shown::Proof(proof) = self.state_proof(&epoch_key(epoch), height)? else { return Ok(None) };
        let proof = EpochProof::of(*proof).ok_or(StoreError::Corrupt { row: "epoch" })?;
        self.keep_epoch_proof(&proof)?;
        Ok(Some(proof))
    }

    /// Keeps a proof that was verified.
    ///
    /// # Errors
    /// `StoreError` when RocksDB fails.
    pub fn keep_epoch_proof(&self, proof: &EpochProof) -> Result<(), StoreError> {
        Ok(self.db.put_cf(self.family(META), kept_key(proof.record.epoch), cbor::encode(proof))?)
    }
}

fn kept_key(epoch: Epoch) -> Vec<u8> {
    [b"epoch/".as_slice(), &epoch.to_be_bytes()].concat()
}
