//! What one validator of the network keeps: its votes, its blocks, and what is durable of both.

use std::collections::BTreeMap;

use ledger_core::Execution;
use schemas::block::{Block, Header, ValidatorSignature};
use schemas::id::Height;
use schemas::pbft::Record;
use schemas::view::Checkpoint;

use crate::mock::CHAIN;

/// What survives a crash.
#[derive(Default)]
pub struct Disk {
    pub log: Vec<Record>,
    pub blocks: Vec<(Execution, Header)>,
    pub attestations: BTreeMap<Height, Vec<ValidatorSignature>>,
    pub flushed: Height,
}

impl Disk {
    pub fn executed(&self) -> Height {
        self.blocks.len() as Height
    }

    pub fn certified(&self) -> Height {
        (1..=self.executed()).take_while(|h| self.attestations.contains_key(h)).last().unwrap_or(0)
    }

    pub fn checkpoint(&self) -> Checkpoint {
        let height = self.certified();
        let Some(block) = height.checked_sub(1).and_then(|_| self.block(height)) else {
            return Checkpoint::genesis(&CHAIN);
        };
        Checkpoint { height, header: block.header.hash(), attestations: block.attestations }
    }

    pub fn block(&self, height: Height) -> Option<Block> {
        let (execution, header) = self.blocks.get(usize::try_from(height).ok()? - 1)?.clone();
        let Execution { batch, transactions, certificate } = execution;
        Some(Block { batch, transactions, certificate, header, attestations: self.attestations.get(&height)?.clone() })
    }
}
