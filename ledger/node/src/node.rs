//! What the parts of a validator share: who it is, its store, what was published, and the way into the protocol loop.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ledger_core::{Complete, Config, Input, Request, Sign};
use ledger_proof::{AwsLc, ValidatorSet};
use schemas::block::{Head, SignedHead, ValidatorIndex, ValidatorSignature, View, faults_tolerated};
use schemas::cose::Verifier;
use schemas::genesis::Genesis;
use schemas::id::{ChainId, Digest, Height, PublicKey, Signature};
use schemas::limits;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::NodeConfig;
use crate::admitted::Admitted;
use crate::behind::Behind;
use crate::copier::Copier;
use crate::execute::Verified;
use crate::inbox::{Busy, Inbox};
use crate::key::ValidatorKey;
use crate::metrics::Metrics;
use crate::peers::Outboxes;
use crate::protocol::now_ms;
use crate::snapshots::Snapshots;
use crate::store::Store;

/// A loop that was not seen for this long stands still.
const LOOP_SEEN_MAX: Duration = Duration::from_millis(3 * limits::HEAD_INTERVAL_MS);

/// How far back things are kept; none: for good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct History {
    /// Blocks for which the tree of cases is kept.
    pub cases: Option<u64>,
    /// Blocks whose bodies are kept.
    pub bodies: Option<u64>,
    /// A new validator executes every block since the genesis instead of copying the state.
    pub is_whole: bool,
}

impl History {
    pub const fn of(config: &NodeConfig) -> Self {
        let (cases, bodies) = (config.case_history_blocks, config.block_history_blocks);
        Self { cases, bodies, is_whole: config.whole_history }
    }
}

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
    /// Keys of those who left with the epoch before, whose indices stand behind the validators'.
    pub guests: Vec<PublicKey>,
    pub store: Arc<Store>,
    pub history: History,
    pub snapshots: Snapshots,
    /// The way to the state transfer, while that is all that runs here.
    pub transfer: Option<Copier>,
    pub behind: Behind,
    pub verified: Verified,
    pub admitted: Admitted,
    pub metrics: Metrics,
    pub outboxes: Outboxes,
    /// Seen by readers before they verify: what is final needs no votes.
    pub heights: watch::Sender<Heights>,
    /// What its head is about, and when the loop was seen last.
    pub tip: watch::Sender<Option<(Height, Digest, Instant)>>,
    pub key: Arc<ValidatorKey>,
    head: Mutex<Option<SignedHead>>,
    /// What it needs no more votes for.
    pub complete: watch::Sender<Complete>,
    pub view: AtomicU64,
    /// It left the view before and waits for this one to begin.
    pub changing: AtomicBool,
    /// It lost its votes and says nothing.
    pub silent: AtomicBool,
    /// Where the epoch ends; the highest number while that is open.
    pub seal: AtomicU64,
    pub waiting: AtomicUsize,
    pub waiting_bytes: AtomicUsize,
    /// Of these what clients handed in here.
    pub clients_waiting: AtomicUsize,
    pub clients_waiting_bytes: AtomicUsize,
    pub waiting_max: usize,
    /// Cancelled when the validator ends.
    pub stop: CancellationToken,
    inputs: Inbox,
}

/// What a node is made of.
pub(crate) struct Parts {
    pub genesis: Genesis,
    /// The validators of its epoch.
    pub validators: ValidatorSet,
    pub guests: Vec<PublicKey>,
    pub config: Config,
    pub store: Arc<Store>,
    pub history: History,
    pub snapshots: Snapshots,
    pub transfer: Option<Copier>,
    pub outboxes: Outboxes,
    pub key: Arc<ValidatorKey>,
    pub metrics: Metrics,
    pub heights: Heights,
    pub waiting_max: usize,
    pub stop: CancellationToken,
    pub inputs: Inbox,
}

impl Node {
    pub fn new(parts: Parts) -> Self {
        let Parts {
            genesis,
            validators,
            guests,
            config,
            store,
            history,
            snapshots,
            transfer,
            outboxes,
            key,
            metrics,
            heights,
            ..
        } = parts;
        let Parts { waiting_max, stop, inputs, .. } = parts;
        let behind = Behind::new(faults_tolerated(validators.keys().len()), history.is_whole);
        Self {
            chain: genesis.chain_id(),
            validators,
            guests,
            genesis,
            me: config.me,
            config,
            store,
            history,
            snapshots,
            transfer,
            behind,
            verified: Verified::new(metrics.verifications.clone()),
            admitted: Admitted::default(),
            metrics,
            outboxes,
            heights: watch::Sender::new(heights),
            tip: watch::Sender::new(None),
            key,
            head: Mutex::default(),
            complete: watch::Sender::default(),
            view: AtomicU64::new(0),
            changing: AtomicBool::new(false),
            silent: AtomicBool::new(true),
            seal: AtomicU64::new(Height::MAX),
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            clients_waiting: AtomicUsize::new(0),
            clients_waiting_bytes: AtomicUsize::new(0),
            waiting_max,
            stop,
            inputs,
        }
    }

