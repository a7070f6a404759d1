//! Blocks by height: what is kept of each for good, its body until it is pruned, its attestations once there are q. Whoever asks
//! for what this store does not hold any more, or never held, is told so; it must never look as if it had not happened.

use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use minicbor::{Decode, Encode};
use rocksdb::WriteBatch;
use schemas::block::{self, Batch, Block, CommitCertificate, Header, TransactionBytes, ValidatorSignature};
use schemas::cbor;
use schemas::id::{ChainId, Height};
use schemas::proof::AttestedHeader;
use schemas::view::Checkpoint;

use super::format::{ATTESTATIONS, BODIES, BODIES_KEY, HEADERS, META};
use super::{Executed, Store, StoreError, height_key};

/// What is kept of a block for good.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Kept {
    #[n(0)]
    pub header: Header,
    /// Its entries in the log.
    #[n(1)]
    pub entries: u32,
    /// `None` only of the height from which a transferred store begins.
    #[n(2)]
    pub agreed: Option<Agreed>,
}

/// What was agreed, and the proof.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Agreed {
    #[n(0)]
    pub batch: Batch,
    #[n(1)]
    pub certificate: CommitCertificate,
}

impl Store {
    pub(super) fn put_block(&self, batch: &mut WriteBatch, block: &Executed<'_>) {
        let key = height_key(block.header.height);
        let entries = u32::try_from(block.entries.len()).unwrap_or(u32::MAX);
        let agreed = Some(Agreed { batch: block.batch.clone(), certificate: block.certificate.clone() });
        let kept = Kept { header: block.header.clone(), entries, agreed };
        batch.put_cf(self.family(HEADERS), key, cbor::encode(&kept));
        // a null batch has none
        if !block.transactions.is_empty() {
            batch.put_cf(self.family(BODIES), key, cbor::encode(&block.transactions.to_vec()));
        }
    }

    /// The lowest height from which on every block is whole here.
    pub fn blocks_from(&self) -> Height {
        self.bodies_from.load(Ordering::Relaxed).max(self.base.height + 1)
    }

    /// The height from which on transactions are known here: 0, or where a copied store begins.
    pub const fn begins(&self) -> Height {
        self.base.height
    }

    /// Keeps q attestations of an executed height.
    ///
    /// # Errors
    /// `StoreError` when RocksDB fails.
    pub fn attest(&self, height: Height, attestations: &[ValidatorSignature]) -> Result<(), StoreError> {
        Ok(self.db.put_cf(self.family(ATTESTATIONS), height_key(height), cbor::encode(&attestations.to_vec()))?)
    }

    /// Headers at the end that have no q attestations yet, in order.
    ///
    /// # Errors
    /// `StoreError` when a row is missing.
    pub fn unattested(&self, executed: Height) -> Result<Vec<Header>, StoreError> {
        let mut out = Vec::new();
        for height in (1..=executed).rev() {
            if self.attestations(height)?.is_some() {
                break;
            }
            out.push(self.kept(height)?.ok_or(StoreError::Corrupt { row: "header" })?.header);
        }
        out.reverse();
        Ok(out)
    }

    /// The proof that a height and everything below is final; genesis needs none.
    ///
    /// # Errors
    /// `StoreError` when a row is missing.
    pub fn checkpoint(&self, height: Height, chain: &ChainId) -> Result<Checkpoint, StoreError> {
        if height == 0 {
            return Ok(Checkpoint::genesis(chain));
        }
        let found = self.attested(height)?.ok_or(StoreError::Corrupt { row: "header" })?;
        Ok(Checkpoint { height, header: found.header.hash(), attestations: found.attestations })
    }

    /// A header with its q attestations; `None` while it has fewer.
    ///
    /// # Errors
    /// `StoreError::NotHeld` below the beginning of a transferred store; others when a row cannot be read.
    pub fn attested(&self, height: Height) -> Result<Option<AttestedHeader>, StoreError> {
        Ok(self.final_at(height)?.map(|(kept, attestations)| AttestedHeader { header: kept.header, attestations }))
    }

    pub(super) fn final_at(&self, height: Height) -> Result<Option<(Kept, Vec<ValidatorSignature>)>, StoreError> {
        if height < self.base.height {
            return Err(StoreError::NotHeld { from: self.base.height });
        }
        let Some(attestations) = self.attestations(height)? else { return Ok(None) };
        Ok(self.kept(height)?.map(|kept| (kept, attestations)))
    }

    /// A block with its q attestations; `None` while it has fewer.
    ///
    /// # Errors
    /// `StoreError::NotHeld` when its body was pruned or never here; others when a row cannot be read.
    pub fn block(&self, height: Height) -> Result<Option<Block>, StoreError> {
        if height > 0 && height < self.blocks_from() {
            return Err(StoreError::NotHeld { from: self.blocks_from() });
        }
        let Some((Kept { header, entries, agreed }, attestations)) = self.final_at(height)? else { return Ok(None) };
        let Some(Agreed { batch, certificate }) = agreed else { return Err(StoreError::Corrupt { row: "header" }) };
        let transactions: Vec<TransactionBytes> = self.read(BODIES, &height_key(height), "body")?.unwrap_or_default();
        if transactions.len() != entries as usize {
            // pruned while it was read, or lost
            let is_pruned = height < self.blocks_from();
            let pruned = StoreError::NotHeld { from: self.blocks_from() };
            return Err(if is_pruned { pruned } else { StoreError::Corrupt { row: "body" } });
        }
        Ok(Some(Block { batch, transactions, certificate, header, attestations }))
    }

    /// Final blocks of these heights in order, as many as the bytes allow, at least one if there is one.
    ///
    /// # Errors
    /// `StoreError` when a row cannot be read.
    pub fn blocks(&self, heights: RangeInclusive<Height>, bytes_max: usize) -> Result<Vec<Block>, StoreError> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        for height in heights {
            let Some(block) = self.block(height)? else { break };
            bytes += block::bytes_of(&block.transactions) + 4096 + 80 * block.attestations.len() * 2;
            if !out.is_empty() && bytes > bytes_max {
                break;
            }
            out.push(block);
        }
        Ok(out)
    }

    /// Drops the bodies of blocks below a height. Headers, certificates and the log's nodes stay: what was proved still is.
    ///
    /// # Errors
    /// `StoreError` when RocksDB fails.
    pub fn forget_bodies(&self, below: Height) -> Result<(), StoreError> {
        let before = self.blocks_from();
        if below <= before {
            return Ok(());
        }
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(self.family(BODIES), height_key(before), height_key(below));
        batch.put_cf(self.family(META), BODIES_KEY, height_key(below));
        // whoever reads in between is told that they are gone, not that they are damaged
        self.bodies_from.store(below, Ordering::Relaxed);
        Ok(self.db.write(batch)?)
    }

    pub(super) fn kept(&self, height: Height) -> Result<Option<Kept>, StoreError> {
        self.read(HEADERS, &height_key(height), "header")
    }

    pub(super) fn attestations(&self, height: Height) -> Result<Option<Vec<ValidatorSignature>>, StoreError> {
        self.read(ATTESTATIONS, &height_key(height), "attestations")
    }
}
