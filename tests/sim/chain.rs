//! What the validators agreed on, executed once with the real contract: every validator's execution of a height is compared
//! with the first one's. Whoever executes another batch at a height has broken agreement. Each validator brings a state tree of
//! its own forward, which must come to the root of the header, also after a restart.

use std::collections::BTreeMap;
use std::rc::Rc;

use ledger_contract::{
    Changes, Nodes, Seal, StateError, StateTree, Written, confirmed, elected, epoch_at, execute_block, genesis_changes,
    seal,
};
use ledger_core::{Execution, Request};
use schemas::ballot::list_hash;
use schemas::block::{Batch, Header, TransactionBytes};
use schemas::genesis::Validator;
use schemas::id::{Digest, Height};
use schemas::merkle::Frontier;
use schemas::proof::Value;
use schemas::state::EpochRecord;
use schemas::transaction::{LogEntry, Outcome};
use schemas::transfer::Row;
use schemas::tree::Place;

use crate::keys::Keys;

/// An executed height.
pub struct Done {
    /// What was agreed.
    pub batch: Batch,
    /// Its transactions.
    pub transactions: Vec<TransactionBytes>,
    /// What execution made.
    pub header: Header,
    /// Its entries in the log.
    pub entries: Vec<LogEntry>,
    /// What it did to the state.
    pub changes: Changes,
    /// Who is voted for as the next epoch's validators, until that is decided.
    pub elected: Option<Vec<Validator>>,
    /// Where its epoch ends, as far as that is decided then.
    pub seal: Option<Seal>,
}

impl Done {
    /// Ids of the transactions that it accepted.
    pub fn accepted(&self) -> Vec<Digest> {
        let accepted = self.entries.iter().filter(|entry| entry.outcome == Outcome::Accepted);
        accepted.map(|entry| entry.transaction).collect()
    }
}

/// The nodes of the state tree that each height wrote: what a block store holds. Equal for all validators, or roots would differ.
#[derive(Default)]
struct Nodebook(Vec<Written>);

impl Nodes for Nodebook {
    fn piece(&self, height: Height, piece: u16) -> Result<Option<Vec<u8>>, StateError> {
        let written = usize::try_from(height).ok().and_then(|height| self.0.get(height));
        Ok(written.and_then(|written| written.pieces.get(usize::from(piece))).cloned())
    }
}

/// Nodes that a validator's tree keeps in memory: few, so that it reads many back.
const NODES_IN_MEMORY: usize = 16;

/// The one chain.
pub struct Chain {
    genesis: Changes,
    state: Changes,
    tree: StateTree,
    nodes: Nodebook,
    frontier: Frontier,
    blocks: Vec<Rc<Done>>,
    /// Where signed bytes were first executed.
    executed: BTreeMap<Digest, Height>,
    /// Where a transaction id was accepted.
    accepted: BTreeMap<Digest, Height>,
}

impl Chain {
    /// The genesis.
    pub fn new(keys: &Keys) -> Self {
        let (state, mut tree) = (genesis_changes(&keys.genesis), StateTree::default().keeping(usize::MAX));
        let written = tree.update(&BTreeMap::new(), 0, &state).expect("all in memory");
        Self {
            genesis: state.clone(),
            state,
            tree,
            nodes: Nodebook(vec![written]),
            frontier: Frontier::default(),
            blocks: vec![],
            executed: BTreeMap::new(),
            accepted: BTreeMap::new(),
        }
    }

    /// The newest height.
    pub fn height(&self) -> Height {
        self.blocks.len() as Height
    }

    /// A height's block.
    pub fn at(&self, height: Height) -> Option<&Rc<Done>> {
        self.blocks.get(usize::try_from(height).ok()?.checked_sub(1)?)
    }

    /// Whether a validator that executed up to `height` has a verdict on these bytes.
    pub fn is_known(&self, request: &Request, height: Height) -> bool {
        let before = |at: Option<&Height>| at.is_some_and(|&at| at <= height);
        before(self.accepted.get(&request.id())) || before(self.executed.get(&request.signed()))
    }

    /// Where these bytes got their outcome, or a copy of the same transaction was accepted: no other copy's outcome counts.
    pub fn verdict(&self, request: &Request) -> Option<Height> {
        let places = [self.accepted.get(&request.id()), self.executed.get(&request.signed())];
        places.into_iter().flatten().copied().min()
    }

    /// The state tree of a validator that starts with `height` executed.
    pub fn tree_at(&self, height: Height) -> StateTree {
        let row = &self.nodes.0[usize::try_from(height).expect("small")].root_row;
        let tree = StateTree::at(row).expect("a root").keeping(NODES_IN_MEMORY);
        assert!(self.at(height).is_none_or(|done| done.header.state_root == tree.root()), "state root at {height}");
        tree
    }

