//! Help for a validator that lost its votes (formats.md §4: null batches keep the height moving). It asks as long as it is silent, and
//! what it waits for does not come by itself where nobody sends anything: heights that it cannot have voted at, then a view that
//! it never asked for (`recover.rs`). It says which, so that all help with the same. The primary proposes null batches, and is watched
//! while it does; then everyone leaves the view, until one begins that is late enough. It must never become a lever: whoever asks
//! for ever gets a few dozen heights and a view or two in five minutes, transactions go first, and no vote depends on whether
//! somebody was heard to ask. Nor does anyone leave a view alone, because one validator asked nobody else: whoever left cannot come back,
//! and each quorum would need the one who asked. So it is said first, passed on once f + 1 say it, and done once q do: f + 1 of
//! these are honest and said it to all.

use std::collections::BTreeMap;

use schemas::block::{ValidatorIndex, View};
use schemas::id::{Height, TimeMs};
use schemas::limits;
use schemas::pbft::{HandOver, Message, Recovery};

use crate::Effect;
use crate::replica::Replica;

/// Most views that are left for one who asks: it speaks above the one after the newest that others were in, and some had moved on.
const VIEWS_MAX: View = 3;

/// Who was heard to ask.
#[derive(Clone, Debug, Default)]
pub(crate) struct Helping {
    asking: BTreeMap<ValidatorIndex, Asker>,
    /// For whom (first) who (second) would leave which view, and when it said so last.
    leaving: BTreeMap<(ValidatorIndex, ValidatorIndex), (View, TimeMs)>,
    /// When the last fresh null batch was proposed or accepted.
    null_at: Option<TimeMs>,
    /// The view whose primary gives no heights to those who ask for them.
    unhelped: Option<View>,
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

    /// Whether the primary had as long for the next height as for a transaction, and gave none.
    pub(super) fn note_unhelped(&mut self, is_expired: bool) {
        self.helping.unhelped = is_expired.then_some(self.view);
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

    /// Another validator would leave a view for one who asks.
    pub(super) fn hear_hand_over(&mut self, from: ValidatorIndex, hand_over: HandOver) {
        let HandOver { asker, epoch, view } = hand_over;
        let are_members = self.is_member(from) && self.is_member(asker);
        if are_members && from != asker && from != self.config.me && epoch == self.config.epoch {
            self.helping.leaving.insert((asker, from), (view, self.now));
        }
    }

    /// Says for whom it would leave its view; whether so many say so that all leave it together.
    pub(super) fn hand_over(&mut self, effects: &mut Vec<Effect>) -> bool {
        assert!(self.active, "there is a view to leave");
        let mut leaves = false;
        for asker in (0..).take(self.config.validators) {
            // each is looked at: one that all leave for must not silence the word for another
            leaves |= asker != self.config.me && self.hand_over_for(asker, effects);
        }
        leaves
    }

    fn hand_over_for(&mut self, asker: ValidatorIndex, effects: &mut Vec<Effect>) -> bool {
        let (me, now, view, epoch) = (self.config.me, self.now, self.view, self.config.epoch);
        let is_unhelped = self.helping.unhelped == Some(view);
        let waits = |asker: &Asker| {
            asker.is_silent(now)
                && (asker.waits_for_view(self.certified, view) || is_unhelped && asker.waits_for_height(self.certified))
        };
        let is_asked = self.helping.asking.get(&asker).is_some_and(waits);
        let of_asker = self.helping.leaving.range((asker, 0)..=(asker, ValidatorIndex::MAX));
        let is_recent = |at: TimeMs| now < at.saturating_add(limits::RECOVERY_ASKED_MS);
        let others = of_asker.filter(|((_, by), (of, at))| *by != me && *of == view && is_recent(*at)).count();
        if !is_asked && others <= self.faults() {
            return false;
        }
        let said = self.helping.leaving.get(&(asker, me)).filter(|(of, _)| *of == view);
        if said.is_none_or(|(_, at)| now >= at.saturating_add(limits::HEAD_INTERVAL_MS)) {
            self.helping.leaving.insert((asker, me), (view, now));
            effects.push(Effect::Broadcast(Message::HandOver(HandOver { asker, epoch, view })));
        }
        others + 1 >= self.quorum()
    }
}
