//! The block store: RocksDB, one atomic batch per block. Its own log is not synced: after a power cut it may lack the newest
//! blocks, which the vote log or the peers give back. It must never be written before the loop decided.

mod blocks;
mod copy;
mod epochs;
mod format;
mod log;
mod proof;
mod state;
mod transactions;
mod view;

use std::path::Path;
use std::sync::atomic::AtomicU64;

use ledger_contract::{Changes, State, StateError, StateTree, Written};
use minicbor::{Decode, Encode};
use rocksdb::{ColumnFamily, DB, ErrorKind, WriteBatch, WriteOptions};
use schemas::ErrorClass;
use schemas::block::{Batch, CommitCertificate, Header, TransactionBytes};
use schemas::cbor;
use schemas::id::{ChainId, Digest, Height};
use schemas::merkle::Frontier;
use schemas::transaction::LogEntry;

use self::format::{BASE_KEY, BODIES_KEY, CHAIN_KEY, FAMILIES, META, TIP_KEY, VERSION, VERSION_KEY};
pub(crate) use copy::Copy;
pub(crate) use state::Shown;
pub(crate) use view::View;

/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// RocksDB failed.
    #[error("block store: {0}")]
    Database(rocksdb::Error),
    /// RocksDB found that its files are not what it wrote.
    #[error(
        "block store: found damage ({what}), expected what this validator wrote; move the folder `blocks` away and start \
         again: what it lacks comes from the other validators; until then, and until its votes can contradict nothing, it is silent"
    )]
    Damaged {
        /// What was found.
        what: String,
    },
    /// A row is not what was written.
    #[error(
        "block store: found a {row} row that does not fit, expected what this validator wrote; move the folder `blocks` \
         away and start again: what it lacks comes from the other validators; until then, and until its votes can contradict nothing, it is silent"
    )]
    Corrupt {
        /// Which row.
        row: &'static str,
    },
    /// The file system failed.
    #[error("block store {path}: {cause}")]
    File {
        /// The file or folder.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It belongs to another chain.
    #[error("block store: found chain {found}, expected {expected}; another genesis needs another data folder")]
    OtherChain {
        /// In the store.
        found: ChainId,
        /// Of the genesis.
        expected: ChainId,
    },
    /// Another version of this program wrote it.
    #[error(
        "block store: found format {found} of {what} version, expected format {expected}; start the version that wrote it, \
         or move the folder `blocks` away and start again: what it lacks comes from the other validators"
    )]
    OtherVersion {
        /// In the store.
        found: u32,
        /// Of this version.
        expected: u32,
        /// Older or newer.
        what: &'static str,
    },
    /// It was pruned here, or lies before the snapshot from which this store began.
    #[error("this validator holds blocks from height {from} on; ask another one")]
    NotHeld {
        /// The lowest height that is here.
        from: Height,
    },
    /// The contract could not read the state.
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<rocksdb::Error> for StoreError {
    fn from(error: rocksdb::Error) -> Self {
        match error.kind() {
            ErrorKind::Corruption => Self::Damaged { what: error.to_string() },
            _ => Self::Database(error),
        }
    }
}

impl StoreError {
    /// While opening, a file that is not there is damage too.
    fn opening(error: rocksdb::Error) -> Self {
        let is_missing = error.kind() == ErrorKind::IOError && error.to_string().contains("No such file");
        if is_missing { Self::Damaged { what: error.to_string() } } else { error.into() }
    }

    /// The class that decides about exit codes.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::Database(_) | Self::File { .. } => ErrorClass::Transient,
            Self::Corrupt { .. } | Self::Damaged { .. } => ErrorClass::Corrupt,
            Self::OtherChain { .. } | Self::OtherVersion { .. } | Self::NotHeld { .. } => ErrorClass::Caller,
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

/// Where the store begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Base {
    /// The height whose snapshot it began with, 0 for genesis. Of blocks below nothing is here, of its own the header.
    #[n(0)]
    height: Height,
    /// The log before the first entry that is here.
    #[n(1)]
    log: Frontier,
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
    base: Base,
    /// The lowest height whose body was not pruned.
    bodies_from: AtomicU64,
    /// Names of replaced nodes are gone up to here, since it was opened.
    forgotten: AtomicU64,
}

impl Store {
    /// Whether anything lies there.
    pub fn exists(path: &Path) -> bool {
        std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Opens or creates; a new one starts with the genesis' changes.
    ///
    /// # Errors
    /// `StoreError`, also when it belongs to another chain or version, or is damaged.
    pub fn open(path: &Path, bytes: usize, chain: &ChainId, genesis: &Changes) -> Result<Self, StoreError> {
        let is_ours = format::check(path, chain)?;
        let mut store = Self {
            db: format::open(path, bytes)?,
            base: Base::default(),
            bodies_from: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        };
        if !is_ours {
            store.create(chain, genesis)?;
        }
        store.base = store.read(META, BASE_KEY, "base")?.unwrap_or_default();
        if let Some(row) = store.db.get_cf(store.family(META), BODIES_KEY)? {
            let height = row.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Corrupt { row: "bodies" })?;
            store.bodies_from = AtomicU64::new(height);
        }
        Ok(store)
    }

    fn create(&self, chain: &ChainId, genesis: &Changes) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        self.put_changes(&mut batch, genesis)?;
        self.put_tree(&mut batch, 0, &StateTree::default().update(self, 0, genesis)?);
        let tip = Tip { header: None, frontier: Frontier::default() };
        self.put_meta(&mut batch, chain, &tip);
        Ok(self.db.write_opt(batch, &synced())?)
    }

    fn put_meta(&self, batch: &mut WriteBatch, chain: &ChainId, tip: &Tip) {
        let meta = self.family(META);
        batch.put_cf(meta, VERSION_KEY, VERSION.to_be_bytes());
        batch.put_cf(meta, CHAIN_KEY, chain.0);
        batch.put_cf(meta, TIP_KEY, cbor::encode(tip));
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
        self.put_block(&mut batch, block);
        self.put_log(&mut batch, block);
        self.put_places(&mut batch, block.entries)?;
        if !block.changes.0.is_empty() {
            self.put_old(&mut batch, block.header.height, block.changes, &block.written.replaced)?;
            self.put_tree(&mut batch, block.header.height, block.written);
        }
        self.put_changes(&mut batch, block.changes)?;
        let tip = Tip { header: Some(block.header.clone()), frontier: block.frontier.clone() };
        batch.put_cf(self.family(META), TIP_KEY, cbor::encode(&tip));
        Ok(self.db.write(batch)?)
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
        self.value(key).map_err(|e| match e {
            StoreError::State(e) => e,
            StoreError::Corrupt { row } => StateError::Corrupt { record: row },
            other => StateError::Store(other.to_string()),
        })
    }
}

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

const fn height_key(height: Height) -> [u8; 8] {
    height.to_be_bytes()
}

#[cfg(test)]
mod tests;
