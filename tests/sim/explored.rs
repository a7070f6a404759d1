//! What many seeds must have reached: a simulator that explores nothing finds nothing, and has failed.

use crate::attackers::Kind;
use crate::count::Tally;
use crate::report::Report;

/// Fewer seeds may miss something.
const SEEDS_MIN: usize = 240;
/// From so many seeds on, each of `OFTEN` is reached once in this many.
const SEEDS_MANY: usize = 2_000;
const SEEDS_FOR_ONE: u64 = 10;

const FAULTS: &[&str] = &[
    "loss",
    "duplicate",
    "reorder",
    "delay",
    "partition",
    "mute",
    "crash",
    "power_cut",
    "blackout",
    "lost_tail",
    "torn_write",
    "store_behind",
    "bit_rot",
    "misdirected_write",
    "disk_full",
    "lost_disk",
    "pause",
    "clock_skew",
    "clock_jump",
];

const BLAMED: &[&str] = &["equivocating", "twins", "two_headers", "two_view_changes"];

const STATES: &[&str] = &[
    "blocks",
    "changes_decided",
    "checkpoints",
    "epochs",
    "evidence",
    "live_runs",
    "lonely_losses",
    "new_views",
    "new_views_with_batches",
    "new_views_with_gaps",
    "null_blocks",
    "recoveries",
    "refused_logs",
    "restarts",
    "state_transfers",
    "validators_joined",
    "validators_left",
    "view_changes",
    "voices_back",
];

const OFTEN: &[&str] = &["view_changes", "new_views_with_gaps", "state_transfers", "epochs"];

impl Report {
    /// What was not reached, or too seldom, each with its count; nothing when the seeds are too few to tell.
    pub fn unexplored(&self) -> Vec<String> {
        let seeds = self.traces.len();
        if seeds < SEEDS_MIN {
            return vec![];
        }
        let often = if seeds < SEEDS_MANY { 1 } else { seeds as u64 / SEEDS_FOR_ONE };
        let of = |tally: &Tally, name: &str| tally.get(name).copied().unwrap_or(0);
        let count = &self.count;
        let attackers = Kind::ALL.iter().map(|kind| (kind.name(), of(&count.attackers, kind.name()), 1));
        let faults = FAULTS.iter().map(|&fault| (fault, of(&count.faults, fault), 1));
        let blamed = BLAMED.iter().map(|&kind| (kind, of(&count.blamed, kind), 1));
        let states = STATES.iter().map(|&state| (state, of(&count.reached, state), 1));
        let many = OFTEN.iter().map(|&state| (state, of(&count.reached, state), often));
        let all = attackers.chain(faults).chain(blamed).chain(states).chain(many);
        let missed = all.filter(|&(_, reached, wanted)| reached < wanted);
        missed.map(|(what, reached, wanted)| format!("{what} {reached} of {wanted}")).collect()
    }
}
