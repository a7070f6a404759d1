//! Proof against faulty validators on its way into the ledger: as a transaction that anyone may hand in, said again until the
//! state holds it. One per validator; it must never make anything else wait.

use std::collections::BTreeMap;

use ledger_contract::admit;
use ledger_core::Request;
use schemas::block::{TransactionBytes, ValidatorIndex};
use schemas::cbor;
use schemas::evidence::Conflict;
use schemas::id::{ChainId, Height};
use schemas::limits;
use schemas::transaction::{Body, Core, Transaction};

use crate::store::{Store, StoreError};

/// What is not in the state yet, with the height until which its transaction is valid.
#[derive(Default)]
pub(crate) struct Pending(BTreeMap<ValidatorIndex, (Conflict, Height)>);

impl Pending {
    /// New proof. Of a validator the first counts.
    pub fn add(&mut self, conflict: Conflict) {
        self.0.entry(conflict.validator).or_insert((conflict, 0));
    }

    /// Its transactions, as long as the state lacks them; the same bytes until they expire.
    ///
    /// # Errors
    /// `StoreError` when the state cannot be read.
    pub fn requests(&mut self, store: &Store, chain: ChainId, height: Height) -> Result<Vec<Request>, StoreError> {
        let mut out = Vec::new();
        for validator in self.0.keys().copied().collect::<Vec<_>>() {
            let Some((conflict, valid_until)) = self.0.get_mut(&validator) else { continue };
            if ledger_contract::evidence(store, conflict.epoch, validator)?.is_some() {
                self.0.remove(&validator);
                continue;
            }
            if *valid_until <= height {
                *valid_until = height.saturating_add(limits::EVIDENCE_VALID_HEIGHTS);
            }
            out.extend(request(chain, *conflict, *valid_until));
        }
        Ok(out)
    }
}

fn request(chain: ChainId, conflict: Conflict, valid_until: Height) -> Option<Request> {
    let core = Core { chain, valid_until, body: Body::ReportConflict(conflict) };
    let bytes = cbor::encode(&Transaction { core, statements: vec![], signatures: vec![], authored: vec![] });
    let admitted = admit(&bytes, &chain).ok()?;
    Some(Request::of(&admitted, TransactionBytes(bytes.into())))
}
