//! Accepts connections of other validators. One connection per validator counts, the newest; whoever was let go for what he said
//! stays away for a while. Nobody is turned away without a word in the log.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use schemas::block::ValidatorIndex;
use schemas::limits;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::handshake::{Handshakes, Place, Ungreeted};
use crate::node::Node;
use crate::peers::conduct::Conduct;
use crate::peers::read::{Ended, Peer, read};
use crate::refusals::Refusals;
use crate::tls::certificate_key;

/// Between two looks at what was refused and not said.
const LOOK: Duration = Duration::from_secs(5);

/// What all connections share.
struct Peers {
    node: Arc<Node>,
    acceptor: TlsAcceptor,
    refusals: Arc<Refusals>,
    conduct: Conduct,
    current: Mutex<BTreeMap<ValidatorIndex, CancellationToken>>,
    stop: CancellationToken,
}

/// Accepts until told to stop.
pub(crate) async fn listen(node: Arc<Node>, listener: TcpListener, tls: Arc<ServerConfig>, stop: CancellationToken) {
    let handshakes = Handshakes::new(limits::PEER_HANDSHAKES_MAX);
    let peers = Arc::new(Peers {
        node,
        acceptor: TlsAcceptor::from(tls),
        refusals: Arc::new(Refusals::new("peers")),
        conduct: Conduct::default(),
        current: Mutex::default(),
        stop: stop.clone(),
    });
    let mut look = tokio::time::interval(LOOK);
    loop {
        let (stream, address) = tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {
                peers.refusals.sum_up();
                continue;
            }
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    // out of descriptors, or a connection that died on the way in
                    warn!(error = %e, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        match handshakes.enter(address) {
            Some(place) => drop(tokio::spawn(welcome(Arc::clone(&peers), place, stream, address))),
            None => peers.refusals.of_address(address, &Ungreeted::NoRoom),
        }
    }
}

/// One connection, from its handshake to its end.
async fn welcome(peers: Arc<Peers>, place: Place, stream: TcpStream, address: SocketAddr) {
    // it holds the node, and with it the store: nobody who connects and says nothing keeps that open
    let Some(shaken) = peers.stop.run_until_cancelled(place.greet(&peers.acceptor, stream)).await else { return };
    let stream = match shaken {
        Ok(stream) => stream,
        Err(ungreeted) => return peers.refusals.of_address(address, &ungreeted),
    };
    let Some(index) = who(&peers.node, &stream) else { return };
    let name = peers.node.name_of(index);
    let refuse = |reason: &dyn Display| peers.refusals.of_validator(index, &name, address, reason);
    if let Some(left) = peers.conduct.pauses(index, Instant::now()) {
        return refuse(&format_args!("it may not come back for another {} ms", left.as_millis()));
    }
    let own = peers.stop.child_token();
    let before = peers.current.lock().unwrap_or_else(PoisonError::into_inner).insert(index, own.clone());
    if let Some(before) = before {
        before.cancel();
    }
    info!(peer = index, "a validator connected");
    let peer = Peer { node: &peers.node, index, conduct: &peers.conduct, refuse: &refuse };
    let Some(ended) = own.run_until_cancelled(read(peer, stream)).await else { return };
    let pause = match &ended {
        Ended::Closed(e) => return debug!(peer = index, error = %e, "a validator's connection ended"),
        Ended::Stopped => return,
        Ended::Invalid(pause) => *pause,
        Ended::Length { .. } | Ended::NoMessage { .. } => peers.conduct.is_broken(index, Instant::now()),
    };
    peers.refusals.closes(&name, address, &ended, pause);
}

/// The validator or guest whose key the connection holds.
fn who(node: &Node, stream: &TlsStream<TcpStream>) -> Option<ValidatorIndex> {
    let key = stream.get_ref().1.peer_certificates()?.first().and_then(certificate_key)?;
    let index = node.validators.keys().iter().chain(&node.guests).position(|known| *known == key)?;
    ValidatorIndex::try_from(index).ok().filter(|&index| index != node.me)
}
