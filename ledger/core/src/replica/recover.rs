//! A validator that lost its votes (Castro's thesis, proactive recovery: estimation; formats.md §4). It cannot know what it said, so it
//! says nothing that it may have contradicted: no vote, attestation, VIEW-CHANGE or NEW-VIEW until every height at which it may
//! have voted is final here, and then only in views for which it never asked. Until then it follows: it learns decisions and
//! final blocks, and which view the others are in.
//!
//! Why `until` is what others executed and the heights open above it: the newest checkpoint that it ever held was attested by q. Any q that
//! answer share f + 1 with those, so an honest one, who had executed it; and no vote lies further above the checkpoint than
//! `OPEN_HEIGHTS_MAX`. Heights go on from epoch to epoch; views count within one, so that the newest epoch in which it may have spoken
//! is estimated with them, and behind that one it is free. Why one view more than claimed: whoever is honest asks for a view only when q were in the view before or wanted
//! it, and again one of them answers. Of the answers the q smallest count, so that f − 1 liars cannot silence it for ever.

use std::collections::BTreeMap;

use schemas::block::{Epoch, ValidatorIndex, View};
use schemas::id::{Height, TimeMs};
use schemas::limits;
use schemas::pbft::{Answer, Message, Record, Recovery};

use crate::change::{VerifiedNewView, VerifiedViewChange};
use crate::mutants::planted;
use crate::replica::Replica;
use crate::{Effect, Input, Sign};

/// What others answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asking {
    nonce: u64,
    asked_at: Option<TimeMs>,
    /// The lowest executed height and the lowest epoch and view of each: whatever it said after the loss is late enough.
    answers: BTreeMap<ValidatorIndex, (Height, (Epoch, View))>,
}

impl Asking {
    pub fn new(nonce: u64) -> Self {
        Self { nonce, ..Self::default() }
    }

    /// The q-th lowest height and view; `None` while fewer than q have answered.
    fn estimate(&self, quorum: usize) -> Option<(Height, (Epoch, View))> {
        let (mut heights, mut views): (Vec<_>, Vec<_>) = self.answers.values().copied().unzip();
        heights.sort_unstable();
        views.sort_unstable();
        let highest = quorum.checked_sub(1)?;
        heights.get(highest).copied().zip(views.get(highest).copied())
    }
}

impl Replica {
    /// Whether it says nothing because it lost its votes. What it would claim about views or freshness counts for nothing.
    pub const fn is_silent(&self) -> bool {
        self.silence.is_some()
    }

    /// What a log that begins anew says. Behind the last epoch in which it may have spoken it is free.
    pub(super) fn restore_silence(&mut self, recovery: Recovery) {
        self.silence = Some(recovery).filter(|_| self.config.epoch <= recovery.epoch);
    }

    /// The record that keeps it silent after a restart.
    pub(super) fn silence_record(&self, height: Height) -> Option<Record> {
        self.silence.map(|recovery| Record::Recovering(height, recovery))
    }

    /// Takes an input without saying anything; heights and views move all the same.
    pub(super) fn follow(&mut self, input: Input, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        match input {
            Input::Tick(now) => {
                self.now = self.now.max(now);
                self.rejoin(signer, effects);
                if self.is_silent() {
                    self.ask(effects);
                    self.forward(effects);
                }
                self.tell(effects);
            }
            Input::Request(from, request) => self.take_request(from, request),
            Input::Attested(attest) => self.hear_attestation(attest, effects),
            Input::Told(from, status) => self.hear_status(from, status, effects),
            Input::Answered(from, answer) => self.hear_answer(from, answer, effects),
            Input::Final(blocks) => self.catch_up(blocks, effects),
            Input::Executed(header, seal, accepted) => self.executed(header, seal, &accepted, signer, effects),
            Input::Decided(decided) => self.learn(decided, signer, effects),
            Input::ViewChanged(change) => self.note_view_change(change, effects),
            Input::Renewed(new_view) => self.note_new_view(new_view, effects),
            Input::Proposed(_) | Input::Voted(_) | Input::Shown(_) | Input::Asked(..) | Input::HandsOver(..) => {}
        }
    }

