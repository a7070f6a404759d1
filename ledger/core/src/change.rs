//! View changes and new views that passed their checks (§4.4): only what is checked here reaches the protocol. A NEW-VIEW's
//! pre-prepares are computed again from its view changes; nothing that its primary says about them is believed.

use std::collections::BTreeMap;

use schemas::block::{self, Batch, Phase, ValidatorIndex, ValidatorSignature, View, attestation_bytes};
use schemas::id::{Digest, Height, Signature};
use schemas::limits;
use schemas::view::{Checkpoint, NewView, PreparedCertificate, SignedViewChange, ViewChange};

use crate::Config;
use crate::mutants::planted;

/// Verifies validators' signatures.
pub trait Verify {
    /// Whether this validator of the epoch signed these bytes.
    fn is_signed(&self, by: ValidatorIndex, bytes: &[u8], signature: &Signature) -> bool;
}

impl<F: Fn(ValidatorIndex, &[u8], &Signature) -> bool> Verify for F {
    fn is_signed(&self, by: ValidatorIndex, bytes: &[u8], signature: &Signature) -> bool {
        self(by, bytes, signature)
    }
}

/// What no honest validator sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Another chain or epoch.
    #[error("found another chain or epoch")]
    Place,
    /// A view without a predecessor, or view changes for another view than the new one.
    #[error("found a view that does not fit")]
    View,
    /// A checkpoint with other than q attestations.
    #[error("found a checkpoint that is not proven")]
    Checkpoint,
    /// Certificates out of order, outside of the window, of a later view, or with other than q signers.
    #[error("found a prepared certificate that proves nothing")]
    Prepared,
    /// Not exactly q view changes of different validators, sorted.
    #[error("found other than a quorum of view changes")]
    Quorum,
    /// A signature that is not its signer's, or pre-prepares of other batches than follow from the view changes.
    #[error("found a signature that does not verify")]
    Signature,
}

/// A VIEW-CHANGE whose every signature and certificate was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedViewChange(Box<SignedViewChange>);

impl VerifiedViewChange {
    /// Checks everything that does not depend on the receiver.
    ///
    /// # Errors
    /// `ChangeError` for what no honest validator sends.
    pub fn check(config: &Config, signed: SignedViewChange, verify: &dyn Verify) -> Result<Self, ChangeError> {
        let SignedViewChange { change, by } = &signed;
        if change.chain != config.chain || change.epoch != config.epoch {
            return Err(ChangeError::Place);
        }
        if change.view == 0 {
            return Err(ChangeError::View);
        }
        if usize::from(by.validator) >= config.validators
            || !verify.is_signed(by.validator, &change.to_sign(), &by.signature)
        {
            return Err(ChangeError::Signature);
        }
        check_checkpoint(config, &change.checkpoint, verify)?;
        check_prepared(config, change, verify)?;
        Ok(Self(Box::new(signed)))
    }

    /// What was said.
    pub fn change(&self) -> &ViewChange {
        &self.0.change
    }

    /// Who said it.
    pub fn by(&self) -> ValidatorIndex {
        self.0.by.validator
    }

    /// As it travels.
    pub fn message(&self) -> &SignedViewChange {
        &self.0
    }
}

/// A NEW-VIEW whose view changes were checked and whose pre-prepares are those that follow from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedNewView {
    message: Box<NewView>,
    plan: Plan,
}

impl VerifiedNewView {
    /// Checks everything that does not depend on the receiver, and computes O again.
    ///
    /// # Errors
    /// `ChangeError` for what no honest primary sends.
    pub fn check(config: &Config, message: NewView, verify: &dyn Verify) -> Result<Self, ChangeError> {
        if message.chain != config.chain || message.epoch != config.epoch {
            return Err(ChangeError::Place);
        }
        let primary = block::primary_of(message.view, config.validators);
        let is_sorted = message.changes.is_sorted_by(|a, b| a.by.validator < b.by.validator);
        if message.changes.len() != block::quorum(config.validators) || !is_sorted {
            return Err(ChangeError::Quorum);
        }
        if message.view == 0 || message.changes.iter().any(|signed| signed.change.view != message.view) {
            return Err(ChangeError::View);
        }
        if !verify.is_signed(primary, &message.to_sign(), &message.signature) {
            return Err(ChangeError::Signature);
        }
        for signed in message.changes.iter().filter(|_| !planted("new-view-believed")) {
            VerifiedViewChange::check(config, signed.clone(), verify)?;
        }
        let plan = Plan::of(config, &message.changes);
        if plan.digests.len() != message.pre_prepares.len() {
            return Err(ChangeError::Signature);
        }
        for ((&height, &digest), signature) in plan.digests.iter().zip(&message.pre_prepares) {
            let vote = plan.vote(config, message.view, height, digest);
            if !verify.is_signed(primary, &vote.to_sign(), signature) {
                return Err(ChangeError::Signature);
            }
        }
        Ok(Self { message: Box::new(message), plan })
    }

    /// The own one, or one of the own log.
    pub(crate) fn own(config: &Config, message: NewView) -> Self {
        let plan = Plan::of(config, &message.changes);
        Self { message: Box::new(message), plan }
    }

    /// As it travels.
    pub fn message(&self) -> &NewView {
        &self.message
    }

    /// The view that begins.
    pub fn view(&self) -> View {
        self.message.view
    }

