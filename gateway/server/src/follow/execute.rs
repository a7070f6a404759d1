//! Executing certified blocks on the stored state: reads what the blocks will ask for in few statements, runs the contract
//! off the async threads, compares with the certified header. Decides nothing of its own.

use std::collections::HashMap;

use ledger_contract::{Changes, State, StateError, admit, epoch_at, execute_block};
use ledger_proof::AwsLc;
use schemas::block::{Block, Header};
use schemas::id::ChainId;
use schemas::state;
use tokio::runtime::Handle;

use super::{FollowError, Position};
use crate::store::{Store, StoreError, chain};

/// Values by key; none where the state has none.
pub type Known = HashMap<Vec<u8>, Option<Vec<u8>>>;

/// Reads the keys that the blocks name: their transactions, cases and institutions.
pub async fn prefetch(store: &Store, chain: &ChainId, blocks: &[Block]) -> Result<Known, StoreError> {
    let mut keys = Vec::new();
    for bytes in blocks.iter().flat_map(|block| &block.transactions) {
        let Ok(transaction) = admit(bytes.as_ref(), chain) else { continue };
        keys.push(state::transaction_key(&transaction.id()));
        keys.extend(transaction.statements.iter().map(|statement| state::case_key(&statement.case)));
        keys.extend(
            transaction.core.body.statements_root().map(|(institution, _)| state::institution_key(institution)),
        );
    }
    // which epoch each block is of
    keys.push(state::newest_epoch_key());
    let epochs = blocks.iter().map(|block| block.header.epoch);
    keys.extend(epochs.flat_map(|epoch| [epoch, epoch.saturating_add(1)]).map(state::epoch_key));
    keys.sort_unstable();
    keys.dedup();
    chain::get_all(store, &keys).await
}

/// Runs the blocks in order; gives the new position and all changes.
pub fn run(
    store: Store,
    runtime: Handle,
    known: Known,
    mut position: Position,
    blocks: &[Block],
) -> Result<(Position, Changes), FollowError> {
    let mut base = Base { store, runtime, known, changes: Changes::default() };
    for block in blocks {
        let header = &block.header;
        follows(&position, header)?;
        let executed = execute_block(&base, &header.chain, header.height, header.time, &block.transactions, &AwsLc)?;
        for entry in &executed.entries {
            position.log.append(entry.leaf(), |_, _, _| {});
        }
        if position.log.size() != header.log_size || position.log.root() != header.log_root {
            return Err(FollowError::Disagrees { height: header.height, what: "log root" });
        }
        base.changes.extend(executed.changes);
        position.header = Some(header.clone());
        position.epoch = epoch_at(&base, header.height + 1)?.epoch;
    }
    Ok((position, base.changes))
}

fn follows(position: &Position, header: &Header) -> Result<(), FollowError> {
    let view = position.view();
    let what = match () {
        () if header.height != view.height + 1 => "height",
        () if header.epoch != view.epoch => "epoch",
        () if header.previous != view.header => "previous header",
        () if header.time < view.time => "time",
        () => return Ok(()),
    };
    Err(FollowError::Disagrees { height: header.height, what })
}

/// The stored state with the changes of the group's earlier blocks over it.
struct Base {
    store: Store,
    runtime: Handle,
    known: Known,
    changes: Changes,
}

impl State for Base {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        if let Some(value) = self.changes.0.get(key).or_else(|| self.known.get(key)) {
            return Ok(value.clone());
        }
        self.runtime.block_on(chain::get(&self.store, key)).map_err(|e| StateError::Store(e.to_string()))
    }
}
