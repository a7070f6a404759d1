//! What a contract would make of transactions, as far as the protocol sees it: bytes have one outcome, and of all copies of one
//! transaction at most one is accepted. A signature that nobody made is refused.

use std::collections::BTreeMap;

use ledger_core::{Execution, Request};
use schemas::block::TransactionBytes;
use schemas::id::{Digest, Height};

use crate::mock::is_refused;

#[derive(Default)]
pub struct Outcomes {
    /// Where signed bytes were executed first.
    executed: BTreeMap<Digest, Height>,
    /// Where an id was accepted.
    accepted: BTreeMap<Digest, Height>,
}

impl Outcomes {
    pub fn is_accepted(&self, bytes: &TransactionBytes) -> bool {
        self.accepted.contains_key(&Request::read(bytes.clone()).unwrap().id())
    }

    /// What a node looks up in its store before it hands a request on.
    pub fn is_known(&self, request: &Request, executed: Height) -> bool {
        let before = |height: Option<&Height>| height.is_some_and(|&height| height <= executed);
        before(self.executed.get(&request.signed())) || before(self.accepted.get(&request.id()))
    }

    /// The ids that a height accepts, whoever executes it first.
    pub fn accept(&mut self, execution: &Execution, may_repeat: bool) -> Vec<Digest> {
        let height = execution.batch.height;
        let mut accepted = Vec::new();
        for bytes in &execution.transactions {
            let request = Request::read(bytes.clone()).unwrap();
            let first = *self.executed.entry(request.signed()).or_insert(height);
            // a batch that prepared before a view change may hold what was proposed again since: the contract refuses it
            assert!(first == height || may_repeat, "a transaction is executed at one height only");
            if !is_refused(bytes) && *self.accepted.entry(request.id()).or_insert(height) == height {
                accepted.push(request.id());
            }
        }
        accepted
    }
}
