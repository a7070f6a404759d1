//! All epochs from the genesis on, each proved by the one before it (formats.md §5). Whoever holds the genesis learns from proofs
//! who the validators of any epoch are, and from where to where they are. It must never take an epoch's own word for itself.
//!
//! What no proof can show: that an epoch has not ended. Whoever knows no later epoch takes the signatures of a quorum at any height
//! from its first on, so those who leave destroy their keys, and whoever can learns the newest epochs.

use schemas::ballot;
use schemas::block::{Epoch, SignedHead};
use schemas::cbor;
use schemas::cose::Verifier;
use schemas::genesis::Genesis;
use schemas::id::{ChainId, Height, TimeMs};
use schemas::proof::EpochProof;
use schemas::state::EpochRecord;
use schemas::tree;

use crate::certificate::{Fresh, proved_fresh, verify_attestations};
use crate::error::VerifyError;
use crate::validators::{ValidatorSet, Validators};

/// The epochs that are known, without a gap from 0 on.
#[derive(Clone, Debug)]
pub struct Epochs {
    earlier: Vec<ValidatorSet>,
    newest: ValidatorSet,
    proofs: Vec<EpochProof>,
}

impl Epochs {
    /// Epoch 0, verified with the fast implementation.
    pub fn of(genesis: &Genesis) -> Self {
        Self::starting(ValidatorSet::of(genesis))
    }

    /// The same with another implementation.
    pub fn with_verifier(genesis: &Genesis, verifier: &'static dyn Verifier) -> Self {
        Self::starting(ValidatorSet::with_verifier(genesis, verifier))
    }

    /// With the set of epoch 0.
    pub(crate) const fn starting(genesis: ValidatorSet) -> Self {
        Self { earlier: vec![], newest: genesis, proofs: vec![] }
    }

    /// With all epochs that these prove, in order.
    ///
    /// # Errors
    /// As `extend`, for the first that does not follow.
    pub fn extended(mut self, proofs: &[EpochProof]) -> Result<Self, VerifyError> {
        proofs.iter().try_for_each(|proof| self.extend(proof))?;
        Ok(self)
    }

    /// Learns the next epoch.
    ///
    /// # Errors
    /// `VerifyError` when the proof is not of the epoch behind the newest one, or not by that one's quorum before its seal;
    /// `Incomplete` when all is valid but too few attest. What was known stays as it was.
    pub fn extend(&mut self, proof: &EpochProof) -> Result<(), VerifyError> {
        const PLACE: &str = "epoch";
        let contradiction = |expected| Err(VerifyError::Contradiction { place: PLACE, expected });
        let (record, header, newest) = (&proof.record, &proof.header, &self.newest);
        if newest.epoch().checked_add(1) != Some(record.epoch) {
            return contradiction("the epoch behind the newest one that is known");
        }
        if header.epoch != newest.epoch() {
            return contradiction("a header of the epoch that decided it");
        }
        if record.decided_at < newest.first() || record.previous_seal() != ballot::seal_height(record.decided_at) {
            return contradiction("a seal that follows from its decision");
        }
        if !(record.decided_at..=record.previous_seal()).contains(&header.height) {
            return contradiction("a header from the decision to the seal");
        }
        if ballot::contradiction(&record.members).is_some() {
            return contradiction("members that an epoch can have");
        }
        let value = cbor::encode(record);
        let is_in_state = proof
            .place()
            .is_some_and(|place| tree::verify(&place, Some(&value), None, &proof.siblings, &header.state_root));
        if !is_in_state {
            return Err(VerifyError::Path { place: PLACE });
        }
        verify_attestations(newest, header, &proof.attestations)?;
        self.push(record);
        self.proofs.push(proof.clone());
        Ok(())
    }

    fn push(&mut self, record: &EpochRecord) {
        let next = ValidatorSet::of_epoch(*self.newest.chain(), record, self.newest.verifier());
        let ended = std::mem::replace(&mut self.newest, next).until(record.previous_seal());
        self.earlier.push(ended);
    }

    /// The chain.
    pub const fn chain(&self) -> &ChainId {
        self.newest.chain()
    }

    /// Epoch 0.
    pub fn genesis(&self) -> &ValidatorSet {
        self.earlier.first().unwrap_or(&self.newest)
    }

    /// The newest epoch that is known: the current one, or the next once it is decided.
    pub const fn newest(&self) -> &ValidatorSet {
        &self.newest
    }

    /// The epoch of a height, as far as is known: the newest of which it is not too early.
    pub fn at(&self, height: Height) -> &ValidatorSet {
        if self.newest.first() <= height {
            return &self.newest;
        }
        self.earlier.iter().rfind(|set| set.first() <= height).unwrap_or_else(|| self.genesis())
    }

    /// The proofs that a file needs whose latest epoch is this one; none when it is not known.
    pub fn proofs(&self, epoch: Epoch) -> Option<&[EpochProof]> {
        self.proofs.get(..usize::try_from(epoch).ok()?)
    }

    /// `proved_fresh` by heads of one epoch that is not below `from`, the latest that can. Whoever has executed a seal gives the
    /// epoch behind it: what those of before say is no news to it, and their keys may be in other hands.
    pub fn proved_fresh(&self, from: Epoch, heads: &[SignedHead], now: TimeMs) -> Option<Fresh> {
        let all = std::iter::once(&self.newest).chain(self.earlier.iter().rev());
        all.take_while(|set| set.epoch() >= from).find_map(|set| proved_fresh(set, heads, now))
    }
}

impl Validators for Epochs {
    fn chain(&self) -> &ChainId {
        self.newest.chain()
    }

    fn in_epoch(&self, epoch: Epoch) -> Option<&ValidatorSet> {
        if epoch == self.newest.epoch() {
            return Some(&self.newest);
        }
        self.earlier.get(usize::try_from(epoch).ok()?)
    }
}
