//! A validator's configuration file (`node.toml`). Paths are taken from the file's folder. Whatever is wrong is said with
//! file, line, found and expected.

use std::path::{Path, PathBuf};

use schemas::limits;
use serde::Deserialize;

use crate::NodeError;

/// A validator's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The genesis file.
    pub genesis: PathBuf,
    /// This validator's name in the genesis.
    pub name: String,
    /// Folder of the vote log and the block store.
    pub data: PathBuf,
    /// Key file.
    pub key: PathBuf,
    /// Address for other validators.
    pub listen: String,
    /// Address for gateways.
    pub rpc: String,
    /// Address of `/livez`, `/readyz` and `/metrics`, plain HTTP: never open to the outside. None without it.
    #[serde(default)]
    pub operators: Option<String>,
    /// Every other validator of the genesis.
    pub peers: Vec<PeerConfig>,
    /// Allows fewer than four validators: none of them may fail then.
    #[serde(default)]
    pub development: bool,
    /// Memory of the store for blocks and unwritten rows, in bytes. Indexes of its open tables lie beside it: of more tables where this is
    /// larger.
    #[serde(default = "store_bytes_default")]
    pub store_bytes: usize,
    /// Transactions that may wait.
    #[serde(default = "mempool_default")]
    pub mempool_transactions: usize,
    /// Blocks for which proofs of cases as they stood then can be given; for good unless said. Of all else they always can.
    #[serde(default)]
    pub case_history_blocks: Option<u64>,
    /// Blocks whose transactions are kept, for followers and validators that are behind; for good unless said. Headers,
    /// certificates and proofs always are.
    #[serde(default)]
    pub block_history_blocks: Option<u64>,
    /// A new validator fetches and executes every block since the genesis, also when it could copy the state: somebody should.
    #[serde(default)]
    pub whole_history: bool,
}

/// Another validator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its name in the genesis.
    pub name: String,
    /// host:port of its `listen`.
    pub address: String,
}

const fn store_bytes_default() -> usize {
    32 << 20
}

const fn mempool_default() -> usize {
    limits::MEMPOOL_TRANSACTIONS_MAX
}

impl NodeConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// `NodeError::Config` with line and column.
    pub fn load(path: &Path) -> Result<Self, NodeError> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| NodeError::Config { place: path.display().to_string(), message: e.to_string() })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, &path.display().to_string(), folder)
    }

    /// Reads a text; relative paths are taken from `folder`.
    ///
    /// # Errors
    /// `NodeError::Config` with line and column.
    pub fn parse(text: &str, place: &str, folder: &Path) -> Result<Self, NodeError> {
        let mut config: Self = toml::from_str(text).map_err(|e| NodeError::Config {
            place: place_of(place, text, e.span()),
            message: e.message().to_owned(),
        })?;
        for path in [&mut config.genesis, &mut config.data, &mut config.key] {
            *path = folder.join(&path);
        }
        config.check(place)?;
        Ok(config)
    }

    fn check(&self, place: &str) -> Result<(), NodeError> {
        let wrong = |message: &str| Err(NodeError::Config { place: place.to_owned(), message: message.to_owned() });
        if !(1 << 20..=1 << 34).contains(&self.store_bytes) {
            return wrong("store_bytes: expected 1 MiB to 16 GiB");
        }
        if self.mempool_transactions == 0 || self.mempool_transactions > limits::MEMPOOL_TRANSACTIONS_MAX {
            return wrong("mempool_transactions: expected 1 to 8192");
        }
        if self.whole_history && self.block_history_blocks.is_some() {
            return wrong("whole_history: found block_history_blocks too, expected one of them");
        }
        if self.block_history_blocks.is_some_and(|blocks| blocks < limits::BLOCK_HISTORY_MIN) {
            return wrong("block_history_blocks: expected at least 1024, or nothing: all are kept");
        }
        Ok(())
    }
}

fn place_of(file: &str, text: &str, span: Option<std::ops::Range<usize>>) -> String {
    let Some(before) = span.and_then(|span| text.get(..span.start)) else { return file.to_owned() };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
    format!("{file}:{line}:{column}")
}
