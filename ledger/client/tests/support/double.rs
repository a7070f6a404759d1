//! Validators' RPC without consensus: real TLS, real contract, real signatures, one shared chain that makes a block of every
//! transaction. Each server can be honest or misbehave, so that the client meets both.
#![allow(dead_code, reason = "each test binary uses its part")]

mod change;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use ledger_client::{LedgerConfig, ValidatorAddress};
use ledger_contract::{
    Changes, State as _, StateTree, admit, epoch_at, epoch_record, execute_block, find, genesis_changes, newest_epoch,
    seal,
};
use ledger_proof::{AwsLc, EntryProof};
use p256::ecdsa::SigningKey;
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use schemas::block::{Block, Head, SignedHead, TransactionBytes, ValidatorSignature};
use schemas::cbor;
use schemas::cose_receipt::{self, CoseReceipt, CoseReceipts, ReceiptBytes};
use schemas::genesis::Validator;
use schemas::id::Digest;
use schemas::proof::{AttestedHeader, ConsistencyProof, EpochProof, StateProof, Value};
use schemas::state::epoch_key;
use schemas::transaction::{Outcome, signed_hash};
use schemas::tree::Place;
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::change::change;
use crate::chain::{self, Chain, key, public, sign};

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    Honest,
    /// Its certificate is of another key.
    Impostor,
    /// Says yes to everything, answers with damaged proofs, blocks and heads.
    Lying,
    /// Refuses every transaction.
    Refusing,
    /// Its mempool is always full.
    Full,
    /// Answers with more bytes than any answer may have.
    Flooding,
    /// Shows the refusal of a copy with another signature, wherever there is one: true, and beside the point.
    Hiding,
    /// Signs a head that nobody has.
    Boasting,
    /// Never answers a submission.
    Hanging,
    /// Nobody listens.
    Down,
}

/// The chain that all servers share.
pub struct Shared {
    chain: Chain,
    state: Changes,
    /// The state and the root of its tree after each height.
    states: Vec<(Changes, Vec<u8>)>,
    tree: StateTree,
    nodes: BTreeMap<(u64, u16), Vec<u8>>,
    blocks: Vec<Block>,
    proofs: Vec<(Digest, EntryProof)>,
}

impl Shared {
    /// The next block, by the validators of its epoch.
    fn make_block(&mut self, transactions: Vec<TransactionBytes>) {
        let (height, chain) = (self.chain.height + 1, self.chain.id);
        let epoch = epoch_at(&self.state, height).expect("a map");
        self.chain.epoch = epoch.epoch;
        self.chain.seats =
            epoch.members.iter().map(|member| member.name[1..].parse().expect("v and its seed")).collect();
        let done = execute_block(&self.state, &chain, height, now_ms(), &transactions, &AwsLc).expect("a map");
        self.change(height, done.changes);
        let (block, proofs) = self.chain.block(transactions, &done.entries);
        self.blocks.push(block);
        self.proofs.extend(proofs.into_iter().map(|proof| (proof.entry.transaction, proof)));
    }

    /// What a key held after a block.
    fn prove(&self, key: Vec<u8>, height: usize) -> Option<StateProof> {
        let block = height.checked_sub(1).and_then(|at| self.blocks.get(at))?;
        let (state, root) = &self.states[height];
        let place = Place::of(&key).expect("of the tree");
        let found = find(&self.nodes, root, &place).expect("in memory").expect("kept");
        let value = state.get(&key).expect("a map").map(Value);
        let other = found.leaf.filter(|leaf| leaf.place != place);
        let (header, attestations) = (block.header.clone(), block.attestations.clone());
        Some(StateProof { key, value, other, siblings: found.siblings, header, attestations })
    }

    fn change(&mut self, height: u64, changes: Changes) {
        let written = self.tree.update(&self.nodes, height, &changes).expect("in memory");
        self.nodes.extend((0..).zip(written.pieces).map(|(piece, bytes)| ((height, piece), bytes)));
        self.state.extend(changes);
        self.states.push((self.state.clone(), written.root_row));
        self.chain.state_root = written.root;
    }
}

#[derive(Clone)]
struct Server {
    index: u16,
    manner: Manner,
    shared: Arc<Mutex<Shared>>,
    lists: Arc<AtomicUsize>,
}

pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("small")
}

/// Running validators and a folder with a client's configuration. Dropping it stops them.
pub struct Double {
    pub config: LedgerConfig,
    pub chain: schemas::id::ChainId,
    /// Submissions that arrived, at all of them.
    pub lists: Arc<AtomicUsize>,
    _folder: tempfile::TempDir,
    shared: Arc<Mutex<Shared>>,
    servers: tokio::task::JoinSet<()>,
}

impl Double {
    /// One server for each manner; the first four are the validators of the genesis.
    pub async fn start(manners: &[Manner]) -> Self {
        let chain = Chain::new(4);
        let genesis = chain.genesis.clone();
        let id = chain.id;
        let mut shared = Shared {
            chain,
            state: Changes::default(),
            states: vec![],
            tree: StateTree::default(),
            nodes: BTreeMap::new(),
            blocks: vec![],
            proofs: vec![],
        };
        shared.change(0, genesis_changes(&genesis));
        let shared = Arc::new(Mutex::new(shared));
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("genesis.json"), genesis.to_json()).expect("written");
        write_key(&path("transport.key"), &key(102));
        let (mut servers, lists) = (tokio::task::JoinSet::new(), Arc::default());
        let mut validators = vec![];
        for (index, &manner) in (0..).zip(manners) {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let url = format!("https://{}", listener.local_addr().expect("bound"));
            validators.push(ValidatorAddress { name: format!("v{index}"), url });
            if manner == Manner::Down {
                continue;
            }
            let server = Server { index, manner, shared: Arc::clone(&shared), lists: Arc::clone(&lists) };
            let seed = if manner == Manner::Impostor { 900 } else { index };
            let listener = Tls { listener, acceptor: acceptor(&key(seed)) };
            servers.spawn(async move { axum::serve(listener, router(server)).await.expect("never ends") });
        }
        let config =
            LedgerConfig { genesis: path("genesis.json"), validators, key: path("transport.key"), timeout_ms: 5_000 };
        Self { config, chain: id, lists, _folder: folder, shared, servers }
    }

    /// The validators vote for these, who are there; then empty blocks lead over the seal into their epoch.
    pub fn change_validators(&self, seats: &[u16]) {
        let mut shared = self.shared.lock().expect("not poisoned");
        let current = epoch_at(&shared.state, shared.chain.height + 1).expect("a map");
        for tx in change(shared.chain.id, &current, seats, shared.chain.height) {
            shared.make_block(vec![chain::bytes(&tx)]);
        }
        let seal = seal(&shared.state, current.epoch).expect("a map").expect("decided").at;
        while shared.chain.height <= seal {
            shared.make_block(vec![]);
        }
    }

    /// The newest height.
    pub fn height(&self) -> u64 {
        self.shared.lock().expect("not poisoned").chain.height
    }

    pub fn stop(&mut self) {
        self.servers.abort_all();
    }
}

