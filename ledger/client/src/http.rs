//! `HttpLedger`: our validators' RPC. Submissions and lookups go to all validators at once and the first good answer wins, so
//! that one that is down, slow or lying costs nothing; blocks come from one at a time, since they are large. What hinges on an epoch
//! that is not known yet is asked once more when it is.

mod config;
mod epochs;
mod heads;
mod peer;
mod proofs;
mod submit;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ledger_proof::{EntryProof, Epochs, verify_entry_proof, verify_finalised_block};
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
use self::epochs::{Known, is_of_another_epoch};
use self::peer::{Peer, PeerError, Submitted};
use crate::{Answer, Ledger, LedgerError, ValidatorStatus};

/// Longest that a validator may hold a lookup open.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a head: whoever does not answer by then has no fresh one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);

/// The ledger over HTTP. Cheap to clone; connections are shared.
#[derive(Clone, Debug)]
pub struct HttpLedger {
    peers: Arc<[Peer]>,
    known: Arc<Known>,
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
        let epochs = Epochs::of(&genesis);
        let peers = config.peers(&epochs, &identity)?;
        Ok(Self {
            peers: peers.into(),
            known: Arc::new(Known::new(epochs)),
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
        loop {
            let epochs = self.known.epochs();
            match self.submit_once(&epochs, transaction.clone()).await {
                Err(LedgerError::Unreachable { .. }) if self.learn(&epochs).await => {}
                submitted => return submitted,
            }
        }
    }

    async fn submit_once(&self, epochs: &Epochs, transaction: TransactionBytes) -> Result<(), LedgerError> {
        let (answers, mut answered) = mpsc::channel(self.peers.len());
        for peer in self.peers.iter() {
            peer.submit(transaction.clone(), answers.clone(), self.timeout);
        }
        drop(answers);
        let deadline = tokio::time::Instant::now() + self.timeout;
        let (mut refused, mut busy) = (0, 0);
        while let Ok(Some((peer, submitted))) = tokio::time::timeout_at(deadline, answered.recv()).await {
            match submitted {
                // a request must reach all validators (PBFT §4.1): to the others it goes on its own
                Submitted::Taken => return Ok(()),
                // whoever has no seat may be wrong about everything
                Submitted::Refused => refused += usize::from(self.has_seat(epochs, &peer)),
                Submitted::Busy => busy += 1,
            }
        }
        if refused > faults_tolerated(self.current(epochs).keys().len()) {
            return Err(LedgerError::Refused { votes: refused });
        }
        Err(if busy > 0 { LedgerError::Busy } else { self.unreachable() })
    }

    async fn first_proof(
        &self,
        id: Digest,
        signed: Option<Digest>,
        wait: Duration,
    ) -> Result<Option<EntryProof>, LedgerError> {
        loop {
            let epochs = self.known.epochs();
            let found = self.first_proof_by(&epochs, id, signed, wait.min(WAIT_MAX)).await;
            if !found.is_open() || !self.learn(&epochs).await {
                return found.answer;
            }
        }
    }

    /// The first acceptance. A refusal, of these bytes if `signed` names some, counts when a quorum has answered and none of
    /// them knows better: a faulty validator may show the refusal of a copy for a transaction that was accepted.
    async fn first_proof_by(
        &self,
        epochs: &Epochs,
        id: Digest,
        signed: Option<Digest>,
        wait: Duration,
    ) -> Found<EntryProof> {
        let timeout = self.timeout;
        let mut asked = self
            .ask_all(|peer| async move { peer.proof(&id, signed.as_ref(), wait, timeout).await.map(|p| (peer, p)) });
        let (mut answers, mut seats, mut refusal, mut is_strange) = (0, 0, None, false);
        while let Some(joined) = asked.join_next().await {
            let Ok(Ok((peer, found))) = joined else { continue };
            if let Some(proof) = found {
                let verified = verify_entry_proof(epochs, &proof);
                if let Err(e) = &verified
                    && is_of_another_epoch(e)
                {
                    is_strange = true;
                    continue;
                }
                if proof.entry.transaction != id || verified.is_err() {
                    warn!(validator = peer.name(), "a validator gave a proof that does not verify");
                    continue;
                }
                self.known.saw(proof.header.height);
                if proof.entry.outcome == Outcome::Accepted {
                    return Found { answer: Ok(Some(proof)), is_strange: false };
                }
                refusal = Some(proof).filter(|p| signed.is_none_or(|signed| p.decides(&signed))).or(refusal);
            }
            answers += 1;
            seats += usize::from(self.has_seat(epochs, &peer));
            if refusal.is_some() && seats >= self.current(epochs).quorum() {
                return Found { answer: Ok(refusal), is_strange };
            }
        }
        Found { answer: if answers > 0 { Ok(None) } else { Err(self.unreachable()) }, is_strange }
    }

    async fn next_blocks(&self, from: Height, max: usize, wait: Duration) -> Result<Vec<Block>, LedgerError> {
        let (max, wait) = (max.min(limits::CATCH_UP_BLOCKS_MAX), wait.min(WAIT_MAX));
        loop {
            let epochs = self.known.epochs();
            match self.next_blocks_by(&epochs, from, max, wait).await {
                Some(blocks) => {
                    blocks.last().inspect(|block| self.known.saw(block.header.height));
                    return Ok(blocks);
                }
                None if self.learn(&epochs).await => {}
                None => return Err(self.unreachable()),
            }
        }
    }

    async fn next_blocks_by(
        &self,
        epochs: &Arc<Epochs>,
        from: Height,
        max: usize,
        wait: Duration,
    ) -> Option<Vec<Block>> {
        let first = self.preferred.load(Ordering::Relaxed);
        for turn in 0..self.peers.len() {
            let at = (first + turn) % self.peers.len();
            let Some(peer) = self.peers.get(at) else { continue };
            let Ok(bytes) = peer.blocks(from, max, wait, self.timeout).await else { continue };
            let epochs = Arc::clone(epochs);
            let checked = tokio::task::spawn_blocking(move || check_blocks(&epochs, &bytes, from, max)).await;
            let Ok(Some(blocks)) = checked else {
                warn!(validator = peer.name(), "a validator gave blocks that do not verify here");
                continue;
            };
            // one that has nothing new may be behind: the next one is asked next time
            self.preferred.store(if blocks.is_empty() { at + 1 } else { at } % self.peers.len(), Ordering::Relaxed);
            return Some(blocks);
        }
        None
    }

    async fn all_status(&self) -> Vec<ValidatorStatus> {
        let timeout = self.timeout.min(HEAD_TIMEOUT);
        let asked = self.ask_all(|peer| async move {
            let status = peer.status(timeout).await.ok();
            ValidatorStatus { name: peer.name().to_owned(), status }
        });
        let mut all = asked.join_all().await;
        // those without a seat stand behind the others
        let epochs = self.known.epochs();
        let seats = self.current(&epochs).names();
        all.sort_by_key(|one| seats.iter().position(|name| *name == one.name).unwrap_or(usize::MAX));
        all
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

    fn validators(&self) -> Arc<Epochs> {
        self.known.epochs()
    }
}

/// What came of a question, and whether something in it was of an epoch that is not known.
struct Found<T> {
    answer: Result<Option<T>, LedgerError>,
    is_strange: bool,
}

impl<T> Found<T> {
    /// Whether knowing more epochs may change it.
    const fn is_open(&self) -> bool {
        self.is_strange || self.answer.is_err()
    }
}

/// Decodes and verifies an answer: contiguous from `from`, each chained to the one before, each final.
fn check_blocks(epochs: &Epochs, bytes: &[u8], from: Height, max: usize) -> Option<Vec<Block>> {
    let blocks: Vec<Block> = cbor::decode(bytes).ok()?;
    let contiguous = (from..).zip(&blocks).all(|(height, block)| block.header.height == height);
    let chained = blocks.windows(2).all(|pair| pair[1].header.previous == pair[0].header.hash());
    let valid = blocks.len() <= max && contiguous && chained;
    (valid && blocks.iter().all(|block| verify_finalised_block(epochs, block).is_ok())).then_some(blocks)
}

impl From<reqwest::Error> for PeerError {
    fn from(_: reqwest::Error) -> Self {
        Self::Connection
    }
}
