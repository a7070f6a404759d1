//! How many may be connected: handshakes, connections, and both together for one remote address. A place is free again when it
//! is dropped.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once whose handshake is done.
const CONNECTIONS_MAX: usize = 1024;
/// Handshakes at once.
const HANDSHAKES_MAX: usize = 512;
/// Handshakes and connections of one remote address at once; a front proxy is one address.
pub(super) const OF_ONE_ADDRESS_MAX: usize = 256;

type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// All places of a listener.
pub(super) struct Places {
    handshakes: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    of_address: Counts,
}

/// A place for a handshake.
pub(super) struct Place {
    _handshake: OwnedSemaphorePermit,
    connections: Arc<Semaphore>,
    share: Share,
}

/// A place for a connection.
pub(super) struct Established {
    _connection: OwnedSemaphorePermit,
    _share: Share,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            connections: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            of_address: Counts::default(),
        }
    }

    /// A place for a handshake; none when all are taken, or all of this address.
    pub(super) fn shake_hands(&self, remote: IpAddr) -> Option<Place> {
        let share = Share::of(&self.of_address, remote)?;
        let _handshake = Arc::clone(&self.handshakes).try_acquire_owned().ok()?;
        Some(Place { _handshake, connections: Arc::clone(&self.connections), share })
    }
}

impl Place {
    /// The handshake is done; none when all connections are taken.
    pub(super) fn establish(self) -> Option<Established> {
        let _connection = self.connections.try_acquire_owned().ok()?;
        Some(Established { _connection, _share: self.share })
    }
}

/// One of an address's places.
struct Share {
    counts: Counts,
    address: IpAddr,
}

impl Share {
    fn of(counts: &Counts, remote: IpAddr) -> Option<Self> {
        let address = network(remote);
        let mut open = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= OF_ONE_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Self { counts: Arc::clone(counts), address })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Whom an address stands for: of IPv6 the /64, of which one host has as many addresses as it likes.
fn network(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}
