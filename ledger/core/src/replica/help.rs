//! Help for a validator that lost its votes (formats.md §4: null batches keep the height moving). It asks as long as it is silent, and
//! what it waits for does not come by itself where nobody sends anything: heights that it cannot have voted at, then a view that
//! it never asked for (`recover.rs`). It says which, so that all help with the same. The primary proposes null batches, and is watched
//! while it does; then everyone leaves the view, until one begins that is late enough. It must never become a lever: whoever asks
//! for ever gets a few dozen heights and a view or two in five minutes, transactions go first, and no vote depends on whether
//! somebody was heard to ask.

use std::collections::BTreeMap;

use schemas::block::{ValidatorIndex, View};
use schemas::id::{Height, TimeMs};
use schemas::limits;
use schemas::pbft::Recovery;

use crate::replica::Replica;

/// Most views that are left for one who asks: it speaks above the one after the newest that others were in, and some had moved on.
const VIEWS_MAX: View = 3;

/// Who was heard to ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct Helping {
    asking: BTreeMap<ValidatorIndex, Asker>,
    /// When the last fresh null batch was proposed or accepted.
    null_at: Option<TimeMs>,
}

#[derive(Clone, Copy, Debug)]
struct Asker {
    /// When this help began, and where heights and views were then.
    since: TimeMs,
    height: Height,
    view: View,
    /// When it asked last, and for what.
    asked_at: TimeMs,
    waits_for: Recovery,
}

impl Asker {
    fn is_silent(&self, now: TimeMs) -> bool {
        now < self.asked_at.saturating_add(limits::RECOVERY_ASKED_MS)
            && now < self.since.saturating_add(limits::RECOVERY_HELP_MS)
    }

    /// Whether it needs more heights than are there, and has not been given enough.
    fn waits_for_height(&self, height: Height) -> bool {
        height < self.waits_for.until.min(self.height.saturating_add(limits::RECOVERY_HELP_HEIGHTS))
    }

    /// Whether it has its heights, and needs a later view.
    fn waits_for_view(&self, certified: Height, view: View) -> bool {
        let enough = self.view.saturating_add(VIEWS_MAX);
        certified >= self.waits_for.until && view <= self.waits_for.above && view < enough
    }
}

impl Replica {
    /// A validator that lost its votes asks. Before it knows for what, there is nothing to give.
    pub(super) fn note_asker(&mut self, from: ValidatorIndex, waits_for: Recovery) {
        if !self.is_member(from) || from == self.config.me || waits_for.epoch != self.config.epoch {
            return;
        }
        let now = self.now;
        let anew = Asker { since: now, height: self.executed, view: self.view, asked_at: now, waits_for };
        let asker = self.helping.asking.entry(from).or_insert(anew);
        (asker.asked_at, asker.waits_for) = (now, waits_for);
        if now >= asker.since.saturating_add(limits::RECOVERY_HELP_AGAIN_MS) {
            *asker = anew;
        }
        assert!(self.helping.asking.len() < self.config.validators, "only others ask");
    }

    /// Whether somebody waits for heights.
    fn is_asked_for_heights(&self) -> bool {
        let mut askers = self.helping.asking.values();
        askers.any(|asker| asker.is_silent(self.now) && asker.waits_for_height(self.certified))
    }

    /// The primary: whether the next height is worth a null batch.
    pub(super) fn is_helping(&self) -> bool {
        self.pool.size().0 == 0
            && self.next == self.executed + 1
            && self.may_be_null(limits::RECOVERY_NULL_MS)
            && self.is_asked_for_heights()
    }

    /// While somebody waits for heights, progress is watched as a transaction is: each executed height is another one.
    pub(super) fn helping_number(&self) -> Option<u64> {
        self.is_asked_for_heights().then_some((1 << 62) | self.executed)
    }

    /// A fresh null batch outside of an epoch's end is as good as a transaction that nobody needs: it is voted for, but not often.
    pub(super) fn admits_null(&mut self) -> bool {
        // half of what the primary waits: messages do not travel evenly
        let admits = self.may_be_null(limits::RECOVERY_NULL_MS / 2);
        if admits {
            self.note_null();
        }
        admits
    }

    pub(super) fn note_null(&mut self) {
        self.helping.null_at = Some(self.now);
    }

    pub(super) fn may_be_null(&self, after_ms: u64) -> bool {
        self.helping.null_at.is_none_or(|at| self.now >= at.saturating_add(after_ms))
    }

    /// Whether somebody waits for a view after this one.
    pub(super) fn is_handing_over(&self) -> bool {
        let waits = |asker: &Asker| asker.is_silent(self.now) && asker.waits_for_view(self.certified, self.view);
        self.active && self.helping.asking.values().any(waits)
    }
}
