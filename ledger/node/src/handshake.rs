//! TLS handshakes under way: the only thing here that costs without a key. Bounded, each for a short time, and when there is
//! no room the neighbourhood that has most of them loses: whoever floods from one place keeps out himself. It must never
//! make the listener wait.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Handshakes of one listener.
pub(crate) struct Handshakes {
    max: usize,
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    next: u64,
    /// In order of arrival.
    all: BTreeMap<u64, (IpAddr, CancellationToken)>,
}

/// Why a connection does not come to be. In our words: what the other side sent is in none of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Ungreeted {
    /// Others of its network have all the places, or it lost its own to another network.
    #[error("too many handshakes under way, most of them from its network")]
    NoRoom,
    /// Nothing, or only a part, within the time.
    #[error("no handshake within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Slow,
    /// Random bytes, HTTP, another protocol.
    #[error("found bytes that are no TLS 1.3 handshake")]
    NoTls,
    /// Somebody else's.
    #[error("found a key that may not connect here, or none")]
    Key,
    /// It took this validator for another one, or does not take its key.
    #[error("it broke the handshake off: it expects another key here")]
    Alert,
    /// A handshake that breaks the rules of TLS.
    #[error("its TLS handshake failed")]
    Tls,
    /// In the middle of it.
    #[error("closed before its handshake was done")]
    Closed,
}

impl Ungreeted {
    fn of(error: &std::io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidMessage(_) | rustls::Error::InappropriateMessage { .. }) => Self::NoTls,
            Some(rustls::Error::PeerIncompatible(_)) => Self::NoTls,
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => Self::Key,
            Some(rustls::Error::AlertReceived(_)) => Self::Alert,
            Some(_) => Self::Tls,
            None => Self::Closed,
        }
    }
}

/// One handshake's place; freed when dropped.
pub(crate) struct Place {
    handshakes: Arc<Handshakes>,
    number: u64,
    lost: CancellationToken,
}

impl Handshakes {
    /// Room for `max` at once.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, under_way: Mutex::default() })
    }

    /// A place for a newcomer, if need be that of the oldest from the neighbourhood that has most places. `None` when that
    /// is the newcomer's own: those that came first go on.
    pub fn enter(self: &Arc<Self>, from: SocketAddr) -> Option<Place> {
        let from = neighbourhood(from.ip());
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way.all.len() >= self.max {
            let oldest = under_way.oldest_of_most(&from)?;
            let (_, lost) = under_way.all.remove(&oldest)?;
            lost.cancel();
        }
        let (number, lost) = (under_way.next, CancellationToken::new());
        under_way.next += 1;
        under_way.all.insert(number, (from, lost.clone()));
        assert!(under_way.all.len() <= self.max, "never more than there is room for");
        Some(Place { handshakes: Arc::clone(self), number, lost })
    }
}

impl UnderWay {
    /// `None` when nobody has more places than `but`.
    fn oldest_of_most(&self, but: &IpAddr) -> Option<u64> {
        let mut counts: BTreeMap<IpAddr, (usize, u64)> = BTreeMap::new();
        for (&number, (from, _)) in &self.all {
            counts.entry(*from).or_insert((0, number)).0 += 1;
        }
        let own = counts.get(but).map_or(0, |(count, _)| *count);
        let (_, &(most, oldest)) = counts.iter().max_by_key(|(_, (count, _))| *count)?;
        (most > own).then_some(oldest)
    }
}

impl Place {
    /// The handshake.
    ///
    /// # Errors
    /// `Ungreeted` when it fails, takes too long or loses its place.
    pub async fn greet(self, acceptor: &TlsAcceptor, stream: TcpStream) -> Result<TlsStream<TcpStream>, Ungreeted> {
        stream.set_nodelay(true).map_err(|_| Ungreeted::Closed)?;
        tokio::select! {
            () = self.lost.cancelled() => Err(Ungreeted::NoRoom),
            shaken = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => {
                shaken.map_err(|_| Ungreeted::Slow)?.map_err(|e| Ungreeted::of(&e))
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.under_way.lock().unwrap_or_else(PoisonError::into_inner).all.remove(&self.number);
    }
}

/// Who shares an address for sure: an IPv4 address, an IPv6 network of 64 bits.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
