//! Other validators: all vote, those voted for say that they are there, the contract decides, the epoch ends where it says, and
//! everyone begins the next one from its durable store; new ones take the state over, those who left are out.

use std::rc::Rc;

use ledger_core::Input;
use schemas::block::{ValidatorIndex, quorum};
use schemas::view::Checkpoint;

use super::{Event, World};
use crate::chain::Done;
use crate::client;
use crate::disk::Log;

/// Between an epoch's beginning and the next vote, at most.
const VOTE_AGAIN_MS: u64 = 1_000;

impl World {
    /// Every validator votes for the members that the plan foresees.
    pub(super) fn vote(&mut self) {
        let epoch = self.keys.epoch_of(u64::MAX);
        if usize::try_from(epoch).is_ok_and(|epoch| epoch >= self.plan.changes.len()) {
            return;
        }
        for voter in 0..self.plan.members(epoch) as ValidatorIndex {
            let is_attacker = !self.seats[usize::from(voter)].is_honest();
            if is_attacker && self.dice.percent(50) {
                continue;
            }
            let request = client::ballot(&self.keys, epoch, voter);
            self.clients.hand_in(request.clone());
            self.plan.transactions += 1;
            let seat = self.dice.index(self.seats.len());
            self.offer(seat, request);
        }
    }

    /// Everyone who is voted for and honest says that it is there, newcomers too.
    fn confirm(&mut self, done: &Done) {
        let (epoch, height) = (done.header.epoch, done.header.height);
        let before = self.chain.at(height - 1).filter(|before| before.header.epoch == epoch);
        let Some(members) = done.elected.as_ref().filter(|_| before.is_none_or(|before| before.elected.is_none()))
        else {
            return;
        };
        for index in 0..members.len() as ValidatorIndex {
            let is_attacker = !self.seats[usize::from(index)].is_honest();
            if is_attacker && self.dice.percent(50) {
                continue;
            }
            let request = client::confirmation(&self.keys, epoch, members, index);
            self.clients.hand_in(request.clone());
            self.plan.transactions += 1;
            let seat = self.dice.index(self.seats.len());
            self.offer(seat, request);
        }
    }

    /// What the first execution of a height says about epochs.
    pub(super) fn learn_epoch(&mut self, done: &Rc<Done>) {
        self.confirm(done);
        let Some(seal) = &done.seal else { return };
        let epoch = done.header.epoch;
        if self.keys.epoch_of(u64::MAX) == epoch {
            self.checks.seals(epoch, seal.at);
            let (there, needed) = (self.chain.there(&seal.next), quorum(seal.next.members.len()));
            assert!(there >= needed, "epochs: {there} of the next one are there, expected {needed}");
            self.keys.decide(seal);
            self.count.reach("changes_decided");
        }
        if done.header.height == seal.at {
            let (height, header) = (seal.at, done.header.hash());
            self.keys.begin(epoch + 1, Checkpoint { height, header, attestations: vec![] });
            self.count.reach("epochs");
            let delay = self.dice.between(1, VOTE_AGAIN_MS);
            self.at(delay, Event::Vote);
            for seat in self.plan.members(epoch)..self.plan.members(epoch + 1) {
                let delay = self.dice.between(10, 2_000);
                self.at(delay, Event::Join(seat));
            }
        }
    }

    /// The replica of the epoch ends, after everything is durable; the next one's begins.
    pub(super) fn next_epoch(&mut self, seat: usize) {
        let at = &mut self.seats[seat];
        let Some(replica) = at.replica.take() else { return };
        at.store.flush();
        at.life += 1;
        at.inbox.clear();
        at.turn = (u64::MAX, at.turn.1 + 1);
        (at.stable, at.dropped) = (0, 0);
        self.start(seat);
        if self.seats[seat].replica.is_none() {
            self.count.reach("validators_left");
            return;
        }
        for request in replica.end() {
            if !self.chain.is_known(&request, self.seats[seat].store.executed()) {
                self.input(seat, Input::Request(None, request));
            }
        }
    }

    /// A new validator begins with a copy of the state.
    pub(super) fn join(&mut self, seat: usize) {
        let at = &mut self.seats[seat];
        (at.is_out, at.log, at.lacks_state) = (false, Log::default(), true);
        self.count.reach("validators_joined");
        self.start(seat);
    }
}
