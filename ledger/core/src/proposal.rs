//! Transactions and proposals that passed their checks. A `Proposal` can be built only here, so a batch whose body does not
//! hash to its root, that is empty or too large never reaches the protocol.

use std::collections::BTreeSet;

use schemas::block::{self, TransactionBytes, View, Vote};
use schemas::block::{Batch, Phase};
use schemas::cbor::{self, CborError};
use schemas::id::{Digest, Signature};
use schemas::limits;
use schemas::pbft::PrePrepare;
use schemas::transaction::{Body, Transaction, signed_hash};

/// A transaction on its way into a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    id: Digest,
    signed: Digest,
    urgent: bool,
    bytes: TransactionBytes,
}

impl Request {
    /// Reads signed bytes.
    ///
    /// # Errors
    /// `CborError` when they are not the one spelling of a transaction.
    pub fn read(bytes: TransactionBytes) -> Result<Self, CborError> {
        let transaction: Transaction = cbor::decode(bytes.as_ref())?;
        Ok(Self::of(&transaction, bytes))
    }

    /// From a transaction that was decoded from exactly these bytes.
    pub fn of(transaction: &Transaction, bytes: TransactionBytes) -> Self {
        let urgent = matches!(transaction.core.body, Body::RevokeConsent(_));
        Self { id: transaction.id(), signed: signed_hash(bytes.as_ref()), urgent, bytes }
    }

    /// The transaction id.
    pub const fn id(&self) -> Digest {
        self.id
    }

    /// Hash of the signed bytes.
    pub const fn signed(&self) -> Digest {
        self.signed
    }

    /// Whether it goes before others: a revocation.
    pub const fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// The signed bytes.
    pub const fn bytes(&self) -> &TransactionBytes {
        &self.bytes
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.bytes.as_ref().len()
    }

    /// Never: a transaction has bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A pre-prepare that is no proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// Null batches fill gaps in a new view only.
    #[error("found an empty batch, expected transactions")]
    Empty,
    /// More than a batch may hold.
    #[error("found {transactions} transactions in {bytes} bytes, expected less")]
    TooLarge {
        /// Number of transactions.
        transactions: usize,
        /// Their size in bytes.
        bytes: usize,
    },
    /// One transaction id twice.
    #[error("found a transaction twice, expected every id once")]
    Twice,
    /// The transactions are not those under the root.
    #[error("found transactions that do not hash to the batch's root")]
    Root,
}

/// The body of a height, checked against its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    view: View,
    batch: Batch,
    digest: Digest,
    requests: Vec<Request>,
    signature: Signature,
}

impl Proposal {
    /// Checks that the requests are the batch's. The signature is verified by the caller against the view's primary.
    ///
    /// # Errors
    /// `ProposalError` for what no honest primary sends.
    pub fn check(
        view: View,
        batch: Batch,
        requests: Vec<Request>,
        signature: Signature,
    ) -> Result<Self, ProposalError> {
        let bytes = requests.iter().map(|r| r.len() + 5).sum();
        if requests.is_empty() {
            return Err(ProposalError::Empty);
        }
        if requests.len() > limits::BATCH_TRANSACTIONS_MAX || bytes > limits::BATCH_BYTES_MAX {
            return Err(ProposalError::TooLarge { transactions: requests.len(), bytes });
        }
        let ids: BTreeSet<Digest> = requests.iter().map(Request::id).collect();
        if ids.len() != requests.len() {
            return Err(ProposalError::Twice);
        }
        if root_of(&requests) != batch.transactions_root {
            return Err(ProposalError::Root);
        }
        let digest = batch.digest();
        Ok(Self { view, batch, digest, requests, signature })
    }

    /// The view whose primary proposed.
    pub const fn view(&self) -> View {
        self.view
    }

    /// What is proposed.
    pub const fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The batch's digest.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The transactions in order.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Size of the transactions in bytes.
    pub fn len(&self) -> usize {
        self.requests.iter().map(Request::len).sum()
    }

    /// Never: a proposal has transactions.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The vote of a phase over this proposal.
    pub const fn vote(&self, phase: Phase) -> Vote {
        Vote {
            chain: self.batch.chain,
            epoch: self.batch.epoch,
            view: self.view,
            height: self.batch.height,
            phase,
            digest: self.digest,
        }
    }

    /// As it travels and as it is written down.
    pub fn to_pre_prepare(&self) -> PrePrepare {
        PrePrepare {
            view: self.view,
            batch: self.batch.clone(),
            transactions: self.transactions(),
            signature: self.signature,
        }
    }

    /// The signed bytes in order.
    pub fn transactions(&self) -> Vec<TransactionBytes> {
        self.requests.iter().map(|r| r.bytes.clone()).collect()
    }
}

/// RFC 9162 root over the requests' bytes.
pub(crate) fn root_of(requests: &[Request]) -> Digest {
    block::transactions_root(&requests.iter().map(Request::bytes).collect::<Vec<_>>())
}
