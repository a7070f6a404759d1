//! Validators' signatures: commit certificates, attestations, heads, and whole blocks (formats.md §4). Signatures count only
//! when they are sorted by validator, each once, all valid, and at least a quorum.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use schemas::block::{
    self, Batch, Block, CommitCertificate, Header, Phase, SignedHead, ValidatorSignature, Vote, attestation_to_sign,
};
use schemas::id::{Height, TimeMs};
use schemas::limits;

use crate::VerifyError;
use crate::validators::{ValidatorSet, Validators, set_for, set_of};

/// Checks that at least q validators attest an executed header.
///
/// # Errors
/// `VerifyError`; `Incomplete` when all are valid but too few.
pub fn verify_attestations<V: Validators + ?Sized>(
    validators: &V,
    header: &Header,
    attestations: &[ValidatorSignature],
) -> Result<(), VerifyError> {
    let set = set_for(validators, "header", (&header.chain, header.epoch, header.height))?;
    set.verify_quorum("attestations", &attestation_to_sign(header), attestations)
}

/// Checks that at least q validators committed a batch in one view.
///
/// # Errors
/// `VerifyError`; `Incomplete` when all are valid but too few.
pub fn verify_commits<V: Validators + ?Sized>(
    validators: &V,
    batch: &Batch,
    certificate: &CommitCertificate,
) -> Result<(), VerifyError> {
    let set = set_for(validators, "batch", (&batch.chain, batch.epoch, batch.height))?;
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
pub fn verify_block<V: Validators + ?Sized>(validators: &V, block: &Block) -> Result<(), VerifyError> {
    let contradiction = |place, expected| Err(VerifyError::Contradiction { place, expected });
    let (batch, header) = (&block.batch, &block.header);
    set_for(validators, "header", (&header.chain, header.epoch, header.height))?;
    if block.transactions.len() > limits::BATCH_TRANSACTIONS_MAX
        || block::bytes_of(&block.transactions) > limits::BATCH_BYTES_MAX
    {
        return contradiction("transactions", "no more than a batch may hold");
    }
    if (header.epoch, header.height) != (batch.epoch, batch.height) || header.height == 0 {
        return contradiction("header", "epoch and height of its batch, from 1");
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
    verify_commits(validators, batch, &block.certificate)
}

/// Checks a block as everyone else takes it: `verify_block`, and at least q attestations of its header.
///
/// # Errors
/// `VerifyError`; `Incomplete` when it is not attested by a quorum yet.
pub fn verify_finalised_block<V: Validators + ?Sized>(validators: &V, block: &Block) -> Result<(), VerifyError> {
    verify_block(validators, block)?;
    verify_attestations(validators, &block.header, &block.attestations)
}

/// Checks one validator's signed head. Whoever stands at a seal speaks for the epoch behind it, or not at all: heads of an epoch
/// are of heights from the seal before it to below its own, so that those who left prove no freshness.
///
/// # Errors
/// `VerifyError` when chain, height, validator or signature are not right.
pub fn verify_head<V: Validators + ?Sized>(validators: &V, signed: &SignedHead) -> Result<(), VerifyError> {
    let place = "head";
    let set = set_of(validators, place, &signed.head.chain, signed.head.epoch)?;
    if !set.stands(signed.head.height) {
        return Err(VerifyError::Contradiction { place, expected: "a height of its epoch below the seal" });
    }
    let key = set.keys().get(usize::from(signed.by.validator)).ok_or(VerifyError::Validators { place })?;
    if !set.verifier().verify(key, &signed.head.to_sign(), &signed.by.signature) {
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
