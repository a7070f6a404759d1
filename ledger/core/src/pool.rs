//! Transactions that wait for a batch or for its execution: bounded, each id once, revocations first, else in order of
//! arrival. A transaction keeps its place until it is executed, also when a batch that held it lost against another one. Also
//! remembers what was executed within the last window, so that a late copy is not proposed again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schemas::id::{Digest, TimeMs};
use schemas::limits;

use crate::proposal::Request;

/// Executed transactions remembered.
const RECENT_MAX: usize = limits::BATCH_TRANSACTIONS_MAX * limits::BLOCKS_IN_FLIGHT_MAX as usize * 8;

/// Lane and order of arrival. Lane 0 holds revocations, lane 1 everything else.
type Place = (u8, u64);

#[derive(Clone, Debug)]
struct Waiting {
    request: Request,
    since: TimeMs,
    forward_at: TimeMs,
    forwarded: bool,
    /// In a proposal that this replica accepted in this view.
    in_flight: bool,
    /// Known from the log alone: it may have been executed in another batch before the restart.
    restored: bool,
}

/// Whom a waiting transaction goes to.
pub(crate) enum Forward {
    /// It may have missed the primary.
    ToPrimary(Request),
    /// The primary had its chance: every validator's timer has to run (§4.1: the client sends it to all).
    ToAll(Request),
}

/// The pool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    next: u64,
    all: BTreeMap<Place, Waiting>,
    /// Places of those in no proposal.
    ready: BTreeSet<Place>,
    /// Their size in bytes.
    ready_bytes: usize,
    ids: BTreeMap<Digest, Place>,
    recent: BTreeSet<Digest>,
    recent_order: VecDeque<Digest>,
    /// When everyone may be told again.
    all_at: TimeMs,
}

impl Pool {
    /// Takes a request in unless it is known or there is no room.
    pub fn admit(&mut self, request: Request, now: TimeMs) {
        // who hands a request in has looked that it was not executed
        let place = self.ids.get(&request.id());
        if let Some(waiting) = place.and_then(|place| self.all.get_mut(place)) {
            waiting.restored = false;
        }
        let known = self.ids.contains_key(&request.id()) || self.recent.contains(&request.signed());
        if !known && self.has_room(&request) {
            let place = self.insert(request, now);
            self.set_ready(place);
        }
    }

    fn has_room(&self, request: &Request) -> bool {
        self.ready.len() < limits::MEMPOOL_TRANSACTIONS_MAX
            && self.ready_bytes + request.len() <= limits::MEMPOOL_BYTES_MAX
    }

    fn insert(&mut self, request: Request, now: TimeMs) -> Place {
        let place = (u8::from(!request.is_urgent()), self.next);
        self.next += 1;
        assert!(self.ids.insert(request.id(), place).is_none(), "each id waits once");
        let forward_at = now.saturating_add(limits::FORWARD_AFTER_MS);
        let waiting = Waiting { request, since: now, forward_at, forwarded: false, in_flight: true, restored: false };
        self.all.insert(place, waiting);
        place
    }

    /// All that are not executed, in their order.
    pub fn into_waiting(self) -> Vec<Request> {
        self.all.into_values().map(|waiting| waiting.request).collect()
    }

    /// Number and bytes of transactions that wait for a proposal.
    pub fn size(&self) -> (usize, usize) {
        (self.ready.len(), self.ready_bytes)
    }

    /// The transaction that came first of all that are not executed, in a proposal or not: its number.
    pub fn oldest(&self) -> Option<u64> {
        let first_of = |lane: u8| self.all.range((lane, 0)..).next().map(|(&(found, number), _)| (found, number));
        let numbers = [0, 1].into_iter().filter_map(|lane| first_of(lane).filter(|(found, _)| *found == lane));
        numbers.map(|(_, number)| number).min()
    }

    /// Whether waiting is over: a full batch, a revocation, or the oldest has waited long enough. The more blocks are in flight,
    /// the longer is enough: whoever is busy makes few large blocks, each of which costs the same votes and syncs as a small one.
    pub fn is_ripe(&self, now: TimeMs, in_flight: u64) -> bool {
        let Some(first) = self.ready.first() else { return false };
        let Some(waiting) = self.all.get(first) else { return false };
        let wait_ms = limits::BATCH_AGE_MS.saturating_mul(in_flight).min(limits::BATCH_AGE_MS_MAX);
        first.0 == 0
            || self.ready.len() >= limits::BATCH_TRANSACTIONS_MAX
            || self.ready_bytes >= limits::BATCH_BYTES_MAX
            || now >= waiting.since.saturating_add(wait_ms)
    }

