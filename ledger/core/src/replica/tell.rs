//! Statuses (Castro's thesis: messages are resent to those who say what they lack): every validator says once a second how far it
//! is, sooner when it is stuck; others resend their own messages, the view's NEW-VIEW, or what was decided, and the one who is
//! far behind fetches final blocks.

use std::collections::BTreeMap;

use schemas::block::{Phase, ValidatorIndex, ValidatorSignature};
use schemas::id::{Height, TimeMs};
use schemas::limits;
use schemas::pbft::{Attest, Message, SignedVote, Status};

use crate::Effect;
use crate::mutants::planted;
use crate::replica::Replica;
use crate::slot::Slot;

/// What was told and heard last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Telling {
    told_at: TimeMs,
    /// Executed and certified height, and since when they stand although something is in flight.
    watched: (Height, Height),
    watched_at: TimeMs,
    stuck: bool,
    /// Something is known to be missing: said at the next tick.
    at_once: bool,
    /// Whom `fetch_more` asked last.
    asked: ValidatorIndex,
    heard: BTreeMap<ValidatorIndex, Heard>,
}

#[derive(Clone, Debug, Default)]
struct Heard {
    certified: Height,
    /// Up to where it holds proposals.
    furthest: Height,
    helped_at: Option<TimeMs>,
    /// Its executed height when it was helped: the same again means that votes were not enough.
    helped: Option<Height>,
    asked_at: Option<TimeMs>,
    renewed_at: Option<TimeMs>,
}

impl Replica {
    /// Says at the next tick what is missing, instead of waiting until nothing moves.
    pub(super) fn ask_at_once(&mut self) {
        self.telling.at_once = true;
    }

    pub(super) fn tell(&mut self, effects: &mut Vec<Effect>) {
        let progress = (self.executed, self.certified);
        // also one that heard of nothing but the status of others has something in flight
        let is_behind = self.telling.heard.values().any(|heard| heard.furthest > self.certified);
        let is_quiet = self.slots.is_empty() && !is_behind && !self.is_changing();
        if self.telling.watched != progress || is_quiet {
            self.telling.watched = progress;
            self.telling.watched_at = self.now;
        }
        let is_standing = self.now >= self.telling.watched_at.saturating_add(limits::STATUS_STUCK_MS);
        let at_once = std::mem::take(&mut self.telling.at_once);
        let stuck = is_standing || at_once;
        self.telling.stuck = stuck;
        let interval = if stuck { limits::STATUS_STUCK_MS } else { limits::HEAD_INTERVAL_MS };
        if !at_once && self.now < self.telling.told_at.saturating_add(interval) {
            return;
        }
        self.telling.told_at = self.now;
        let holds = |slot: &Slot| slot.proposal.is_some() || slot.decided.is_some();
        let proposed = (self.executed + 1..)
            .take_while(|height| self.slots.get(height).is_some_and(holds))
            .last()
            .unwrap_or(self.executed);
        let (view, changing, epoch) = (self.view, self.is_changing(), self.config.epoch);
        let (executed, certified) = (self.executed, self.certified);
        effects.push(Effect::Broadcast(Message::Status(Status {
            view,
            executed,
            certified,
            proposed,
            stuck,
            changing,
            epoch,
        })));
    }

