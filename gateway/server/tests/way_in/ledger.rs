//! The ledger's double: each submitted transaction becomes a block, executed by the real contract and attested by the real keys
//! of its epoch. It can be away, lose what it takes, let time pass, and change its validators.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ledger_client::{Answer, Epochs, Ledger, LedgerError, ValidatorStatus};
use ledger_contract::{Changes, State as _, StateTree, execute_block, find, genesis_changes, seal};
use ledger_proof::{EntryProof, P256};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature as Ecdsa, SigningKey};
use schemas::ballot::{Ballot, ConfirmSeat, Member, list_hash, possession_to_sign};
use schemas::block::{
    Batch, Block, CommitCertificate, Epoch, Head, Header, SignedHead, TransactionBytes, ValidatorSignature,
    attestation_to_sign, transactions_root,
};
use schemas::cose::transaction_to_sign;
use schemas::genesis::{Genesis, GenesisInstitution, Validator};
use schemas::id::{CaseId, Digest, Height, PublicKey, RawPublicKey, RawSignature, Signature, TimeMs};
use schemas::proof::{ConsistencyProof, EpochProof, StateProof, Value};
use schemas::state::{EpochRecord, epoch_key};
use schemas::transaction::{Body, Core, Outcome as Executed, Signed, Signer, Transaction};
use schemas::tree::Place;
use schemas::{cbor, merkle};
use tokio::sync::watch;

pub struct Double {
    pub genesis: Genesis,
    validators: Mutex<Arc<Epochs>>,
    inner: Mutex<Inner>,
    height: watch::Sender<Height>,
    pub away: AtomicBool,
    /// Takes submissions and forgets them.
    pub loses: AtomicBool,
    /// What it says of keys of the state: 0 nothing, 1 that they are absent, 2 what they hold now.
    pub shows: AtomicUsize,
    /// How often it was asked for a key.
    pub sampled: AtomicUsize,
    /// Only those of the genesis speak, of a height below the first seal.
    pub stale: AtomicBool,
}

#[derive(Default)]
struct Inner {
    blocks: Vec<Block>,
    epoch: Epoch,
    /// Of the epoch's validators.
    keys: Vec<SigningKey>,
    state: Changes,
    tree: StateTree,
    nodes: BTreeMap<(u64, u16), Vec<u8>>,
    /// Of the tree after each height.
    roots: Vec<Vec<u8>>,
    leaves: Vec<Digest>,
    proofs: Vec<EntryProof>,
}

pub fn now_ms() -> TimeMs {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    u64::try_from(since.as_millis()).expect("before the year 500 million")
}

fn public(key: &SigningKey) -> PublicKey {
    let point = key.verifying_key().to_sec1_point(true);
    PublicKey(RawPublicKey::from_slice(point.as_bytes()).expect("33 bytes"))
}

fn sign(key: &SigningKey, message: &[u8]) -> Signature {
    let signature: Ecdsa = key.sign(message);
    Signature(RawSignature::from_slice(&signature.normalize_s().to_bytes()).expect("64 bytes"))
}

/// The validators' keys of an epoch: none stays.
fn keys_of(epoch: u8) -> Vec<SigningKey> {
    (1..=4_u8).map(|n| SigningKey::from_slice(&[epoch * 10 + n; 32]).expect("a scalar")).collect()
}

fn validators_of(keys: &[SigningKey]) -> Vec<Validator> {
    keys.iter().enumerate().map(|(n, key)| Validator { name: format!("v{n}"), key: public(key) }).collect()
}

fn signatures(keys: &[SigningKey], message: &[u8]) -> Vec<ValidatorSignature> {
    (0..).zip(keys).map(|(validator, key)| ValidatorSignature { validator, signature: sign(key, message) }).collect()
}

impl Inner {
    fn change(&mut self, height: Height, changes: Changes) -> Digest {
        let written = self.tree.update(&self.nodes, height, &changes).expect("in memory");
        self.nodes.extend((0..).zip(written.pieces).map(|(piece, bytes)| ((height, piece), bytes)));
        self.roots.push(written.root_row);
        self.state.extend(changes);
        written.root
    }

    /// That the state holds an epoch's record, under the header of the block that decided it.
    fn prove(&self, record: &EpochRecord) -> EpochProof {
        let at = usize::try_from(record.decided_at).expect("a small height");
        let place = Place::of(&epoch_key(record.epoch)).expect("a key of the tree");
        let found = find(&self.nodes, &self.roots[at], &place).expect("in memory").expect("kept");
        let Block { header, attestations, .. } = self.blocks[at - 1].clone();
        EpochProof { record: record.clone(), siblings: found.siblings, header, attestations }
    }
}