    /// Brings a validator's tree forward by a height; another root than the header's breaks it.
    pub fn follow(&self, tree: &mut StateTree, done: &Done) -> Result<(), String> {
        let written = tree.update(&self.nodes, done.header.height, &done.changes).map_err(|e| e.to_string())?;
        if written == self.nodes.0[usize::try_from(done.header.height).expect("small")] {
            return Ok(());
        }
        Err(format!("state: another root or other nodes than the first validator's at height {}", done.header.height))
    }

    /// All rows of the state tree after a height, in the order of their places.
    pub fn rows_at(&self, height: Height) -> Vec<Row> {
        let mut state = self.genesis.clone();
        self.blocks
            .iter()
            .take(usize::try_from(height).expect("small"))
            .for_each(|done| state.extend(done.changes.clone()));
        let placed = |(key, value): (Vec<u8>, Option<Vec<u8>>)| {
            Place::of(&key).zip(value).map(|(place, value)| (place, Row { key: Value(key), value: Value(value) }))
        };
        let mut rows: Vec<_> = state.0.into_iter().filter_map(placed).collect();
        rows.sort_by_key(|(place, _)| *place);
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// The log up to a height.
    pub fn entries_to(&self, height: Height) -> Vec<LogEntry> {
        let blocks = self.blocks.iter().take(usize::try_from(height).expect("small"));
        blocks.flat_map(|done| done.entries.iter().cloned()).collect()
    }

    /// How many of these said that they are there, in the epoch before theirs.
    pub fn there(&self, next: &EpochRecord) -> usize {
        let list = list_hash(&next.members);
        let said = |member: &&Validator| {
            let word = confirmed(&self.state, next.epoch - 1, &member.key, next.decided_at);
            word.is_ok_and(|word| word == Some(list))
        };
        next.members.iter().filter(said).count()
    }

    /// Executes a height, or compares it with what was executed there.
    pub fn execute(&mut self, keys: &Keys, execution: &Execution) -> Result<Rc<Done>, String> {
        let Execution { batch, transactions, .. } = execution;
        let height = batch.height;
        if let Some(known) = self.at(height) {
            let same = known.batch == *batch && known.transactions == *transactions;
            return if same { Ok(Rc::clone(known)) } else { Err(format!("agreement: two batches at height {height}")) };
        }
        if height != self.height() + 1 {
            return Err(format!("total order: height {height} after {}", self.height()));
        }
        if schemas::block::transactions_root(transactions) != batch.transactions_root {
            return Err(format!("validity: transactions of height {height} are not under the batch's root"));
        }
        let current = epoch_at(&self.state, height).map_err(|e| e.to_string())?;
        let epoch = current.epoch;
        if batch.epoch != epoch {
            return Err(format!("epochs: height {height} of epoch {epoch} is agreed in epoch {}", batch.epoch));
        }
        let previous = self.blocks.last().map(|done| &done.header);
        let time = previous.map_or(0, |header| header.time).max(batch.time);
        let contract = execute_block(&self.state, &keys.chain, height, time, transactions, keys.verifier());
        let contract = contract.map_err(|e| e.to_string())?;
        contract.entries.iter().for_each(|entry| self.frontier.append(entry.leaf(), |_, _, _| {}));
        let written = self.tree.update(&BTreeMap::new(), height, &contract.changes).map_err(|e| e.to_string())?;
        let header = Header {
            chain: keys.chain,
            epoch: batch.epoch,
            height,
            batch: batch.digest(),
            previous: previous.map_or(Digest(keys.chain.0), Header::hash),
            log_size: self.frontier.size(),
            log_root: self.frontier.root(),
            time,
            state_root: written.root,
        };
        self.nodes.0.push(written);
        self.state.extend(contract.changes.clone());
        let entries = contract.entries;
        for (bytes, entry) in transactions.iter().zip(&entries) {
            let (id, outcome) = (entry.transaction, entry.outcome);
            self.executed.entry(schemas::transaction::signed_hash(bytes.as_ref())).or_insert(height);
            if outcome == Outcome::Accepted && self.accepted.insert(id, height).is_some() {
                return Err(format!("one commit per id: {id} is accepted twice, again at height {height}"));
            }
        }
        let (batch, transactions) = (batch.clone(), transactions.clone());
        let seal = seal(&self.state, epoch).map_err(|e| e.to_string())?;
        let elected = match seal {
            Some(_) => None,
            None => elected(&self.state, &current).map_err(|e| e.to_string())?,
        };
        let done = Rc::new(Done { batch, transactions, header, entries, changes: contract.changes, elected, seal });
        self.blocks.push(Rc::clone(&done));
        Ok(done)
    }
}
