//! Heads of `HttpLedger`: all validators are asked at once, and a quorum of one epoch is waited for. More may show who claims too
//! much, so they get a moment.

use std::time::Duration;

use ledger_proof::{Epochs, ValidatorSet, Validators as _, verify_head};
use schemas::block::{SignedHead, faults_tolerated};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::epochs::is_of_another_epoch;
use super::peer::Peer;
use super::{HEAD_TIMEOUT, HttpLedger};

/// How long the others' heads are waited for once a quorum's are there: all together show who claims too much.
const GRACE: Duration = Duration::from_millis(250);

impl HttpLedger {
    /// Of a quorum of the latest epoch that has one; else what there is.
    pub(super) async fn heads_of_quorum(&self) -> Vec<SignedHead> {
        loop {
            let epochs = self.known.epochs();
            let heads = self.heads_by(&epochs).await;
            let is_quorum = quorate(&epochs, &heads).is_some();
            if is_quorum || !self.learn(&epochs).await {
                return heads;
            }
        }
    }

    async fn heads_by(&self, epochs: &Epochs) -> Vec<SignedHead> {
        let timeout = self.timeout.min(HEAD_TIMEOUT);
        let mut asked = self.ask_all(|peer| async move { peer.head(timeout).await.map(|head| (peer, head)) });
        let mut heads: Vec<SignedHead> = Vec::with_capacity(self.peers.len());
        let (mut until, mut graced) = (Instant::now() + timeout, false);
        while let Ok(Some(joined)) = timeout_at(until, asked.join_next()).await {
            let Ok(Ok((peer, head))) = joined else { continue };
            match verify_head(epochs, &head) {
                Ok(()) if is_own(epochs, &peer, &head) => heads.push(head),
                // whether it is one is seen when the epoch is known
                Err(e) if is_of_another_epoch(&e) => continue,
                _ => {
                    warn!(validator = peer.name(), "a validator gave a head that does not verify");
                    continue;
                }
            }
            let Some(set) = quorate(epochs, &heads) else { continue };
            if are_enough(set, &heads) {
                break;
            }
            if !graced {
                (until, graced) = (Instant::now() + GRACE, true);
            }
        }
        heads
    }
}

/// Whether the validator speaks for itself.
fn is_own(epochs: &Epochs, peer: &Peer, signed: &SignedHead) -> bool {
    let set = epochs.in_epoch(signed.head.epoch);
    set.and_then(|set| set.names().get(usize::from(signed.by.validator))).is_some_and(|name| name == peer.name())
}

fn of_set<'a>(set: &ValidatorSet, heads: &'a [SignedHead]) -> impl Iterator<Item = &'a SignedHead> + Clone {
    let epoch = set.epoch();
    heads.iter().filter(move |signed| signed.head.epoch == epoch)
}

/// The latest epoch of which a quorum spoke.
fn quorate<'a>(epochs: &'a Epochs, heads: &[SignedHead]) -> Option<&'a ValidatorSet> {
    let mut sets: Vec<_> = heads.iter().filter_map(|signed| epochs.in_epoch(signed.head.epoch)).collect();
    sets.sort_by_key(|set| set.epoch());
    sets.into_iter().rfind(|set| of_set(set, heads).count() >= set.quorum())
}

/// Whether more heads can change nothing: one of those who are as far as the highest is honest.
fn are_enough(set: &ValidatorSet, heads: &[SignedHead]) -> bool {
    let of_set = of_set(set, heads);
    let highest = of_set.clone().map(|signed| signed.head.height).max();
    let as_far = of_set.filter(|signed| Some(signed.head.height) == highest).count();
    as_far > faults_tolerated(set.keys().len())
}
