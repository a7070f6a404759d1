//! Clients: make signed transactions, submit each to one validator, and again to all until it has an outcome, as gateways do.

use std::collections::BTreeSet;

use ledger_core::{Request, Sign as _};
use schemas::ballot::{Ballot, ConfirmSeat, list_hash};
use schemas::block::{Epoch, TransactionBytes, ValidatorIndex};
use schemas::cbor;
use schemas::cose;
use schemas::evidence::Conflict;
use schemas::genesis::Validator;
use schemas::id::{ConsentId, Digest, SubjectId};
use schemas::transaction::{Body, Core, RegisterSubject, RevokeConsent, Signed, Signer, Transaction};

use crate::keys::{INSTITUTION, Keys};

/// What clients submitted so far.
#[derive(Default)]
pub struct Clients {
    /// In order of submission.
    pub submitted: Vec<Request>,
    /// The same as bytes, for attackers to put into proposals.
    pub bytes: Vec<TransactionBytes>,
    ids: BTreeSet<Digest>,
}

impl Clients {
    /// The next transaction.
    pub fn submit(&mut self, keys: &Keys, is_urgent: bool) -> Request {
        let number = self.submitted.len() as u64;
        let bytes = transaction(keys, number, is_urgent, |message| keys.sign_as_client(message));
        let request = Request::read(bytes.clone()).expect("a transaction");
        self.bytes.push(bytes);
        self.ids.insert(request.id());
        self.submitted.push(request.clone());
        request
    }

    /// A transaction that is no client's own, as if one made it.
    pub fn hand_in(&mut self, request: Request) {
        self.ids.insert(request.id());
        self.bytes.push(request.bytes().clone());
        self.submitted.push(request);
    }

    /// Whether a client made this transaction.
    pub fn made(&self, id: &Digest) -> bool {
        self.ids.contains(id)
    }
}

/// Proof against a validator, as the validator that holds it hands it in.
pub fn evidence(keys: &Keys, conflict: Conflict) -> Request {
    let core = Core { chain: keys.chain, valid_until: 5_000, body: Body::ReportConflict(conflict) };
    let transaction = Transaction { core, statements: vec![], signatures: vec![], authored: vec![] };
    Request::of(&transaction, TransactionBytes(cbor::encode(&transaction).into()))
}

/// A validator's vote for the members that the plan foresees next.
pub fn ballot(keys: &Keys, epoch: Epoch, voter: ValidatorIndex) -> Request {
    let ballot = Ballot { epoch, voter, members: keys.members_after(epoch) };
    let core = Core { chain: keys.chain, valid_until: 5_000, body: Body::Ballot(ballot) };
    let signature = keys.signer(epoch, voter).sign(&cose::transaction_to_sign(&keys.chain, &core.id()));
    let signatures = vec![Signed { signer: Signer::Validator(voter), signature }];
    let transaction = Transaction { core, statements: vec![], signatures, authored: vec![] };
    Request::of(&transaction, TransactionBytes(cbor::encode(&transaction).into()))
}

/// The word of a member of the next epoch, by index in it, that it is there.
pub fn confirmation(keys: &Keys, epoch: Epoch, members: &[Validator], index: ValidatorIndex) -> Request {
    let key = members[usize::from(index)].key;
    let body = Body::ConfirmSeat(ConfirmSeat { epoch, members: list_hash(members), key });
    let core = Core { chain: keys.chain, valid_until: 5_000, body };
    let signature = keys.signer(epoch + 1, index).sign(&cose::transaction_to_sign(&keys.chain, &core.id()));
    let signatures = vec![Signed { signer: Signer::NewKey, signature }];
    let transaction = Transaction { core, statements: vec![], signatures, authored: vec![] };
    Request::of(&transaction, TransactionBytes(cbor::encode(&transaction).into()))
}

/// A transaction that differs by its number; the signature is whatever `sign` makes.
pub fn transaction(
    keys: &Keys,
    number: u64,
    is_urgent: bool,
    sign: impl FnOnce(&[u8]) -> schemas::id::Signature,
) -> TransactionBytes {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let body = if is_urgent {
        Body::RevokeConsent(RevokeConsent { consent: ConsentId(id), subject: SubjectId([0; 16]) })
    } else {
        let (subject, institution) = (SubjectId(id), INSTITUTION);
        Body::RegisterSubject(RegisterSubject { subject, institution, key: None, guardians: vec![] })
    };
    let core = Core { chain: keys.chain, valid_until: 5_000, body };
    let signature = sign(&cose::transaction_to_sign(&keys.chain, &core.id()));
    let signatures = vec![Signed { signer: Signer::Institution(INSTITUTION), signature }];
    let transaction = Transaction { core, statements: vec![], signatures, authored: vec![] };
    TransactionBytes(cbor::encode(&transaction).into())
}
