//! A source that repeats itself, for golden vectors only: block n is SHA-256(seed ‖ n), n as u32 big endian from 0. Each
//! draw starts a new block.

use sha2::{Digest as _, Sha256};

use super::{NoRandomness, Source};

pub(crate) struct Fixed {
    seed: &'static str,
    next: u32,
}

impl Fixed {
    pub(crate) const fn new(seed: &'static str) -> Self {
        Self { seed, next: 0 }
    }
}

impl Source for Fixed {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), NoRandomness> {
        for chunk in out.chunks_mut(32) {
            let block = Sha256::new().chain_update(self.seed).chain_update(self.next.to_be_bytes()).finalize();
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.next += 1;
        }
        Ok(())
    }
}

/// A source that always fails.
pub(crate) struct Dry;

impl Source for Dry {
    fn fill(&mut self, _: &mut [u8]) -> Result<(), NoRandomness> {
        Err(NoRandomness)
    }
}
