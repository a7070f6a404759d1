//! The only randomness of a run: SplitMix64 from the seed. Every choice of faults, attackers and times is drawn here. A fuzzer gives
//! the first numbers itself, and so learns which of them lead where.

use std::vec::IntoIter;

/// A seeded stream of numbers.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
    /// What is drawn first, a byte or two for each number.
    script: IntoIter<u8>,
}

impl Dice {
    /// From a seed; close seeds give unrelated streams.
    pub fn new(seed: u64) -> Self {
        Self::scripted(seed, vec![])
    }

    /// The same behind the numbers that these bytes are.
    pub fn scripted(seed: u64, script: Vec<u8>) -> Self {
        let mut dice = Self { state: seed ^ 0x6a09_e667_f3bc_c908, script: script.into_iter() };
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below n; 0 when n is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        match self.script.next() {
            _ if n == 0 => 0,
            None => (self.next() >> 11) % n,
            Some(byte) if n <= 256 => u64::from(byte) % n,
            Some(byte) => (u64::from(byte) << 8 | u64::from(self.script.next().unwrap_or(0))) % n,
        }
    }

    /// An index of a list of `len`.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in `p` of 100 cases.
    pub fn percent(&mut self, p: u64) -> bool {
        // no byte of a script for what is certain
        if p == 0 && !self.script.as_slice().is_empty() { false } else { self.below(100) < p }
    }

    /// True in `p` of 1000 cases.
    pub fn per_mille(&mut self, p: u64) -> bool {
        self.below(1000) < p
    }
}
