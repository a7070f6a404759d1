//! The ledger's double: executes every submitted transaction at once in a block of its own with the real contract, signs the
//! header with four real keys, and writes state and cursor as the follower does. It can be told to go stale or to stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gateway_server::disclose::progress::{Later, Progress};
use gateway_server::store::{self, Store, chain};
use ledger_client::{Answer, Epochs, Ledger, LedgerError, ValidatorStatus};
use ledger_contract::{Changes, execute_block, genesis_changes};
use ledger_proof::P256;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature as Ecdsa, SigningKey};
use schemas::block::{Block, Header, SignedHead, TransactionBytes, ValidatorSignature, attestation_to_sign};
use schemas::cbor;
use schemas::genesis::{Genesis, GenesisInstitution, Validator};
use schemas::id::{Digest, Height, PublicKey, RawPublicKey, RawSignature, Signature, TimeMs};
use schemas::merkle;
use schemas::proof::{ConsistencyProof, StateProof};
use schemas::receipt::EntryProof;
use schemas::transaction::Transaction;
use tokio::sync::Mutex;

/// Time of the first block.
pub const BEGIN: TimeMs = 1_800_000_000_000;

pub struct TestLedger {
    store: Store,
    genesis: Genesis,
    keys: Vec<SigningKey>,
    validators: Arc<Epochs>,
    state: Mutex<State>,
    seen: std::sync::Mutex<(Height, TimeMs)>,
    pub stale: AtomicBool,
    pub stopped: AtomicBool,
    /// Orders a copy with a wrong signature before each transaction, and shows what became of the copy.
    pub copies: AtomicBool,
}

struct State {
    header: Header,
    changes: Changes,
    leaves: Vec<Digest>,
    proofs: HashMap<Digest, EntryProof>,
}

/// Four validators' keys, the same in every run.
pub fn validator_keys() -> Vec<SigningKey> {
    (1..=4_u8).map(|n| SigningKey::from_slice(&[n; 32]).expect("a scalar")).collect()
}

fn public(key: &SigningKey) -> PublicKey {
    let point = key.verifying_key().to_sec1_point(true);
    PublicKey(RawPublicKey::from_slice(point.as_bytes()).expect("33 bytes"))
}

impl TestLedger {
    pub async fn start(store: Store, institution: GenesisInstitution) -> Arc<Self> {
        let keys = validator_keys();
        let validators =
            (1..).zip(&keys).map(|(n, key)| Validator { name: format!("v{n}"), key: public(key) }).collect();
        let genesis = Genesis { created: BEGIN, validators, institutions: vec![institution] };
        let changes = genesis_changes(&genesis);
        let header = Header {
            chain: genesis.chain_id(),
            epoch: 0,
            height: 0,
            batch: Digest::ZERO,
            previous: Digest(genesis.chain_id().0),
            log_size: 0,
            log_root: merkle::empty_root(),
            time: BEGIN,
            state_root: Digest::ZERO,
        };
        let mut write = store.begin().await.expect("begin");
        chain::apply(&mut write, changes.0.iter()).await.expect("apply");
        chain::advance(&mut write, &header, &[]).await.expect("advance");
        store::commit(write).await.expect("commit");
        let validators = Arc::new(Epochs::of(&genesis));
        let state = Mutex::new(State { header, changes, leaves: Vec::new(), proofs: HashMap::new() });
        let seen = std::sync::Mutex::new((0, BEGIN));
        let (stale, stopped) = (AtomicBool::new(false), AtomicBool::new(false));
        let copies = AtomicBool::new(false);
        Arc::new(Self { store, genesis, keys, validators, state, seen, stale, stopped, copies })
    }

    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    async fn execute(&self, bytes: Vec<u8>) {
        let mut state = self.state.lock().await;
        let transactions = [TransactionBytes(bytes.into())];
        let (height, time) = (state.header.height + 1, state.header.time + 10);
        let chain = self.genesis.chain_id();
        let executed = execute_block(&state.changes, &chain, height, time, &transactions, &P256).expect("state");
        state.leaves.extend(executed.entries.iter().map(|entry| entry.leaf()));
        let previous = if height == 1 { Digest(chain.0) } else { state.header.hash() };
        let header = Header {
            chain,
            epoch: 0,
            height,
            batch: Digest::ZERO,
            previous,
            log_size: state.leaves.len() as u64,
            log_root: merkle::root(&state.leaves),
            time,
            state_root: Digest::ZERO,
        };
        let message = attestation_to_sign(&header);
        let attestations: Vec<ValidatorSignature> = (0..)
            .zip(&self.keys)
            .map(|(validator, key)| {
                let signature: Ecdsa = key.sign(&message);
                let raw = RawSignature(signature.normalize_s().to_bytes().into());
                ValidatorSignature { validator, signature: Signature(raw) }
            })
            .collect();
        for entry in executed.entries {
            let index = state.leaves.len() - 1;
            let path = merkle::path(&state.leaves, index).expect("a leaf");
            let proof = EntryProof {
                log_index: index as u64,
                path,
                header: header.clone(),
                attestations: attestations.clone(),
                entry: entry.clone(),
            };
            state.proofs.entry(entry.transaction).or_insert(proof);
        }
        let mut write = self.store.begin().await.expect("begin");
        chain::apply(&mut write, executed.changes.0.iter()).await.expect("apply");
        chain::advance(&mut write, &header, &[]).await.expect("advance");
        store::commit(write).await.expect("commit");
        state.changes.extend(executed.changes);
        state.header = header;
        *self.seen.lock().expect("lock") = (height, time);
    }