impl Double {
    pub fn new(institution: GenesisInstitution) -> Arc<Self> {
        let keys = keys_of(0);
        let genesis = Genesis { created: 1, validators: validators_of(&keys), institutions: vec![institution] };
        let mut inner = Inner { keys, ..Inner::default() };
        inner.change(0, genesis_changes(&genesis));
        Arc::new(Self {
            validators: Mutex::new(Arc::new(Epochs::of(&genesis))),
            genesis,
            inner: Mutex::new(inner),
            height: watch::Sender::new(0),
            away: AtomicBool::new(false),
            loses: AtomicBool::new(false),
            shows: AtomicUsize::new(0),
            sampled: AtomicUsize::new(0),
            stale: AtomicBool::new(false),
        })
    }

    /// The validators vote for others in place of all of them; empty blocks lead behind the seal.
    pub fn change_validators(&self) {
        let (chain, epoch, keys, height) = {
            let inner = self.inner.lock().expect("not poisoned");
            (self.genesis.chain_id(), inner.epoch, inner.keys.clone(), inner.blocks.len() as u64)
        };
        let next = keys_of(u8::try_from(epoch).expect("few") + 1);
        let list = validators_of(&next);
        let possession = |(one, key): (&Validator, &SigningKey)| sign(key, &possession_to_sign(&chain, epoch, one));
        let members: Vec<_> = list
            .iter()
            .zip(&next)
            .map(|both| Member { name: both.0.name.clone(), key: both.0.key, possession: Some(possession(both)) })
            .collect();
        let ballot =
            |voter| (Body::Ballot(Ballot { epoch, voter, members: members.clone() }), Signer::Validator(voter));
        let confirmation = |member: &Validator| {
            let body = ConfirmSeat { epoch, members: list_hash(&list), key: member.key };
            (Body::ConfirmSeat(body), Signer::NewKey)
        };
        let said = (0..3).map(ballot).zip(&keys).chain(list[..3].iter().map(confirmation).zip(&next));
        for ((body, signer), key) in said {
            let core = Core { chain, valid_until: height + 10, body };
            let signature = sign(key, &transaction_to_sign(&chain, &core.id()));
            let signatures = vec![Signed { signer, signature }];
            let tx = Transaction { core, statements: vec![], signatures, authored: vec![] };
            self.execute(vec![TransactionBytes(cbor::encode(&tx).into())]);
        }
        let decided = {
            let inner = self.inner.lock().expect("not poisoned");
            let decided = seal(&inner.state, epoch).expect("a map").expect("decided");
            let mut known = self.validators.lock().expect("not poisoned");
            let mut epochs = Epochs::clone(&known);
            epochs.extend(&inner.prove(&decided.next)).expect("proved");
            *known = Arc::new(epochs);
            decided
        };
        self.pass(decided.at - height - 6);
        {
            let mut inner = self.inner.lock().expect("not poisoned");
            (inner.epoch, inner.keys) = (epoch + 1, next);
        }
        self.pass(1);
    }

    /// Adds blocks without transactions, as other institutions' traffic would.
    pub fn pass(&self, blocks: u64) {
        (0..blocks).for_each(|_| self.execute(Vec::new()));
    }

    /// Transactions that were executed, accepted or refused.
    pub fn executed(&self) -> usize {
        self.inner.lock().expect("not poisoned").leaves.len()
    }

    /// How many times each case was anchored.
    pub fn anchors(&self) -> BTreeMap<CaseId, u32> {
        let inner = self.inner.lock().expect("not poisoned");
        let transactions = inner.blocks.iter().flat_map(|block| &block.transactions);
        let mut anchors = BTreeMap::new();
        for (bytes, proof) in transactions.zip(&inner.proofs) {
            let transaction: Transaction = cbor::decode(bytes.as_ref()).expect("an executed transaction decodes");
            assert_eq!(transaction.id(), proof.entry.transaction);
            if proof.entry.outcome == Executed::Accepted {
                transaction.statements.iter().for_each(|s| *anchors.entry(s.case).or_default() += 1);
            }
        }
        anchors
    }

