//! Where keys, ids and salts come from. Everything that seals takes a `Source`, so that the golden vectors can be made
//! with a fixed one in the tests; outside the tests there is only the system's.

use std::convert::Infallible;

use hpke::rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

use crate::error::VaultError;

/// The system gave no randomness.
pub(crate) struct NoRandomness;

/// A source of random bytes.
pub(crate) trait Source {
    /// Fills `out`, or fails; never fills it in part and says it went well.
    fn fill(&mut self, out: &mut [u8]) -> Result<(), NoRandomness>;
}

/// The system's randomness.
pub(crate) struct System;

impl Source for System {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), NoRandomness> {
        getrandom::fill(out).map_err(|_| NoRandomness)
    }
}

/// Public random bytes: ids and salts.
///
/// # Errors
/// `VaultError::Randomness` when the system has none.
pub fn random<const N: usize>() -> Result<[u8; N], VaultError> {
    let mut out = [0; N];
    System.fill(&mut out).map_err(|_| VaultError::Randomness)?;
    Ok(out)
}

/// Secret random bytes.
pub(crate) fn secret(source: &mut dyn Source) -> Result<Zeroizing<[u8; 32]>, NoRandomness> {
    let mut out = Zeroizing::new([0; 32]);
    source.fill(out.as_mut_slice())?;
    Ok(out)
}

/// A `Source` as the generator that `hpke` asks for. That one cannot fail, so a failure is remembered and must be asked
/// for afterwards: what was made with it is thrown away.
pub(crate) struct Generator<'a> {
    source: &'a mut dyn Source,
    failed: bool,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(source: &'a mut dyn Source) -> Self {
        Self { source, failed: false }
    }

    pub(crate) const fn failed(&self) -> bool {
        self.failed
    }
}

impl TryRng for Generator<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut out = [0; 4];
        self.try_fill_bytes(&mut out)?;
        Ok(u32::from_le_bytes(out))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut out = [0; 8];
        self.try_fill_bytes(&mut out)?;
        Ok(u64::from_le_bytes(out))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.failed |= self.source.fill(out).is_err();
        Ok(())
    }
}

impl TryCryptoRng for Generator<'_> {}

#[cfg(test)]
pub(crate) mod fixed;