    /// Lets so many blocks go by, as other institutions' traffic would.
    pub async fn pass(&self, blocks: u64) {
        let mut state = self.state.lock().await;
        state.header.height += blocks;
        let mut write = self.store.begin().await.expect("begin");
        chain::advance(&mut write, &state.header, &[]).await.expect("advance");
        store::commit(write).await.expect("commit");
        self.seen.lock().expect("lock").0 = state.header.height;
    }

    /// Executes and gives the proof.
    pub async fn anchor(&self, transaction: &schemas::transaction::Transaction) -> EntryProof {
        self.execute(cbor::encode(transaction)).await;
        self.state.lock().await.proofs.get(&transaction.id()).cloned().expect("executed")
    }
}

impl Ledger for TestLedger {
    fn submit(&self, transaction: Vec<u8>) -> Answer<'_, Result<(), LedgerError>> {
        Box::pin(async move {
            if self.stopped.load(Ordering::SeqCst) {
                return Err(LedgerError::Unreachable { asked: 4 });
            }
            if self.copies.load(Ordering::SeqCst) {
                let mut copy: Transaction = cbor::decode(&transaction).expect("a transaction");
                copy.signatures[0].signature.0.0[5] ^= 1;
                self.execute(cbor::encode(&copy)).await;
            }
            self.execute(transaction).await;
            Ok(())
        })
    }

    fn proof(&self, id: &Digest, _: Duration) -> Answer<'_, Result<Option<EntryProof>, LedgerError>> {
        let id = *id;
        Box::pin(async move {
            if self.stopped.load(Ordering::SeqCst) {
                return Err(LedgerError::Unreachable { asked: 4 });
            }
            Ok(self.state.lock().await.proofs.get(&id).cloned())
        })
    }

    fn blocks(&self, _: Height, _: usize, _: Duration) -> Answer<'_, Result<Vec<Block>, LedgerError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn state(&self, _: &[u8], _: Height) -> Answer<'_, Result<Option<StateProof>, LedgerError>> {
        Box::pin(async { Ok(None) })
    }

    fn consistency(&self, _: Height, _: Height) -> Answer<'_, Result<Option<ConsistencyProof>, LedgerError>> {
        Box::pin(async { Ok(None) })
    }

    fn heads(&self) -> Answer<'_, Vec<SignedHead>> {
        Box::pin(async { Vec::new() })
    }

    fn status(&self) -> Answer<'_, Vec<ValidatorStatus>> {
        Box::pin(async { Vec::new() })
    }

    fn validators(&self) -> Arc<Epochs> {
        Arc::clone(&self.validators)
    }
}

impl Progress for TestLedger {
    fn height(&self) -> Height {
        self.seen.lock().expect("lock").0
    }

    fn time(&self) -> TimeMs {
        self.seen.lock().expect("lock").1
    }

    fn fresh(&self, _: Duration) -> Later<'_, Option<Height>> {
        let fresh = (!self.stale.load(Ordering::SeqCst)).then(|| Progress::height(self));
        Box::pin(async move { fresh })
    }

    fn reach(&self, height: Height, _: Duration) -> Later<'_, bool> {
        let reached = Progress::height(self) >= height;
        Box::pin(async move { reached })
    }
}
