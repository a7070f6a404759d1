//! A validator that lost its votes (Castro's thesis, proactive recovery: estimation; formats.md §4). It cannot know what it said, so it
//! says nothing that it may have contradicted: no vote, attestation, VIEW-CHANGE or NEW-VIEW until every height at which it may
//! have voted is final here, and then only in views for which it never asked. Until then it follows: it learns decisions and
//! final blocks, and which view the others are in.
//!
//! Why `until` is what others executed and the heights open above it: the newest checkpoint that it ever held was attested by q. Any q that
//! answer share f + 1 with those, so an honest one, who had executed it; and no vote lies further above the checkpoint than
//! `OPEN_HEIGHTS_MAX`. Why one view more than claimed: whoever is honest asks for a view only when q were in the view before or wanted
//! it, and again one of them answers. Of the answers the q smallest count, so that f − 1 liars cannot silence it for ever.

use schemas::block::{Epoch, View, quorum};
use schemas::id::Height;
use schemas::limits;
use schemas::pbft::{Record, Recovery};

use crate::change::{VerifiedNewView, VerifiedViewChange};
use crate::mutants::planted;
use crate::replica::Replica;
use crate::{Effect, Input, Sign};

/// What a validator that lost its votes may have said, from what others answer after the loss: of each the executed height and
/// the view that it is in or wants. `None` while fewer than q of `validators` have answered; it is not one of them itself.
pub fn estimate(
    epoch: Epoch,
    validators: usize,
    answers: impl IntoIterator<Item = (Height, View)>,
) -> Option<Recovery> {
    let (mut heights, mut views): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    heights.sort_unstable();
    views.sort_unstable();
    let highest = quorum(validators).checked_sub(1)?;
    let (height, view) = (*heights.get(highest)?, *views.get(highest)?);
    let until = height.saturating_add(limits::OPEN_HEIGHTS_MAX);
    Some(Recovery { epoch, until, above: view.saturating_add(1) })
}

impl Replica {
    /// Whether it says nothing because it lost its votes. What it would claim about views or freshness counts for nothing.
    pub const fn is_silent(&self) -> bool {
        self.silence.is_some()
    }

    /// What a log that begins anew says. An epoch that is over binds nobody.
    pub(super) fn restore_silence(&mut self, recovery: Recovery) {
        if recovery.epoch == self.config.epoch {
            self.silence = Some(recovery);
        }
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
                if self.silence.is_some() {
                    self.forward(effects);
                }
                self.tell(effects);
            }
            Input::Request(request) => self.pool.admit(request, self.now),
            Input::Attested(attest) => self.hear_attestation(attest, effects),
            Input::Told(from, status) => self.hear_status(from, status, effects),
            Input::Final(blocks) => self.catch_up(blocks, effects),
            Input::Executed(header, seal) => self.executed(header, seal, signer, effects),
            Input::Decided(decided) => self.learn(decided, signer, effects),
            Input::ViewChanged(change) => self.note_view_change(change, effects),
            Input::Renewed(new_view) => self.note_new_view(new_view, effects),
            Input::Proposed(_) | Input::Voted(_) | Input::Shown(_) => {}
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
        let Some(Recovery { until, above, .. }) = self.silence else { return };
        if self.certified < until && !planted("recovers-too-early") {
            return;
        }
        let is_late_enough = |view| view > above || planted("recovers-in-its-view");
        let followed = self.changing.began.take_if(|began| is_late_enough(began.view()));
        if let Some(new_view) = followed {
            self.silence = None;
            self.enter(new_view, signer, effects);
            return;
        }
        let (count, earliest) = self.changing.wanted_above(self.view.max(above));
        if count > self.faults() {
            self.silence = None;
            self.change_view(earliest, signer, effects);
        }
    }
}