    fn execute(&self, transactions: Vec<TransactionBytes>) {
        let mut inner = self.inner.lock().expect("not poisoned");
        let chain = self.genesis.chain_id();
        let previous = inner.blocks.last().map_or(Digest(chain.0), |block| block.header.hash());
        let height = inner.blocks.len() as u64 + 1;
        let time = now_ms();
        let epoch = inner.epoch;
        let batch = Batch { chain, epoch, height, transactions_root: transactions_root(&transactions), time };
        let executed = execute_block(&inner.state, &chain, height, time, &transactions, &P256).expect("executes");
        let state_root = inner.change(height, executed.changes);
        inner.leaves.extend(executed.entries.iter().map(schemas::transaction::LogEntry::leaf));
        let header = Header {
            chain,
            epoch,
            height,
            batch: batch.digest(),
            previous,
            log_size: inner.leaves.len() as u64,
            log_root: merkle::root(&inner.leaves),
            time,
            state_root,
        };
        let attestations = signatures(&inner.keys, &attestation_to_sign(&header));
        let first = inner.leaves.len() - executed.entries.len();
        for (at, entry) in executed.entries.into_iter().enumerate() {
            let path = merkle::path(&inner.leaves, first + at).expect("in the log");
            let log_index = (first + at) as u64;
            let proof =
                EntryProof { entry, log_index, path, header: header.clone(), attestations: attestations.clone() };
            inner.proofs.push(proof);
        }
        let certificate = CommitCertificate { view: 0, commits: Vec::new() };
        inner.blocks.push(Block { batch, transactions, certificate, header, attestations });
        self.height.send_replace(height);
    }

    fn gone(&self) -> Result<(), LedgerError> {
        if self.away.load(Ordering::SeqCst) { Err(LedgerError::Unreachable { asked: 4 }) } else { Ok(()) }
    }

    async fn until(&self, wait: Duration, ready: impl Fn(&Inner) -> bool) {
        let mut height = self.height.subscribe();
        let seen = async {
            while !ready(&self.inner.lock().expect("not poisoned")) {
                height.changed().await.expect("the double lives");
            }
        };
        drop(tokio::time::timeout(wait, seen).await);
    }
}

impl Ledger for Double {
    fn submit(&self, transaction: Vec<u8>) -> Answer<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            self.gone()?;
            if !self.loses.load(Ordering::SeqCst) {
                self.execute(vec![TransactionBytes(transaction.into())]);
            }
            Ok(())
        })
    }

    fn proof(&self, id: &Digest, wait: Duration) -> Answer<'_, Result<Option<EntryProof>, LedgerError>> {
        let id = *id;
        Box::pin(async move {
            self.gone()?;
            let find = |inner: &Inner| inner.proofs.iter().find(|proof| proof.entry.transaction == id).cloned();
            let wait = if self.loses.load(Ordering::SeqCst) { Duration::ZERO } else { wait };
            self.until(wait, |inner| find(inner).is_some()).await;
            Ok(find(&self.inner.lock().expect("not poisoned")))
        })
    }

    fn blocks(&self, from: Height, max: usize, wait: Duration) -> Answer<'_, Result<Vec<Block>, LedgerError>> {
        Box::pin(async move {
            self.gone()?;
            let from = usize::try_from(from).expect("a small height") - 1;
            self.until(wait, |inner| inner.blocks.len() > from).await;
            let inner = self.inner.lock().expect("not poisoned");
            Ok(inner.blocks.iter().skip(from).take(max).cloned().collect())
        })
    }

    fn state(&self, key: &[u8], height: Height) -> Answer<'_, Result<Option<StateProof>, LedgerError>> {
        let key = key.to_vec();
        Box::pin(async move {
            self.sampled.fetch_add(1, Ordering::SeqCst);
            let inner = self.inner.lock().expect("not poisoned");
            let at = usize::try_from(height).expect("a small height") - 1;
            let shows = self.shows.load(Ordering::SeqCst);
            let value = if shows == 2 { inner.state.get(&key).expect("a map").map(Value) } else { None };
            Ok(inner.blocks.get(at).filter(|_| shows > 0).map(|block| {
                let (header, attestations) = (block.header.clone(), block.attestations.clone());
                StateProof { key, value, other: None, siblings: vec![], header, attestations }
            }))
        })
    }

    fn consistency(&self, _: Height, _: Height) -> Answer<'_, Result<Option<ConsistencyProof>, LedgerError>> {
        Box::pin(async { Ok(None) })
    }

    fn heads(&self) -> Answer<'_, Vec<SignedHead>> {
        Box::pin(async move {
            if self.gone().is_err() {
                return Vec::new();
            }
            let inner = self.inner.lock().expect("not poisoned");
            let chain = self.genesis.chain_id();
            let header = inner.blocks.last().map_or(Digest(chain.0), |block| block.header.hash());
            let (epoch, height, keys) = match self.stale.load(Ordering::SeqCst) {
                true => (0, 200, keys_of(0)),
                false => (inner.epoch, inner.blocks.len() as u64, inner.keys.clone()),
            };
            let head = Head { chain, epoch, height, header, time: now_ms() };
            signatures(&keys, &head.to_sign()).into_iter().map(|by| SignedHead { head: head.clone(), by }).collect()
        })
    }

    fn status(&self) -> Answer<'_, Vec<ValidatorStatus>> {
        Box::pin(async { Vec::new() })
    }

    fn validators(&self) -> Arc<Epochs> {
        Arc::clone(&self.validators.lock().expect("not poisoned"))
    }
}
