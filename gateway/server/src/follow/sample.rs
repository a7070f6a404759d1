//! What our own execution gives against the state root that the validators attest, at low cost: at most once a second one key of
//! the newest block's changes is asked for with its proof. Keeping the tree here would double the database for the same word;
//! `chartseal ledger follow` computes every root. It must never let a key pass that is proved to be otherwise.

use std::time::{Duration, Instant};

use ledger_client::Ledger;
use ledger_contract::Changes;
use schemas::block::Header;
use schemas::tree::Place;

use super::{FollowError, now_ms};

/// Between two samples.
const EVERY: Duration = Duration::from_secs(1);

/// When the last sample was taken, and which key was proved otherwise: nothing passes before it is proved right.
#[derive(Default)]
pub(super) struct Sampler {
    last: Option<Instant>,
    wrong: Option<Vec<u8>>,
}

impl Sampler {
    /// Compares one key after `header`'s block. Who cannot prove it yet, or forgot it, is no contradiction.
    ///
    /// # Errors
    /// `FollowError::Disagrees` when another value, or another header, is attested.
    pub async fn check(&mut self, ledger: &dyn Ledger, header: &Header, changes: &Changes) -> Result<(), FollowError> {
        let keys: Vec<_> = changes.0.keys().filter(|key| Place::of(key).is_some()).collect();
        // which one is nobody else's choice: our clock decides
        let chosen = usize::try_from(now_ms()).unwrap_or(0).checked_rem(keys.len()).and_then(|at| keys.get(at));
        let key = match (&self.wrong, chosen) {
            (Some(wrong), _) => wrong.clone(),
            (None, Some(key)) if self.last.is_none_or(|last| last.elapsed() >= EVERY) => (*key).clone(),
            _ => return Ok(()),
        };
        let differs = |what| Err(FollowError::Disagrees { height: header.height, what });
        match ledger.state(&key, header.height).await {
            Ok(Some(proof)) if proof.header != *header => {
                self.wrong = Some(key);
                return differs("header");
            }
            Ok(Some(proof))
                if proof.value.as_ref().map(|value| &value.0) != changes.0.get(&key).and_then(Option::as_ref) =>
            {
                self.wrong = Some(key);
                return differs("state");
            }
            Ok(Some(_)) => self.wrong = None,
            Ok(None) | Err(_) if self.wrong.is_some() => return differs("state"),
            Ok(None) | Err(_) => {}
        }
        self.last = Some(Instant::now());
        Ok(())
    }
}
