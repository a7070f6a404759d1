//! Transactions and proposals that passed their checks. A `Proposal` can be built only here, so a batch whose body does not
//! hash to its root, that is empty or too large never reaches the protocol.

use std::collections::BTreeSet;
use std::sync::Arc;

use schemas::block::{self, Batch, CommitCertificate, Epoch, Phase, TransactionBytes, View, Vote};
use schemas::cbor::{self, CborError};
use schemas::id::{ChainId, Digest, Height, Signature};
use schemas::limits;
use schemas::pbft::{Decision, PrePrepare};
use schemas::transaction::{Body as Content, Transaction, signed_hash};

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
        let urgent = matches!(transaction.core.body, Content::RevokeConsent(_));
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
    /// Without transactions only the null batch of the height may stand.
    #[error("found an empty batch that is not the height's null batch, expected transactions")]
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

/// A batch and its transactions, checked against each other. Shared: it may be proposed in several views.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Body {
    batch: Batch,
    digest: Digest,
    requests: Vec<Request>,
}

impl Body {
    fn check(batch: Batch, requests: Vec<Request>) -> Result<Arc<Self>, ProposalError> {
        let bytes = requests.iter().map(|r| r.len() + 5).sum();
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
        if requests.is_empty() && batch != Batch::null(batch.chain, batch.epoch, batch.height) {
            return Err(ProposalError::Empty);
        }
        let digest = batch.digest();
        Ok(Arc::new(Self { batch, digest, requests }))
    }

    /// The null batch of a height: a new view assigns it, or an epoch that ends.
    pub fn null(chain: ChainId, epoch: Epoch, height: Height) -> Arc<Self> {
        let batch = Batch::null(chain, epoch, height);
        let digest = batch.digest();
        Arc::new(Self { batch, digest, requests: vec![] })
    }

    /// Proposed in a view.
    pub fn proposed(self: &Arc<Self>, view: View, signature: Signature) -> Proposal {
        Proposal { view, body: Arc::clone(self), signature }
    }

    /// The batch's digest.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The transactions in order.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    fn transactions(&self) -> Vec<TransactionBytes> {
        self.requests.iter().map(|r| r.bytes.clone()).collect()
    }
}

/// The body of a height as a view's primary proposed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    view: View,
    body: Arc<Body>,
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
        Ok(Self { view, body: Body::check(batch, requests)?, signature })
    }

    /// The batch and its transactions, whatever the view.
    pub(crate) const fn body(&self) -> &Arc<Body> {
        &self.body
    }

    /// The view whose primary proposed.
    pub const fn view(&self) -> View {
        self.view
    }

    /// What is proposed.
    pub fn batch(&self) -> &Batch {
        &self.body.batch
    }

    /// The batch's digest.
    pub fn digest(&self) -> Digest {
        self.body.digest
    }

    /// The transactions in order.
    pub fn requests(&self) -> &[Request] {
        &self.body.requests
    }

    /// The primary's signature over the PRE-PREPARE vote.
    pub const fn signature(&self) -> Signature {
        self.signature
    }

    /// Size of the transactions in bytes.
    pub fn len(&self) -> usize {
        self.body.requests.iter().map(Request::len).sum()
    }

    /// Whether it is a null batch.
    pub fn is_empty(&self) -> bool {
        self.body.requests.is_empty()
    }

    /// The vote of a phase over this proposal.
    pub fn vote(&self, phase: Phase) -> Vote {
        let Batch { chain, epoch, height, .. } = self.body.batch;
        Vote { chain, epoch, view: self.view, height, phase, digest: self.body.digest }
    }

    /// As it travels and as it is written down.
    pub fn to_pre_prepare(&self) -> PrePrepare {
        PrePrepare {
            view: self.view,
            batch: self.body.batch.clone(),
            transactions: self.body.transactions(),
            signature: self.signature,
        }
    }

    /// The signed bytes in order.
    pub fn transactions(&self) -> Vec<TransactionBytes> {
        self.body.transactions()
    }
}

/// A committed batch with its body. Also a null batch may be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    body: Arc<Body>,
    certificate: CommitCertificate,
}

impl Decided {
    /// Checks that the requests are the batch's. The certificate is verified by the caller.
    ///
    /// # Errors
    /// `ProposalError` for what nobody honest sends.
    pub fn check(batch: Batch, requests: Vec<Request>, certificate: CommitCertificate) -> Result<Self, ProposalError> {
        Ok(Self { body: Body::check(batch, requests)?, certificate })
    }

    /// What this replica saw committed itself.
    pub(crate) const fn of(body: Arc<Body>, certificate: CommitCertificate) -> Self {
        Self { body, certificate }
    }

    /// What was agreed.
    pub fn batch(&self) -> &Batch {
        &self.body.batch
    }

    /// The batch's digest.
    pub fn digest(&self) -> Digest {
        self.body.digest
    }

    /// The transactions in order.
    pub fn requests(&self) -> &[Request] {
        &self.body.requests
    }

    /// The proof that it was agreed.
    pub const fn certificate(&self) -> &CommitCertificate {
        &self.certificate
    }

    /// The batch and its transactions.
    pub(crate) const fn body(&self) -> &Arc<Body> {
        &self.body
    }

    /// As it travels and as it is written down.
    pub fn to_decision(&self) -> Decision {
        let Self { body, certificate } = self;
        Decision { batch: body.batch.clone(), transactions: body.transactions(), certificate: certificate.clone() }
    }
}

/// RFC 9162 root over the requests' bytes.
pub(crate) fn root_of(requests: &[Request]) -> Digest {
    block::transactions_root(&requests.iter().map(Request::bytes).collect::<Vec<_>>())
}
