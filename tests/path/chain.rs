//! An outsider's count of anchors: follows the verified blocks and executes them with the contract, as an auditor would.

use std::collections::BTreeMap;
use std::time::Duration;

use ledger_client::Ledger;
use ledger_contract::{State, StateError, execute_block, genesis_changes};
use ledger_proof::AwsLc;
use schemas::genesis::Genesis;
use schemas::id::{CaseId, ChainId, Height};
use schemas::transaction::{Outcome, Transaction};

/// What the chain says so far.
pub struct Chain {
    chain: ChainId,
    state: Rows,
    next: Height,
    log_size: u64,
    /// Accepted anchors by case: more than one would be an anchor twice.
    pub anchors: BTreeMap<CaseId, u32>,
}

#[derive(Default)]
struct Rows(BTreeMap<Vec<u8>, Vec<u8>>);

impl State for Rows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.get(key).cloned())
    }
}

impl Rows {
    fn apply(&mut self, changes: ledger_contract::Changes) {
        for (key, value) in changes.0 {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }
}

impl Chain {
    pub fn new(genesis: &Genesis) -> Self {
        let mut state = Rows::default();
        state.apply(genesis_changes(genesis));
        Self { chain: genesis.chain_id(), state, next: 1, log_size: 0, anchors: BTreeMap::new() }
    }

    /// Follows what is final, waiting up to a second for the next block. Returns the number of anchored cases.
    pub async fn follow(&mut self, ledger: &dyn Ledger) -> usize {
        let blocks = ledger.blocks(self.next, 64, Duration::from_secs(1)).await.unwrap_or_default();
        for block in blocks {
            assert_eq!(block.header.height, self.next, "blocks are contiguous");
            let executed =
                execute_block(&self.state, &self.chain, self.next, block.header.time, &block.transactions, &AwsLc)
                    .expect("the state in memory reads");
            self.log_size += executed.entries.len() as u64;
            assert_eq!(block.header.log_size, self.log_size, "the log grows by the block's entries");
            for (bytes, entry) in block.transactions.iter().zip(&executed.entries) {
                let tx: Transaction = schemas::cbor::decode(bytes.as_ref()).expect("an agreed transaction decodes");
                if entry.outcome == Outcome::Accepted {
                    tx.statements.iter().for_each(|s| *self.anchors.entry(s.case).or_default() += 1);
                }
            }
            self.state.apply(executed.changes);
            self.next += 1;
        }
        self.anchors.len()
    }
}
