//! The block store: RocksDB, one atomic batch per block. Its own log is not synced: after a power cut it may lack the newest
//! blocks, which the vote log or the peers give back. It must never be written before the loop decided.

mod epochs;
mod proof;
mod state;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use ledger_contract::{Changes, State, StateError, StateTree, Written};
use minicbor::{Decode, Encode};
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, Options, WriteBatch, WriteOptions};
use schemas::ErrorClass;
use schemas::block::{Batch, Block, CommitCertificate, Header, TransactionBytes, ValidatorSignature};
use schemas::cbor;
use schemas::id::{ChainId, Digest, Height};
use schemas::merkle::Frontier;
use schemas::transaction::{LogEntry, Outcome};
use schemas::view::Checkpoint;

const BLOCKS: &str = "blocks";
const ATTESTATIONS: &str = "attestations";
const LOG_NODES: &str = "log_nodes";
const STATE: &str = "state";
const TX_INDEX: &str = "tx_index";
const META: &str = "meta";
const STATE_NODES: &str = "state_nodes";
const STATE_STALE: &str = "state_stale";
const STATE_OLD: &str = "state_old";
const FAMILIES: [&str; 9] =
    [BLOCKS, ATTESTATIONS, LOG_NODES, STATE, STATE_NODES, STATE_STALE, STATE_OLD, TX_INDEX, META];
const CHAIN_KEY: &[u8] = b"chain";
const TIP_KEY: &[u8] = b"tip";

pub(crate) use state::Shown;

/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// RocksDB failed.
    #[error("block store: {0}")]
    Database(#[from] rocksdb::Error),
    /// A row is not what was written.
    #[error("block store: found a {row} row that does not fit, expected what this validator wrote")]
    Corrupt {
        /// Which row.
        row: &'static str,
    },
    /// It belongs to another chain.
    #[error("block store: found chain {found}, expected {expected}; another genesis needs another data folder")]
    OtherChain {
        /// In the store.
        found: ChainId,
        /// Of the genesis.
        expected: ChainId,
    },
    /// The contract could not read the state.
    #[error(transparent)]
    State(#[from] StateError),
}

impl StoreError {
    /// The class that decides about exit codes.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Database(_) => ErrorClass::Transient,
            Self::Corrupt { .. } => ErrorClass::Corrupt,
            Self::OtherChain { .. } => ErrorClass::Caller,
            Self::State(e) => e.class(),
        }
    }
}

/// The newest executed block and the log after it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Tip {
    /// `None` at genesis.
    #[n(0)]
    pub header: Option<Header>,
    /// The log's frontier.
    #[n(1)]
    pub frontier: Frontier,
}

impl Tip {
    /// Hash of the header; the chain id's bytes at genesis.
    pub fn hash(&self, chain: &ChainId) -> Digest {
        self.header.as_ref().map_or(Digest(chain.0), Header::hash)
    }

    /// Newest executed height, 0 at genesis.
    pub fn height(&self) -> Height {
        self.header.as_ref().map_or(0, |header| header.height)
    }
}

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

/// What is written with a block.
pub(crate) struct Executed<'a> {
    pub batch: &'a Batch,
    pub transactions: &'a [TransactionBytes],
    pub certificate: &'a CommitCertificate,
    pub header: &'a Header,
    pub entries: &'a [LogEntry],
    pub changes: &'a Changes,
    /// What the changes did to the state tree.
    pub written: &'a Written,
    pub frontier: &'a Frontier,
    /// Log leaves before the block.
    pub first_leaf: u64,
    /// New log nodes in the order of their making.
    pub nodes: &'a [Digest],
}

/// The open store.
pub(crate) struct Store {
    db: DB,
}

impl Store {
    /// Whether a store was made there, be it unfinished.
    pub fn exists(path: &Path) -> bool {
        path.join("CURRENT").exists()
    }

