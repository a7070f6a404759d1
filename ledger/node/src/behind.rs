//! Whether this validator must copy the state instead of fetching blocks: others do not hold the next one any more, or it is new and
//! they are far ahead. f + 1 are believed: one of them is honest. It never gives history away that is here.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use schemas::block::ValidatorIndex;
use schemas::id::Height;
use schemas::limits;
use tokio::sync::Notify;

/// What others said.
pub(crate) struct Behind {
    /// Most validators that may lie.
    faults: usize,
    /// Executes every block since the genesis, however far behind.
    is_patient: bool,
    heard: Mutex<BTreeMap<ValidatorIndex, Heard>>,
    /// Told once the state must be copied.
    pub known: Notify,
}

#[derive(Clone, Copy, Default)]
struct Heard {
    /// From which height on it holds blocks.
    from: Height,
    /// Up to where it says that heights are final.
    certified: Height,
}

impl Behind {
    pub fn new(faults: usize, is_patient: bool) -> Self {
        Self { faults, is_patient, heard: Mutex::default(), known: Notify::new() }
    }

    /// A peer holds blocks from a height on.
    pub fn holds_from(&self, certified: Height, peer: ValidatorIndex, from: Height) {
        self.hear(certified, peer, |heard| heard.from = from);
    }

    /// A peer says how far it is.
    pub fn is_at(&self, certified: Height, peer: ValidatorIndex, height: Height) {
        self.hear(certified, peer, |heard| heard.certified = height);
    }

    fn hear(&self, certified: Height, peer: ValidatorIndex, change: impl FnOnce(&mut Heard)) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        change(heard.entry(peer).or_default());
        let count = |is: &dyn Fn(&Heard) -> bool| heard.values().filter(|heard| is(heard)).count();
        let lacking = count(&|heard| heard.from > certified + 1);
        let ahead = count(&|heard| heard.certified >= limits::TRANSFER_BEHIND_MIN);
        let is_new = certified == 0 && !self.is_patient;
        if lacking > self.faults || is_new && ahead > self.faults {
            self.known.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_known(behind: &Behind) -> bool {
        use std::future::Future;
        let mut known = std::pin::pin!(behind.known.notified());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        known.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn f_plus_one_who_lack_the_next_block_are_believed() {
        let behind = Behind::new(1, true);
        behind.holds_from(9, 1, 50);
        behind.holds_from(9, 1, 60);
        behind.holds_from(9, 2, 10);
        assert!(!is_known(&behind), "one of them holds the next one, and nobody counts twice");
        behind.holds_from(9, 3, 11);
        assert!(is_known(&behind));
        let behind = Behind::new(1, true);
        behind.holds_from(70, 1, 50);
        behind.holds_from(70, 2, 50);
        assert!(!is_known(&behind), "it has caught up meanwhile");
    }

    #[test]
    fn a_new_one_copies_when_others_are_far_ahead_and_nobody_else_does() {
        let far = limits::TRANSFER_BEHIND_MIN;
        for (certified, is_patient, claims, expected) in [
            (0, false, [far, far], true),
            (0, false, [far, far - 1], false),
            (0, true, [far, far], false),
            (1, false, [far, u64::MAX], false),
        ] {
            let behind = Behind::new(1, is_patient);
            (1..).zip(claims).for_each(|(peer, height)| behind.is_at(certified, peer, height));
            assert_eq!(is_known(&behind), expected, "{certified} {is_patient} {claims:?}");
        }
    }
}