    /// A peer's status: helps it with what is here, or asks it for final blocks.
    pub(super) fn hear_status(&mut self, from: ValidatorIndex, status: Status, effects: &mut Vec<Effect>) {
        if !self.is_member(from) || from == self.config.me {
            return;
        }
        let now = self.now;
        let shares_epoch = status.epoch == self.config.epoch;
        let lacks_view = shares_epoch && (status.view < self.view || (status.view == self.view && status.changing));
        let began = self
            .changing
            .began
            .as_ref()
            .filter(|_| lacks_view && !self.is_silent() && !planted("new-view-said-once"))
            .map(|began| began.message().clone());
        let heard = self.telling.heard.entry(from).or_default();
        heard.certified = status.certified;
        heard.furthest = status.certified.max(status.proposed);
        let may = |at: Option<TimeMs>, interval: u64| at.is_none_or(|at| now >= at.saturating_add(interval));
        if let Some(began) = began.filter(|_| may(heard.renewed_at, limits::NEW_VIEW_AGAIN_MS)) {
            heard.renewed_at = Some(now);
            effects.push(Effect::Send(from, Message::NewView(began)));
        }
        let is_far = status.certified > self.certified.saturating_add(limits::BLOCKS_IN_FLIGHT_MAX);
        let is_behind = is_far || (self.telling.stuck && status.certified > self.certified);
        // each peer has its own allowance: one that only boasts takes nothing from the others
        if is_behind && !planted("nothing-fetched") && may(heard.asked_at, limits::STATUS_STUCK_MS) {
            heard.asked_at = Some(now);
            effects.push(Effect::Send(from, Message::Fetch(self.certified + 1)));
        }
        if status.stuck
            && shares_epoch
            && !planted("nothing-resent")
            && may(heard.helped_at, limits::STATUS_STUCK_MS / 2)
        {
            heard.helped_at = Some(now);
            let again = heard.helped.replace(status.executed) == Some(status.executed);
            self.resend(from, &status, again, effects);
        }
    }

    /// Continues to fetch, from one after the other, while the last answer is used up and someone is far ahead.
    pub(super) fn fetch_more(&mut self, effects: &mut Vec<Effect>) {
        if self.executing || self.executed != self.certified {
            return;
        }
        let far = self.certified.saturating_add(limits::BLOCKS_IN_FLIGHT_MAX);
        let ahead = self.telling.heard.iter().filter(|(_, heard)| heard.certified > far).map(|(&from, _)| from);
        let asked = self.telling.asked;
        let Some(from) = ahead.clone().find(|&from| from > asked).or_else(|| ahead.clone().next()) else { return };
        self.telling.asked = from;
        effects.push(Effect::Send(from, Message::Fetch(self.certified + 1)));
    }

    /// Resends what the peer needs of the heights that are not final there.
    fn resend(&self, to: ValidatorIndex, status: &Status, again: bool, effects: &mut Vec<Effect>) {
        let shares_view = self.active && !status.changing && status.view == self.view;
        let heights = self.slots.range(status.certified.saturating_add(1)..).take(limits::RESEND_HEIGHTS_MAX);
        for (&height, slot) in heights {
            let lacks_body = height > status.proposed;
            // one that executed more than its log holds attests only what it is shown again
            let needs_decision = again || (height > status.executed && (!shares_view || lacks_body));
            let mut messages = Vec::new();
            if let Some(decided) = slot.decided.as_ref().filter(|_| needs_decision) {
                messages.push(Message::Decided(decided.to_decision()));
            } else if shares_view {
                self.own_votes(slot, lacks_body, &mut messages);
            }
            messages.extend(self.own_attestation(slot));
            effects.extend(messages.into_iter().map(|message| Effect::Send(to, message)));
        }
    }

    /// The own votes of this view, and the proposal. A proposal that the NEW-VIEW assigned comes from everyone who holds its
    /// body; the primary itself may lack it.
    fn own_votes(&self, slot: &Slot, lacks_body: bool, out: &mut Vec<Message>) {
        let Some(proposal) = &slot.proposal else { return };
        let is_source = self.is_primary() || slot.assigned.is_some();
        // an assigned null batch follows from the NEW-VIEW
        let needs_body = !proposal.is_empty() || slot.assigned.is_none();
        if lacks_body && is_source && needs_body {
            out.push(Message::PrePrepare(proposal.to_pre_prepare()));
        }
        let me = self.config.me;
        for (phase, votes) in [(Phase::Prepare, &slot.prepares), (Phase::Commit, &slot.commits)] {
            if let Some(&(digest, signature)) = votes.get(&me) {
                assert!(digest == proposal.digest(), "own votes are over the accepted digest");
                let by = ValidatorSignature { validator: me, signature };
                out.push(Message::Vote(SignedVote { vote: proposal.vote(phase), by }));
            }
        }
    }

    fn own_attestation(&self, slot: &Slot) -> Option<Message> {
        let me = self.config.me;
        let (header, &(hash, signature)) = (slot.header.as_ref()?, slot.attestations.get(&me)?);
        let by = ValidatorSignature { validator: me, signature };
        Some(Message::Attest(Attest { height: header.height, header: hash, by }))
    }
}
