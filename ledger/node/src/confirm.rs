//! A validator's own word that it is there: where a quorum voted for a list that has its key, it takes its seat, by a transaction
//! that it hands in again until the ledger holds it. It must never speak for a key that is not its own, nor for a list that is not
//! elected or whose members it cannot send to.

use std::collections::BTreeSet;

use ledger_contract::{cast_ballot, confirmed, elected, epoch_at, seal};
use ledger_core::{Request, Sign as _};
use schemas::ballot::{ConfirmSeat, list_hash};
use schemas::block::TransactionBytes;
use schemas::cbor;
use schemas::cose;
use schemas::genesis::Validator;
use schemas::id::{ChainId, Digest, Height, PublicKey};
use schemas::limits;
use schemas::transaction::{Body, Core, Signed, Signer, Transaction};
use tracing::warn;

use crate::NodeConfig;
use crate::key::ValidatorKey;
use crate::store::{Store, StoreError};

/// What a validator needs to know to say it.
#[derive(Default)]
pub(crate) struct Confirming {
    /// The names of which it has addresses.
    reachable: BTreeSet<String>,
    /// The list of which it was said that somebody in it cannot be reached.
    warned: Option<Digest>,
}

impl Confirming {
    pub fn of(config: &NodeConfig) -> Self {
        Self { reachable: config.peers.iter().map(|peer| peer.name.clone()).collect(), warned: None }
    }

    /// Its transaction, while the state lacks it: the same bytes for a while, so that it is not many, and others with every vote, for it may
    /// have come in between two of them, and what was refused once is not executed again. None while it has no address of somebody in the
    /// list: to be there is to be able to send to all.
    ///
    /// # Errors
    /// `StoreError` when the state cannot be read.
    pub fn request(
        &mut self,
        store: &Store,
        chain: ChainId,
        height: Height,
        key: &ValidatorKey,
    ) -> Result<Option<Request>, StoreError> {
        let (current, me) = (epoch_at(store, height + 1)?, key.public());
        if seal(store, current.epoch)?.is_some() {
            return Ok(None);
        }
        let Some(members) = elected(store, &current)?.filter(|list| list.iter().any(|one| one.key == me)) else {
            return Ok(None);
        };
        let list = list_hash(&members);
        if confirmed(store, current.epoch, &me, height + 1)? == Some(list) || !self.reaches(&members, &me, list) {
            return Ok(None);
        }
        let mut voted_at = 0;
        for (voter, _) in (0..).zip(&current.members) {
            voted_at = cast_ballot(store, current.epoch, voter)?.map_or(0, |cast| cast.height).max(voted_at);
        }
        let body = Body::ConfirmSeat(ConfirmSeat { epoch: current.epoch, members: list, key: me });
        let core = Core { chain, valid_until: valid_until(voted_at, height), body };
        let signature = key.sign(&cose::transaction_to_sign(&chain, &core.id()));
        let signatures = vec![Signed { signer: Signer::NewKey, signature }];
        let transaction = Transaction { core, statements: vec![], signatures, authored: vec![] };
        let bytes = TransactionBytes(cbor::encode(&transaction).into());
        Ok(Some(Request::of(&transaction, bytes)))
    }

    /// Whether there are addresses of all others; of whom there is none is said once for each list.
    fn reaches(&mut self, members: &[Validator], me: &PublicKey, list: Digest) -> bool {
        let others = members.iter().filter(|one| one.key != *me);
        let missing: Vec<&str> =
            others.map(|one| one.name.as_str()).filter(|name| !self.reachable.contains(*name)).collect();
        if !missing.is_empty() && self.warned.replace(list) != Some(list) {
            warn!(
                validators = missing.join(", "),
                "they are voted for and have no address here: add them to `peers` and start again, or this validator does not confirm"
            );
        }
        missing.is_empty()
    }
}

/// Ahead of the height, the same for a while, and another one after another vote.
fn valid_until(voted_at: Height, height: Height) -> Height {
    let span = limits::EVIDENCE_VALID_HEIGHTS;
    let spans = height.saturating_sub(voted_at) / span + 2;
    voted_at.saturating_add(spans.saturating_mul(span))
}

#[cfg(test)]
mod tests {
    use schemas::id::RawPublicKey;

    use super::*;

    #[test]
    fn it_is_valid_ahead_and_another_one_after_each_vote() {
        for (voted_at, height) in [(0, 0), (7, 7), (7, 1_006), (7, 1_007), (500, 40_123), (0, Height::MAX)] {
            let until = valid_until(voted_at, height);
            assert!(until > height || until == Height::MAX, "{voted_at}, {height}: {until}");
            assert!(until.saturating_sub(height) <= limits::VALID_UNTIL_AHEAD_MAX, "{voted_at}, {height}: {until}");
        }
        assert_eq!(valid_until(7, 7), valid_until(7, 1_006), "the same bytes for a while");
        assert_ne!(valid_until(7, 500), valid_until(8, 500), "a vote in between");
    }

    #[test]
    fn who_cannot_send_to_all_is_not_there() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut confirming = Confirming { reachable: names(&["b", "c"]), warned: None };
        let member = |name: &str, n: u8| Validator { name: name.to_owned(), key: PublicKey(RawPublicKey([n; 33])) };
        let me = member("a", 1);
        let (three, four) = (
            [me.clone(), member("b", 2), member("c", 3)],
            [me.clone(), member("b", 2), member("c", 3), member("d", 4)],
        );
        assert!(confirming.reaches(&three, &me.key, list_hash(&three)));
        assert!(!confirming.reaches(&four, &me.key, list_hash(&four)));
        assert_eq!(confirming.warned, Some(list_hash(&four)));
    }
}
