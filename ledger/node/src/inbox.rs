//! The way into the protocol loop: one bounded queue, in order of arrival, in which every peer has a share and the clients one together,
//! of places and of bytes. Whoever floods fills his own share; a vote of another one must always find a place. It never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use ledger_core::Input;
use schemas::block::ValidatorIndex;
use schemas::limits::{LOOP_CLIENTS_BYTES_MAX, LOOP_PEER_BYTES_MAX, LOOP_QUEUE_MAX};

/// The loop takes nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// The queue is full, or the sender's share of it.
    Full,
    /// It ended.
    Ended,
}

/// Where inputs are put.
pub(crate) struct Inbox {
    queue: SyncSender<Queued>,
    /// What each peer has in it; behind them the clients.
    shares: Vec<Arc<Share>>,
}

/// An input with its place in the sender's share, which is free again when this is dropped.
pub(crate) struct Queued {
    pub input: Input,
    _place: Place,
}

/// What one sender has in the queue.
#[derive(Default)]
struct Share {
    inputs: AtomicUsize,
    bytes: AtomicUsize,
}

struct Place {
    share: Arc<Share>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.share.inputs.fetch_sub(1, Ordering::Relaxed);
        self.share.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Inbox {
    /// For so many peers.
    pub fn new(peers: usize) -> (Self, Receiver<Queued>) {
        let (queue, inputs) = sync_channel(LOOP_QUEUE_MAX);
        (Self { queue, shares: (0..=peers).map(|_| Arc::default()).collect() }, inputs)
    }

    /// Puts an input of a peer, or of a client, into the queue; it came in so many bytes.
    ///
    /// # Errors
    /// `Busy`: it was not taken.
    pub fn offer(&self, from: Option<ValidatorIndex>, input: Input, bytes: usize) -> Result<(), Busy> {
        let clients = self.shares.len() - 1;
        let share = self.shares.get(from.map_or(clients, usize::from)).ok_or(Busy::Full)?;
        // half for the clients, the other half in equal parts
        let most = if from.is_some() { LOOP_QUEUE_MAX / 2 / clients.max(1) } else { LOOP_QUEUE_MAX / 2 };
        let most_bytes = if from.is_some() { LOOP_PEER_BYTES_MAX } else { LOOP_CLIENTS_BYTES_MAX };
        let place = Place { share: Arc::clone(share), bytes };
        let inputs = share.inputs.fetch_add(1, Ordering::Relaxed);
        let before = share.bytes.fetch_add(bytes, Ordering::Relaxed);
        if inputs >= most || before.saturating_add(bytes) > most_bytes {
            return Err(Busy::Full);
        }
        self.queue.try_send(Queued { input, _place: place }).map_err(|e| match e {
            TrySendError::Full(_) => Busy::Full,
            TrySendError::Disconnected(_) => Busy::Ended,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_floods_fills_his_own_share() {
        let (inbox, inputs) = Inbox::new(4);
        let fill = |from| (0..).take_while(|&number| inbox.offer(from, Input::Tick(number), 1).is_ok()).count();
        assert_eq!(fill(Some(2)), LOOP_QUEUE_MAX / 8);
        assert_eq!(inbox.offer(Some(2), Input::Tick(0), 1), Err(Busy::Full));
        assert_eq!(fill(None), LOOP_QUEUE_MAX / 2, "clients");
        assert_eq!(inbox.offer(Some(1), Input::Tick(0), 1), Ok(()), "another peer finds a place");
        assert_eq!(inbox.offer(Some(9), Input::Tick(0), 1), Err(Busy::Full), "nobody's");
        let first = inputs.try_recv().map(|queued| queued.input);
        assert_eq!(first, Ok(Input::Tick(0)), "in order of arrival");
        assert_eq!(fill(Some(2)), 1, "what the loop took is free again");
        drop(inputs);
        assert_eq!(inbox.offer(Some(1), Input::Tick(0), 1), Err(Busy::Ended));
        let share = &inbox.shares[1];
        let left = (share.inputs.load(Ordering::Relaxed), share.bytes.load(Ordering::Relaxed));
        assert_eq!(left, (0, 0), "what was dropped with the queue too");
    }

    #[test]
    fn a_few_large_inputs_fill_a_share_too() {
        let (inbox, inputs) = Inbox::new(4);
        let large = schemas::limits::PEER_FRAME_BYTES_MAX;
        let fill = |from| (0..).take_while(|&number| inbox.offer(from, Input::Tick(number), large).is_ok()).count();
        assert_eq!(fill(Some(2)), LOOP_PEER_BYTES_MAX / large);
        assert_eq!(inbox.offer(Some(2), Input::Tick(0), 1), Err(Busy::Full), "not one byte more");
        assert_eq!(fill(Some(1)), LOOP_PEER_BYTES_MAX / large, "another one's share is its own");
        assert_eq!(fill(None), LOOP_CLIENTS_BYTES_MAX / large, "and the clients'");
        assert!(inputs.try_recv().is_ok());
        assert_eq!(fill(Some(2)), 1, "what the loop took is free again");
    }
}
