//! `HttpLedger`: our validators' RPC. Submissions and lookups go to all validators at once and the first good answer wins, so
//! that one that is down, slow or lying costs nothing; blocks come from one at a time, since they are large.

mod config;
mod peer;
mod proofs;
mod submit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ledger_proof::{EntryProof, ValidatorSet, verify_entry_proof, verify_finalised_block, verify_head};
use schemas::block::{Block, SignedHead, TransactionBytes, faults_tolerated};
use schemas::cbor;
use schemas::id::{Digest, Height};
use schemas::limits;
use schemas::proof::{ConsistencyProof, StateProof};
use schemas::transaction::Outcome;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

pub use self::config::{LedgerConfig, ValidatorAddress};
use self::peer::{Peer, PeerError, Submitted};
use crate::{Answer, Ledger, LedgerError, ValidatorStatus};

/// Longest that a validator may hold a lookup open.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a head: whoever does not answer by then has no fresh one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the others' heads are waited for once a quorum's are there: all together show who claims too much.
const HEAD_GRACE: Duration = Duration::from_millis(250);

/// The ledger over HTTP. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub struct HttpLedger {
    peers: Arc<[Peer]>,
    set: ValidatorSet,
    timeout: Duration,
    /// Whom `blocks` asks first.
    preferred: Arc<AtomicUsize>,
}

impl HttpLedger {
    /// Reads genesis and key, checks that they fit, and makes the clients. Opens no connection yet.
    ///
    /// # Errors
    /// `LedgerError` of class `Caller` that names the file or field.
    pub fn new(config: &LedgerConfig) -> Result<Self, LedgerError> {
        let (genesis, identity) = config.load()?;
        let peers = config.peers(&genesis, &identity)?;
        Ok(Self {
            peers: peers.into(),
            set: ValidatorSet::of(&genesis),
            timeout: Duration::from_millis(config.timeout_ms),
            preferred: Arc::default(),
        })
    }

    /// Asks every validator at once.
    fn ask_all<T, F>(&self, ask: impl Fn(Peer) -> F) -> JoinSet<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let mut asked = JoinSet::new();
        for peer in self.peers.iter() {
            asked.spawn(ask(peer.clone()));
        }
        asked
    }

    async fn submit_to_all(&self, transaction: Vec<u8>) -> Result<(), LedgerError> {
        if transaction.len() > limits::TRANSACTION_BYTES_MAX {
            return Err(LedgerError::Refused { votes: 0 });
        }
        let transaction = TransactionBytes(transaction.into());
        let (answers, mut answered) = mpsc::channel(self.peers.len());
        for peer in self.peers.iter() {
            peer.submit(transaction.clone(), answers.clone(), self.timeout);
        }
        drop(answers);
        let deadline = tokio::time::Instant::now() + self.timeout;
        let (mut refused, mut busy) = (0, 0);
        while let Ok(Some(submitted)) = tokio::time::timeout_at(deadline, answered.recv()).await {
            match submitted {
                // a request must reach all validators (PBFT §4.1): to the others it goes on its own
                Submitted::Taken => return Ok(()),
                Submitted::Refused => refused += 1,
                Submitted::Busy => busy += 1,
            }
        }
        if refused > faults_tolerated(self.set.keys().len()) {
            return Err(LedgerError::Refused { votes: refused });
        }
        Err(if busy > 0 { LedgerError::Busy } else { self.unreachable() })
    }

    /// The first acceptance. A refusal, of these bytes if `signed` names some, counts when a quorum has answered and none of
    /// them knows better: a faulty validator may show the refusal of a copy for a transaction that was accepted.
    async fn first_proof(
        &self,
        id: Digest,
        signed: Option<Digest>,
        wait: Duration,
    ) -> Result<Option<EntryProof>, LedgerError> {
        let (wait, timeout) = (wait.min(WAIT_MAX), self.timeout);
        let mut asked = self
            .ask_all(|peer| async move { peer.proof(&id, signed.as_ref(), wait, timeout).await.map(|p| (peer, p)) });
        let (mut answers, mut refusal) = (0, None);
        while let Some(joined) = asked.join_next().await {
            let Ok(Ok((peer, found))) = joined else { continue };
            if let Some(proof) = found {
                if proof.entry.transaction != id || verify_entry_proof(&self.set, &proof).is_err() {
                    warn!(validator = peer.name(), "a validator gave a proof that does not verify");
                    continue;
                }
                if proof.entry.outcome == Outcome::Accepted {
                    return Ok(Some(proof));
                }
                refusal = Some(proof).filter(|p| signed.is_none_or(|signed| p.decides(&signed))).or(refusal);
            }
            answers += 1;
            if refusal.is_some() && answers >= self.set.quorum() {
                return Ok(refusal);
            }
        }
        if answers > 0 { Ok(None) } else { Err(self.unreachable()) }
    }

    async fn next_blocks(&self, from: Height, max: usize, wait: Duration) -> Result<Vec<Block>, LedgerError> {
        let max = max.min(limits::CATCH_UP_BLOCKS_MAX);
        let first = self.preferred.load(Ordering::Relaxed);
        for turn in 0..self.peers.len() {
            let at = (first + turn) % self.peers.len();
            let Some(peer) = self.peers.get(at) else { continue };
            let Ok(bytes) = peer.blocks(from, max, wait.min(WAIT_MAX), self.timeout).await else { continue };
            let set = self.set.clone();
            let checked = tokio::task::spawn_blocking(move || check_blocks(&set, &bytes, from, max)).await;
            let Ok(Some(blocks)) = checked else {
                warn!(validator = peer.name(), "a validator gave blocks that do not verify");
                continue;
            };
            // one that has nothing new may be behind: the next one is asked next time
            self.preferred.store(if blocks.is_empty() { at + 1 } else { at } % self.peers.len(), Ordering::Relaxed);
            return Ok(blocks);
        }
        Err(self.unreachable())
    }

    async fn heads_of_quorum(&self) -> Vec<SignedHead> {
        let timeout = self.timeout.min(HEAD_TIMEOUT);
        let mut asked = self.ask_all(|peer| async move { peer.head(timeout).await.map(|head| (peer, head)) });
        let mut heads: Vec<SignedHead> = Vec::with_capacity(self.peers.len());
        let mut until = tokio::time::Instant::now() + timeout;
        while let Ok(Some(joined)) = tokio::time::timeout_at(until, asked.join_next()).await {
            let Ok(Ok((peer, head))) = joined else { continue };
            if usize::from(head.by.validator) != peer.index() || verify_head(&self.set, &head).is_err() {
                warn!(validator = peer.name(), "a validator gave a head that does not verify");
                continue;
            }
            heads.push(head);
            if self.are_enough(&heads) {
                break;
            }
            if heads.len() == self.set.quorum() {
                until = tokio::time::Instant::now() + HEAD_GRACE;
            }
        }
        heads
    }

    /// Whether more heads can change nothing: a quorum, and one of them who is honest is as far as the highest.
    fn are_enough(&self, heads: &[SignedHead]) -> bool {
        let highest = heads.iter().map(|signed| signed.head.height).max();
        let as_far = heads.iter().filter(|signed| Some(signed.head.height) == highest).count();
        heads.len() >= self.set.quorum() && as_far > faults_tolerated(self.set.keys().len())
    }

    async fn all_status(&self) -> Vec<ValidatorStatus> {
        let timeout = self.timeout.min(HEAD_TIMEOUT);
        let asked = self.ask_all(|peer| async move {
            let status = peer.status(timeout).await.ok();
            (peer.index(), ValidatorStatus { name: peer.name().to_owned(), status })
        });
        let mut all = asked.join_all().await;
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, status)| status).collect()
    }

    fn unreachable(&self) -> LedgerError {
        LedgerError::Unreachable { asked: self.peers.len() }
    }
}

