//! Accepts connections of other validators and reads their frames: length, bound, CBOR, verification, loop. One connection
//! per validator counts, the newest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use schemas::block::ValidatorIndex;
use schemas::cbor;
use schemas::limits;
use schemas::pbft::Message;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::handshake::Handshakes;
use crate::inbox::Busy;
use crate::node::Node;
use crate::tls::certificate_key;
use crate::verify::{Dropped, Heard, verify};

/// Proposals up to this size hold a few signatures and are verified where they are read: another thread would cost more.
const QUICK_BYTES_MAX: usize = 4 << 10;

/// Of one connection's bad messages so many are said loudly: whoever sends them must not fill the log.
const WARN_AGAIN: Duration = Duration::from_secs(1);

type Current = Arc<Mutex<BTreeMap<ValidatorIndex, CancellationToken>>>;

/// Accepts until told to stop.
pub(crate) async fn listen(node: Arc<Node>, listener: TcpListener, tls: Arc<ServerConfig>, stop: CancellationToken) {
    let acceptor = TlsAcceptor::from(tls);
    let handshakes = Handshakes::new(limits::PEER_HANDSHAKES_MAX);
    let current = Current::default();
    loop {
        let (stream, address) = tokio::select! {
            () = stop.cancelled() => return,
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
        let Some(place) = handshakes.enter(address) else { continue };
        let (node, acceptor, current, stop) = (Arc::clone(&node), acceptor.clone(), Arc::clone(&current), stop.clone());
        tokio::spawn(async move {
            // it holds the node, and with it the store: nobody who connects and says nothing keeps that open
            let shaken = stop.run_until_cancelled(place.greet(&acceptor, stream)).await.flatten();
            let Some(stream) = shaken else { return debug!("a connection that is no validator's") };
            let Some(peer) = who(&node, &stream) else { return };
            let own = stop.child_token();
            let before = current.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, own.clone());
            if let Some(before) = before {
                before.cancel();
            }
            info!(peer, "a validator connected");
            tokio::select! {
                () = own.cancelled() => {}
                ended = read(&node, peer, stream) => debug!(peer, error = ?ended.err(), "a validator's connection ended"),
            }
        });
    }
}

/// The validator or guest whose key the connection holds.
fn who(node: &Node, stream: &TlsStream<TcpStream>) -> Option<ValidatorIndex> {
    let key = stream.get_ref().1.peer_certificates()?.first().and_then(certificate_key)?;
    let index = node.validators.keys().iter().chain(&node.guests).position(|known| *known == key)?;
    ValidatorIndex::try_from(index).ok().filter(|&index| index != node.me)
}

/// Reads frames in order until the connection ends or breaks the rules.
async fn read(node: &Arc<Node>, peer: ValidatorIndex, stream: TlsStream<TcpStream>) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let mut warned: Option<Instant> = None;
    loop {
        let length = reader.read_u32().await? as usize;
        if length > limits::PEER_FRAME_BYTES_MAX {
            return Err(std::io::Error::other("a frame larger than the bound"));
        }
        let mut frame = vec![0; length];
        reader.read_exact(&mut frame).await?;
        let Ok(message) = cbor::decode::<Message>(&frame) else {
            return Err(std::io::Error::other("a frame that is no message"));
        };
        let is_quick = match message {
            Message::Request(_) | Message::Vote(_) | Message::Shown(_) | Message::Attest(_) | Message::Status(_) => {
                true
            }
            Message::AskPiece(_) | Message::BlocksFrom(_) => true,
            Message::PrePrepare(_) => length <= QUICK_BYTES_MAX,
            _ => false,
        };
        let heard = if !is_quick {
            let node = Arc::clone(node);
            tokio::task::spawn_blocking(move || verify(&node, peer, message)).await.map_err(std::io::Error::other)?
        } else {
            verify(node, peer, message)
        };
        match heard {
            Ok(Heard::Input(input)) => match node.offer(Some(peer), input) {
                Ok(()) => {}
                Err(Busy::Full) => debug!(peer, "the loop is busy, an input is dropped"),
                Err(Busy::Ended) => return Ok(()),
            },
            Ok(Heard::Answer(answer)) => node.outboxes.send(Some(peer), &answer),
            Ok(Heard::Nothing) | Err(Dropped::Old) => {}
            Err(e) if warned.is_none_or(|at| at.elapsed() >= WARN_AGAIN) => {
                warned = Some(Instant::now());
                warn!(peer, error = %e, "a validator's message is dropped");
            }
            Err(e) => debug!(peer, error = %e, "a validator's message is dropped"),
        }
    }
}
