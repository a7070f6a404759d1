//! What validators signed of late: the first vote of each for each height, view and phase. A second one that names another batch
//! is proof that its signer is faulty. Only votes whose signatures were verified get here, so nobody can be framed; bounded by
//! heights, views and validators.

use std::collections::{BTreeMap, BTreeSet};

use schemas::block::{Epoch, Phase, ValidatorIndex, ValidatorSignature, View, Vote};
use schemas::evidence::Conflict;
use schemas::id::{ChainId, Digest, Height, Signature, TimeMs};
use schemas::limits;
use schemas::pbft::SignedVote;

use crate::mutants::planted;

/// Where a vote stands, and whose it is.
type Place = (Height, View, Phase, ValidatorIndex);

/// Votes of others.
#[derive(Default)]
pub(crate) struct Witness {
    first: BTreeMap<Place, (Digest, Signature)>,
    /// Against whom proof was handed out.
    blamed: BTreeSet<ValidatorIndex>,
    /// When a vote of a validator was shown to the others.
    shown_at: BTreeMap<ValidatorIndex, TimeMs>,
}

impl Witness {
    /// Looks at a verified vote: the first proof against its signer.
    pub fn see(&mut self, signed: &SignedVote) -> Option<Conflict> {
        let SignedVote { vote, by } = *signed;
        if self.blamed.contains(&by.validator) {
            return None;
        }
        let view = if planted("blames-across-views") { 0 } else { vote.view };
        let place = (vote.height, view, vote.phase, by.validator);
        let &mut (digest, signature) = self.first.entry(place).or_insert((vote.digest, by.signature));
        let by = ValidatorSignature { signature, ..by };
        let before = SignedVote { vote: Vote { digest, ..vote }, by };
        let conflict = Conflict::of(&before, signed);
        if conflict.is_some() {
            self.blamed.insert(signed.by.validator);
        }
        conflict
    }

    /// Votes at a height and view that name another batch than `digest`.
    pub fn others(
        &self,
        (chain, epoch): (ChainId, Epoch),
        height: Height,
        view: View,
        digest: Digest,
    ) -> Vec<SignedVote> {
        let places = (height, view, Phase::PrePrepare, 0)..=(height, view, Phase::Commit, ValidatorIndex::MAX);
        let others = self.first.range(places).filter(|(_, (of, _))| *of != digest);
        let signed = |(&(height, view, phase, validator), &(digest, signature)): (&Place, &(Digest, Signature))| {
            let vote = Vote { chain, epoch, view, height, phase, digest };
            SignedVote { vote, by: ValidatorSignature { validator, signature } }
        };
        others.map(signed).collect()
    }

    /// Whether a vote of this validator may be shown to the others now: seldom, and not when it is convicted.
    pub fn may_show(&mut self, validator: ValidatorIndex, now: TimeMs) -> bool {
        let before = self.shown_at.get(&validator);
        let may = before.is_none_or(|&at| now >= at.saturating_add(limits::SHOWN_AGAIN_MS));
        if !may || self.blamed.contains(&validator) {
            return false;
        }
        self.shown_at.insert(validator, now);
        true
    }

    /// Forgets what is too old to be compared.
    pub fn forget(&mut self, certified: Height, view: View) {
        let lowest = certified.saturating_sub(limits::WITNESS_HEIGHTS);
        self.first = self.first.split_off(&(lowest, 0, Phase::PrePrepare, 0));
        let oldest = view.saturating_sub(limits::WITNESS_VIEWS);
        self.first.retain(|&(_, view, ..), _| view >= oldest);
    }
}
