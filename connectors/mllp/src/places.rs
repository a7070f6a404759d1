//! Who has a place at a listener: handshakes under way, and connections. Each is bounded, and whoever has most of them from one
//! neighbourhood gives one up when somebody else comes and there is none left: one address cannot keep all others out. It must never
//! take a place from a connection that has something unsettled, nor make the listener wait.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

/// All places of one kind.
pub(crate) struct Places {
    most: usize,
    begun: Instant,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    /// In order of arrival.
    seats: BTreeMap<u64, Arc<Seat>>,
    /// Those that lost their place and have not gone yet.
    leaving: usize,
}

/// How one that has a place is doing.
pub(crate) struct Seat {
    from: IpAddr,
    /// It has something unsettled.
    busy: AtomicBool,
    /// When something came from it last, in milliseconds since the places were made.
    moved: AtomicU64,
    begun: Instant,
    lost: CancellationToken,
}

/// One place; free again when it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    number: u64,
    seat: Arc<Seat>,
}

impl Places {
    /// Room for so many at once.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, begun: Instant::now(), taken: Mutex::default() })
    }

    /// A place for a newcomer, if need be one of the neighbourhood that has most: the one from which nothing came for the longest time.
    /// `None` where nobody has so many more that giving one up would be fair; those who came first stay then.
    pub fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let from = neighbourhood(from);
        let mut taken = self.lock();
        if taken.seats.len() >= self.most {
            let yielding = taken.yielding(&from).filter(|_| taken.leaving < self.most)?;
            let seat = taken.seats.remove(&yielding)?;
            taken.leaving += 1;
            seat.lost.cancel();
        }
        let seat = Arc::new(Seat {
            from,
            busy: AtomicBool::new(false),
            moved: AtomicU64::new(millis_since(self.begun)),
            begun: self.begun,
            lost: CancellationToken::new(),
        });
        let number = taken.next;
        taken.next += 1;
        taken.seats.insert(number, Arc::clone(&seat));
        assert!(taken.seats.len() <= self.most, "never more than there is room for");
        Some(Place { places: Arc::clone(self), number, seat })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Whose place a newcomer gets: its neighbourhood has at least two more than the newcomer's own.
    fn yielding(&self, newcomer: &IpAddr) -> Option<u64> {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for seat in self.seats.values() {
            *counts.entry(seat.from).or_default() += 1;
        }
        let of = |from: &IpAddr| counts.get(from).copied().unwrap_or(0);
        let own = of(newcomer);
        let may = self.seats.iter().filter(|(_, seat)| of(&seat.from) > own + 1 && !seat.busy.load(Ordering::Acquire));
        // of the most, the one that is silent longest, of those the oldest
        let rank = |seat: &Seat| (of(&seat.from), u64::MAX - seat.moved.load(Ordering::Acquire));
        may.max_by_key(|(number, seat)| (rank(seat), u64::MAX - **number)).map(|(number, _)| *number)
    }
}

impl Seat {
    /// Something came.
    pub fn moved(&self) {
        self.moved.store(millis_since(self.begun), Ordering::Release);
    }

    /// Whether something is unsettled.
    pub fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Release);
    }

    /// Cancelled when the place went to another.
    pub const fn lost(&self) -> &CancellationToken {
        &self.lost
    }
}

impl Place {
    /// How its holder is doing.
    pub fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.seat)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if taken.seats.remove(&self.number).is_none() {
            taken.leaving -= 1;
        }
    }
}

fn millis_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Who shares an address for sure: an IPv4 address, an IPv6 network of 64 bits.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
