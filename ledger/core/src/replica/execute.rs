//! Execution in order of height (§4.2: a request after all those with lower sequence numbers), and adoption of final blocks by
//! one who is behind. Execution itself is outside: `Effect::Execute` goes out, `Input::Executed` comes back.

use schemas::block::{Block, Header};
use schemas::id::{Digest, Height};
use schemas::limits;
use schemas::pbft::Decision;

use crate::mutants::planted;
use crate::proposal::Request;
use crate::replica::Replica;
use crate::slot::Slot;
use crate::{Divergence, Effect, Execution, Sign};

impl Replica {
    /// Hands out the next height if it is committed here or final elsewhere.
    pub(super) fn execute_next(&mut self, effects: &mut Vec<Effect>) {
        if self.executing || self.seal == Some(self.executed) {
            return;
        }
        let Some(slot) = self.slots.get(&(self.executed + 1)) else { return };
        let Some(execution) = to_execute(slot) else { return };
        assert!(execution.batch.height == self.executed + 1, "heights are executed in order");
        self.executing = true;
        effects.push(Effect::Execute(Box::new(execution)));
    }

    /// The header of the executed height.
    pub(super) fn executed(
        &mut self,
        header: Header,
        seal: Option<Height>,
        accepted: &[Digest],
        signer: &dyn Sign,
        effects: &mut Vec<Effect>,
    ) {
        assert!(self.executing && header.height == self.executed + 1, "an answer to the last Execute");
        self.learn_seal(&header, seal);
        self.executing = false;
        self.executed = header.height;
        self.next = self.next.max(self.executed + 1);
        self.settle(&header, accepted);
        let (height, ours) = (header.height, header.hash());
        let Some(slot) = self.slots.get_mut(&height) else { unreachable!("an executed height has its slot") };
        let other = slot.block.as_ref().is_some_and(|block| block.header != header);
        slot.header = Some(header);
        if other {
            effects.push(Effect::Halt(Divergence { height, ours }));
            return;
        }
        self.attest(height, signer, effects);
        self.certify(height, effects);
        self.execute_next(effects);
        self.fetch_more(effects);
    }

    /// Settles the pool: executed transactions leave, those of a proposal that lost come back.
    fn settle(&mut self, header: &Header, accepted: &[Digest]) {
        let Some(slot) = self.slots.get(&header.height) else { return };
        if let Some(proposal) = slot.proposal.as_ref().filter(|proposal| proposal.digest() != header.batch) {
            self.pool.give_back(proposal.requests());
        }
        if let Some(decided) = &slot.decided {
            self.pool.executed(decided.requests(), accepted);
        } else if let Some(block) = &slot.block {
            let requests = block.transactions.iter().filter_map(|bytes| Request::read(bytes.clone()).ok());
            self.pool.executed(&requests.collect::<Vec<_>>(), accepted);
            self.timer.caught_up();
        }
    }

    /// Final blocks: their heights need no votes of ours any more.
    pub(super) fn catch_up(&mut self, blocks: Vec<Block>, effects: &mut Vec<Effect>) {
        for block in blocks {
            let height = block.header.height;
            let is_ours = block.batch.chain == self.config.chain && block.batch.epoch == self.config.epoch;
            let is_near = height <= self.certified.saturating_add(limits::WATERMARK_WINDOW);
            if !is_ours || !is_near || height <= self.certified {
                continue;
            }
            if let Err(divergence) = self.adopt(block) {
                effects.push(Effect::Halt(divergence));
                return;
            }
            self.certify(height, effects);
        }
        self.execute_next(effects);
    }

    /// Puts a final block into its slot. Whoever is behind may lie below the window, so `slot()` is not asked.
    fn adopt(&mut self, block: Block) -> Result<(), Divergence> {
        assert!(block.header.batch == block.batch.digest(), "the block was verified");
        let height = block.header.height;
        let slot = self.slots.entry(height).or_default();
        let (hash, batch) = (block.header.hash(), block.header.batch);
        if let Some(ours) = slot.header.as_ref().map(Header::hash).filter(|ours| *ours != hash) {
            return Err(Divergence { height, ours });
        }
        if let Some(ours) = slot.settled().filter(|ours| *ours != batch) {
            return Err(Divergence { height, ours });
        }
        for by in &block.attestations {
            slot.attestations.insert(by.validator, (hash, by.signature));
        }
        slot.block = Some(Box::new(block));
        Ok(())
    }
}

fn to_execute(slot: &Slot) -> Option<Execution> {
    if planted("executes-proposals")
        && let Some(proposal) = &slot.proposal
        && let Some(decided) = &slot.decided
    {
        let certificate = decided.certificate().clone();
        return Some(Execution { batch: proposal.batch().clone(), transactions: proposal.transactions(), certificate });
    }
    if let Some(block) = &slot.block {
        let Block { batch, transactions, certificate, .. } = block.as_ref().clone();
        return Some(Execution { batch, transactions, certificate });
    }
    let Decision { batch, transactions, certificate } = slot.decided.as_ref()?.to_decision();
    Some(Execution { batch, transactions, certificate })
}
