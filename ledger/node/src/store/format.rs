//! How the block store lies on the disk: its families, their options, the version of it all, and what is said about a folder that
//! another version wrote, that is of another chain, or damaged. Nothing is changed in a folder before it is known to be ours.

use std::path::Path;

use rocksdb::{ColumnFamilyDescriptor, DB, DBCompactionStyle, Options, UniversalCompactOptions};
use schemas::id::ChainId;

use super::StoreError;

/// Header, commit certificate and batch of each block: kept for good.
pub(super) const HEADERS: &str = "headers";
/// Transactions of each block: may be pruned.
pub(super) const BODIES: &str = "bodies";
pub(super) const ATTESTATIONS: &str = "attestations";
pub(super) const LOG_NODES: &str = "log_nodes";
/// Entries of the newest blocks, under the number of the first: what a state transfer hands on.
pub(super) const LOG_ENTRIES: &str = "log_entries";
/// Rows of the state tree under their place, key and value: a subtree is a range.
pub(super) const STATE: &str = "state";
pub(super) const STATE_NODES: &str = "state_nodes";
pub(super) const STATE_STALE: &str = "state_stale";
pub(super) const STATE_OLD: &str = "state_old";
/// Where each transaction was executed; of the accepted ones the state's `tx/` rows follow.
pub(super) const TX_INDEX: &str = "tx_index";
pub(super) const META: &str = "meta";
pub(super) const FAMILIES: [&str; 11] =
    [HEADERS, BODIES, ATTESTATIONS, LOG_NODES, LOG_ENTRIES, STATE, STATE_NODES, STATE_STALE, STATE_OLD, TX_INDEX, META];
pub(super) const CHAIN_KEY: &[u8] = b"chain";
pub(super) const VERSION_KEY: &[u8] = b"version";
pub(super) const TIP_KEY: &[u8] = b"tip";
/// Where a store begins that was made by state transfer.
pub(super) const BASE_KEY: &[u8] = b"base";
/// The lowest height whose body is kept, once any was dropped.
pub(super) const BODIES_KEY: &[u8] = b"bodies";

/// Of this layout. 1 had no such row: the state stood under its keys, blocks in one row.
pub(super) const VERSION: u32 = 2;

/// Tables that stay open at least and at most.
const OPEN_FILES_MIN: i32 = 128;
const OPEN_FILES_MAX: i32 = 1024;

/// Looks at a folder before it is opened. False: nothing of ours is in it yet.
pub(super) fn check(path: &Path, chain: &ChainId) -> Result<bool, StoreError> {
    if !path.join("CURRENT").exists() {
        return if has_data(path) {
            Err(StoreError::Damaged { what: "no CURRENT file".to_owned() })
        } else {
            Ok(false)
        };
    }
    let options = Options::default();
    let families = DB::list_cf(&options, path).map_err(StoreError::opening)?;
    // a creation that was cut short
    if !families.iter().any(|name| name == META) {
        return Ok(false);
    }
    let db = DB::open_cf_for_read_only(&options, path, ["default", META], false).map_err(StoreError::opening)?;
    let Some(meta) = db.cf_handle(META) else { unreachable!("it was opened") };
    let Some(found) = db.get_cf(meta, CHAIN_KEY).map_err(StoreError::opening)? else { return Ok(false) };
    let version = match db.get_cf(meta, VERSION_KEY).map_err(StoreError::opening)? {
        Some(bytes) => u32::from_be_bytes(bytes.try_into().map_err(|_| StoreError::Corrupt { row: "version" })?),
        None => 1,
    };
    if version != VERSION {
        let what = if version > VERSION { "a newer" } else { "an older" };
        return Err(StoreError::OtherVersion { found: version, expected: VERSION, what });
    }
    let found = ChainId::from_slice(&found).ok_or(StoreError::Corrupt { row: "chain" })?;
    if found != *chain {
        return Err(StoreError::OtherChain { found, expected: *chain });
    }
    Ok(true)
}

/// Whether tables or a log of RocksDB lie there: a creation that was cut short has none before its CURRENT file.
fn has_data(path: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(path) else { return false };
    let is_data = |path: &Path| path.extension().is_some_and(|end| end == "sst" || end == "log");
    entries.flatten().any(|entry| is_data(&entry.path()))
}

/// Opens or creates all families.
pub(super) fn open(path: &Path, bytes: usize) -> Result<DB, StoreError> {
    let families = FAMILIES.map(|name| ColumnFamilyDescriptor::new(name, family_options(name, bytes)));
    DB::open_cf_descriptors(&database_options(bytes), path, families).map_err(StoreError::opening)
}

fn database_options(bytes: usize) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // families are durable together or not at all: the log of RocksDB is not synced
    options.set_atomic_flush(true);
    options.set_db_write_buffer_size(bytes / 2);
    // a long merge of one family must not hold up those of the others
    options.set_max_background_jobs(4);
    options.set_max_open_files(open_files_max(bytes));
    options.set_keep_log_file_num(2);
    options.set_max_total_wal_size(64 << 20);
    options
}

/// Tables that stay open: one that is opened for a look-up costs more than the look-up. Each keeps the index of its rows in memory, beside
/// `bytes`: so no more than go with those, and half of what the system allows this process.
fn open_files_max(bytes: usize) -> i32 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let allowed = files.and_then(|line| line.split_whitespace().next()?.parse::<i32>().ok());
    let most = i32::try_from(256 + (bytes >> 17)).unwrap_or(OPEN_FILES_MAX).min(OPEN_FILES_MAX);
    (allowed.unwrap_or(1024) / 2).clamp(OPEN_FILES_MIN, most)
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
    if name == STATE_NODES {
        // pieces are forgotten in part and written anew, so that files of all levels cover all heights
        table.set_bloom_filter(10.0, false);
    }
    merge(name, &mut options);
    if name == STATE || name == TX_INDEX {
        table.set_bloom_filter(10.0, false);
        // most look-ups are for what is not there: a new case, an unknown transaction
        options.set_memtable_prefix_bloom_ratio(0.05);
        options.set_memtable_whole_key_filtering(true);
    }
    options.set_block_based_table_factory(&table);
    options
}

/// When files are merged. By levels, rows that follow each other would leave a file of their own in each family for every flush, for good; and
/// rows at random places would be written twenty times before they lie still. So runs of one size are merged, many at once.
fn merge(name: &str, options: &mut Options) {
    if name == META {
        return;
    }
    let is_random = name == STATE || name == TX_INDEX;
    // a look-up asks the filter of every run where keys are random, and only its own run where they follow each other
    let (runs, width) = if is_random { (8, 4) } else { (32, 12) };
    let mut universal = UniversalCompactOptions::default();
    universal.set_min_merge_width(width);
    if [HEADERS, ATTESTATIONS, LOG_NODES].contains(&name) {
        // nothing of these is ever removed: there is nothing to gain by merging all
        universal.set_max_size_amplification_percent(i32::MAX);
    }
    // nor by age: every family would be written anew in one go, on all validators on the same day
    options.set_periodic_compaction_seconds(0);
    options.set_ttl(0);
    options.set_compaction_style(DBCompactionStyle::Universal);
    options.set_universal_compaction_options(&universal);
    options.set_level_zero_file_num_compaction_trigger(runs);
    options.set_level_zero_slowdown_writes_trigger(runs * 4);
    options.set_level_zero_stop_writes_trigger(runs * 6);
}

#[cfg(test)]
mod tests;
