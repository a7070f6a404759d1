//! The validators of one epoch: whose signatures count, over which heights, and how they are verified. Outside of its heights a
//! set attests nothing: those who left can sign no later block, those who came no earlier one.

use schemas::block::{self, Epoch, ValidatorSignature};
use schemas::cose::Verifier;
use schemas::genesis::{Genesis, Validator};
use schemas::id::{ChainId, Height, PublicKey};
use schemas::state::EpochRecord;

use crate::{AwsLc, VerifyError};

/// The validators of an epoch, the chain they serve and how their signatures are verified.
#[derive(Clone)]
pub struct ValidatorSet {
    chain: ChainId,
    epoch: Epoch,
    first: Height,
    last: Option<Height>,
    names: Vec<String>,
    keys: Vec<PublicKey>,
    verifier: &'static dyn Verifier,
}

impl ValidatorSet {
    /// The validators of a genesis, verified with the fast implementation.
    pub fn of(genesis: &Genesis) -> Self {
        Self::with_verifier(genesis, &AwsLc)
    }

    /// The same with another implementation.
    pub fn with_verifier(genesis: &Genesis, verifier: &'static dyn Verifier) -> Self {
        Self::of_epoch(genesis.chain_id(), &EpochRecord::genesis(genesis.validators.clone()), verifier)
    }

    /// The validators of a record that the caller has reason to believe: from its own state, or proved (`Epochs`).
    pub fn of_epoch(chain: ChainId, record: &EpochRecord, verifier: &'static dyn Verifier) -> Self {
        let (names, keys) = record.members.iter().map(|Validator { name, key }| (name.clone(), *key)).unzip();
        Self { chain, epoch: record.epoch, first: record.first, last: None, names, keys, verifier }
    }

    /// The same once it is decided at which height its epoch ends.
    #[must_use]
    pub const fn until(mut self, seal: Height) -> Self {
        self.last = Some(seal);
        self
    }

    /// The chain.
    pub const fn chain(&self) -> &ChainId {
        &self.chain
    }

    /// The epoch.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The first height of the epoch.
    pub const fn first(&self) -> Height {
        self.first
    }

    /// The last one, its seal, once it is known.
    pub const fn last(&self) -> Option<Height> {
        self.last
    }

    /// Names in order of index.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Keys in order of index.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Signatures that make a certificate.
    pub const fn quorum(&self) -> usize {
        block::quorum(self.keys.len())
    }

    pub(crate) const fn verifier(&self) -> &'static dyn Verifier {
        self.verifier
    }

    /// Whether blocks of this height are the epoch's.
    pub fn covers(&self, height: Height) -> bool {
        self.first <= height && self.last.is_none_or(|last| height <= last)
    }

    /// Whether a validator of the epoch can stand at this height: from the seal of the epoch before, which it waits behind, to
    /// the height below its own seal. Behind that the next epoch's validators speak.
    pub(crate) fn stands(&self, height: Height) -> bool {
        self.first <= height.saturating_add(1) && self.last.is_none_or(|last| height < last)
    }

    /// All of `signatures` must be sorted, distinct, known and valid over `message`, and at least a quorum.
    pub(crate) fn verify_quorum(
        &self,
        place: &'static str,
        message: &[u8],
        signatures: &[ValidatorSignature],
    ) -> Result<(), VerifyError> {
        if !signatures.is_sorted_by(|a, b| a.validator < b.validator) || signatures.len() > self.keys.len() {
            return Err(VerifyError::Validators { place });
        }
        for by in signatures {
            let key = self.keys.get(usize::from(by.validator)).ok_or(VerifyError::Validators { place })?;
            if !self.verifier.verify(key, message, &by.signature) {
                return Err(VerifyError::Signature { place });
            }
        }
        if signatures.len() < self.quorum() {
            return Err(VerifyError::Incomplete { place, found: signatures.len(), expected: self.quorum() });
        }
        Ok(())
    }
}

impl std::fmt::Debug for ValidatorSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ValidatorSet({} of epoch {} of {})", self.keys.len(), self.epoch, self.chain)
    }
}

/// Whose signatures count: one epoch's validators, or those of all epochs that are known (`Epochs`).
pub trait Validators {
    /// The chain that they serve.
    fn chain(&self) -> &ChainId;

    /// The validators of an epoch; none when it is not known.
    fn in_epoch(&self, epoch: Epoch) -> Option<&ValidatorSet>;
}

impl Validators for ValidatorSet {
    fn chain(&self) -> &ChainId {
        &self.chain
    }

    fn in_epoch(&self, epoch: Epoch) -> Option<&ValidatorSet> {
        (epoch == self.epoch).then_some(self)
    }
}

/// The set that may sign something of this chain, epoch and height.
pub(crate) fn set_for<'a, V: Validators + ?Sized>(
    validators: &'a V,
    place: &'static str,
    (chain, epoch, height): (&ChainId, Epoch, Height),
) -> Result<&'a ValidatorSet, VerifyError> {
    let set = set_of(validators, place, chain, epoch)?;
    if !set.covers(height) {
        return Err(VerifyError::Contradiction { place, expected: "a height of its epoch" });
    }
    Ok(set)
}

/// The set of an epoch.
pub(crate) fn set_of<'a, V: Validators + ?Sized>(
    validators: &'a V,
    place: &'static str,
    chain: &ChainId,
    epoch: Epoch,
) -> Result<&'a ValidatorSet, VerifyError> {
    if chain != validators.chain() {
        return Err(VerifyError::OtherChain { place });
    }
    validators.in_epoch(epoch).ok_or(VerifyError::OtherEpoch { place, epoch })
}