    /// Says how far this replica is; it knows all that it said, so it may.
    pub(super) fn answer(&self, to: ValidatorIndex, nonce: u64, effects: &mut Vec<Effect>) {
        assert!(!self.is_silent(), "who lost its votes knows nothing");
        let executed = self.executed;
        // at the end of an epoch others may have begun the next one
        let is_over = self.seal == Some(executed);
        let (epoch, view) = if is_over { (self.config.epoch + 1, 0) } else { (self.config.epoch, self.view) };
        effects.push(Effect::Send(to, Message::Answer(Answer { nonce, epoch, executed, view })));
    }

    /// Asks everyone, as long as it is silent: each answer more may show that it need not wait for as long.
    fn ask(&mut self, effects: &mut Vec<Effect>) {
        let Some(recovery) = self.silence else { return };
        if self.asking.asked_at.is_none_or(|at| self.now >= at.saturating_add(limits::HEAD_INTERVAL_MS)) {
            self.asking.asked_at = Some(self.now);
            effects.push(Effect::Broadcast(Message::Ask(self.asking.nonce, recovery)));
        }
    }

    fn hear_answer(&mut self, from: ValidatorIndex, answer: Answer, effects: &mut Vec<Effect>) {
        let Answer { nonce, epoch, executed, view } = answer;
        let is_other = self.is_member(from) && from != self.config.me;
        if nonce != self.asking.nonce || !is_other {
            return;
        }
        let lowest = self.asking.answers.entry(from).or_insert((executed, (epoch, view)));
        *lowest = (lowest.0.min(executed), lowest.1.min((epoch, view)));
        let (Some(before), Some((height, (epoch, view)))) = (self.silence, self.asking.estimate(self.quorum())) else {
            return;
        };
        // had it been in a later epoch, one of them would have seen this one's end: then only that epoch's validators can tell
        if epoch > self.config.epoch {
            return;
        }
        let until = before.until.min(height.saturating_add(limits::OPEN_HEIGHTS_MAX));
        let (epoch, above) = (before.epoch, before.above).min((epoch, view.saturating_add(1)));
        let recovery = Recovery { epoch, until, above };
        if recovery != before {
            self.silence = Some(recovery);
            effects.extend(self.silence_record(self.certified.saturating_add(1)).map(Effect::Append));
        }
    }

    /// Who wants which view: f + 1 who want one that is late enough are joined.
    fn note_view_change(&mut self, verified: VerifiedViewChange, effects: &mut Vec<Effect>) {
        let (by, view) = (verified.by(), verified.change().view);
        let is_later = self.changing.latest(by).is_none_or(|before| before < view);
        if self.is_place(verified.change().chain, verified.change().epoch)
            && self.is_member(by)
            && by != self.config.me
            && view > self.view
            && is_later
        {
            self.learn_checkpoint(verified.change().checkpoint.clone(), effects);
            self.changing.hear(verified);
        }
    }

    /// Follows the others into a view, without a word.
    fn note_new_view(&mut self, new_view: VerifiedNewView, effects: &mut Vec<Effect>) {
        let message = new_view.message();
        if !self.is_place(message.chain, message.epoch) || new_view.view() <= self.view {
            return;
        }
        self.leave_view(new_view.view());
        self.learn_checkpoint(new_view.checkpoint().clone(), effects);
        self.changing.forget_up_to(self.view);
        self.changing.began = Some(new_view);
    }

    /// Speaks again, once nothing that it may have said can matter: in the view that it followed into, or by joining others.
    fn rejoin(&mut self, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let Some(Recovery { epoch, until, above }) = self.silence else { return };
        let is_free = self.config.epoch > epoch;
        let is_past = self.config.epoch == epoch && (self.certified >= until || planted("recovers-too-early"));
        if !is_free && !is_past {
            return;
        }
        let is_late_enough = |view| is_free || view > above || planted("recovers-in-its-view");
        let followed = self.changing.began.take_if(|began| is_late_enough(began.view()));
        if let Some(new_view) = followed {
            self.silence = None;
            self.enter(new_view, signer, effects);
            return;
        }
        if (is_free || planted("recovers-in-its-view")) && self.view == 0 {
            (self.silence, self.active) = (None, true);
            return;
        }
        let (count, earliest) = self.changing.wanted_above(self.view.max(above));
        if count > self.faults() {
            self.silence = None;
            self.change_view(earliest, signer, effects);
        }
    }
}
