//! The way from those who answer to whoever copies the state. It must never let one that says much take the places of the others: their
//! pieces would be lost, run out, and count as their silence.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use ledger_core::TransferInput;
use schemas::block::ValidatorIndex;
use schemas::limits;

/// Takes what they say; each has places of its own.
pub(crate) struct Copier {
    to: SyncSender<TransferInput>,
    waiting: Arc<[AtomicUsize]>,
}

/// The pieces that one is asked for at a time, and an offer.
const WAITING_MAX: usize = limits::TRANSFER_PIECES_PER_PEER_MAX + 1;

impl Copier {
    /// Places for so many.
    pub(crate) fn new(validators: usize) -> (Self, CopierInbox) {
        let (to, inbox) = sync_channel(validators * WAITING_MAX);
        let waiting: Arc<[AtomicUsize]> = (0..validators).map(|_| AtomicUsize::new(0)).collect();
        (Self { to, waiting: Arc::clone(&waiting) }, CopierInbox { inbox, waiting })
    }

    /// Hands on what one says; false where it has no place left.
    pub(crate) fn take(&self, from: ValidatorIndex, input: TransferInput) -> bool {
        let Some(waiting) = self.waiting.get(usize::from(from)) else { return false };
        let has_place = waiting.fetch_add(1, Ordering::AcqRel) < WAITING_MAX && self.to.try_send(input).is_ok();
        if !has_place {
            waiting.fetch_sub(1, Ordering::AcqRel);
        }
        has_place
    }
}

/// The other end.
pub(crate) struct CopierInbox {
    inbox: Receiver<TransferInput>,
    waiting: Arc<[AtomicUsize]>,
}

impl CopierInbox {
    /// What was said next; its place is free again.
    pub(crate) fn next(&self, patience: Duration) -> Result<TransferInput, RecvTimeoutError> {
        let input = self.inbox.recv_timeout(patience)?;
        if let TransferInput::Offered(from, _) | TransferInput::Told(from, _) = &input
            && let Some(waiting) = self.waiting.get(usize::from(*from))
        {
            waiting.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(input)
    }
}

#[cfg(test)]
mod tests {
    use schemas::transfer::{Asked, Content, Piece, Told};

    use super::*;

    fn told(from: ValidatorIndex) -> TransferInput {
        TransferInput::Told(from, Told { asked: Asked { height: 7, piece: Piece::Manifest }, content: Content::Gone })
    }

    #[test]
    fn one_that_floods_keeps_no_other_from_its_places() {
        let (copier, inbox) = Copier::new(4);
        for said in 0..1_000 {
            assert_eq!(copier.take(3, told(3)), said < WAITING_MAX, "answer {said}");
        }
        for from in 0..3 {
            assert!((0..WAITING_MAX).all(|_| copier.take(from, told(from))), "validator {from}");
        }
        assert!(!copier.take(9, told(9)), "nobody");
        // a place is free again once its answer was taken out
        assert!(matches!(inbox.next(Duration::ZERO), Ok(TransferInput::Told(3, _))));
        assert!(copier.take(3, told(3)) && !copier.take(3, told(3)));
        let rest = std::iter::from_fn(|| inbox.next(Duration::ZERO).ok()).count();
        assert_eq!(rest, 4 * WAITING_MAX);
    }
}