    /// The next batch: as much as fits.
    pub fn batch(&self) -> Vec<Request> {
        let (mut out, mut bytes) = (Vec::new(), 0);
        for waiting in self.ready.iter().filter_map(|place| self.all.get(place)) {
            bytes += waiting.request.len() + 5;
            if out.len() == limits::BATCH_TRANSACTIONS_MAX || bytes > limits::BATCH_BYTES_MAX {
                break;
            }
            out.push(waiting.request.clone());
        }
        out
    }

    /// Marks a proposal's transactions as being in flight, also those seen here for the first time: their timer runs too.
    pub fn take(&mut self, requests: &[Request], now: TimeMs) {
        for request in requests {
            match self.ids.get(&request.id()).copied() {
                Some(place) => self.set_in_flight(place),
                // what was executed already waits for nothing
                None if self.recent.contains(&request.signed()) => {}
                None => drop(self.insert(request.clone(), now)),
            }
        }
    }

    /// The replica has restarted and remembers no longer what was executed. What is known from the log alone and in no proposal
    /// could wait for ever: it is left to the other validators, and clients ask again.
    pub fn restarted(&mut self) {
        let ready: Vec<_> = self.ready.iter().filter_map(|place| Some(self.all.get(place)?.request.id())).collect();
        ready.iter().for_each(|id| self.remove(id));
        self.all.values_mut().for_each(|waiting| waiting.restored = true);
    }

    /// The proposal lost against another batch, or its view ended: its transactions wait again, at their old places.
    pub fn give_back(&mut self, requests: &[Request]) {
        for request in requests {
            let Some(&place) = self.ids.get(&request.id()) else { continue };
            let Some(waiting) = self.all.get(&place) else { continue };
            if waiting.in_flight {
                if self.has_room(request) && !waiting.restored {
                    self.set_ready(place);
                } else {
                    self.remove(&request.id());
                }
            }
        }
    }

    /// Executed: forgets the ids, remembers the signed hashes for a while.
    pub fn executed(&mut self, requests: &[Request]) {
        for request in requests {
            self.remove(&request.id());
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
        assert!(self.ids.len() == self.all.len() && self.ready.len() <= self.all.len(), "each id has one place");
    }

    /// What a backup should hand on now. Everyone is told of a few at a time: they make the timers run, and more would only load
    /// those who are slow already.
    pub fn take_forwards(&mut self, now: TimeMs) -> Vec<Forward> {
        let mut out = Vec::new();
        let may_tell_all = now >= self.all_at;
        for place in &self.ready {
            let Some(waiting) = self.all.get_mut(place).filter(|waiting| waiting.forward_at <= now) else { continue };
            let request = waiting.request.clone();
            let (forward, again) = match waiting.forwarded {
                true if may_tell_all => {
                    self.all_at = now.saturating_add(limits::STATUS_STUCK_MS);
                    (Forward::ToAll(request), limits::FORWARD_AGAIN_MS)
                }
                true => (Forward::ToPrimary(request), limits::FORWARD_AGAIN_MS),
                false => (Forward::ToPrimary(request), limits::FORWARD_TO_ALL_MS),
            };
            waiting.forwarded = true;
            waiting.forward_at = now.saturating_add(again);
            out.push(forward);
            if out.len() == limits::FORWARD_MAX {
                break;
            }
        }
        out
    }

    /// A new primary has its own chance before everyone is told again.
    pub fn forward_anew(&mut self, now: TimeMs) {
        for waiting in self.all.values_mut() {
            waiting.forwarded = false;
            waiting.forward_at = now.saturating_add(limits::FORWARD_AFTER_MS);
        }
    }

    fn set_ready(&mut self, place: Place) {
        let Some(waiting) = self.all.get_mut(&place).filter(|waiting| waiting.in_flight) else { return };
        waiting.in_flight = false;
        self.ready_bytes += waiting.request.len();
        self.ready.insert(place);
    }

    fn set_in_flight(&mut self, place: Place) {
        let Some(waiting) = self.all.get_mut(&place).filter(|waiting| !waiting.in_flight) else { return };
        waiting.in_flight = true;
        assert!(self.ready_bytes >= waiting.request.len(), "bytes are counted once");
        self.ready_bytes -= waiting.request.len();
        self.ready.remove(&place);
    }

    fn remove(&mut self, id: &Digest) {
        let Some(place) = self.ids.remove(id) else { return };
        self.set_in_flight(place);
        self.all.remove(&place);
    }
}
