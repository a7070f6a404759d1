//! The end of an epoch (formats.md §4, reconfiguration). The contract decides it with a transaction: executed at h, the epoch ends at
//! a height at least a window above h, so that whoever has executed e knows every end up to e + a window, and votes no further.
//! The primary fills the way there with null batches. What is final at the last height is where the next epoch begins, with
//! other validators and view 0: nobody votes above it in this one.

use schemas::block::Header;
use schemas::id::Height;
use schemas::limits;

use crate::mutants::planted;
use crate::proposal::Request;
use crate::replica::Replica;

impl Replica {
    /// The transactions that still wait: they go over to the next epoch.
    pub fn end(self) -> Vec<Request> {
        self.pool.into_waiting()
    }

    /// What execution says about the epoch's end: it does not change once it is known, and is never near.
    pub(super) fn learn_seal(&mut self, header: &Header, seal: Option<Height>) {
        if self.seal.is_none()
            && let Some(at) = seal
        {
            assert!(at >= header.height.saturating_add(limits::WATERMARK_WINDOW), "an epoch does not end at once");
        }
        assert!(self.seal.is_none_or(|known| seal == Some(known)), "an epoch ends once");
        self.seal = seal;
    }

    /// Whether the height is of this epoch for certain.
    pub(super) fn is_before_seal(&self, height: Height) -> bool {
        let known_to = self.executed.saturating_add(limits::WATERMARK_WINDOW);
        height <= self.seal.unwrap_or(known_to) || planted("votes-beyond-the-seal")
    }

    /// The epoch's end is decided and not reached: heights move without transactions too.
    pub(super) fn is_sealing(&self, height: Height) -> bool {
        self.seal.is_some_and(|seal| height <= seal)
    }

    /// While the epoch ends its progress is watched as a transaction is: each executed height is another one.
    pub(super) fn sealing_number(&self) -> Option<u64> {
        let is_under_way = self.seal.is_some_and(|seal| self.certified < seal);
        is_under_way.then_some((1 << 63) | self.executed)
    }
}
