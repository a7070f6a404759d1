//! Transactions that wait for a batch: bounded, each id once, revocations first, else in order of arrival. Also remembers
//! what was executed within the last window, so that a late copy is not proposed again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schemas::id::{Digest, TimeMs};
use schemas::limits;

use crate::proposal::{Proposal, Request};

/// Executed transactions remembered.
const RECENT_MAX: usize = limits::BATCH_TRANSACTIONS_MAX * limits::BLOCKS_IN_FLIGHT_MAX as usize * 8;

struct Waiting {
    request: Request,
    since: TimeMs,
    forward_at: TimeMs,
}

/// The pool. Lane 0 holds revocations, lane 1 everything else.
#[derive(Default)]
pub(crate) struct Pool {
    next: u64,
    waiting: BTreeMap<(u8, u64), Waiting>,
    ids: BTreeMap<Digest, Option<(u8, u64)>>,
    bytes: usize,
    recent: BTreeSet<Digest>,
    recent_order: VecDeque<Digest>,
}

impl Pool {
    /// Takes a request in unless it is known or there is no room.
    pub fn admit(&mut self, request: Request, now: TimeMs) {
        let known = self.ids.contains_key(&request.id()) || self.recent.contains(&request.signed());
        if known || self.waiting.len() >= limits::MEMPOOL_TRANSACTIONS_MAX {
            return;
        }
        if self.bytes + request.len() > limits::MEMPOOL_BYTES_MAX {
            return;
        }
        let key = (u8::from(!request.is_urgent()), self.next);
        self.next += 1;
        self.bytes += request.len();
        assert!(self.ids.insert(request.id(), Some(key)).is_none(), "each id waits once");
        let forward_at = now.saturating_add(limits::FORWARD_AFTER_MS);
        self.waiting.insert(key, Waiting { request, since: now, forward_at });
    }

    /// Number and bytes of waiting transactions.
    pub fn size(&self) -> (usize, usize) {
        (self.waiting.len(), self.bytes)
    }

    /// Whether waiting is over: a full batch, a revocation, or the oldest has waited long enough.
    pub fn is_ripe(&self, now: TimeMs) -> bool {
        let Some((&(lane, _), first)) = self.waiting.first_key_value() else { return false };
        lane == 0
            || self.waiting.len() >= limits::BATCH_TRANSACTIONS_MAX
            || self.bytes >= limits::BATCH_BYTES_MAX
            || now >= first.since.saturating_add(limits::BATCH_AGE_MS_MAX)
    }

    /// The next batch: as much as fits.
    pub fn batch(&self) -> Vec<Request> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        for waiting in self.waiting.values() {
            bytes += waiting.request.len() + 5;
            if out.len() == limits::BATCH_TRANSACTIONS_MAX || bytes > limits::BATCH_BYTES_MAX {
                break;
            }
            out.push(waiting.request.clone());
        }
        out
    }

    /// Marks the proposal's transactions as being in flight.
    pub fn take(&mut self, proposal: &Proposal) {
        for request in proposal.requests() {
            if let Some(Some(key)) = self.ids.insert(request.id(), None) {
                self.drop_waiting(key);
            }
        }
    }

    /// The proposal lost against another batch: its transactions wait again, the oldest place is not kept.
    pub fn give_back(&mut self, proposal: &Proposal, now: TimeMs) {
        for request in proposal.requests() {
            if self.ids.get(&request.id()) == Some(&None) {
                self.ids.remove(&request.id());
                self.admit(request.clone(), now);
            }
        }
    }

    /// Executed: forgets the ids, remembers the signed hashes for a while.
    pub fn executed(&mut self, requests: &[Request]) {
        for request in requests {
            if let Some(Some(key)) = self.ids.remove(&request.id()) {
                self.drop_waiting(key);
            }
            if self.recent.insert(request.signed()) {
                self.recent_order.push_back(request.signed());
            }
        }
        while self.recent_order.len() > RECENT_MAX {
            if let Some(oldest) = self.recent_order.pop_front() {
                self.recent.remove(&oldest);
            }
        }
        assert!(self.recent.len() == self.recent_order.len(), "remembered once each");
    }

    /// What a backup should hand to the primary now.
    pub fn take_forwards(&mut self, now: TimeMs) -> Vec<Request> {
        let due = self.waiting.values_mut().filter(|w| w.forward_at <= now).take(limits::FORWARD_MAX);
        due.map(|waiting| {
            waiting.forward_at = now.saturating_add(limits::FORWARD_AGAIN_MS);
            waiting.request.clone()
        })
        .collect()
    }

    fn drop_waiting(&mut self, key: (u8, u64)) {
        if let Some(waiting) = self.waiting.remove(&key) {
            assert!(self.bytes >= waiting.request.len(), "bytes are counted once");
            self.bytes -= waiting.request.len();
        }
    }
}
