//! Transactions that wait for a batch or for its execution: bounded, each signed bytes once, in order of arrival. One keeps its
//! place until exactly its bytes are executed, or another copy of it (the same id under other signatures) is accepted: a copy
//! that execution refuses takes nobody's place. Half of a batch is for revocations, half for everything else, and what one half
//! leaves the other takes. Each peer has a share of the places, the clients have theirs. Also remembers what was executed
//! within the last window, so that a late copy is not proposed again. It must never let anyone wait for ever behind others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use schemas::block::ValidatorIndex;
use schemas::id::{Digest, TimeMs};
use schemas::limits;

use crate::batch::Filling;
use crate::mutants::planted;
use crate::proposal::Request;

/// What is remembered of executed transactions: of each the hash of its bytes and, if it was accepted, its id.
const RECENT_MAX: usize = limits::BATCH_TRANSACTIONS_MAX * limits::BLOCKS_IN_FLIGHT_MAX as usize * 8 * 2;

/// Lane and order of arrival. Lane 0 holds revocations, lane 1 everything else.
pub(crate) type Place = (u8, u64);

/// Who handed a transaction in: a peer, or a client of this validator.
type Source = Option<ValidatorIndex>;

/// Nobody did, it came with a proposal: these have places of their own, or a primary that dies would take what it proposed with it.
const PROPOSED: Source = Some(ValidatorIndex::MAX);

#[derive(Clone, Debug)]
struct Waiting {
    request: Request,
    from: Source,
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

/// How many transactions, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    number: usize,
    bytes: usize,
}

impl Size {
    const fn add(&mut self, bytes: usize) {
        self.number += 1;
        self.bytes += bytes;
    }

    fn take(&mut self, bytes: usize) {
        assert!(self.number > 0 && self.bytes >= bytes, "what is taken was counted");
        self.number -= 1;
        self.bytes -= bytes;
    }

    const fn has_room(&self, bytes: usize, most: Self) -> bool {
        self.number < most.number && self.bytes + bytes <= most.bytes
    }
}

/// The pool.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    /// What one peer may have waiting in one lane.
    share: Size,
    next: u64,
    all: BTreeMap<Place, Waiting>,
    /// Places of those in no proposal.
    ready: BTreeSet<Place>,
    /// How much of that is whose: the clients' in all, a peer's by lanes.
    held: BTreeMap<(Source, u8), Size>,
    /// By the hash of the signed bytes.
    places: BTreeMap<Digest, Place>,
    /// By id, those of clients before those of peers.
    copies: BTreeSet<(Digest, bool, Place)>,
    recent: BTreeSet<Digest>,
    recent_order: VecDeque<Digest>,
    /// Of each lane what was handed on and is in no proposal yet.
    handed: [Size; 2],
    /// When everyone may be told again.
    all_at: TimeMs,
}

impl Pool {
    /// An empty one, of one of so many validators.
    pub fn new(validators: usize) -> Self {
        let peers = validators.saturating_sub(1).max(1);
        Self {
            share: Size { number: limits::MEMPOOL_PEERS_MAX / peers, bytes: limits::MEMPOOL_PEERS_BYTES_MAX / peers },
            next: 0,
            all: BTreeMap::new(),
            ready: BTreeSet::new(),
            held: BTreeMap::new(),
            places: BTreeMap::new(),
            copies: BTreeSet::new(),
            recent: BTreeSet::new(),
            recent_order: VecDeque::new(),
            handed: [Size::default(); 2],
            all_at: 0,
        }
    }

    /// Takes a request in unless it is known or there is no room for whoever hands it in.
    pub fn admit(&mut self, from: Source, request: Request, now: TimeMs) {
        if let Some(&place) = self.places.get(&request.signed()) {
            self.hear_again(from, place);
        } else if !self.is_recent(&request) && self.has_room(from, &request) {
            let place = self.insert(from, request, now);
            self.set_ready(place);
        }
    }

    /// Who hands a request in has looked that it was not executed. What a client hands in takes no peer's place any more.
    fn hear_again(&mut self, from: Source, place: Place) {
        let Some(waiting) = self.all.get_mut(&place) else { return };
        waiting.restored = false;
        let (before, request, is_ready) = (waiting.from, waiting.request.clone(), !waiting.in_flight);
        if from.is_some() || before.is_none() || !self.has_room(None, &request) {
            return;
        }
        if is_ready {
            self.held_by(before, place).take(request.len());
            self.held_by(None, place).add(request.len());
        }
        self.copies.remove(&(request.id(), true, place));
        self.copies.insert((request.id(), false, place));
        if let Some(waiting) = self.all.get_mut(&place) {
            waiting.from = None;
        }
    }

    /// What is final for these bytes, as far as it is remembered.
    fn is_recent(&self, request: &Request) -> bool {
        self.recent.contains(&request.signed()) || self.recent.contains(&request.id())
    }

