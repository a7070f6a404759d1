//! What a run did: faults by kind, attackers, states reached. Summed over seeds and printed, so that a simulator which
//! explores nothing is seen.

use std::collections::BTreeMap;

/// Counts by name.
pub type Tally = BTreeMap<&'static str, u64>;

/// Figures of one seed, or of many.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Inputs taken by replicas.
    pub steps: u64,
    /// Faults injected, by kind.
    pub faults: Tally,
    /// Seeds in which an attacker of a kind took part.
    pub attackers: Tally,
    /// Proofs that honest validators held, by the kind of the attacker.
    pub blamed: Tally,
    /// Second words of equivocating attackers that reached somebody honest.
    pub contradictions: u64,
    /// States reached.
    pub reached: Tally,
}

impl Count {
    /// One more fault.
    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// One more state.
    pub fn reach(&mut self, state: &'static str) {
        *self.reached.entry(state).or_default() += 1;
    }

    /// One more proof against an attacker of a kind.
    pub fn blamed(&mut self, kind: &'static str) {
        *self.blamed.entry(kind).or_default() += 1;
    }

    /// Adds the figures of another seed.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.contradictions += other.contradictions;
        let pairs = [
            (&mut self.faults, &other.faults),
            (&mut self.attackers, &other.attackers),
            (&mut self.blamed, &other.blamed),
            (&mut self.reached, &other.reached),
        ];
        for (into, from) in pairs {
            for (kind, count) in from {
                *into.entry(kind).or_default() += count;
            }
        }
    }
}
