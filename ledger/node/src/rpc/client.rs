//! What one client of the RPC may use, over all of its connections: so many connections at once, so many requests and transactions
//! a second. A client is a key that the genesis names, so there are no more shares than such keys. What some clients do must
//! never keep another one out: when all places are taken, who has most of them loses one to who has fewer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use schemas::id::PublicKey;
use schemas::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::allowance::Allowance;

/// Everyone's shares.
pub(crate) struct Clients {
    open: Mutex<Open>,
    shares: Mutex<BTreeMap<PublicKey, Arc<Share>>>,
}

/// Connections in order of arrival.
#[derive(Default)]
struct Open {
    next: u64,
    all: BTreeMap<u64, (PublicKey, CancellationToken)>,
}

/// One client's.
#[derive(Debug)]
struct Share {
    large: Arc<Semaphore>,
    requests: Allowance,
    transactions: Allowance,
}

/// A connection of a client. Its place is free again when it ends.
#[derive(Clone)]
pub(crate) struct Client {
    share: Arc<Share>,
    place: Arc<Place>,
}

struct Place {
    clients: Arc<Clients>,
    number: u64,
    lost: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.open.lock().unwrap_or_else(PoisonError::into_inner).all.remove(&self.number);
    }
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Crowded {
    /// This client has too many.
    #[error("this client has {} connections already", limits::RPC_CONNECTIONS_PER_CLIENT_MAX)]
    Client,
    /// All together have, and nobody has more than this one.
    #[error("there are {} connections already, and no other client has more of them", limits::RPC_CONNECTIONS_MAX)]
    All,
}

impl Clients {
    /// Nobody is connected.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), shares: Mutex::default() })
    }

    /// Another connection of a client whose key is known, if need be in the place of the oldest one of who has most.
    pub fn connect(self: &Arc<Self>, key: PublicKey) -> Result<Client, Crowded> {
        let (number, lost) = self.open.lock().unwrap_or_else(PoisonError::into_inner).enter(key)?;
        let place = Arc::new(Place { clients: Arc::clone(self), number, lost });
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = Arc::clone(shares.entry(key).or_insert_with(|| Arc::new(Share::new())));
        Ok(Client { share, place })
    }
}

impl Open {
    fn enter(&mut self, key: PublicKey) -> Result<(u64, CancellationToken), Crowded> {
        let mut counts: BTreeMap<PublicKey, (usize, u64)> = BTreeMap::new();
        for (&number, (of, _)) in &self.all {
            counts.entry(*of).or_insert((0, number)).0 += 1;
        }
        let own = counts.get(&key).map_or(0, |(count, _)| *count);
        if own >= limits::RPC_CONNECTIONS_PER_CLIENT_MAX {
            return Err(Crowded::Client);
        }
        if self.all.len() >= limits::RPC_CONNECTIONS_MAX {
            let most = counts.into_values().max_by_key(|(count, _)| *count);
            let (_, oldest) = most.filter(|(count, _)| *count > own).ok_or(Crowded::All)?;
            let (_, lost) = self.all.remove(&oldest).ok_or(Crowded::All)?;
            lost.cancel();
        }
        let (number, lost) = (self.next, CancellationToken::new());
        self.next += 1;
        self.all.insert(number, (key, lost.clone()));
        assert!(self.all.len() <= limits::RPC_CONNECTIONS_MAX, "never more than there is room for");
        Ok((number, lost))
    }
}

impl Share {
    fn new() -> Self {
        Self {
            large: Arc::new(Semaphore::new(limits::RPC_LARGE_ANSWERS_MAX)),
            requests: Allowance::new(limits::RPC_REQUESTS_PER_SECOND_MAX),
            transactions: Allowance::new(limits::RPC_TRANSACTIONS_PER_SECOND_MAX),
        }
    }
}

impl Client {
    /// Cancelled when its place goes to another client: the connection must end.
    pub fn lost(&self) -> CancellationToken {
        self.place.lost.clone()
    }

    /// Whether it may ask once more now.
    pub fn may_ask(&self) -> bool {
        self.share.requests.take(1, Instant::now())
    }

    /// A place for a large answer, once one of its own is free; to be held until the answer is on the wire.
    pub async fn large(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.share.large).acquire_owned().await.ok()
    }

    /// Whether it may hand in so many transactions now: all or none.
    pub fn may_submit(&self, transactions: usize) -> bool {
        u32::try_from(transactions).is_ok_and(|n| self.share.transactions.take(n, Instant::now()))
    }
}

#[cfg(test)]
mod tests;
