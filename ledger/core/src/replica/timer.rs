//! Timers (§4.4, §4.5.2), on every replica, the primary too. While a view lasts: on the oldest transaction that is not
//! executed. It starts anew when that one is executed, whatever happens to younger ones, so that none can be starved. While a
//! view is changing: from the moment when q replicas want it, so that nobody runs ahead alone. Each view change in a row
//! doubles the time.

use schemas::id::TimeMs;
use schemas::limits;

use crate::mutants::planted;
use crate::replica::Replica;
use crate::{Effect, Sign};

/// The one timer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timer {
    /// The oldest transaction's number and since when it is the oldest.
    oldest: Option<(u64, TimeMs)>,
    /// Since when q replicas want the view.
    wanted_since: Option<TimeMs>,
    /// View changes without progress after them.
    attempts: u32,
}

impl Timer {
    fn timeout_ms(&self) -> u64 {
        let doubled = 1_u64.checked_shl(self.attempts.saturating_sub(1)).unwrap_or(u64::MAX);
        limits::VIEW_TIMEOUT_MS.saturating_mul(doubled).min(limits::VIEW_TIMEOUT_MS_MAX)
    }

    /// The view was left.
    pub fn left_view(&mut self) {
        self.oldest = None;
        self.wanted_since = None;
        // capped where the timeout is: the way back must not be longer than the way up
        let most = (limits::VIEW_TIMEOUT_MS_MAX / limits::VIEW_TIMEOUT_MS).ilog2() + 1;
        self.attempts = self.attempts.saturating_add(1).min(most);
    }

    /// The view begins.
    pub fn began_view(&mut self) {
        self.oldest = None;
        self.wanted_since = None;
    }

    /// A height was committed in the current view: timeouts shrink again, step by step, so that a slow network does not
    /// swing between too short and long enough.
    pub fn progressed(&mut self) {
        self.attempts = self.attempts.saturating_sub(1);
    }

    /// This replica did not run for a while: whatever it missed is not the primary's fault.
    pub fn woke(&mut self) {
        self.oldest = None;
        self.wanted_since = None;
    }

    /// The others go on without this replica, which catches up: no reason to complain.
    pub fn caught_up(&mut self) {
        self.oldest = None;
    }
}

impl Replica {
    /// Looks at the clock: resends, joins, gives up a view.
    pub(super) fn watch(&mut self, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        self.join(signer, effects);
        let is_expired = if self.active { self.is_starving() | self.hand_over(effects) } else { self.is_overdue() };
        if is_expired && let Some(next) = self.view.checked_add(1) {
            self.change_view(next, signer, effects);
        }
        self.begin_view(signer, effects);
        self.repeat_view_change(effects);
    }

    /// The oldest transaction has waited for longer than the primary has.
    fn is_starving(&mut self) -> bool {
        let own = self.pool.oldest().or_else(|| self.sealing_number());
        let waits = own.or_else(|| self.helping_number());
        let Some(oldest) = waits.filter(|_| !planted("timer-needs-a-block") || !self.slots.is_empty()) else {
            self.timer.oldest = None;
            self.note_unhelped(false);
            return false;
        };
        match self.timer.oldest {
            Some((number, since)) if number == oldest || planted("timer-never-restarts") => {
                let is_expired = self.now >= since.saturating_add(self.timer.timeout_ms());
                if own.is_none() {
                    // nobody leaves a view alone for one who asks: others may not have been asked (`help.rs`)
                    self.note_unhelped(is_expired);
                    return false;
                }
                is_expired
            }
            _ => {
                self.note_unhelped(false);
                self.timer.oldest = Some((oldest, self.now));
                false
            }
        }
    }

    /// q replicas have wanted the view for long, and it does not begin.
    fn is_overdue(&mut self) -> bool {
        if self.wanting(self.view) < self.quorum() || planted("stuck-changing") {
            return false;
        }
        let since = *self.timer.wanted_since.get_or_insert(self.now);
        self.now >= since.saturating_add(self.timer.timeout_ms())
    }
}
