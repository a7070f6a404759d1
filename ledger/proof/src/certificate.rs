//! Validators' signatures: commit certificates, attestations, heads, and whole blocks (formats.md §4). Signatures count only
//! when they are sorted by validator, each once, all valid, and at least a quorum.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use schemas::block::{
    self, Batch, Block, CommitCertificate, Header, Phase, SignedHead, ValidatorSignature, Vote, attestation_to_sign,
};
use schemas::cose::Verifier;
use schemas::genesis::Genesis;
use schemas::id::{ChainId, Height, PublicKey, TimeMs};
use schemas::limits;

use crate::{AwsLc, VerifyError};

/// The only epoch until membership can change.
const EPOCH: block::Epoch = 0;

/// The validators of the genesis, the chain they serve and how their signatures are verified.
#[derive(Clone)]
pub struct ValidatorSet {
    chain: ChainId,
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
        Self { chain: genesis.chain_id(), keys: genesis.validator_keys(), verifier }
    }

    /// The chain.
    pub const fn chain(&self) -> &ChainId {
        &self.chain
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

    /// All of `signatures` must be sorted, distinct, known and valid over `message`, and at least a quorum.
    fn verify_quorum(
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

    fn check_place(&self, place: &'static str, chain: &ChainId, epoch: block::Epoch) -> Result<(), VerifyError> {
        if *chain != self.chain {
            return Err(VerifyError::OtherChain { place });
        }
        if epoch != EPOCH {
            return Err(VerifyError::Contradiction { place, expected: "epoch 0, the only one" });
        }
        Ok(())
    }
}

impl std::fmt::Debug for ValidatorSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ValidatorSet({} of {})", self.keys.len(), self.chain)
    }
}

/// Checks that at least q validators attest an executed header.
///
/// # Errors
/// `VerifyError`; `Incomplete` when all are valid but too few.
pub fn verify_attestations(
    set: &ValidatorSet,
    header: &Header,
    attestations: &[ValidatorSignature],
) -> Result<(), VerifyError> {
    set.check_place("header", &header.chain, header.epoch)?;
    set.verify_quorum("attestations", &attestation_to_sign(header), attestations)
}

/// Checks that at least q validators committed a batch in one view.
///
/// # Errors
/// `VerifyError`; `Incomplete` when all are valid but too few.
pub fn verify_commits(set: &ValidatorSet, batch: &Batch, certificate: &CommitCertificate) -> Result<(), VerifyError> {
    set.check_place("batch", &batch.chain, batch.epoch)?;
    let vote = Vote {
        chain: batch.chain,
        epoch: batch.epoch,
        view: certificate.view,
        height: batch.height,
        phase: Phase::Commit,
        digest: batch.digest(),
    };
    set.verify_quorum("commits", &vote.to_sign(), &certificate.commits)
}

/// Checks a block as one validator takes it from another: bodies, batch, header and commit certificate belong together.
/// Attestations are not looked at, and the header's log and time are for the receiver's own execution to confirm.
///
/// # Errors
/// `VerifyError` naming the part that does not fit.
pub fn verify_block(set: &ValidatorSet, block: &Block) -> Result<(), VerifyError> {
    let contradiction = |place, expected| Err(VerifyError::Contradiction { place, expected });
    let (batch, header) = (&block.batch, &block.header);
    set.check_place("header", &header.chain, header.epoch)?;
    if block.transactions.len() > limits::BATCH_TRANSACTIONS_MAX
        || block::bytes_of(&block.transactions) > limits::BATCH_BYTES_MAX
    {
        return contradiction("transactions", "no more than a batch may hold");
    }
    if header.height != batch.height || header.height == 0 {
        return contradiction("header", "the height of its batch, from 1");
    }
    if header.batch != batch.digest() {
        return contradiction("header", "the digest of its batch");
    }
    if header.time < batch.time {
        return contradiction("header", "a time that is not before its batch's");
    }
    if block::transactions_root(&block.transactions) != batch.transactions_root {
        return contradiction("transactions", "the root that the batch names");
    }
    verify_commits(set, batch, &block.certificate)
}

/// Checks a block as everyone else takes it: `verify_block`, and at least q attestations of its header.
///
/// # Errors
/// `VerifyError`; `Incomplete` when it is not attested by a quorum yet.
pub fn verify_finalised_block(set: &ValidatorSet, block: &Block) -> Result<(), VerifyError> {
    verify_block(set, block)?;
    verify_attestations(set, &block.header, &block.attestations)
}

/// Checks one validator's signed head.
///
/// # Errors
/// `VerifyError` when chain, validator or signature are not right.
pub fn verify_head(set: &ValidatorSet, signed: &SignedHead) -> Result<(), VerifyError> {
    let place = "head";
    set.check_place(place, &signed.head.chain, signed.head.epoch)?;
    let key = set.keys.get(usize::from(signed.by.validator)).ok_or(VerifyError::Validators { place })?;
    if !set.verifier.verify(key, &signed.head.to_sign(), &signed.by.signature) {
        return Err(VerifyError::Signature { place });
    }
    Ok(())
}

/// Freshness (formats.md §4): from verified heads younger than 5 s of at least q different validators, the q-th lowest
/// height; whoever has executed that height is up to date. `None` when there are too few.
///
/// A final height H was attested by q validators, and an honest one shows its head of H before it attests. Any q heads share
/// 2q − n > f validators with those q, so an honest one: the highest of any q heads is not below H. All sets of q are
/// equally good, so the one with the lowest highest head is taken: with heads of all n, f liars who claim heights that do not
/// exist are left out. (The (f+1)-th highest of only q heads would not do: n = 4, H attested by a, b and a liar; heads of a,
/// of c who is behind, and of the liar who claims to be behind too.) With q heads only, a liar's height counts and its
/// follower waits: callers ask all validators.
pub fn freshness(set: &ValidatorSet, heads: &[SignedHead], now: TimeMs) -> Option<Height> {
    proved_fresh(set, heads, now).map(|fresh| fresh.height)
}

/// What q heads prove, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Whoever has executed this height is up to date.
    pub height: Height,
    /// Until the oldest of the q heads that prove it is too old. Others that are young prove another, higher one.
    pub until: TimeMs,
}

/// `freshness`, with the time until which the same heads prove it.
pub fn proved_fresh(set: &ValidatorSet, heads: &[SignedHead], now: TimeMs) -> Option<Fresh> {
    let mut of_each = BTreeMap::new();
    for signed in heads {
        if now.abs_diff(signed.head.time) < limits::HEAD_AGE_MS_MAX && verify_head(set, signed).is_ok() {
            let newest = of_each.entry(signed.by.validator).or_default();
            *newest = (signed.head.height, signed.head.time).max(*newest);
        }
    }
    let mut newest: Vec<(Height, TimeMs)> = of_each.into_values().collect();
    // of equal heights the younger ones: they prove it longer
    newest.sort_unstable_by_key(|&(height, time)| (height, Reverse(time)));
    let lowest = newest.get(..set.quorum())?;
    let oldest = lowest.iter().map(|(_, time)| *time).min()?;
    let (height, _) = lowest.last()?;
    Some(Fresh { height: *height, until: oldest + limits::HEAD_AGE_MS_MAX })
}
