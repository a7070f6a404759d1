//! The way into the protocol loop: one bounded queue, in order of arrival, in which every peer has a share and the clients one together.
//! Whoever floods fills his own share; a vote of another one must always find a place. It never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use ledger_core::Input;
use schemas::block::ValidatorIndex;
use schemas::limits::LOOP_QUEUE_MAX;

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
    shares: Vec<Arc<AtomicUsize>>,
}

/// An input with its place in the sender's share, which is free again when this is dropped.
pub(crate) struct Queued {
    pub input: Input,
    _place: Place,
}

struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Inbox {
    /// For so many peers.
    pub fn new(peers: usize) -> (Self, Receiver<Queued>) {
        let (queue, inputs) = sync_channel(LOOP_QUEUE_MAX);
        (Self { queue, shares: (0..=peers).map(|_| Arc::default()).collect() }, inputs)
    }

    /// Puts an input of a peer, or of a client, into the queue.
    ///
    /// # Errors
    /// `Busy`: it was not taken.
    pub fn offer(&self, from: Option<ValidatorIndex>, input: Input) -> Result<(), Busy> {
        let clients = self.shares.len() - 1;
        let share = self.shares.get(from.map_or(clients, usize::from)).ok_or(Busy::Full)?;
        // half for the clients, the other half in equal parts
        let most = if from.is_some() { LOOP_QUEUE_MAX / 2 / clients.max(1) } else { LOOP_QUEUE_MAX / 2 };
        let place = Place(Arc::clone(share));
        if share.fetch_add(1, Ordering::Relaxed) >= most {
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
        let fill = |from| (0..).take_while(|&number| inbox.offer(from, Input::Tick(number)).is_ok()).count();
        assert_eq!(fill(Some(2)), LOOP_QUEUE_MAX / 8);
        assert_eq!(inbox.offer(Some(2), Input::Tick(0)), Err(Busy::Full));
        assert_eq!(fill(None), LOOP_QUEUE_MAX / 2, "clients");
        assert_eq!(inbox.offer(Some(1), Input::Tick(0)), Ok(()), "another peer finds a place");
        assert_eq!(inbox.offer(Some(9), Input::Tick(0)), Err(Busy::Full), "nobody's");
        let first = inputs.try_recv().map(|queued| queued.input);
        assert_eq!(first, Ok(Input::Tick(0)), "in order of arrival");
        assert_eq!(fill(Some(2)), 1, "what the loop took is free again");
        drop(inputs);
        assert_eq!(inbox.offer(Some(1), Input::Tick(0)), Err(Busy::Ended));
        assert_eq!(inbox.shares[1].load(Ordering::Relaxed), 0, "what was dropped with the queue too");
    }
}
