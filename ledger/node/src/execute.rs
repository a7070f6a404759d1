//! Execution of a committed batch: the contract decides, log and state tree grow, the header is made, all is written as one. Also the
//! cache of signatures that were verified beside the loop before the contract asks for them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ledger_contract::{Executed as Contract, StateTree, execute_block, signature_checks};
use ledger_core::Execution;
use ledger_proof::AwsLc;
use schemas::block::Header;
use schemas::cose::Verifier;
use schemas::id::{Digest, PublicKey, Signature};
use schemas::transaction::{Outcome, Transaction};
use sha2::{Digest as _, Sha256};

use crate::metrics::{OnCore, Step, Verifications};
use crate::node::Node;
use crate::store::{Executed, Store, StoreError};

/// Signatures remembered in each of two generations.
const GENERATION_MAX: usize = 1 << 15;

/// Remembers valid signatures; what it does not know it verifies. Same answer for same arguments.
pub(crate) struct Verified {
    generations: Mutex<[HashSet<[u8; 32]>; 2]>,
    verifications: Verifications,
}

impl Verified {
    /// Remembers nothing yet.
    pub fn new(verifications: Verifications) -> Self {
        Self { generations: Mutex::default(), verifications }
    }

    /// Verifies what execution will ask for, so that it only has to look up.
    pub fn prepare(&self, store: &Store, transaction: &Transaction) {
        // a state that cannot be read is reported by execution itself
        for check in signature_checks(store, transaction).unwrap_or_default() {
            self.verify(&check.key, &check.message, &check.signature);
        }
    }

    fn contains(&self, key: &[u8; 32]) -> bool {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.iter().any(|g| g.contains(key))
    }

    fn remember(&self, key: [u8; 32]) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations[0].len() >= GENERATION_MAX {
            generations.swap(0, 1);
            generations[0].clear();
        }
        generations[0].insert(key);
    }
}

impl Verifier for Verified {
    fn verify(&self, key: &PublicKey, message: &[u8], signature: &Signature) -> bool {
        let mut hash = Sha256::new();
        hash.update(key.as_bytes());
        hash.update(signature.as_bytes());
        hash.update(message);
        let id = hash.finalize().into();
        if self.contains(&id) {
            return true;
        }
        let is_valid = self.verifications.time(|| AwsLc.verify(key, message, signature));
        if is_valid {
            self.remember(id);
        }
        is_valid
    }
}

/// Executes the height after the tip and writes it; the header, and the ids of the transactions that it accepted.
///
/// # Errors
/// `StoreError`: nothing is decided then, and the process must end.
pub(crate) fn execute(
    node: &Node,
    tree: &mut StateTree,
    execution: &Execution,
) -> Result<(Header, Vec<Digest>), StoreError> {
    let (store, chain, started) = (&*node.store, &node.chain, Instant::now());
    let mut on_core = OnCore::of_thread();
    let tip = store.tip()?;
    let Execution { batch, transactions, certificate } = execution;
    assert!(batch.height == tip.height() + 1, "heights are executed in order");
    // effective time never goes back (formats.md §4)
    let time = tip.header.as_ref().map_or(0, |header| header.time).max(batch.time);
    let Contract { entries, changes } = execute_block(store, chain, batch.height, time, transactions, &node.verified)?;
    node.metrics.worked(Step::Execute, on_core.lap());
    let (mut frontier, first_leaf) = (tip.frontier.clone(), tip.frontier.size());
    let mut nodes = Vec::with_capacity(entries.len() * 2);
    for entry in &entries {
        frontier.append(entry.leaf(), |_, _, node| nodes.push(*node));
    }
    let written = tree.update(store, batch.height, &changes)?;
    let header = Header {
        chain: *chain,
        epoch: batch.epoch,
        height: batch.height,
        batch: batch.digest(),
        previous: tip.header.as_ref().map_or(Digest(chain.0), Header::hash),
        log_size: frontier.size(),
        log_root: frontier.root(),
        time,
        state_root: written.root,
    };
    node.metrics.worked(Step::Hash, on_core.lap());
    let (entries, changes, frontier, nodes) = (&entries[..], &changes, &frontier, &nodes[..]);
    store.write(&Executed {
        batch,
        transactions,
        certificate,
        header: &header,
        entries,
        changes,
        written: &written,
        frontier,
        first_leaf,
        nodes,
    })?;
    node.metrics.worked(Step::Store, on_core.lap());
    node.metrics.executed(started.elapsed(), entries.iter().map(|entry| entry.outcome));
    let accepted = entries.iter().filter(|entry| entry.outcome == Outcome::Accepted).map(|entry| entry.transaction);
    Ok((header, accepted.collect()))
}