    /// The clients have their places, and what was proposed; a peer has its own, and of one transaction one copy in them: it could have any number
    /// made, and only one fits a batch.
    fn has_room(&self, from: Source, request: &Request) -> bool {
        let place = (lane_of(request), 0);
        let most = match from {
            None => Size { number: limits::MEMPOOL_TRANSACTIONS_MAX, bytes: limits::MEMPOOL_BYTES_MAX },
            PROPOSED => Size { number: limits::MEMPOOL_PEERS_MAX, bytes: limits::MEMPOOL_PEERS_BYTES_MAX },
            Some(_) => self.share,
        };
        let held = self.held.get(&holder(from, place)).copied().unwrap_or_default();
        let is_theirs =
            |place: &Place| self.ready.contains(place) && self.all.get(place).is_some_and(|w| w.from == from);
        let is_copy = || self.copies_of(&request.id(), from.is_some()).any(|place| is_theirs(&place));
        held.has_room(request.len(), most) && (from.is_none() || !is_copy())
    }

    /// Copies of a transaction in the order in which they have their turn; those of peers alone, or of clients too.
    fn copies_of(&self, id: &Digest, of_peers: bool) -> impl Iterator<Item = Place> + '_ {
        let range = (*id, of_peers, (0, 0))..=(*id, true, (u8::MAX, u64::MAX));
        self.copies.range(range).map(|&(_, _, place)| place)
    }

    fn held_by(&mut self, from: Source, place: Place) -> &mut Size {
        self.held.entry(holder(from, place)).or_default()
    }

    fn insert(&mut self, from: Source, request: Request, now: TimeMs) -> Place {
        let place = (lane_of(&request), self.next);
        self.next += 1;
        assert!(self.places.insert(request.signed(), place).is_none(), "signed bytes wait once");
        self.copies.insert((request.id(), from.is_some(), place));
        let forward_at = now.saturating_add(limits::FORWARD_AFTER_MS);
        let (forwarded, in_flight, restored) = (false, true, false);
        self.all.insert(place, Waiting { request, from, since: now, forward_at, forwarded, in_flight, restored });
        place
    }

    /// All that are not executed, in their order.
    pub fn into_waiting(self) -> Vec<Request> {
        self.all.into_values().map(|waiting| waiting.request).collect()
    }

    /// Number and bytes of transactions that wait for a proposal.
    pub fn size(&self) -> (usize, usize) {
        (self.ready.len(), self.held.values().map(|size| size.bytes).sum())
    }

    /// The same of those that clients handed in here.
    pub fn size_of_clients(&self) -> (usize, usize) {
        self.held.get(&holder(None, (0, 0))).map_or((0, 0), |size| (size.number, size.bytes))
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
            || self.size().1 >= limits::BATCH_BYTES_MAX
            || now >= waiting.since.saturating_add(wait_ms)
    }

    fn ready_in(&self, lane: u8) -> impl Iterator<Item = (Place, &Waiting)> {
        let places = self.ready.range((lane, 0)..(lane + 1, 0));
        places.filter_map(|place| Some((*place, self.all.get(place)?)))
    }

    /// The next batch: as much as fits, the oldest of each lane for certain.
    pub fn batch(&self) -> Vec<Request> {
        let requests = |lane| self.ready_in(lane).map(|(place, waiting)| (place, &waiting.request));
        let (number, bytes) = (limits::BATCH_TRANSACTIONS_MAX, limits::BATCH_BYTES_MAX);
        let mut filling = Filling::default();
        filling.add(requests(1), number / 2, bytes / 2);
        filling.add(requests(0), number, bytes);
        filling.add(requests(1), number, bytes);
        filling.into_requests()
    }

    /// Marks a proposal's transactions as being in flight, also those seen here for the first time: their timer runs too.
    pub fn take(&mut self, requests: &[Request], now: TimeMs) {
        for request in requests {
            match self.places.get(&request.signed()).copied() {
                Some(place) => self.set_in_flight(place),
                // what was executed already waits for nothing
                None if self.is_recent(request) => {}
                None => drop(self.insert(PROPOSED, request.clone(), now)),
            }
        }
    }

    /// The replica has restarted and remembers no longer what was executed. What is known from the log alone and in no proposal
    /// could wait for ever: it is left to the other validators, and clients ask again.
    pub fn restarted(&mut self) {
        let ready: Vec<_> = self.ready.iter().copied().collect();
        ready.into_iter().for_each(|place| self.remove(place));
        self.all.values_mut().for_each(|waiting| waiting.restored = true);
    }

    /// The proposal lost against another batch, or its view ended: its transactions wait again, at their old places.
    pub fn give_back(&mut self, requests: &[Request]) {
        for request in requests {
            let Some(&place) = self.places.get(&request.signed()) else { continue };
            let Some(waiting) = self.all.get(&place).filter(|waiting| waiting.in_flight) else { continue };
            if !waiting.restored && self.has_room(waiting.from, request) {
                self.set_ready(place);
            } else {
                self.remove(place);
            }
        }
    }

    /// Executed: forgets these bytes, and all copies of what was accepted: nobody proposes them any more. Remembers both for a
    /// while. A copy of what was refused waits on: it may be the one that a client signed.
    pub fn executed(&mut self, requests: &[Request], accepted: &[Digest]) {
        for request in requests {
            if let Some(&place) = self.places.get(&request.signed()) {
                self.remove(place);
            }
            self.remember(request.signed());
        }
        let served = requests.iter().map(Request::id).filter(|_| planted("refused-copies-serve"));
        for id in accepted.iter().copied().chain(served) {
            let copies: Vec<_> = self.copies_of(&id, false).collect();
            copies.into_iter().for_each(|place| self.remove(place));
            self.remember(id);
        }
        assert!(self.recent.len() == self.recent_order.len(), "remembered once each");
        assert!(self.places.len() == self.all.len() && self.ready.len() <= self.all.len(), "one place each");
    }

    fn remember(&mut self, digest: Digest) {
        if self.recent.insert(digest) {
            self.recent_order.push_back(digest);
        }
        if self.recent_order.len() > RECENT_MAX
            && let Some(oldest) = self.recent_order.pop_front()
        {
            self.recent.remove(&oldest);
        }
    }

    /// What a backup should hand on now, half of it for each lane. Everyone is told of a few at a time: they make the timers run,
    /// and more would only load those who are slow already.
    pub fn take_forwards(&mut self, now: TimeMs) -> Vec<Forward> {
        let (mut out, may_tell_all) = (Vec::new(), now >= self.all_at);
        for (lane, most) in [(1, limits::FORWARD_MAX / 2), (0, limits::FORWARD_MAX), (1, limits::FORWARD_MAX)] {
            let due = self.ready_in(lane).filter(|(_, waiting)| waiting.forward_at <= now);
            let due: Vec<_> = due.map(|(place, _)| place).collect();
            for place in due {
                if out.len() == most {
                    break;
                }
                out.extend(self.take_forward(place, may_tell_all, now));
            }
        }
        out
    }

    /// Of the copies of one transaction one at a time is handed on, and never more than the others have places for: so
    /// what is oldest here always finds one.
    fn take_forward(&mut self, place: Place, may_tell_all: bool, now: TimeMs) -> Option<Forward> {
        let id = self.all.get(&place)?.request.id();
        let first = self.copies_of(&id, false).find(|place| self.ready.contains(place));
        let handed = self.handed.get_mut(usize::from(place.0))?;
        let waiting = self.all.get_mut(&place)?;
        let request = waiting.request.clone();
        if first != Some(place) {
            waiting.forward_at = now.saturating_add(limits::FORWARD_AFTER_MS);
            return None;
        }
        if !waiting.forwarded && !handed.has_room(request.len(), self.share) {
            return None;
        }
        let (forward, again) = match waiting.forwarded {
            true if may_tell_all => {
                self.all_at = now.saturating_add(limits::STATUS_STUCK_MS);
                (Forward::ToAll(request), limits::FORWARD_AGAIN_MS)
            }
            true => (Forward::ToPrimary(request), limits::FORWARD_AGAIN_MS),
            false => {
                handed.add(request.len());
                (Forward::ToPrimary(request), limits::FORWARD_TO_ALL_MS)
            }
        };
        waiting.forwarded = true;
        waiting.forward_at = now.saturating_add(again);
        Some(forward)
    }

    /// A new primary has its own chance before everyone is told again.
    pub fn forward_anew(&mut self, now: TimeMs) {
        self.handed = [Size::default(); 2];
        for waiting in self.all.values_mut() {
            waiting.forwarded = false;
            waiting.forward_at = now.saturating_add(limits::FORWARD_AFTER_MS);
        }
    }

    fn set_ready(&mut self, place: Place) {
        let Some(waiting) = self.all.get_mut(&place).filter(|waiting| waiting.in_flight) else { return };
        waiting.in_flight = false;
        let (from, bytes) = (waiting.from, waiting.request.len());
        self.held_by(from, place).add(bytes);
        self.ready.insert(place);
    }

    fn set_in_flight(&mut self, place: Place) {
        let Some(waiting) = self.all.get_mut(&place).filter(|waiting| !waiting.in_flight) else { return };
        waiting.in_flight = true;
        let (from, bytes) = (waiting.from, waiting.request.len());
        let was_handed = std::mem::take(&mut waiting.forwarded);
        if let Some(handed) = self.handed.get_mut(usize::from(place.0)).filter(|_| was_handed) {
            handed.take(bytes);
        }
        self.held_by(from, place).take(bytes);
        self.ready.remove(&place);
    }

    fn remove(&mut self, place: Place) {
        self.set_in_flight(place);
        let Some(waiting) = self.all.remove(&place) else { return };
        self.places.remove(&waiting.request.signed());
        self.copies.remove(&(waiting.request.id(), waiting.from.is_some(), place));
    }
}

fn lane_of(request: &Request) -> u8 {
    u8::from(!request.is_urgent())
}

/// Whose places these are.
const fn holder(from: Source, (lane, _): Place) -> (Source, u8) {
    (from, if from.is_some() { lane } else { 0 })
}
