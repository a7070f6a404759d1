//! What one client of the RPC may use, over all of its connections: so many connections at once, so many requests and transactions
//! a second. A client is a key that the genesis names, so there are no more shares than such keys. What one client does must
//! never keep another one out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemas::id::PublicKey;
use schemas::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Everyone's shares.
pub(crate) struct Clients {
    places: Arc<Semaphore>,
    shares: Mutex<BTreeMap<PublicKey, Arc<Share>>>,
}

/// One client's.
#[derive(Debug)]
struct Share {
    places: Arc<Semaphore>,
    large: Arc<Semaphore>,
    requests: Allowance,
    transactions: Allowance,
}

/// A connection of a client. Its places are free again when it ends.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    share: Arc<Share>,
    _places: Arc<[OwnedSemaphorePermit; 2]>,
}

/// Why a connection is closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowded {
    /// This client has too many.
    Client,
    /// All together have.
    All,
}

impl Clients {
    /// Nobody is connected.
    pub fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(limits::RPC_CONNECTIONS_MAX)), shares: Mutex::default() }
    }

    /// Another connection of a client whose key is known.
    pub fn connect(&self, key: PublicKey) -> Result<Client, Crowded> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = Arc::clone(shares.entry(key).or_insert_with(|| Arc::new(Share::new())));
        let own = Arc::clone(&share.places).try_acquire_owned().map_err(|_| Crowded::Client)?;
        let of_all = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Crowded::All)?;
        Ok(Client { share, _places: Arc::new([own, of_all]) })
    }
}

impl Share {
    fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits::RPC_CONNECTIONS_PER_CLIENT_MAX)),
            large: Arc::new(Semaphore::new(limits::RPC_LARGE_ANSWERS_MAX)),
            requests: Allowance::new(limits::RPC_REQUESTS_PER_SECOND_MAX),
            transactions: Allowance::new(limits::RPC_TRANSACTIONS_PER_SECOND_MAX),
        }
    }
}

impl Client {
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

/// Fills up over a second.
#[derive(Debug)]
struct Allowance {
    per_second: u32,
    /// What is left, as the time that it took to fill, and as of when.
    left: Mutex<(Duration, Option<Instant>)>,
}

impl Allowance {
    fn new(per_second: u32) -> Self {
        Self { per_second, left: Mutex::new((Duration::from_secs(1), None)) }
    }

    fn take(&self, n: u32, now: Instant) -> bool {
        let mut guard = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = &mut *guard;
        let since = at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        *at = Some(at.map_or(now, |at| at.max(now)));
        *left = left.saturating_add(since).min(Duration::from_secs(1));
        let price = Duration::from_secs(1) * n / self.per_second;
        let rest = left.checked_sub(price);
        *left = rest.unwrap_or(*left);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests;
