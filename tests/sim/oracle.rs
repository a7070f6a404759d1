//! §4.4 once more, written from the paper and apart from the core: which batches a new view starts with, given its view
//! changes. The checkers hold every honest new view against it; attackers build their own with it.

use std::collections::BTreeMap;

use schemas::block::{Batch, View};
use schemas::id::{ChainId, Digest, Height};
use schemas::view::SignedViewChange;

/// Digests by height, from above the newest checkpoint to the highest prepared height; null batches where nothing prepared.
pub fn assignment(chain: ChainId, changes: &[SignedViewChange]) -> BTreeMap<Height, Digest> {
    let epoch = changes.first().map_or(0, |signed| signed.change.epoch);
    let low = changes.iter().map(|signed| signed.change.checkpoint.height).max().unwrap_or(0);
    let mut highest: BTreeMap<Height, (View, Digest)> = BTreeMap::new();
    for certificate in changes.iter().flat_map(|signed| &signed.change.prepared) {
        if certificate.height > low {
            let found = (certificate.view, certificate.digest);
            let best = highest.entry(certificate.height).or_insert(found);
            *best = found.max(*best);
        }
    }
    let high = highest.last_key_value().map_or(low, |(&height, _)| height);
    let digest =
        |height| highest.get(&height).map_or_else(|| Batch::null(chain, epoch, height).digest(), |best| best.1);
    (low + 1..=high).map(|height| (height, digest(height))).collect()
}
