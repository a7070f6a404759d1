//! Statuses (Castro's thesis: messages are resent to those who say what they lack): every validator says once a second how far it
//! is, sooner when it is stuck; others resend their own messages, or the one who is behind fetches final blocks.

use std::collections::BTreeMap;

use schemas::block::{Phase, ValidatorIndex, ValidatorSignature};
use schemas::id::{Height, TimeMs};
use schemas::limits;
use schemas::pbft::{Attest, Message, SignedVote, Status};

use crate::Effect;
use crate::replica::Replica;
use crate::slot::Slot;

/// What was told and heard last.
#[derive(Default)]
pub(crate) struct Telling {
    told_at: TimeMs,
    /// Executed and certified height, and since when they stand although something is in flight.
    watched: (Height, Height),
    watched_at: TimeMs,
    stuck: bool,
    /// Whom `fetch_more` asked last.
    asked: ValidatorIndex,
    heard: BTreeMap<ValidatorIndex, Heard>,
}

#[derive(Default)]
struct Heard {
    certified: Height,
    /// Up to where it holds proposals.
    furthest: Height,
    helped_at: Option<TimeMs>,
    asked_at: Option<TimeMs>,
}

impl Replica {
    pub(super) fn tell(&mut self, effects: &mut Vec<Effect>) {
        let progress = (self.executed, self.certified);
        // also one that heard of nothing but the status of others has something in flight
        let is_behind = self.telling.heard.values().any(|heard| heard.furthest > self.certified);
        if self.telling.watched != progress || (self.slots.is_empty() && !is_behind) {
            self.telling.watched = progress;
            self.telling.watched_at = self.now;
        }
        let stuck = self.now >= self.telling.watched_at.saturating_add(limits::STATUS_STUCK_MS);
        self.telling.stuck = stuck;
        let interval = if stuck { limits::STATUS_STUCK_MS } else { limits::HEAD_INTERVAL_MS };
        if self.now < self.telling.told_at.saturating_add(interval) {
            return;
        }
        self.telling.told_at = self.now;
        let proposed = (self.executed + 1..)
            .take_while(|height| self.slots.get(height).is_some_and(|slot| slot.proposal.is_some()))
            .last()
            .unwrap_or(self.executed);
        let status = Status { view: self.view, executed: self.executed, certified: self.certified, proposed, stuck };
        effects.push(Effect::Broadcast(Message::Status(status)));
    }

    /// A peer's status: helps it with the own messages, or asks it for final blocks.
    pub(super) fn hear_status(&mut self, from: ValidatorIndex, status: Status, effects: &mut Vec<Effect>) {
        if !self.is_member(from) || from == self.config.me {
            return;
        }
        let now = self.now;
        let heard = self.telling.heard.entry(from).or_default();
        heard.certified = status.certified;
        heard.furthest = status.certified.max(status.proposed);
        let may_help = heard.helped_at.is_none_or(|at| now >= at.saturating_add(limits::STATUS_STUCK_MS / 2));
        let is_helped = status.stuck && status.view == self.view && may_help;
        if is_helped {
            heard.helped_at = Some(now);
        }
        let is_far = status.certified > self.certified.saturating_add(limits::BLOCKS_IN_FLIGHT_MAX);
        let is_behind = is_far || (self.telling.stuck && status.certified > self.certified);
        // each peer has its own allowance: one that only boasts takes nothing from the others
        if is_behind && heard.asked_at.is_none_or(|at| now >= at.saturating_add(limits::STATUS_STUCK_MS)) {
            heard.asked_at = Some(now);
            effects.push(Effect::Send(from, Message::Fetch(self.certified + 1)));
        }
        if is_helped {
            self.resend(from, &status, effects);
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

    /// Resends what this replica itself said about the heights that the peer still needs.
    fn resend(&self, to: ValidatorIndex, status: &Status, effects: &mut Vec<Effect>) {
        let heights = self.slots.range(status.certified.saturating_add(1)..).take(limits::RESEND_HEIGHTS_MAX);
        for (&height, slot) in heights {
            for message in self.own_messages(slot, height > status.proposed) {
                effects.push(Effect::Send(to, message));
            }
        }
    }

    fn own_messages(&self, slot: &Slot, with_proposal: bool) -> Vec<Message> {
        let me = self.config.me;
        let mut out = Vec::new();
        if let Some(proposal) = &slot.proposal {
            if self.is_primary() && with_proposal {
                out.push(Message::PrePrepare(proposal.to_pre_prepare()));
            }
            for (phase, votes) in [(Phase::Prepare, &slot.prepares), (Phase::Commit, &slot.commits)] {
                if let Some(&(digest, signature)) = votes.get(&me) {
                    assert!(digest == proposal.digest(), "own votes are over the accepted digest");
                    let by = ValidatorSignature { validator: me, signature };
                    out.push(Message::Vote(SignedVote { vote: proposal.vote(phase), by }));
                }
            }
        }
        if let (Some(header), Some(&(hash, signature))) = (&slot.header, slot.attestations.get(&me)) {
            let by = ValidatorSignature { validator: me, signature };
            out.push(Message::Attest(Attest { height: header.height, header: hash, by }));
        }
        out
    }
}