impl Ledger for HttpLedger {
    fn submit(&self, transaction: Vec<u8>) -> Answer<'_, Result<(), LedgerError>> {
        Box::pin(self.submit_to_all(transaction))
    }

    fn proof(&self, id: &Digest, wait: Duration) -> Answer<'_, Result<Option<EntryProof>, LedgerError>> {
        Box::pin(self.first_proof(*id, None, wait))
    }

    fn verdict(
        &self,
        id: &Digest,
        signed: &Digest,
        wait: Duration,
    ) -> Answer<'_, Result<Option<EntryProof>, LedgerError>> {
        Box::pin(self.first_proof(*id, Some(*signed), wait))
    }

    fn blocks(&self, from: Height, max: usize, wait: Duration) -> Answer<'_, Result<Vec<Block>, LedgerError>> {
        Box::pin(self.next_blocks(from, max, wait))
    }

    fn state(&self, key: &[u8], height: Height) -> Answer<'_, Result<Option<StateProof>, LedgerError>> {
        let key = key.to_vec();
        Box::pin(async move { self.prove_state(&key, height).await })
    }

    fn consistency(&self, from: Height, to: Height) -> Answer<'_, Result<Option<ConsistencyProof>, LedgerError>> {
        Box::pin(self.prove_consistency(from, to))
    }

    fn heads(&self) -> Answer<'_, Vec<SignedHead>> {
        Box::pin(self.heads_of_quorum())
    }

    fn status(&self) -> Answer<'_, Vec<ValidatorStatus>> {
        Box::pin(self.all_status())
    }

    fn validators(&self) -> &ValidatorSet {
        &self.set
    }
}

/// Decodes and verifies an answer: contiguous from `from`, each chained to the one before, each final.
fn check_blocks(set: &ValidatorSet, bytes: &[u8], from: Height, max: usize) -> Option<Vec<Block>> {
    let blocks: Vec<Block> = cbor::decode(bytes).ok()?;
    let contiguous = (from..).zip(&blocks).all(|(height, block)| block.header.height == height);
    let chained = blocks.windows(2).all(|pair| pair[1].header.previous == pair[0].header.hash());
    let valid = blocks.len() <= max && contiguous && chained;
    (valid && blocks.iter().all(|block| verify_finalised_block(set, block).is_ok())).then_some(blocks)
}

impl From<reqwest::Error> for PeerError {
    fn from(_: reqwest::Error) -> Self {
        Self::Connection
    }
}
