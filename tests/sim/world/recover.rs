//! Lost disks: a validator that begins again with nothing but its key asks the others how far they are, and follows in silence until
//! it may speak. The checkers still hold it to everything that it said before.

use schemas::cbor;
use schemas::pbft::{Record, Recovery};

use super::World;
use crate::attackers::Kind;
use crate::disk::{Log, Store};
use crate::verify::Published;

impl World {
    /// An honest validator's disk is gone.
    pub(super) fn lose(&mut self, seat: usize) {
        let at = &mut self.seats[seat];
        (at.log, at.store, at.published) = (Log::default(), Store::default(), Published::default());
        // from the genesis it comes through all epochs, if it has been there from the first on
        let is_old = seat < self.plan.n && self.dice.percent(15);
        let at = &mut self.seats[seat];
        at.lacks_state = !is_old;
        // it knows from its key that it has voted, and begins its log with that
        let record = Record::Recovering(1, Recovery::unknown());
        at.append(&record, &cbor::encode(&record));
        at.log.write();
        at.synced();
        self.checks.lose(at.index);
        self.count.fault("lost_disk");
    }

    /// A backup of the newest view hears nobody any more.
    pub fn deafen_one(&mut self) -> usize {
        let (epoch, _) = self.newest();
        let seat = (self.primary() + 1 + self.dice.index(self.plan.members(epoch) - 1)) % self.plan.members(epoch);
        self.network.deafen(Some(seat));
        seat
    }

    /// It lost patience.
    pub fn is_leaving(&self, seat: usize) -> bool {
        self.seats[seat].published.changing
    }

    /// What it said alone is gone with its disk, and it hears again.
    pub fn lose_deaf(&mut self, seat: usize) {
        self.network.deafen(None);
        self.crash(seat, true);
        self.lose(seat);
        self.count.reach("lonely_losses");
    }

    /// Some honest validator still says nothing.
    pub fn has_silent(&self) -> bool {
        self.seats
            .iter()
            .any(|seat| seat.is_honest() && !seat.is_dead && !seat.is_out && self.checks.is_silent(seat.index))
    }

    /// The primary of the newest view that began stands still for longer than the others' patience.
    pub fn doze_primary(&mut self, doze_ms: u64) {
        let began = self.seats.iter().filter(|seat| seat.is_honest() && !seat.is_out && !seat.published.changing);
        let newest = began.map(|seat| (seat.published.epoch, seat.published.view)).max();
        let (epoch, view) = newest.unwrap_or_default();
        let primary = usize::from(schemas::block::primary_of(view, self.plan.members(epoch)));
        let is_needed = self.seats[primary].attacker.as_ref().is_none_or(|(kind, _)| *kind != Kind::Silent);
        if is_needed {
            self.seats[primary].paused_until = self.now + doze_ms;
        }
    }
}
