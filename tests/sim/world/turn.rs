//! A validator's turn: inputs, tick, effects in order; then the sync, and only then what it justifies leaves.

use ledger_core::{Effect, Execution, Input};
use schemas::cbor;
use schemas::evidence::{Conflict, Word};
use schemas::pbft::Record;
use schemas::transaction::{Body, Outcome, Transaction};

use super::{Event, World};
use crate::chain::Done;
use crate::{check, client};

/// Between ticks while something is in flight, and when nothing is.
const TICK_BUSY_MS: u64 = 5;
const TICK_IDLE_MS: u64 = 50;

impl World {
    pub(super) fn turn(&mut self, seat: usize, number: u64) {
        let at = &mut self.seats[seat];
        if at.turn.1 != number || at.replica.is_none() {
            return;
        }
        if at.paused_until > self.now {
            at.turn.0 = u64::MAX;
            let until = at.paused_until;
            self.turn_at(seat, until);
            return;
        }
        at.turn.0 = u64::MAX;
        for input in std::mem::take(&mut at.inbox) {
            if !self.seats[seat].sealed {
                self.step(seat, input);
            }
        }
        if self.seats[seat].sealed {
            self.end_turn(seat);
            return;
        }
        let clock = self.seats[seat].clock(self.now);
        self.step(seat, Input::Tick(clock));
        self.attack(seat, |attacker, hand| attacker.tick(hand));
        self.end_turn(seat);
    }

    pub(super) fn step(&mut self, seat: usize, input: Input) {
        let at = &mut self.seats[seat];
        let Some(replica) = at.replica.as_mut() else { return };
        let (view, was_changing) = (replica.view(), replica.is_changing());
        let effects = replica.step(input, &self.keys.signer(at.epoch, at.index));
        let (slots, waiting, entered) = (replica.slots(), replica.waiting(), replica.view());
        let replica_changing = replica.is_changing();
        self.count.steps += 1;
        if at.is_honest() {
            check::memory(slots, waiting);
            assert!(entered >= view, "validator {} goes back from view {view} to {entered}", at.index);
            if entered > view {
                self.count.reach("view_changes");
            }
            if !replica_changing && was_changing {
                self.count.reach("views_entered");
            }
        }
        if self.seats[seat].is_honest() && !self.seats[seat].is_silent() && self.checks.speaks(self.seats[seat].index) {
            self.count.reach("voices_back");
        }
        self.perform(seat, effects);
    }

    pub(super) fn perform(&mut self, seat: usize, effects: Vec<Effect>) {
        let before = self.seats[seat].store.executed();
        for effect in effects {
            match effect {
                Effect::Append(record) => {
                    if let Record::Prepared(prepared) = &record {
                        let (height, at) = (prepared.vote.height, &self.seats[seat]);
                        let is_late = before < height && height <= at.store.executed();
                        assert!(
                            !is_late,
                            "validator {} executed {height} before it noted that it prepared it",
                            at.index
                        );
                    }
                    let bytes = cbor::encode(&record);
                    self.mix(&bytes);
                    self.seats[seat].append(&record, &bytes);
                }
                Effect::Broadcast(message) => {
                    self.mix(&cbor::encode(&message));
                    self.seats[seat].outbox.push((None, message));
                }
                Effect::Send(to, message) => {
                    self.mix(&cbor::encode(&message));
                    self.seats[seat].outbox.push((Some(to), message));
                }
                Effect::Execute(execution) => self.execute(seat, *execution),
                Effect::Certify(height, attestations) => {
                    self.mix(&height.to_be_bytes());
                    let done = self.chain.at(height).expect("certified means executed");
                    check::attestations(&self.keys, &done.header, &attestations);
                    self.seats[seat].store.attest(height, attestations);
                }
                Effect::Stable(height) => {
                    if self.seats[seat].is_honest() {
                        self.checks.stable(self.seats[seat].index, height);
                        self.count.reach("checkpoints");
                    }
                    self.seats[seat].stable = height;
                }
                Effect::Sealed(_) => self.seats[seat].sealed = true,
                Effect::Blame(conflict) => self.blame(seat, &conflict),
                Effect::Halt(divergence) => {
                    let at = &self.seats[seat];
                    assert!(!at.is_honest(), "validator {} halts: {divergence}", at.index);
                    self.crash(seat, false);
                    return;
                }
            }
        }
    }

    fn execute(&mut self, seat: usize, execution: Execution) {
        check::commits(&self.keys, &execution);
        let at = &mut self.seats[seat];
        if at.unsynced_prepared >= execution.batch.height {
            // what the store executed must be in this validator's view changes, also when the power fails now
            at.log.write();
            at.synced();
        }
        let (height, before) = (execution.batch.height, at.store.executed());
        assert!(height == before + 1, "total order: validator {} executes {height} after {before}", at.index);
        let is_first = self.chain.height() < height;
        let done = self.chain.execute(&self.keys, &execution).unwrap_or_else(|broken| panic!("{broken}"));
        if is_first {
            self.count.reach("blocks");
            self.check_validity(&done);
            self.learn_epoch(&done);
            if done.transactions.is_empty() {
                self.count.reach("null_blocks");
            }
        }
        let at = &mut self.seats[seat];
        self.chain.follow(&mut at.tree, &done).unwrap_or_else(|broken| panic!("{broken}"));
        at.store.execute(execution.certificate);
        let header = done.header.clone();
        self.mix(&header.hash().0);
        self.step(seat, Input::Executed(header, done.seal.as_ref().map(|seal| seal.at), done.accepted()));
    }

