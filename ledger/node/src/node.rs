//! What the parts of a validator share: who it is, its store, what was published, and the way into the protocol loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use ledger_core::{Config, Input};
use ledger_proof::{AwsLc, ValidatorSet};
use schemas::block::{SignedHead, ValidatorIndex, View};
use schemas::cose::Verifier;
use schemas::genesis::Genesis;
use schemas::id::{ChainId, Height, PublicKey, Signature};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::execute::Verified;
use crate::key::ValidatorKey;
use crate::peers::Outboxes;
use crate::store::Store;

/// What outsiders may see: everything in it is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heights {
    pub executed: Height,
    pub certified: Height,
}

/// Shared by all parts.
pub(crate) struct Node {
    pub genesis: Genesis,
    /// Who this validator is among which.
    pub config: Config,
    pub chain: ChainId,
    pub me: ValidatorIndex,
    pub validators: ValidatorSet,
    pub store: Arc<Store>,
    pub key: ValidatorKey,
    /// Blocks for which the tree of cases is kept; none: for good.
    pub case_history: Option<u64>,
    pub verified: Verified,
    pub outboxes: Outboxes,
    /// Seen by readers before they verify: what is final needs no votes.
    pub heights: watch::Sender<Heights>,
    pub head: watch::Sender<Option<SignedHead>>,
    pub view: AtomicU64,
    /// It left the view before and waits for this one to begin.
    pub changing: AtomicBool,
    pub waiting: AtomicUsize,
    pub waiting_bytes: AtomicUsize,
    pub waiting_max: usize,
    /// Cancelled when the validator ends.
    pub stop: CancellationToken,
    inputs: SyncSender<Input>,
}

/// The loop takes nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// Its queue is full.
    Full,
    /// It ended.
    Ended,
}

/// What a node is made of.
pub(crate) struct Parts {
    pub genesis: Genesis,
    pub config: Config,
    pub store: Arc<Store>,
    pub key: ValidatorKey,
    pub case_history: Option<u64>,
    pub outboxes: Outboxes,
    pub heights: Heights,
    pub waiting_max: usize,
    pub stop: CancellationToken,
    pub inputs: SyncSender<Input>,
}

impl Node {
    pub fn new(parts: Parts) -> Self {
        let Parts { genesis, config, store, key, case_history, outboxes, heights, waiting_max, stop, inputs } = parts;
        Self {
            chain: genesis.chain_id(),
            validators: ValidatorSet::of(&genesis),
            genesis,
            me: config.me,
            config,
            store,
            key,
            case_history,
            verified: Verified::default(),
            outboxes,
            heights: watch::Sender::new(heights),
            head: watch::Sender::new(None),
            view: AtomicU64::new(0),
            changing: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            waiting_max,
            stop,
            inputs,
        }
    }

    /// Hands a verified input to the loop without waiting.
    ///
    /// # Errors
    /// `Busy`: whatever it was is lost; the protocol asks again, a client is told.
    pub fn offer(&self, input: Input) -> Result<(), Busy> {
        self.inputs.try_send(input).map_err(|e| match e {
            TrySendError::Full(_) => Busy::Full,
            TrySendError::Disconnected(_) => Busy::Ended,
        })
    }

    /// Whether another transaction of a client finds room. What other validators hand on has a reserve: a primary that is full
    /// would be blamed for what it never took.
    pub fn has_room(&self, bytes: usize) -> bool {
        let reserved = schemas::limits::MEMPOOL_TRANSACTIONS_MAX - schemas::limits::MEMPOOL_RESERVE;
        self.waiting.load(Ordering::Relaxed) < self.waiting_max.min(reserved)
            && self.waiting_bytes.load(Ordering::Relaxed) + bytes <= schemas::limits::MEMPOOL_BYTES_MAX
    }

    /// Whether a view that begins, or is wanted, is news here.
    pub fn is_news(&self, view: View) -> bool {
        let current = self.view.load(Ordering::Relaxed);
        view > current || (view == current && self.changing.load(Ordering::Relaxed))
    }

    /// The key of a validator.
    pub fn key_of(&self, validator: ValidatorIndex) -> Option<&PublicKey> {
        self.validators.keys().get(usize::from(validator))
    }

    /// Whether a validator signed this.
    pub fn is_signed(&self, by: ValidatorIndex, message: &[u8], signature: &Signature) -> bool {
        self.key_of(by).is_some_and(|key| AwsLc.verify(key, message, signature))
    }
}

/// Signatures within view changes: the same certificates come from many validators, and again with the new view.
impl ledger_core::Verify for Node {
    fn is_signed(&self, by: ValidatorIndex, bytes: &[u8], signature: &Signature) -> bool {
        self.key_of(by).is_some_and(|key| self.verified.verify(key, bytes, signature))
    }
}
