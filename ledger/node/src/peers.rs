//! Connections between validators: each dials every other one and only writes there; what others say comes over connections
//! that they dialled. Frames are a length and CBOR, inside mutual TLS pinned to the epoch's members. Queues are bounded and drop the
//! oldest frame: statuses and catch-up heal what is lost.

mod conduct;
mod dial;
mod listen;
mod read;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use schemas::block::ValidatorIndex;
use schemas::cbor;
use schemas::limits;
use schemas::pbft::Message;
use tokio::sync::Notify;
use tracing::warn;

pub(crate) use dial::dial;
pub(crate) use listen::listen;

/// Bytes queued for one peer.
const QUEUE_BYTES_MAX: usize = limits::PEER_FRAME_BYTES_MAX * 8;

/// Frames on their way to one peer.
#[derive(Default)]
pub(crate) struct Outbox {
    queue: Mutex<(VecDeque<Bytes>, usize)>,
    filled: Notify,
    connected: AtomicBool,
}

impl Outbox {
    /// Without a connection nothing is kept: whoever comes back asks for what it lacks.
    fn push(&self, frame: Bytes) {
        if !self.is_connected() {
            return;
        }
        let mut guard = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (queue, bytes) = &mut *guard;
        *bytes += frame.len();
        queue.push_back(frame);
        while queue.len() > limits::PEER_QUEUE_FRAMES_MAX || *bytes > QUEUE_BYTES_MAX {
            let Some(oldest) = queue.pop_front() else { break };
            *bytes -= oldest.len();
        }
        drop(guard);
        self.filled.notify_one();
    }

    fn pop(&self) -> Option<Bytes> {
        let mut guard = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = guard.0.pop_front()?;
        guard.1 -= frame.len();
        Some(frame)
    }

    /// Whether the peer is connected.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }
}

/// One outbox per validator, the own one stays empty; behind them those of guests, who left with the epoch before.
pub(crate) struct Outboxes {
    me: ValidatorIndex,
    validators: usize,
    all: Vec<Outbox>,
}

impl Outboxes {
    pub fn new(me: ValidatorIndex, validators: usize, guests: usize) -> Self {
        Self { me, validators, all: (0..validators + guests).map(|_| Outbox::default()).collect() }
    }

    /// Queues a message for one validator, or for all others.
    pub fn send(&self, to: Option<ValidatorIndex>, message: &Message) {
        let mut frame = vec![0; 4];
        cbor::encode_to(message, &mut frame);
        let bytes = frame.len() - 4;
        let Some(length) = u32::try_from(bytes).ok().filter(|_| bytes <= limits::PEER_FRAME_BYTES_MAX) else {
            warn!(bytes, "a message larger than a frame is not sent");
            return;
        };
        frame[..4].copy_from_slice(&length.to_be_bytes());
        let frame = Bytes::from(frame);
        for (index, outbox) in (0..).zip(&self.all) {
            if index != self.me && to.is_none_or(|to| to == index) {
                outbox.push(frame.clone());
            }
        }
    }

    /// The outbox of a validator.
    pub fn of(&self, validator: ValidatorIndex) -> Option<&Outbox> {
        self.all.get(usize::from(validator))
    }

    /// Number of connected validators.
    pub fn connected(&self) -> usize {
        self.all.iter().take(self.validators).filter(|outbox| outbox.is_connected()).count()
    }
}
