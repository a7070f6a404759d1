//! Reads the frames of one connection: length, bound, CBOR, verification, loop. It ends with the connection or at the first
//! frame that is no message, and when too much of what it reads does not verify; it never takes more of another
//! validator than that one's share.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemas::block::ValidatorIndex;
use schemas::cbor;
use schemas::limits;
use schemas::pbft::Message;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::allowance::Allowance;
use crate::inbox::Busy;
use crate::node::Node;
use crate::peers::conduct::Conduct;
use crate::verify::{Dropped, Heard, verify};

/// Proposals up to this size hold a few signatures and are verified where they are read: another thread would cost more.
const QUICK_BYTES_MAX: usize = 4 << 10;
/// Whoever said all that he may in a second is listened to again after this.
const BREATH: Duration = Duration::from_millis(10);

/// Whose connection it is.
pub(super) struct Peer<'a> {
    pub node: &'a Arc<Node>,
    pub index: ValidatorIndex,
    pub conduct: &'a Conduct,
    /// Says why something of it is refused.
    pub refuse: &'a (dyn Fn(&dyn Display) + Sync),
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    /// By the other side, or by the network.
    #[error("closed: {0}")]
    Closed(#[from] std::io::Error),
    /// This validator ends.
    #[error("this validator ends")]
    Stopped,
    #[error("found a frame of {found} bytes, expected 1 to {}", limits::PEER_FRAME_BYTES_MAX)]
    Length { found: usize },
    #[error("found a frame of {bytes} bytes that is no message of this version")]
    NoMessage { bytes: usize },
    /// And may come back after this.
    #[error("found more than {} messages that do not verify", limits::PEER_INVALID_MAX)]
    Invalid(Duration),
}

/// Reads frames in order until the connection ends or breaks the rules.
pub(super) async fn read(peer: Peer<'_>, stream: TlsStream<TcpStream>) -> Ended {
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let votes = Allowance::new(limits::PEER_VOTES_PER_SECOND_MAX);
    loop {
        if let Err(ended) = read_frame(&peer, &mut reader, &votes).await {
            return ended;
        }
    }
}

async fn read_frame(
    peer: &Peer<'_>,
    reader: &mut BufReader<TlsStream<TcpStream>>,
    votes: &Allowance,
) -> Result<(), Ended> {
    let length = reader.read_u32().await? as usize;
    if length == 0 || length > limits::PEER_FRAME_BYTES_MAX {
        return Err(Ended::Length { found: length });
    }
    let mut frame = vec![0; length];
    reader.read_exact(&mut frame).await?;
    let message = cbor::decode::<Message>(&frame).map_err(|_| Ended::NoMessage { bytes: length })?;
    drop(frame);
    // what costs a signature each, and comes in numbers that nobody else bounds: the rest waits in the connection
    if matches!(message, Message::Vote(_) | Message::Shown(_) | Message::Attest(_)) {
        while !votes.take(1, Instant::now()) {
            tokio::time::sleep(BREATH).await;
        }
    }
    let (node, index) = (peer.node, peer.index);
    let heard = if is_quick(&message, length) {
        verify(node, index, message)
    } else {
        let node = Arc::clone(node);
        let verified = tokio::task::spawn_blocking(move || verify(&node, index, message)).await;
        verified.map_err(std::io::Error::other)?
    };
    match heard {
        Ok(Heard::Input(input)) => match node.offer(Some(index), input, length) {
            Ok(()) => {}
            Err(Busy::Full) => debug!(peer = index, "the loop is busy, an input is dropped"),
            Err(Busy::Ended) => return Err(Ended::Stopped),
        },
        Ok(Heard::Answer(answer)) => node.outboxes.send(Some(index), &answer),
        Ok(Heard::Nothing) | Err(Dropped::Old) => {}
        Err(e @ Dropped::Store(_)) => (peer.refuse)(&e),
        Err(e @ Dropped::Invalid(_)) => {
            (peer.refuse)(&e);
            if let Some(pause) = peer.conduct.is_invalid(index, Instant::now()) {
                return Err(Ended::Invalid(pause));
            }
        }
    }
    Ok(())
}

/// Whether it is verified where it is read.
const fn is_quick(message: &Message, length: usize) -> bool {
    match message {
        Message::Request(_) | Message::Vote(_) | Message::Shown(_) | Message::Attest(_) | Message::Status(_) => true,
        Message::AskPiece(_) | Message::BlocksFrom(_) => true,
        Message::PrePrepare(_) => length <= QUICK_BYTES_MAX,
        _ => false,
    }
}
