//! Which epochs `HttpLedger` knows: the genesis first, every later one from a validator's proofs, verified. When an answer is of an
//! epoch that is not known, or nobody can be reached, they are asked for; the keys under which validators are reached follow.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ledger_proof::{Epochs, ValidatorSet, Validators as _, VerifyError};
use schemas::id::{Height, PublicKey};
use schemas::limits;
use schemas::proof::EpochProof;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::peer::Peer;
use super::{HEAD_TIMEOUT, HttpLedger};

/// After they were asked for in vain epochs are not asked for before this: whoever speaks of epochs that do not exist must not slow
/// others down.
const AGAIN: Duration = Duration::from_secs(5);

/// What is known of the epochs, shared by all clones.
#[derive(Debug)]
pub(super) struct Known {
    epochs: RwLock<Arc<Epochs>>,
    /// The highest height of which anything was verified.
    seen: AtomicU64,
    /// When the validators were last asked in vain; held while they are.
    asked: Mutex<Option<Instant>>,
}

impl Known {
    pub(super) fn new(epochs: Epochs) -> Self {
        Self { epochs: RwLock::new(Arc::new(epochs)), seen: AtomicU64::new(0), asked: Mutex::new(None) }
    }

    pub(super) fn epochs(&self) -> Arc<Epochs> {
        Arc::clone(&self.epochs.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn learned(&self, epochs: Epochs) {
        *self.epochs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(epochs);
    }

    /// Something of this height was verified.
    pub(super) fn saw(&self, height: Height) {
        self.seen.fetch_max(height, Ordering::Relaxed);
    }

    pub(super) fn seen(&self) -> Height {
        self.seen.load(Ordering::Relaxed)
    }
}

/// The keys under which a validator of this name may be reached: of the two newest epochs, so that a change needs no moment at
/// which everybody changes.
pub(super) fn keys_of(epochs: &Epochs, name: &str) -> BTreeSet<PublicKey> {
    let newest = epochs.newest();
    let before = newest.epoch().checked_sub(1).and_then(|epoch| epochs.in_epoch(epoch));
    let key =
        |set: &ValidatorSet| set.names().iter().position(|n| n == name).and_then(|at| set.keys().get(at)).copied();
    [Some(newest), before].into_iter().flatten().filter_map(key).collect()
}

/// Whether an answer failed only because its epoch is not known here.
pub(super) const fn is_of_another_epoch(error: &VerifyError) -> bool {
    matches!(error, VerifyError::OtherEpoch { .. })
}

impl HttpLedger {
    /// The validators of the height that comes next, as far as is known.
    pub(super) fn current<'a>(&self, epochs: &'a Epochs) -> &'a ValidatorSet {
        epochs.at(self.known.seen().saturating_add(1))
    }

    /// Asks all validators for epochs behind those that are known. True when there are more now than `known`. Their keys are not
    /// looked at: the proofs vouch for themselves, and after many changes none of the keys that are known may be in use.
    pub(super) async fn learn(&self, known: &Epochs) -> bool {
        let mut asked = self.known.asked.lock().await;
        let before = self.known.epochs();
        if before.newest().epoch() > known.newest().epoch() {
            return true;
        }
        if asked.is_some_and(|asked| asked.elapsed() < AGAIN) {
            return false;
        }
        let mut epochs = Epochs::clone(&before);
        // a faulty validator may give only the first of them
        while self.ask_for_epochs(&mut epochs).await {}
        let has_learned = epochs.newest().epoch() > before.newest().epoch();
        *asked = (!has_learned).then(Instant::now);
        if !has_learned {
            return false;
        }
        info!(epoch = epochs.newest().epoch(), first = epochs.newest().first(), "the validators of another epoch");
        self.follow(&epochs);
        self.known.learned(epochs);
        true
    }

    /// Every epoch that the validators prove now, those that are decided and not begun too.
    pub async fn newest_epochs(&self) -> Arc<Epochs> {
        let known = self.known.epochs();
        self.learn(&known).await;
        self.known.epochs()
    }

    /// Whether a validator's proofs went further.
    async fn ask_for_epochs(&self, epochs: &mut Epochs) -> bool {
        let (from, timeout) = (epochs.newest().epoch().saturating_add(1), self.timeout.min(HEAD_TIMEOUT));
        let mut asked = self.ask_all(|peer| async move { peer.epochs(from, timeout).await.map(|found| (peer, found)) });
        while let Some(joined) = asked.join_next().await {
            let Ok(Ok((peer, proofs))) = joined else { continue };
            if let Err(e) = proofs.iter().try_for_each(|proof| epochs.extend(proof)) {
                warn!(validator = peer.name(), error = %e, "a validator gave an epoch that does not verify");
            }
            if epochs.newest().epoch() >= from {
                return true;
            }
        }
        false
    }

    /// Validators are reached under the keys of the newest epochs.
    fn follow(&self, epochs: &Epochs) {
        for peer in self.peers.iter() {
            let keys = keys_of(epochs, peer.name());
            if keys.is_empty() {
                warn!(validator = peer.name(), "it is in the configuration, and in no epoch of now");
            }
            peer.pin(keys);
        }
        let set = epochs.newest();
        let reached = set.names().iter().filter(|name| self.peers.iter().any(|peer| peer.name() == *name)).count();
        if reached < set.quorum() {
            let (epoch, needed) = (set.epoch(), set.quorum());
            warn!(
                epoch,
                reached, needed, "too few addresses of its validators are configured, add those of the new ones"
            );
        }
    }

    /// Whether a validator counts where votes are counted.
    pub(super) fn has_seat(&self, epochs: &Epochs, peer: &Peer) -> bool {
        self.current(epochs).names().iter().any(|name| name == peer.name())
    }
}

/// Proofs of epochs are of bounded size.
pub(super) const EPOCHS_BYTES_MAX: usize = limits::EPOCH_PROOFS_MAX * limits::BALLOT_BYTES_MAX;

/// What a validator answers about epochs.
pub(super) type Answered = Vec<EpochProof>;
