//! What the validators agreed on, executed once with the real contract: every validator's execution of a height is compared
//! with the first one's. Whoever executes another batch at a height has broken agreement.

use std::collections::BTreeMap;
use std::rc::Rc;

use ledger_contract::{Changes, execute_block, genesis_changes};
use ledger_core::{Execution, Request};
use schemas::block::{Batch, Header, TransactionBytes};
use schemas::id::{Digest, Height};
use schemas::merkle::Frontier;
use schemas::transaction::Outcome;

use crate::keys::Keys;

/// An executed height.
pub struct Done {
    /// What was agreed.
    pub batch: Batch,
    /// Its transactions.
    pub transactions: Vec<TransactionBytes>,
    /// What execution made.
    pub header: Header,
    /// Transaction ids and outcomes, in order.
    pub entries: Vec<(Digest, Outcome)>,
}

/// The one chain.
pub struct Chain {
    state: Changes,
    frontier: Frontier,
    blocks: Vec<Rc<Done>>,
    /// Where signed bytes were first executed.
    executed: BTreeMap<Digest, Height>,
    /// Where a transaction id was accepted.
    accepted: BTreeMap<Digest, Height>,
    /// Ids with any outcome.
    decided: BTreeMap<Digest, Height>,
}

impl Chain {
    /// The genesis.
    pub fn new(keys: &Keys) -> Self {
        Self {
            state: genesis_changes(&keys.genesis),
            frontier: Frontier::default(),
            blocks: vec![],
            executed: BTreeMap::new(),
            accepted: BTreeMap::new(),
            decided: BTreeMap::new(),
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

    /// Whether a transaction has an outcome.
    pub fn decided(&self, id: &Digest) -> Option<Height> {
        self.decided.get(id).copied()
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
        let previous = self.blocks.last().map(|done| &done.header);
        let time = previous.map_or(0, |header| header.time).max(batch.time);
        let contract = execute_block(&self.state, &keys.chain, height, time, transactions, keys.verifier());
        let contract = contract.map_err(|e| e.to_string())?;
        contract.entries.iter().for_each(|entry| self.frontier.append(entry.leaf(), |_, _, _| {}));
        let header = Header {
            chain: keys.chain,
            epoch: batch.epoch,
            height,
            batch: batch.digest(),
            previous: previous.map_or(Digest(keys.chain.0), Header::hash),
            log_size: self.frontier.size(),
            log_root: self.frontier.root(),
            time,
        };
        self.state.extend(contract.changes);
        let entries: Vec<_> = contract.entries.iter().map(|entry| (entry.transaction, entry.outcome)).collect();
        for (bytes, &(id, outcome)) in transactions.iter().zip(&entries) {
            self.executed.entry(schemas::transaction::signed_hash(bytes.as_ref())).or_insert(height);
            self.decided.entry(id).or_insert(height);
            if outcome == Outcome::Accepted && self.accepted.insert(id, height).is_some() {
                return Err(format!("one commit per id: {id} is accepted twice, again at height {height}"));
            }
        }
        let (batch, transactions) = (batch.clone(), transactions.clone());
        let done = Rc::new(Done { batch, transactions, header, entries });
        self.blocks.push(Rc::clone(&done));
        Ok(done)
    }
}
