//! A validator's own word that it is there: where a quorum voted for a list that has its key, it takes its seat, by a transaction that it
//! hands in again until the ledger holds it. It must never speak for a key that is not its own, nor for a list that is not elected.

use ledger_contract::{cast_ballot, confirmed, elected, epoch_at, seal};
use ledger_core::{Request, Sign as _};
use schemas::ballot::{ConfirmSeat, list_hash};
use schemas::block::TransactionBytes;
use schemas::cbor;
use schemas::cose;
use schemas::id::{ChainId, Height};
use schemas::limits;
use schemas::transaction::{Body, Core, Signed, Signer, Transaction};

use crate::key::ValidatorKey;
use crate::store::{Store, StoreError};

/// Its transaction, while the state lacks it: the same bytes for a while, so that it is not many, and others with every vote, for it may
/// have come in between two of them, and what was refused once is not executed again.
///
/// # Errors
/// `StoreError` when the state cannot be read.
pub(crate) fn request(
    store: &Store,
    chain: ChainId,
    height: Height,
    key: &ValidatorKey,
) -> Result<Option<Request>, StoreError> {
    let current = epoch_at(store, height + 1)?;
    if seal(store, current.epoch)?.is_some() {
        return Ok(None);
    }
    let Some(members) = elected(store, &current)?.filter(|list| list.iter().any(|one| one.key == key.public())) else {
        return Ok(None);
    };
    let list = list_hash(&members);
    if confirmed(store, current.epoch, &key.public())? == Some(list) {
        return Ok(None);
    }
    let body = Body::ConfirmSeat(ConfirmSeat { epoch: current.epoch, members: list, key: key.public() });
    let mut voted_at = 0;
    for (voter, _) in (0..).zip(&current.members) {
        voted_at = cast_ballot(store, current.epoch, voter)?.map_or(0, |cast| cast.height).max(voted_at);
    }
    let span = limits::EVIDENCE_VALID_HEIGHTS;
    let spans = height.saturating_sub(voted_at) / span + 2;
    let core = Core { chain, valid_until: voted_at.saturating_add(spans.saturating_mul(span)), body };
    let signature = key.sign(&cose::transaction_to_sign(&chain, &core.id()));
    let signatures = vec![Signed { signer: Signer::NewKey, signature }];
    let transaction = Transaction { core, statements: vec![], signatures, authored: vec![] };
    let bytes = TransactionBytes(cbor::encode(&transaction).into());
    Ok(Some(Request::of(&transaction, bytes)))
}