    /// The checkpoint from which it begins.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.plan.checkpoint
    }

    /// Which batch stands at which height: digest and the primary's signature.
    pub fn assigned(&self) -> impl Iterator<Item = (Height, Digest, Signature)> + '_ {
        let digests = self.plan.digests.iter().zip(&self.message.pre_prepares);
        digests.map(|((&height, &digest), &signature)| (height, digest, signature))
    }

    /// Of each assigned height that prepared the certificate that its batch follows from.
    pub(crate) fn prepared(&self) -> impl Iterator<Item = &PreparedCertificate> {
        let all = self.message.changes.iter().flat_map(|signed| &signed.change.prepared);
        all.filter(|certificate| self.plan.digests.get(&certificate.height) == Some(&certificate.digest))
    }

    /// The highest height that is assigned: fresh proposals stand above it.
    pub fn assigned_to(&self) -> Height {
        self.plan.digests.last_key_value().map_or(self.plan.checkpoint.height, |(&height, _)| height)
    }
}

/// What follows from a set V of view changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    checkpoint: Checkpoint,
    digests: BTreeMap<Height, Digest>,
}

impl Plan {
    /// §4.4: min-s is the newest stable checkpoint in V, max-s the highest height that prepared. Every height between them
    /// gets the batch that prepared there in the highest view, or the null batch where nothing prepared.
    pub fn of(config: &Config, changes: &[SignedViewChange]) -> Self {
        let checkpoints = changes.iter().map(|signed| &signed.change.checkpoint);
        let newest = if planted("oldest-checkpoint") {
            checkpoints.min_by_key(|c| c.height)
        } else {
            checkpoints.max_by_key(|c| c.height)
        };
        let checkpoint = newest.map_or_else(|| config.base.clone(), Clone::clone);
        let mut highest: BTreeMap<Height, &PreparedCertificate> = BTreeMap::new();
        let prepared = changes.iter().flat_map(|signed| &signed.change.prepared);
        for certificate in prepared.filter(|c| c.height > checkpoint.height) {
            let best = highest.entry(certificate.height).or_insert(certificate);
            if ((certificate.view, certificate.digest) > (best.view, best.digest)) != planted("lowest-view-prepared") {
                *best = certificate;
            }
        }
        let last = highest.last_key_value().map_or(checkpoint.height, |(&height, _)| height);
        let digests = (checkpoint.height.saturating_add(1)..=last).map(|height| {
            let null = || Batch::null(config.chain, config.epoch, height).digest();
            let prepared = highest.get(&height).filter(|_| !planted("null-over-prepared"));
            (height, prepared.map_or_else(null, |certificate| certificate.digest))
        });
        let digests: BTreeMap<_, _> = digests.collect();
        assert!(digests.len() as u64 <= limits::OPEN_HEIGHTS_MAX, "no certificate lies further above its checkpoint");
        Self { checkpoint, digests }
    }

    /// Heights and digests in order.
    pub fn digests(&self) -> impl Iterator<Item = (Height, Digest)> + '_ {
        self.digests.iter().map(|(&height, &digest)| (height, digest))
    }

    /// The PRE-PREPARE vote of a height in the new view.
    pub const fn vote(&self, config: &Config, view: View, height: Height, digest: Digest) -> block::Vote {
        block::Vote { chain: config.chain, epoch: config.epoch, view, height, phase: Phase::PrePrepare, digest }
    }
}

pub(crate) fn check_checkpoint(
    config: &Config,
    checkpoint: &Checkpoint,
    verify: &dyn Verify,
) -> Result<(), ChangeError> {
    let Checkpoint { height, header, attestations } = checkpoint;
    if *height <= config.base.height {
        // nothing rests on its header: whoever copied the state of a later height does not know it
        let is_base = *height == config.base.height && attestations.is_empty();
        return if is_base { Ok(()) } else { Err(ChangeError::Checkpoint) };
    }
    let bytes = attestation_bytes(&config.chain, config.epoch, *height, header);
    let is_quorum = attestations.len() == block::quorum(config.validators);
    if !(is_quorum || planted("checkpoint-not-proven")) || !are_signed(config, attestations, &bytes, verify) {
        return Err(ChangeError::Checkpoint);
    }
    Ok(())
}

fn check_prepared(config: &Config, change: &ViewChange, verify: &dyn Verify) -> Result<(), ChangeError> {
    let low = change.checkpoint.height;
    let high = low.saturating_add(limits::OPEN_HEIGHTS_MAX);
    let is_sorted = change.prepared.is_sorted_by(|a, b| a.height < b.height);
    let is_inside = change.prepared.iter().all(|c| c.height > low && c.height <= high && c.view < change.view);
    if !is_sorted || !is_inside {
        return Err(ChangeError::Prepared);
    }
    for certificate in &change.prepared {
        let primary = block::primary_of(certificate.view, config.validators);
        let bytes = |phase| certificate.vote(config.chain, config.epoch, phase).to_sign();
        let prepares = &certificate.prepares;
        // the primary counts once, by its pre-prepare; more than are needed would only fill the new view's frame
        let is_quorum = prepares.len() + 1 == block::quorum(config.validators)
            && prepares.iter().all(|prepare| prepare.validator != primary || planted("primary-counts-twice"));
        if !(is_quorum || planted("short-prepared-certificate"))
            || !verify.is_signed(primary, &bytes(Phase::PrePrepare), &certificate.pre_prepare)
            || !are_signed(config, prepares, &bytes(Phase::Prepare), verify)
        {
            return Err(ChangeError::Prepared);
        }
    }
    Ok(())
}

/// Different members, sorted, each of whom signed.
pub(crate) fn are_signed(config: &Config, all: &[ValidatorSignature], bytes: &[u8], verify: &dyn Verify) -> bool {
    all.is_sorted_by(|a, b| a.validator < b.validator || planted("signer-counts-again"))
        && all.iter().all(|by| {
            usize::from(by.validator) < config.validators && verify.is_signed(by.validator, bytes, &by.signature)
        })
}
