//! What a replica needs no more votes for: whoever verifies votes before it may leave out those that only repeat it. A vote over
//! another batch, or of another view, is never among them: it may be evidence, or be needed.

use schemas::block::{Phase, View, Vote};
use schemas::id::{Digest, Height};

/// Heights of one view whose phases are complete at one replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complete {
    pub(crate) view: View,
    /// Height, batch, and the last phase that is complete.
    pub(crate) heights: Vec<(Height, Digest, Phase)>,
}

impl Complete {
    /// Whether the vote only repeats what is complete.
    pub fn covers(&self, vote: &Vote) -> bool {
        let repeats = |&(height, digest, phase): &(Height, Digest, Phase)| {
            (height, digest) == (vote.height, vote.digest) && vote.phase <= phase
        };
        self.view == vote.view && self.heights.iter().any(repeats)
    }
}
