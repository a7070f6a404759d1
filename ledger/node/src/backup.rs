//! Backup and restore of a validator. A backup is a checkpoint of the block store with a list of its files and their hashes; the vote
//! log is never in it, since an older vote log is worse than none: a restored validator follows in silence until nothing that
//! it may have said can matter, and fetches what is missing. A running validator makes the checkpoint itself when a file in
//! its data folder asks for it: whoever may write there may ask.

mod files;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use schemas::genesis::Genesis;
use schemas::id::{ChainId, Digest, Height, TimeMs};
use serde::{Deserialize, Serialize};

use crate::lock::DataLock;
use crate::protocol::now_ms;
use crate::store::{Store, StoreError};
use crate::votelog::{Mark, file_error};
use crate::{NodeConfig, NodeError, identify, mark_of};

pub use self::files::BackupFile;
use self::files::{copy, copy_all, list, put_aside, remove, sync};

/// A running validator answers within this.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Between two looks for the answer.
const LOOK: Duration = Duration::from_millis(50);
const FORMAT: &str = "chartseal-backup-1";
const LIST: &str = "backup.json";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// `chartseal-backup-1`.
    pub format: String,
    /// The chain.
    pub chain: ChainId,
    /// The validator's name.
    pub validator: String,
    /// Newest executed height.
    pub height: Height,
    /// Hash of its header; the chain id's bytes at genesis.
    pub header: Digest,
    /// When it was made.
    pub created: TimeMs,
    /// Files of the store in `blocks/`, sorted by name.
    pub files: Vec<BackupFile>,
}

/// Where a running validator is asked for a checkpoint.
fn asked(data: &Path) -> PathBuf {
    data.join("backup.wanted")
}

/// Where it puts it.
fn made(data: &Path) -> PathBuf {
    data.join("backup")
}

/// Makes the checkpoint that somebody asks for; the question is gone when it is there, or cannot be made.
///
/// # Errors
/// `StoreError`, for the log.
pub(crate) fn answer(store: &Store, data: &Path) -> Result<(), StoreError> {
    let question = asked(data);
    if !question.exists() {
        return Ok(());
    }
    let checkpoint = store.checkpoint_to(&made(data));
    std::fs::remove_file(&question)
        .map_err(|cause| StoreError::File { path: question.display().to_string(), cause })?;
    checkpoint
}

/// Backs the block store up, of a validator that runs or does not.
///
/// # Errors
/// `NodeError`; an unfinished backup has no list and is not restored.
pub fn backup(config: &NodeConfig, to: &Path, with_key: bool) -> Result<Backup, NodeError> {
    if Store::exists(to) {
        return Err(unusable(to, "found a folder with something in it, expected a new one"));
    }
    let (genesis, ..) = identify(config)?;
    let checkpoint = made(&config.data);
    remove(&checkpoint)?;
    match DataLock::take(&config.data) {
        Ok(_lock) => open(config, &genesis, &config.data.join("blocks"))?.checkpoint_to(&checkpoint)?,
        Err(NodeError::InUse { .. }) => ask(config)?,
        Err(e) => return Err(e),
    }
    let folder = to.join("blocks");
    copy_all(&checkpoint, &folder)?;
    remove(&checkpoint)?;
    let (height, header) = look(config, &genesis, &folder)?;
    copy(&config.genesis, &to.join("genesis.json"))?;
    if with_key {
        copy(&config.key, &to.join("validator.key"))?;
    }
    let (chain, validator, created, files) = (genesis.chain_id(), config.name.clone(), now_ms(), list(&folder)?);
    let backup = Backup { format: FORMAT.to_owned(), chain, validator, height, header, created, files };
    let (path, text) = (to.join(LIST), serde_json::to_string_pretty(&backup));
    let text = text.map_err(|e| unusable(&path, e.to_string()))?;
    std::fs::write(&path, text).map_err(file_error(&path))?;
    sync(&path)?;
    sync(to)?;
    Ok(backup)
}

/// Asks the running validator, and waits.
fn ask(config: &NodeConfig) -> Result<(), NodeError> {
    let (question, started) = (asked(&config.data), Instant::now());
    std::fs::write(&question, []).map_err(file_error(&question))?;
    while question.exists() {
        if started.elapsed() > ANSWER_MAX {
            std::fs::remove_file(&question).map_err(file_error(&question))?;
            return Err(unusable(&config.data, "found no answer of the running validator; its log says why"));
        }
        std::thread::sleep(LOOK);
    }
    if made(&config.data).exists() {
        return Ok(());
    }
    Err(unusable(&config.data, "the running validator made no checkpoint; its log says why"))
}

/// Brings a validator that does not run to where it recovers at its next start: with the blocks of a backup, or without any. Its vote log
/// and its blocks are put aside (`votes.before`, `blocks.before`). The height that was restored.
///
/// # Errors
/// `NodeError`, before anything is changed when the backup is not whole or of another chain.
pub fn restore(config: &NodeConfig, from: Option<&Path>) -> Result<Height, NodeError> {
    let _lock = DataLock::take(&config.data)?;
    let (genesis, ..) = identify(config)?;
    let at = |name: &str| config.data.join(name);
    let restored = at("blocks.restored");
    remove(&restored)?;
    let mut height = 0;
    if let Some(from) = from {
        let backup = read(from)?;
        let (found, expected) = (backup.chain, genesis.chain_id());
        if found != expected {
            return Err(StoreError::OtherChain { found, expected }.into());
        }
        copy_all(&from.join("blocks"), &restored)?;
        if list(&restored)? != backup.files {
            return Err(unusable(
                from,
                "found other files than its list says, expected a whole backup; take another one",
            ));
        }
        height = look(config, &genesis, &restored)?.0;
    }
    // from here on the key has voted, whatever is there when the power fails
    let mark = mark_of(config);
    if Mark::read(&mark).ok().flatten().is_none() {
        Mark::default().write(&mark).map_err(file_error(&mark))?;
    }
    put_aside(&at("votes"), &at("votes.before"))?;
    put_aside(&at("blocks"), &at("blocks.before"))?;
    if from.is_some() {
        std::fs::rename(&restored, at("blocks")).map_err(file_error(&restored))?;
    }
    sync(&config.data)?;
    Ok(height)
}

fn read(from: &Path) -> Result<Backup, NodeError> {
    let path = from.join(LIST);
    let text = std::fs::read_to_string(&path).map_err(file_error(&path))?;
    let backup: Backup = serde_json::from_str(&text).map_err(|e| unusable(&path, e.to_string()))?;
    if backup.format != FORMAT {
        return Err(unusable(&path, format!("found format {}, expected {FORMAT}", backup.format)));
    }
    Ok(backup)
}

fn open(config: &NodeConfig, genesis: &Genesis, folder: &Path) -> Result<Store, NodeError> {
    if !Store::exists(folder) {
        return Err(unusable(folder, "found no block store, expected that of a validator that has run"));
    }
    let changes = ledger_contract::genesis_changes(genesis);
    Ok(Store::open(folder, config.store_bytes, &genesis.chain_id(), &changes)?)
}

/// What was copied opens, and its tree has the root that its header names.
fn look(config: &NodeConfig, genesis: &Genesis, folder: &Path) -> Result<(Height, Digest), NodeError> {
    let store = open(config, genesis, folder)?;
    let tip = store.tip()?;
    store.tree(&tip)?;
    Ok((tip.height(), tip.hash(&genesis.chain_id())))
}

fn unusable(place: &Path, message: impl Into<String>) -> NodeError {
    NodeError::Backup { place: place.display().to_string(), message: message.into() }
}