    /// Nothing is accepted that no client signed, but proof against an attacker.
    fn check_validity(&mut self, done: &Done) {
        for (bytes, entry) in done.transactions.iter().zip(&done.entries) {
            let id = &entry.transaction;
            if entry.outcome != Outcome::Accepted || self.clients.made(id) {
                continue;
            }
            let transaction: Transaction = cbor::decode(bytes.as_ref()).expect("accepted");
            let Body::ReportConflict(conflict) = transaction.core.body else {
                panic!("validity: nobody submitted {id}")
            };
            self.check_blame(&conflict);
            self.count.reach("evidence");
        }
    }

    /// A validator holds proof: what it says is true, and it hands it in.
    fn blame(&mut self, seat: usize, conflict: &Conflict) {
        self.check_blame(conflict);
        if self.seats[seat].is_honest() {
            let kind = self.plan.attackers.iter().find(|(index, _)| *index == conflict.validator);
            self.count.blamed(kind.map_or("", |(_, kind)| kind.name()));
            let request = client::evidence(&self.keys, *conflict);
            self.evidence.push((seat, request.clone()));
            self.input(seat, Input::Request(None, request));
        }
    }

    /// Blame falls on the faulty only, and rests on two signatures of theirs.
    fn check_blame(&self, conflict: &Conflict) {
        let accused = conflict.validator;
        let is_faulty = self.plan.attackers.iter().any(|&(index, _)| index == accused);
        assert!(is_faulty, "framed: validator {accused} is honest, and blamed with {conflict:?}");
        let words = conflict.words(self.keys.chain);
        let signed = |word: &Word| self.keys.is_signed(word.epoch, accused, &word.to_sign(), &word.by.signature);
        assert!(
            conflict.is_canonical() && words.iter().all(signed),
            "framed: no proof against {accused}: {conflict:?}"
        );
    }

    /// The group is written; the sync takes its time, and may be where the process dies.
    pub(super) fn end_turn(&mut self, seat: usize) {
        let at = &mut self.seats[seat];
        if at.replica.is_none() {
            return;
        }
        let life = at.life;
        let is_pending = at.log.is_pending();
        if !self.healed && is_pending && self.dice.per_mille(self.plan.full) {
            self.count.fault("disk_full");
            self.crash(seat, false);
            return;
        }
        let chance = if is_pending { self.plan.crashes * 4 } else { self.plan.crashes / 2 };
        if !self.healed && self.dice.per_mille(chance) {
            // before, or within, the sync
            if is_pending && self.dice.percent(50) {
                self.seats[seat].log.write();
            }
            let power_cut = self.dice.percent(self.plan.power_cuts);
            self.crash(seat, power_cut);
            return;
        }
        let latency = if is_pending {
            self.seats[seat].log.write();
            self.dice.between(1, self.plan.sync_ms)
        } else {
            0
        };
        self.seats[seat].busy_until = self.now + latency;
        if latency == 0 {
            self.synced(seat, life);
        } else {
            self.at(latency, Event::Synced(seat, life));
        }
        let at = &self.seats[seat];
        if at.life != life {
            return;
        }
        let tick = if at.is_busy() { TICK_BUSY_MS } else { TICK_IDLE_MS };
        let next = self.now + latency + if at.inbox.is_empty() { tick } else { 1 };
        self.turn_at(seat, next);
    }

    pub(super) fn synced(&mut self, seat: usize, life: u32) {
        let at = &mut self.seats[seat];
        if at.life != life {
            return;
        }
        at.synced();
        at.publish();
        let mut outbox = std::mem::take(&mut at.outbox);
        let dies = !self.healed && self.dice.per_mille(self.plan.crashes / 2);
        if dies {
            outbox.truncate(self.dice.index(outbox.len() + 1));
        }
        for (to, message) in outbox {
            self.say(seat, to, message);
        }
        if dies {
            let power_cut = self.dice.percent(self.plan.power_cuts);
            self.crash(seat, power_cut);
            return;
        }
        if self.seats[seat].sealed {
            self.next_epoch(seat);
            return;
        }
        let at = &mut self.seats[seat];
        if at.stable > at.dropped && self.dice.percent(50) {
            at.store.flush();
            at.dropped = at.stable;
            if self.dice.percent(80) {
                let height = at.dropped;
                at.log.drop_up_to(height);
            }
            if !self.healed && self.plan.crashes > 0 && self.dice.percent(8) {
                self.crash(seat, true);
            }
        }
    }
}
