//! The ledger executed again from its genesis, all in memory: whoever follows the blocks needs nobody's word for the roots of log
//! and state. Certificates are `ledger-proof`'s to check. It must never go past a block whose header differs from its own.

use std::collections::BTreeMap;

use schemas::block::{Block, Header};
use schemas::cose::Verifier;
use schemas::genesis::Genesis;
use schemas::id::{ChainId, Digest, Height};
use schemas::merkle::Frontier;
use schemas::transaction::LogEntry;

use crate::epoch::epoch_at;
use crate::execute::{Executed, execute_block};
use crate::state::{Changes, StateError, genesis_changes};
use crate::tree::StateTree;

/// Why a block does not follow.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Another value than execution gives.
    #[error("block {height}: found another {what} than execution gives, expected equal")]
    Differs {
        /// The block.
        height: Height,
        /// What differs.
        what: &'static str,
    },
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

/// The ledger after the newest block that was executed.
pub struct Replay {
    chain: ChainId,
    state: Changes,
    tree: StateTree,
    log: Frontier,
    header: Option<Header>,
}

impl Replay {
    /// At the genesis.
    ///
    /// # Errors
    /// `StateError` when the genesis holds more than a block can.
    pub fn new(genesis: &Genesis) -> Result<Self, StateError> {
        let (state, mut tree) = (genesis_changes(genesis), StateTree::default().keeping(usize::MAX));
        tree.update(&BTreeMap::new(), 0, &state)?;
        Ok(Self { chain: genesis.chain_id(), state, tree, log: Frontier::default(), header: None })
    }

    /// Height of the newest block.
    pub fn height(&self) -> Height {
        self.header.as_ref().map_or(0, |header| header.height)
    }

    /// Executes the next block and compares every field of its header.
    ///
    /// # Errors
    /// `ReplayError::Differs` with what is not as execution gives it; nothing can follow after that.
    pub fn execute(&mut self, block: &Block, verifier: &dyn Verifier) -> Result<Vec<LogEntry>, ReplayError> {
        let (found, batch) = (&block.header, &block.batch);
        let (height, previous) = (self.height() + 1, self.header.as_ref());
        let time = previous.map_or(0, |header| header.time).max(batch.time);
        let Executed { entries, changes } =
            execute_block(&self.state, &self.chain, height, time, &block.transactions, verifier)?;
        entries.iter().for_each(|entry| self.log.append(entry.leaf(), |_, _, _| {}));
        let written = self.tree.update(&BTreeMap::new(), height, &changes)?;
        let own = Header {
            chain: self.chain,
            epoch: epoch_at(&self.state, height)?.epoch,
            height,
            batch: batch.digest(),
            previous: previous.map_or(Digest(self.chain.0), Header::hash),
            log_size: self.log.size(),
            log_root: self.log.root(),
            time,
            state_root: written.root,
        };
        let differs = |what| Err(ReplayError::Differs { height: found.height, what });
        match () {
            () if (own.chain, own.height) != (found.chain, found.height) => return differs("chain or height"),
            () if own.previous != found.previous => return differs("previous header"),
            () if (own.log_size, own.log_root) != (found.log_size, found.log_root) => return differs("log root"),
            () if own.state_root != found.state_root => return differs("state root"),
            () if own != *found => return differs("header"),
            () => {}
        }
        self.state.extend(changes);
        self.header = Some(own);
        Ok(entries)
    }
}