pub fn write_key(path: &std::path::Path, key: &SigningKey) {
    use std::os::unix::fs::PermissionsExt;
    let pem = p256::SecretKey::from(key).to_pkcs8_pem(LineEnding::LF).expect("encodable");
    std::fs::write(path, pem.as_bytes()).expect("written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("our file");
}

fn router(server: Server) -> Router {
    Router::new()
        .route("/ledger/v1/submissions", post(submit))
        .route("/ledger/v1/transactions/{id}", get(proof))
        .route("/ledger/v1/blocks", get(blocks))
        .route("/ledger/v1/transactions/{id}/cose", get(cose))
        .route("/ledger/v1/state/{key}", get(state))
        .route("/ledger/v1/consistency", get(consistency))
        .route("/ledger/v1/epochs", get(epochs))
        .route("/ledger/v1/head", get(head))
        .route("/ledger/v1/status", get(async || "{\"height\":1}"))
        .with_state(server)
}

async fn submit(State(server): State<Server>, body: axum::body::Bytes) -> Vec<u8> {
    if server.manner == Manner::Hanging {
        return std::future::pending().await;
    }
    server.lists.fetch_add(1, Ordering::Relaxed);
    let list: Vec<TransactionBytes> = cbor::decode(&body).expect("the client's list");
    let codes = list.into_iter().map(|bytes| take(&server, bytes).as_u16());
    cbor::encode(&codes.collect::<Vec<u16>>())
}

fn take(server: &Server, bytes: TransactionBytes) -> StatusCode {
    match server.manner {
        Manner::Lying => return StatusCode::ACCEPTED,
        Manner::Refusing => return StatusCode::BAD_REQUEST,
        Manner::Full => return StatusCode::TOO_MANY_REQUESTS,
        _ => {}
    }
    let mut shared = server.shared.lock().expect("not poisoned");
    let Ok(tx) = admit(bytes.as_ref(), &shared.chain.id) else { return StatusCode::BAD_REQUEST };
    let signed = signed_hash(bytes.as_ref());
    if shared.proofs.iter().any(|(id, proof)| *id == tx.id() && proof.decides(&signed)) {
        return StatusCode::OK;
    }
    shared.make_block(vec![bytes]);
    StatusCode::ACCEPTED
}

#[derive(Deserialize)]
struct LookUp {
    signed: Option<String>,
}

async fn proof(
    State(server): State<Server>,
    Path(id): Path<String>,
    Query(look_up): Query<LookUp>,
) -> Result<Vec<u8>, StatusCode> {
    if server.manner == Manner::Flooding {
        return Ok(vec![0; 1 << 20]);
    }
    let shared = server.shared.lock().expect("not poisoned");
    let signed: Option<Digest> = look_up.signed.map(|signed| signed.parse().expect("hex"));
    let mut known: Vec<_> = shared.proofs.iter().filter(|(known, _)| known.to_string() == id).map(|(_, p)| p).collect();
    known.sort_by_key(|proof| (proof.entry.outcome == Outcome::Accepted) != (server.manner == Manner::Hiding));
    if server.manner != Manner::Hiding {
        known.retain(|proof| signed.is_none_or(|signed| proof.decides(&signed)));
    }
    let found = known.last().map(|proof| (*proof).clone());
    let mut proof = match (server.manner, found) {
        (_, Some(proof)) => proof,
        // a proof of something else
        (Manner::Lying, None) => shared.proofs.first().ok_or(StatusCode::NOT_FOUND)?.1.clone(),
        (_, None) => return Err(StatusCode::NOT_FOUND),
    };
    if server.manner == Manner::Lying {
        proof.entry.outcome = Outcome::Refused(schemas::transaction::Refusal::IdUsed);
    }
    Ok(cbor::encode(&proof))
}

#[derive(Deserialize)]
struct Range {
    from: u64,
    max: usize,
}

async fn blocks(State(server): State<Server>, Query(range): Query<Range>) -> Vec<u8> {
    if server.manner == Manner::Flooding {
        return vec![0; 16 << 20];
    }
    let shared = server.shared.lock().expect("not poisoned");
    let wanted = shared.blocks.iter().filter(|block| block.header.height >= range.from).take(range.max);
    let mut found: Vec<Block> = wanted.cloned().collect();
    if server.manner == Manner::Lying {
        found.iter_mut().for_each(|block| block.attestations.truncate(2));
    }
    cbor::encode(&found)
}

#[derive(Deserialize)]
struct At {
    height: usize,
}

async fn state(
    State(server): State<Server>,
    Path(key): Path<String>,
    Query(At { height }): Query<At>,
) -> Result<Vec<u8>, StatusCode> {
    let shared = server.shared.lock().expect("not poisoned");
    let mut proof = shared.prove(schemas::id::from_hex(&key).expect("hex"), height).ok_or(StatusCode::NOT_FOUND)?;
    if server.manner == Manner::Lying {
        proof.value = if proof.value.is_some() { None } else { Some(Value(vec![1])) };
    }
    Ok(cbor::encode(&proof))
}

#[derive(Deserialize)]
struct FirstEpoch {
    from: u64,
}

async fn epochs(State(server): State<Server>, Query(FirstEpoch { from }): Query<FirstEpoch>) -> Vec<u8> {
    let shared = server.shared.lock().expect("not poisoned");
    let newest = newest_epoch(&shared.state).expect("a map");
    let mut proofs: Vec<_> = (from..=newest)
        .map(|epoch| {
            let decided_at = epoch_record(&shared.state, epoch).expect("a map").expect("decided").decided_at;
            let proof = shared.prove(epoch_key(epoch), decided_at as usize).expect("a block");
            EpochProof::of(proof).expect("of an epoch")
        })
        .collect();
    if server.manner == Manner::Lying {
        // itself on every seat
        for proof in &mut proofs {
            proof.record.members[0] = Validator { name: "v0".into(), key: public(&key(900 + server.index)) };
        }
    }
    cbor::encode(&proofs)
}

#[derive(Deserialize)]
struct Two {
    from: usize,
    to: usize,
}

async fn consistency(State(server): State<Server>, Query(Two { from, to }): Query<Two>) -> Result<Vec<u8>, StatusCode> {
    let shared = server.shared.lock().expect("not poisoned");
    let at = |height: usize| -> Result<_, StatusCode> {
        let block = height.checked_sub(1).and_then(|at| shared.blocks.get(at)).ok_or(StatusCode::NOT_FOUND)?;
        Ok(AttestedHeader { header: block.header.clone(), attestations: block.attestations.clone() })
    };
    let (first, second) = (at(from)?, at(to)?);
    let path = shared.chain.consistency(first.header.log_size, second.header.log_size);
    let path = if server.manner == Manner::Lying { vec![Digest::ZERO] } else { path };
    Ok(cbor::encode(&ConsistencyProof { first, second, path }))
}

async fn cose(State(server): State<Server>, Path(id): Path<String>) -> Result<Vec<u8>, StatusCode> {
    let shared = server.shared.lock().expect("not poisoned");
    let known = shared.proofs.iter().rfind(|(known, _)| known.to_string() == id);
    let (_, proof) = known.ok_or(StatusCode::NOT_FOUND)?;
    let (own, entry) = (key(server.index), cbor::encode(&proof.entry));
    let root = if server.manner == Manner::Lying { Digest::ZERO } else { proof.header.log_root };
    let by = public(&own);
    let signature = sign(&own, &cose_receipt::to_sign(&by, &shared.chain.id, &root));
    let (size, index, path) = (proof.header.log_size, proof.log_index, proof.path.clone());
    let receipt = CoseReceipt { key: by, chain: shared.chain.id, size, index, path, signature };
    Ok(cbor::encode(&CoseReceipts { entry, receipts: vec![ReceiptBytes(cbor::encode(&receipt))], epochs: vec![] }))
}

/// Of the epoch of the next block; none by whoever has no seat in it.
async fn head(State(server): State<Server>) -> Result<Vec<u8>, StatusCode> {
    let shared = server.shared.lock().expect("not poisoned");
    let epoch = epoch_at(&shared.state, shared.chain.height + 1).expect("a map");
    let own = public(&key(server.index));
    let place = epoch.members.iter().position(|member| member.key == own).ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let place = u16::try_from(place).expect("few");
    let last = shared.blocks.last().map(|block| block.header.hash());
    let head = Head {
        chain: shared.chain.id,
        epoch: epoch.epoch,
        height: match server.manner {
            Manner::Lying => shared.chain.height + 100,
            Manner::Boasting => 1 << 63,
            _ => shared.chain.height,
        },
        header: last.unwrap_or(Digest(shared.chain.id.0)),
        time: now_ms(),
    };
    // the liar signs for a neighbour
    let validator = if server.manner == Manner::Lying { (place + 1) % 4 } else { place };
    let signature = sign(&key(server.index), &head.to_sign());
    Ok(cbor::encode(&SignedHead { head, by: ValidatorSignature { validator, signature } }))
}

/// TLS 1.3 with a self-signed certificate of a validator's key; every client must show a certificate.
fn acceptor(key: &SigningKey) -> TlsAcceptor {
    let pem = p256::SecretKey::from(key).to_pkcs8_pem(LineEnding::LF).expect("encodable");
    let pair = rcgen::KeyPair::from_pem(&pem).expect("a key");
    let params = rcgen::CertificateParams::new(vec!["validator".to_owned()]).expect("a name");
    let certificate = params.self_signed(&pair).expect("signed").der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(Arc::new(AnyClient(provider)))
        .with_single_cert(vec![certificate], key)
        .expect("fits");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[derive(Debug)]
struct AnyClient(Arc<rustls::crypto::CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".into()))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, address)) = self.listener.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
