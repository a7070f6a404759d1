//! Crash and restart: a process ends (killed, or with the power), what was not durable is gone, and the real
//! `Replica::start` continues from the rest. An altered log must be refused: that validator is dead.

use ledger_core::{Config, Replica, Start};
use schemas::view::Checkpoint;

use super::{Event, World};
use crate::disk::{Log, Store};
use crate::verify::Published;

impl World {
    /// The process ends; it starts again after a while.
    pub(super) fn crash(&mut self, seat: usize, power_cut: bool) {
        let at = &mut self.seats[seat];
        // whatever was copied so far is thrown away
        let was_copying = at.copying.take().is_some();
        if at.replica.take().is_none() && !was_copying {
            return;
        }
        at.life += 1;
        at.blocks_from.clear();
        at.inbox.clear();
        at.outbox.clear();
        at.justifying.clear();
        at.unsynced_prepared = 0;
        // a new process knows of no checkpoint before it makes one: the store may have lost the last one's attestations
        (at.stable, at.dropped) = (0, 0);
        at.turn = (u64::MAX, at.turn.1 + 1);
        at.sealed = false;
        at.log.crash(power_cut, &mut self.dice, &mut self.count);
        if power_cut {
            at.store.power_cut(&mut self.dice, &mut self.count);
        }
        self.count.fault(if power_cut { "power_cut" } else { "crash" });
        // the worst to forget is a view that nobody else wants
        let was_alone = self.plan.losses > 0 && self.seats[seat].published.changing;
        let may_die = self.seats[seat].is_honest() && self.deaths < self.plan.deaths;
        if !self.healed && may_die && self.dice.percent(self.plan.rot) {
            let at = &mut self.seats[seat];
            if at.log.rot(&mut self.dice, &mut self.count) {
                self.deaths += 1;
            }
        } else if !self.healed && may_die && self.dice.percent(self.plan.losses.max(if was_alone { 50 } else { 0 })) {
            self.deaths += 1;
            self.lose(seat);
        }
        let life = self.seats[seat].life;
        let delay = if self.healed { 100 } else { self.dice.between(20, 6_000) };
        self.at(delay, Event::Start(seat, life));
    }

    /// A process starts from what is durable.
    pub(super) fn start(&mut self, seat: usize) {
        let at = &self.seats[seat];
        if at.replica.is_some() || at.copying.is_some() || at.is_dead || at.is_out {
            return;
        }
        if at.lacks_state {
            return self.copy(seat);
        }
        let at = &mut self.seats[seat];
        let records = match at.log.open() {
            Ok(records) => records,
            Err(what) => {
                assert!(at.log.altered, "validator {} refuses an honest log: {what}", at.index);
                at.is_dead = true;
                self.count.reach("refused_logs");
                return;
            }
        };
        assert!(!at.log.altered, "validator {} starts with an altered log", at.index);
        let (executed, certified) = (at.store.executed(), at.store.certified());
        at.tree = self.chain.tree_at(executed);
        let unattested = (certified + 1..=executed).filter_map(|height| self.chain.at(height));
        // whatever is final decides the epoch: its last height is where the next one begins
        let epoch = self.keys.epoch_of(certified + 1);
        if usize::from(at.index) >= self.plan.members(epoch) {
            at.is_out = true;
            return;
        }
        let config = self.keys.config(epoch).expect("its base is executed here");
        let checkpoint = match certified {
            height if height == config.base.height => config.base.clone(),
            height => {
                let header = self.chain.at(height).expect("certified means executed").header.hash();
                let attestations = at.store.proof().cloned();
                Checkpoint { height, header, attestations: attestations.expect("certified means attested") }
            }
        };
        let start = Start {
            config: Config { me: at.index, ..config },
            executed,
            unattested: unattested.map(|done| done.header.clone()).collect(),
            checkpoint,
            seal: self
                .chain
                .at(executed)
                .and_then(|done| done.seal.as_ref())
                .map(|seal| seal.at)
                .filter(|&at| at > certified),
            records,
            now: at.clock(self.now),
            nonce: self.dice.below(u64::MAX),
        };
        at.remember(&start.records);
        (at.epoch, at.sealed) = (epoch, false);
        let (is_honest, index) = (at.is_honest(), at.index);
        match Replica::start(start, &self.keys.signer(epoch, index)) {
            Ok((replica, effects)) => {
                let at = &mut self.seats[seat];
                at.replica = Some(replica);
                at.publish();
                if is_honest {
                    let view = self.seats[seat].published.view;
                    self.checks.restart(index, certified, (epoch, view));
                }
                if executed > 0 {
                    self.count.reach("restarts");
                }
                self.perform(seat, effects);
                self.end_turn(seat);
            }
            Err(error) => {
                assert!(!is_honest, "validator {index} does not start from an honest disk: {error}");
                self.forget(seat);
            }
        }
    }

    /// An attacker loses its memory: votes and blocks.
    pub(super) fn forget(&mut self, seat: usize) {
        assert!(!self.seats[seat].is_honest(), "only attackers forget");
        let at = &mut self.seats[seat];
        at.replica = None;
        at.life += 1;
        at.inbox.clear();
        at.outbox.clear();
        at.turn = (u64::MAX, at.turn.1 + 1);
        (at.log, at.store) = (Log::default(), Store::default());
        (at.stable, at.dropped, at.published) = (0, 0, Published::default());
        let life = at.life;
        self.at(50, Event::Start(seat, life));
    }
}
