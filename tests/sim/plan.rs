//! What a seed means: how many validators, who attacks and how, which faults happen and how often. Each kind of fault is
//! switched on by itself (swarm testing): a run with everything at once reaches less than many runs with a few each.

use schemas::block::{self, Epoch, ValidatorIndex};

use crate::attackers::Kind;
use crate::dice::Dice;
use crate::keys::Change;

/// Most validators of a run that loses disks.
const LOSING_MAX: usize = 13;

/// A run, before it begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Validators at first.
    pub n: usize,
    /// How their set changes, one epoch after the other.
    pub changes: Vec<Change>,
    /// Real signatures, and every message through its encoding.
    pub real: bool,
    /// Who attacks. Never more than f, the dead included.
    pub attackers: Vec<(ValidatorIndex, Kind)>,
    /// How many more may die for good (altered disks).
    pub deaths: usize,
    /// Messages lost, in percent.
    pub loss: u64,
    /// Messages duplicated, in percent.
    pub duplication: u64,
    /// Usual delay of a message, at most.
    pub delay_ms: u64,
    /// Messages that take much longer, in percent.
    pub straggling: u64,
    /// Longest sync of a disk.
    pub sync_ms: u64,
    /// Crashes per thousand turns.
    pub crashes: u64,
    /// Crashes that are power cuts, in percent.
    pub power_cuts: u64,
    /// Now and then everyone crashes at once.
    pub blackouts: bool,
    /// Altered and misdirected writes, in percent of restarts.
    pub rot: u64,
    /// Lost disks, in percent of restarts.
    pub losses: u64,
    /// Full disks, per thousand turns.
    pub full: u64,
    /// Pauses, in percent of the nemesis' rounds.
    pub pauses: u64,
    /// Partitions, in percent of the nemesis' rounds.
    pub partitions: u64,
    /// Links that lose some kinds of message, in percent of the nemesis' rounds.
    pub mutes: u64,
    /// Largest difference of a clock from true time.
    pub skew_ms: u64,
    /// Transactions that clients submit.
    pub transactions: u64,
    /// Time between two of them, at most.
    pub spacing_ms: u64,
}

impl Plan {
    /// Validators of an epoch.
    pub fn members(&self, epoch: Epoch) -> usize {
        let change = usize::try_from(epoch).ok().and_then(|epoch| self.changes.get(epoch.checked_sub(1)?));
        change.map_or(self.n, |change| change.n)
    }

    /// The most in any epoch.
    pub fn seats(&self) -> usize {
        self.changes.iter().map(|change| change.n).fold(self.n, usize::max)
    }

    /// Draws the plan of a seed; `validators` overrides the number.
    pub fn of(seed: u64, validators: Option<usize>) -> Self {
        let mut dice = Dice::new(seed);
        let drawn = size(&mut dice);
        let n = validators.unwrap_or(drawn);
        let changes = changes(n, &mut dice);
        // whoever attacks does so in every epoch
        let fewest = changes.iter().map(|change| change.n).fold(n, usize::min);
        let f = block::faults_tolerated(fewest);
        let attackers = attackers(fewest, f, &mut dice);
        let deaths = if dice.percent(85) { f - attackers.len() } else { 0 };
        let large = n > 7;
        let mut sometimes = |chance: u64, low: u64, high: u64| {
            let value = dice.between(low, high);
            if dice.percent(chance) { value } else { 0 }
        };
        let loss = sometimes(60, 1, 20);
        let duplication = sometimes(40, 1, 15);
        let straggling = sometimes(50, 1, 8);
        let crashes = sometimes(50, 1, if large { 2 } else { 6 });
        let power_cuts = sometimes(70, 30, 100);
        let rot = sometimes(40, 20, 90);
        let full = sometimes(25, 1, 2);
        let pauses = sometimes(40, 5, 25);
        let partitions = sometimes(65, 5, 30);
        let mutes = sometimes(40, 10, 60);
        let skew_ms = sometimes(50, 100, 10_000);
        let blackouts = sometimes(20, 1, 1) == 1;
        // to come back takes as many heights of many validators as of few, at the square of the price
        let losses = if n > LOSING_MAX { 0 } else { sometimes(80, 40, 100) };
        // who never crashes loses no disk
        let crashes = if losses > 0 { crashes.max(1) } else { crashes };
        Self {
            seed,
            n,
            changes,
            real: seed.is_multiple_of(64) && n <= 7,
            attackers,
            deaths,
            loss,
            duplication,
            delay_ms: [1, 3, 10, 40][dice.index(4)],
            straggling,
            sync_ms: [1, 2, 6, 15][dice.index(4)],
            crashes,
            power_cuts,
            blackouts,
            rot,
            losses,
            full,
            pauses,
            partitions,
            mutes,
            skew_ms,
            transactions: match (large, dice.percent(50)) {
                (true, _) => dice.between(15, 50),
                (false, true) => dice.between(30, 100),
                // past a checkpoint or two
                (false, false) => dice.between(100, 350),
            },
            spacing_ms: [5, 40, 150, 400][dice.index(4)],
        }
    }
}

/// 4 to 30, small ones more often: they run faster and fail sooner.
fn size(dice: &mut Dice) -> usize {
    match dice.below(100) {
        0..45 => 4,
        45..56 => 5,
        56..67 => 6,
        67..88 => 7,
        88..95 => 10,
        _ => usize::try_from(dice.between(8, 30)).unwrap_or(8),
    }
}

/// Seldom one change, more seldom two: each takes hundreds of heights.
fn changes(n: usize, dice: &mut Dice) -> Vec<Change> {
    if n > 7 || !dice.percent(24) {
        return vec![];
    }
    let mut changes: Vec<Change> = vec![];
    for _ in 0..1 + usize::from(dice.percent(25)) {
        let before = changes.last().map_or(n, |change| change.n);
        let n = match dice.below(3) {
            0 => before,
            1 => (before + 1 + dice.index(3)).min(7),
            _ => before.saturating_sub(1 + dice.index(3)).max(4),
        };
        let stay = before.min(n) as ValidatorIndex;
        let mut rotated: Vec<ValidatorIndex> = (0..stay).filter(|_| dice.percent(25)).collect();
        if n == before && rotated.is_empty() {
            rotated.push(0);
        }
        changes.push(Change { n, rotated });
    }
    changes
}

fn attackers(n: usize, f: usize, dice: &mut Dice) -> Vec<(ValidatorIndex, Kind)> {
    let count = if dice.percent(30) { 0 } else { dice.index(f) + 1 };
    let mut indices: Vec<ValidatorIndex> = (0..n as ValidatorIndex).collect();
    let mut out = Vec::new();
    let one_kind = Kind::ALL[dice.index(Kind::ALL.len())];
    let mixed = dice.percent(50);
    for _ in 0..count.min(f) {
        // the first primaries matter most
        let among = if dice.percent(50) { indices.len().min(2) } else { indices.len() };
        let index = indices.remove(dice.index(among));
        let kind = if mixed { Kind::ALL[dice.index(Kind::ALL.len())] } else { one_kind };
        out.push((index, kind));
    }
    out.sort_by_key(|&(index, _)| index);
    out
}
