//! What a number means: which validator is there twice, and for each round which of the five replicas hear each other. All
//! numbers together are every such choice, each once.

use schemas::block::ValidatorIndex;

/// Validators.
pub const VALIDATORS: usize = 4;
/// Replicas: each validator's, and a second one of the doubled validator behind them.
pub const REPLICAS: usize = VALIDATORS + 1;
/// Ways to put the replicas on at most two sides; which side is which makes no difference.
const SPLITS: u64 = 1 << (REPLICAS - 1);

/// One scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The validator that is there twice.
    pub doubled: ValidatorIndex,
    /// Of each round a bit for every replica but the first: whether it is on the other side than that one.
    splits: Vec<u64>,
}

impl Scenario {
    /// How many there are.
    pub const fn all(rounds: u32) -> u64 {
        VALIDATORS as u64 * SPLITS.pow(rounds)
    }

    /// The one with this number, below `all`.
    pub fn of(number: u64, rounds: u32) -> Self {
        let doubled = ValidatorIndex::try_from(number % VALIDATORS as u64).expect("below the validators");
        let rest = number / VALIDATORS as u64;
        let splits = (0..rounds).map(|round| rest / SPLITS.pow(round) % SPLITS).collect();
        Self { doubled, splits }
    }

    /// Rounds.
    pub fn rounds(&self) -> usize {
        self.splits.len()
    }

    /// Whose validator a replica is.
    pub fn validator(&self, replica: usize) -> ValidatorIndex {
        if replica == VALIDATORS { self.doubled } else { ValidatorIndex::try_from(replica).expect("below 2^16") }
    }

    /// Which side a replica is on; the first one's is 0.
    pub fn side(&self, round: usize, replica: usize) -> u64 {
        if replica == 0 { 0 } else { self.splits[round] >> (replica - 1) & 1 }
    }

    /// Whether two replicas hear each other in a round. The round after the last is the first again.
    pub fn are_together(&self, round: usize, one: usize, other: usize) -> bool {
        let round = round % self.rounds();
        self.side(round, one) == self.side(round, other)
    }
}