    /// Opens or creates; a new one starts with the genesis' changes.
    ///
    /// # Errors
    /// `StoreError`, also when it belongs to another chain.
    pub fn open(path: &Path, bytes: usize, chain: &ChainId, genesis: &Changes) -> Result<Self, StoreError> {
        let families = FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, family_options(name, bytes)));
        let db = DB::open_cf_descriptors(&database_options(bytes), path, families)?;
        let store = Self { db };
        match store.db.get_cf(store.family(META), CHAIN_KEY)? {
            Some(found) if found == chain.0 => Ok(store),
            Some(found) => {
                let found = ChainId::from_slice(&found).ok_or(StoreError::Corrupt { row: "chain" })?;
                Err(StoreError::OtherChain { found, expected: *chain })
            }
            None => {
                store.create(chain, genesis)?;
                Ok(store)
            }
        }
    }

    fn create(&self, chain: &ChainId, genesis: &Changes) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        self.put_changes(&mut batch, genesis);
        self.put_tree(&mut batch, 0, &StateTree::default().update(self, 0, genesis)?);
        batch.put_cf(self.family(META), CHAIN_KEY, chain.0);
        batch.put_cf(self.family(META), TIP_KEY, cbor::encode(&Tip { header: None, frontier: Frontier::default() }));
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(self.db.write_opt(batch, &synced)?)
    }

    /// The newest executed block.
    ///
    /// # Errors
    /// `StoreError` when it cannot be read.
    pub fn tip(&self) -> Result<Tip, StoreError> {
        let tip: Tip = self.read(META, TIP_KEY, "tip")?.ok_or(StoreError::Corrupt { row: "tip" })?;
        let fits = tip.header.as_ref().map_or(0, |header| header.log_size) == tip.frontier.size();
        if !fits || !tip.frontier.is_consistent() {
            return Err(StoreError::Corrupt { row: "tip" });
        }
        Ok(tip)
    }

    /// Writes a block: all or nothing, not synced.
    ///
    /// # Errors
    /// `StoreError` when RocksDB fails.
    pub fn write(&self, block: &Executed<'_>) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let stored = Block {
            batch: block.batch.clone(),
            transactions: block.transactions.to_vec(),
            certificate: block.certificate.clone(),
            header: block.header.clone(),
            attestations: vec![],
        };
        batch.put_cf(self.family(BLOCKS), height_key(block.header.height), cbor::encode(&stored));
        // a null batch adds nothing to the log
        if !block.nodes.is_empty() {
            let nodes: Vec<u8> = block.nodes.iter().flat_map(|node| node.0).collect();
            batch.put_cf(self.family(LOG_NODES), block.first_leaf.to_be_bytes(), nodes);
        }
        self.put_places(&mut batch, block.entries)?;
        if !block.changes.0.is_empty() {
            self.put_old(&mut batch, block.header.height, block.changes, &block.written.replaced)?;
            self.put_tree(&mut batch, block.header.height, block.written);
        }
        self.put_changes(&mut batch, block.changes);
        let tip = Tip { header: Some(block.header.clone()), frontier: block.frontier.clone() };
        batch.put_cf(self.family(META), TIP_KEY, cbor::encode(&tip));
        Ok(self.db.write(batch)?)
    }

    /// The place of an accepted transaction is never replaced by a refused copy, of this block or a later one. A refusal is
    /// also kept under the bytes that it is about, where no copy with other signatures reaches it; the first one stays.
    fn put_places(&self, batch: &mut WriteBatch, entries: &[LogEntry]) -> Result<(), StoreError> {
        let mut accepted = BTreeSet::new();
        for entry in entries {
            let LogEntry { height, index, transaction, signed, outcome } = *entry;
            let place = cbor::encode(&Place { height, index, signed, outcome });
            if outcome == Outcome::Accepted {
                accepted.insert(transaction);
            } else if self.refusal(&transaction, &signed)?.is_none() {
                batch.put_cf(self.family(TX_INDEX), refusal_key(&transaction, &signed), &place);
            }
            let before = self.place(&transaction)?;
            let is_settled = before.is_some_and(|place| place.outcome == Outcome::Accepted);
            if outcome == Outcome::Accepted || !(is_settled || accepted.contains(&transaction)) {
                batch.put_cf(self.family(TX_INDEX), transaction.0, place);
            }
        }
        Ok(())
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
            out.push(self.stored(height)?.ok_or(StoreError::Corrupt { row: "block" })?.header);
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
        let block = self.block(height)?.ok_or(StoreError::Corrupt { row: "block" })?;
        Ok(Checkpoint { height, header: block.header.hash(), attestations: block.attestations })
    }

    /// A block with its q attestations; `None` while it has fewer.
    ///
    /// # Errors
    /// `StoreError` when a row cannot be read.
    pub fn block(&self, height: Height) -> Result<Option<Block>, StoreError> {
        let Some(attestations) = self.attestations(height)? else { return Ok(None) };
        let Some(block) = self.stored(height)? else { return Ok(None) };
        Ok(Some(Block { attestations, ..block }))
    }

    /// Final blocks of these heights in order, as many as the bytes allow, at least one if there is one.
    ///
    /// # Errors
    /// `StoreError` when a row cannot be read.
    pub fn blocks(&self, heights: RangeInclusive<Height>, bytes_max: usize) -> Result<Vec<Block>, StoreError> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        for height in heights {
            let Some(block) = self.block(height)? else { break };
            bytes += schemas::block::bytes_of(&block.transactions) + 4096 + 80 * block.attestations.len() * 2;
            if !out.is_empty() && bytes > bytes_max {
                break;
            }
            out.push(block);
        }
        Ok(out)
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

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// `StoreError` when RocksDB fails.
    pub fn flush(&self) -> Result<(), StoreError> {
        let families: Vec<_> = FAMILIES.iter().map(|name| self.family(name)).collect();
        let mut options = rocksdb::FlushOptions::default();
        options.set_wait(true);
        Ok(self.db.flush_cfs_opt(&families, &options)?)
    }

    fn stored(&self, height: Height) -> Result<Option<Block>, StoreError> {
        self.read(BLOCKS, &height_key(height), "block")
    }

    fn attestations(&self, height: Height) -> Result<Option<Vec<ValidatorSignature>>, StoreError> {
        self.read(ATTESTATIONS, &height_key(height), "attestations")
    }

    fn put_changes(&self, batch: &mut WriteBatch, changes: &Changes) {
        for (key, value) in &changes.0 {
            match value {
                Some(value) => batch.put_cf(self.family(STATE), key, value),
                None => batch.delete_cf(self.family(STATE), key),
            }
        }
    }

    fn read<T>(&self, family: &str, key: &[u8], row: &'static str) -> Result<Option<T>, StoreError>
    where
        T: Encode<()> + for<'b> Decode<'b, ()>,
    {
        let Some(bytes) = self.db.get_pinned_cf(self.family(family), key)? else { return Ok(None) };
        cbor::decode(&bytes).map(Some).map_err(|_| StoreError::Corrupt { row })
    }

    fn family(&self, name: &str) -> &ColumnFamily {
        let Some(family) = self.db.cf_handle(name) else { unreachable!("all families are opened") };
        family
    }
}

