//! What goes wrong around the validators: pauses, partitions, clocks that jump, blackouts, twins that change sides. Ends with
//! `heal`: then everything admitted must commit within a bounded time.

use super::{Event, World};
use crate::attackers::{Kind, Wish};

/// Between two rounds of faults.
const ROUND_MS: u64 = 200;

impl World {
    /// A round of faults.
    pub(super) fn nemesis(&mut self) {
        self.divide_twins();
        if self.healed {
            self.at(ROUND_MS * 10, Event::Nemesis);
            return;
        }
        if self.dice.percent(self.plan.pauses) {
            let seat = self.victim();
            let pause = self.dice.between(20, 6_000);
            self.seats[seat].paused_until = self.now + pause;
            self.count.fault("pause");
        }
        if self.dice.percent(self.plan.partitions) {
            let seat = self.victim();
            let victim = usize::from(self.seats[seat].index);
            self.network.partition(victim, &mut self.dice, &mut self.count);
        }
        if self.dice.percent(self.plan.mutes) {
            self.network.mute(&mut self.dice, &mut self.count);
        }
        if self.plan.skew_ms > 0 && self.dice.percent(3) {
            let seat = self.dice.index(self.seats.len());
            let jump = i64::try_from(self.dice.below(self.plan.skew_ms)).unwrap_or(0);
            self.seats[seat].skew_ms = jump - (self.plan.skew_ms / 2) as i64;
            self.count.fault("clock_jump");
        }
        if self.plan.crashes > 0 && self.dice.percent(3) {
            let (seat, power_cut) = (self.victim(), self.dice.percent(self.plan.power_cuts));
            self.crash(seat, power_cut);
        }
        // the worst to forget is a view that nobody else wants
        if self.plan.losses > 0
            && self.dice.percent(20)
            && let Some(seat) = self.alone()
        {
            self.crash(seat, true);
        }
        if self.plan.blackouts && self.dice.percent(2) {
            self.count.fault("blackout");
            (0..self.seats.len()).for_each(|seat| self.crash(seat, true));
        }
        self.at(ROUND_MS, Event::Nemesis);
    }

    /// An honest validator that left its view while all others stay.
    fn alone(&self) -> Option<usize> {
        let mut changing =
            self.seats.iter().enumerate().filter(|(_, seat)| seat.is_honest() && seat.published.changing);
        let first = changing.next().map(|(seat, _)| seat);
        if changing.next().is_none() { first } else { None }
    }

    /// Anyone, the newest view's primary more often.
    fn victim(&mut self) -> usize {
        if self.dice.percent(60) {
            return self.dice.index(self.seats.len());
        }
        self.primary()
    }

    /// Each of two twins talks to a part of the others.
    fn divide_twins(&mut self) {
        for seat in 0..self.seats.len() {
            let at = &self.seats[seat];
            if !at.attacker.as_ref().is_some_and(|(kind, _)| *kind == Kind::Twins) {
                continue;
            }
            // the second twin sits behind all validators and takes who the first one leaves
            let index = at.index;
            if seat < self.plan.seats() {
                let circle: Vec<bool> = (0..self.plan.seats()).map(|_| self.dice.percent(60)).collect();
                self.seats[seat].circle = circle;
            } else {
                let first = self.seats[usize::from(index)].circle.clone();
                self.seats[seat].circle = first.iter().map(|&with| !with || self.dice.percent(20)).collect();
            }
        }
    }

    /// What an attacker wants of the world.
    pub(super) fn grant(&mut self, seat: usize, wish: Wish) {
        match wish {
            Wish::Forget => self.forget(seat),
        }
    }

    /// All faults end; attackers stay.
    pub fn heal(&mut self) {
        self.healed = true;
        self.network.heal();
        self.plan.sync_ms = self.plan.sync_ms.min(5);
        for seat in 0..self.seats.len() {
            self.seats[seat].paused_until = 0;
            if self.seats[seat].replica.is_none() {
                self.start(seat);
            } else {
                let wanted = self.seats[seat].busy_until.max(self.now);
                self.turn_at(seat, wanted);
            }
        }
    }
}
