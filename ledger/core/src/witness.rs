//! What validators signed of late: the first word of each for each height, view and kind. A second one that names another digest
//! is proof that its signer is faulty. Only words whose signatures were verified get here, so nobody can be framed; bounded by
//! heights, views and validators.

use std::collections::{BTreeMap, BTreeSet};

use schemas::block::{Epoch, ValidatorIndex, ValidatorSignature, View};
use schemas::evidence::{Conflict, Kind, Word};
use schemas::id::{ChainId, Digest, Height, Signature, TimeMs};
use schemas::limits;

use crate::mutants::planted;

/// Where a word stands, and whose it is.
type Place = (Height, View, Kind, ValidatorIndex);

/// Words of others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    first: BTreeMap<Place, (Digest, Signature)>,
    /// Against whom proof was handed out.
    blamed: BTreeSet<ValidatorIndex>,
    /// When a word of a validator was shown to the others.
    shown_at: BTreeMap<ValidatorIndex, TimeMs>,
}

impl Witness {
    /// Looks at a verified word: the first proof against its signer.
    pub fn see(&mut self, word: &Word) -> Option<Conflict> {
        let Word { height, kind, by, .. } = *word;
        if self.blamed.contains(&by.validator) {
            return None;
        }
        let view = if planted("blames-across-views") { 0 } else { word.view };
        let place = (height, view, kind, by.validator);
        let &mut (digest, signature) = self.first.entry(place).or_insert((word.digest, by.signature));
        let before = Word { digest, by: ValidatorSignature { signature, ..by }, ..*word };
        let conflict = Conflict::of(before, *word);
        if conflict.is_some() {
            self.blamed.insert(by.validator);
        }
        conflict
    }

    /// Words of these kinds at a height and view that name another digest than `digest`.
    pub fn others(
        &self,
        (chain, epoch): (ChainId, Epoch),
        (height, view): (Height, View),
        kinds: std::ops::RangeInclusive<Kind>,
        digest: Digest,
    ) -> Vec<Word> {
        let places = (height, view, *kinds.start(), 0)..=(height, view, *kinds.end(), ValidatorIndex::MAX);
        let others = self.first.range(places).filter(|(_, (of, _))| *of != digest);
        let word = |(&(height, view, kind, validator), &(digest, signature)): (&Place, &(Digest, Signature))| Word {
            chain,
            epoch,
            view,
            height,
            kind,
            digest,
            by: ValidatorSignature { validator, signature },
        };
        others.map(word).collect()
    }

    /// Whether a word of this validator may be shown to the others now: seldom, and not when it is convicted.
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
        let oldest = view.saturating_sub(limits::WITNESS_VIEWS);
        self.first.retain(|&(height, view, kind, _), _| {
            (height >= lowest || kind == Kind::ViewChange) && (view >= oldest || kind == Kind::Attestation)
        });
    }
}