impl State for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        self.db.get_cf(self.family(STATE), key).map_err(|e| StateError::Store(e.to_string()))
    }
}

fn refusal_key(transaction: &Digest, signed: &Digest) -> [u8; 2 * Digest::LEN] {
    let mut key = [0; 2 * Digest::LEN];
    let (id, bytes) = key.split_at_mut(Digest::LEN);
    id.copy_from_slice(&transaction.0);
    bytes.copy_from_slice(&signed.0);
    key
}

const fn height_key(height: Height) -> [u8; 8] {
    height.to_be_bytes()
}

fn database_options(bytes: usize) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // families are durable together or not at all: the log of RocksDB is not synced
    options.set_atomic_flush(true);
    options.set_db_write_buffer_size(bytes / 2);
    options.set_max_background_jobs(2);
    options.set_max_open_files(256);
    options.set_keep_log_file_num(2);
    options.set_max_total_wal_size(64 << 20);
    options
}

fn family_options(name: &str, bytes: usize) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(bytes / 4);
    // hashes do not get smaller
    let is_hashes = name == STATE_NODES || name == LOG_NODES;
    let compression = if is_hashes { rocksdb::DBCompressionType::None } else { rocksdb::DBCompressionType::Lz4 };
    options.set_compression_type(compression);
    let mut table = rocksdb::BlockBasedOptions::default();
    table.set_block_cache(&rocksdb::Cache::new_lru_cache(bytes / 8));
    if name == STATE || name == TX_INDEX {
        table.set_bloom_filter(10.0, false);
        // most look-ups are for what is not there: a new case, an unknown transaction
        options.set_memtable_prefix_bloom_ratio(0.05);
        options.set_memtable_whole_key_filtering(true);
    }
    options.set_block_based_table_factory(&table);
    options
}

#[cfg(test)]
mod tests;