    /// Hands a verified input of a peer, or of a client, to the loop without waiting. It came in so many bytes.
    ///
    /// # Errors
    /// `Busy`: whatever it was is lost; the protocol asks again, a client is told.
    pub fn offer(&self, from: Option<ValidatorIndex>, input: Input, bytes: usize) -> Result<(), Busy> {
        self.inputs.offer(from, input, bytes).inspect_err(|busy| {
            if *busy == Busy::Full {
                self.metrics.dropped.inc();
            }
        })
    }

    /// Whether another transaction of a client finds room among those of clients: what other validators hand on has its own
    /// places. A reserve is for what this validator hands in itself; revocations may use half of it.
    pub fn has_room(&self, request: &Request) -> bool {
        let (bytes, reserved) = (request.len(), limits::MEMPOOL_TRANSACTIONS_MAX - limits::MEMPOOL_RESERVE);
        let most = self.waiting_max.min(reserved) + if request.is_urgent() { limits::MEMPOOL_RESERVE / 2 } else { 0 };
        self.clients_waiting.load(Ordering::Relaxed) < most
            && self.clients_waiting_bytes.load(Ordering::Relaxed) + bytes <= limits::MEMPOOL_BYTES_MAX
    }

    /// Whether the loop was seen of late.
    pub fn is_turning(&self) -> bool {
        self.tip.borrow().is_some_and(|(_, _, seen)| seen.elapsed() <= LOOP_SEEN_MAX)
    }

    /// The signed head, made when somebody asks; the same again for a moment. `None` while the loop does not turn: nobody who
    /// stands still proves that he is awake.
    pub fn head(&self) -> Option<SignedHead> {
        // who lost its votes may have shown a higher head; at the end of an epoch the next one's validators speak
        let speaks = self.is_turning() && !self.silent.load(Ordering::Relaxed);
        let seal = self.seal.load(Ordering::Relaxed);
        let (height, header, _) = (*self.tip.borrow()).filter(|&(height, ..)| speaks && height < seal)?;
        let time = now_ms();
        let mut last = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = |signed: &&SignedHead| {
            signed.head.height == height && time.abs_diff(signed.head.time) < limits::HEAD_INTERVAL_MS / 4
        };
        if let Some(signed) = last.as_ref().filter(is_good) {
            return Some(signed.clone());
        }
        let head = Head { chain: self.chain, epoch: self.config.epoch, height, header, time };
        let by = ValidatorSignature { validator: self.me, signature: self.key.sign(&head.to_sign()) };
        *last = Some(SignedHead { head, by });
        last.clone()
    }

    /// Whether a view that begins, or is wanted, is news here.
    pub fn is_news(&self, view: View) -> bool {
        let current = self.view.load(Ordering::Relaxed);
        view > current || (view == current && self.changing.load(Ordering::Relaxed))
    }

    /// What people call a validator or a guest: its name in the genesis, if its key is there.
    pub fn name_of(&self, validator: ValidatorIndex) -> String {
        let key = self.validators.keys().iter().chain(&self.guests).nth(usize::from(validator));
        let named = self.genesis.validators.iter().find(|named| Some(&named.key) == key);
        named.map_or_else(|| format!("validator of index {validator}"), |named| named.name.clone())
    }

    /// The key of a validator.
    pub fn key_of(&self, validator: ValidatorIndex) -> Option<&PublicKey> {
        self.validators.keys().get(usize::from(validator))
    }

    /// Whether a validator signed this.
    pub fn is_signed(&self, by: ValidatorIndex, message: &[u8], signature: &Signature) -> bool {
        let verify = |key| self.metrics.verifications.time(|| AwsLc.verify(key, message, signature));
        self.key_of(by).is_some_and(verify)
    }
}

/// Signatures within view changes: the same certificates come from many validators, and again with the new view.
impl ledger_core::Verify for Node {
    fn is_signed(&self, by: ValidatorIndex, bytes: &[u8], signature: &Signature) -> bool {
        self.key_of(by).is_some_and(|key| self.verified.verify(key, bytes, signature))
    }
}
