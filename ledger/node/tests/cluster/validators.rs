//! Validators of one genesis in this process, on loopback with real TLS and real stores; an institution that signs.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ledger_client::{HttpLedger, Ledger, LedgerConfig, ValidatorAddress};
use ledger_core::Sign as _;
use ledger_node::{NodeConfig, NodeError, PeerConfig};
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::{EncodePrivateKey, LineEnding};
use schemas::ballot::{Ballot, ConfirmSeat, Member, list_hash, possession_to_sign as possession_to_sign_seat};
use schemas::block::{Epoch, Phase, ValidatorSignature, Vote};
use schemas::cose::transaction_to_sign;
use schemas::envelope::{Statement, statements_root};
use schemas::evidence::Conflict;
use schemas::genesis::{Genesis, GenesisInstitution, Validator, possession_to_sign};
use schemas::id::*;
use schemas::pbft::SignedVote;
use schemas::transaction::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const INSTITUTION: InstitutionId = InstitutionId([9; 16]);

pub struct Validators {
    pub home: tempfile::TempDir,
    pub configs: Vec<NodeConfig>,
    pub chain: ChainId,
    signing: SigningKey,
    running: BTreeMap<usize, (JoinHandle<Result<(), NodeError>>, CancellationToken)>,
    /// Where they listen.
    host: Ipv4Addr,
}

/// A loopback address of these validators alone: some of them start late, and what other tests open meanwhile (connections go out
/// from 127.0.0.1) must not get their ports.
fn own_host() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(next < u8::MAX, "as many clusters as addresses");
    Ipv4Addr::new(127, 0, 1, next)
}

impl Validators {
    /// Keys, genesis and configurations of n validators; none runs yet.
    pub fn new(n: usize) -> Self {
        Self::among(n, n)
    }

    /// The same with keys and configurations of more, who are in no genesis.
    pub fn among(members: usize, n: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        let host = own_host();
        let held: Vec<_> = (0..2 * n).map(|_| TcpListener::bind((host, 0)).unwrap()).collect();
        let ports: Vec<u16> = held.iter().map(|l| l.local_addr().unwrap().port()).collect();
        let name = |index: usize| format!("validator-{}", index + 1);
        let key_path = |index: usize| home.path().join(format!("{index}.key"));
        let mut validators: Vec<_> =
            (0..n).map(|i| Validator { name: name(i), key: ledger_node::key::create(&key_path(i)).unwrap() }).collect();
        validators.truncate(members);
        let signing = SigningKey::from_slice(&[3; 32]).unwrap();
        let transport = SigningKey::from_slice(&[4; 32]).unwrap();
        write_key(&home.path().join("transport.key"), &transport);
        write_key(&home.path().join("stranger.key"), &SigningKey::from_slice(&[5; 32]).unwrap());
        let register = RegisterInstitution {
            institution: INSTITUTION,
            key: public(&signing),
            gateways: vec![],
            transports: vec![public(&transport)],
        };
        let possession = sign(&signing, &possession_to_sign(&register));
        let institutions = vec![GenesisInstitution { name: "clinic".to_owned(), register, possession }];
        let genesis = Genesis { created: now(), validators, institutions };
        std::fs::write(home.path().join("genesis.json"), genesis.to_json()).unwrap();
        let address = |port: u16| format!("{host}:{port}");
        let configs = (0..n)
            .map(|i| NodeConfig {
                genesis: home.path().join("genesis.json"),
                name: name(i),
                data: home.path().join(format!("data-{i}")),
                key: key_path(i),
                listen: address(ports[2 * i]),
                rpc: address(ports[2 * i + 1]),
                operators: None,
                peers: (0..n)
                    .filter(|&j| j != i)
                    .map(|j| PeerConfig { name: name(j), address: address(ports[2 * j]) })
                    .collect(),
                development: false,
                store_bytes: 32 << 20,
                mempool_transactions: 8192,
                case_history_blocks: None,
                block_history_blocks: None,
                whole_history: false,
            })
            .collect();
        Self { chain: genesis.chain_id(), host, home, configs, signing, running: BTreeMap::new() }
    }

    /// Gives a validator a listener for its operators.
    pub fn with_operators(&mut self, index: usize) -> String {
        let held = TcpListener::bind((self.host, 0)).unwrap();
        let address = held.local_addr().unwrap().to_string();
        self.configs[index].operators = Some(address.clone());
        address
    }

    pub fn start(&mut self, index: usize) {
        let stop = CancellationToken::new();
        let task = tokio::spawn(ledger_node::run(self.configs[index].clone(), stop.clone()));
        assert!(self.running.insert(index, (task, stop)).is_none(), "started once");
    }

    pub fn start_all(&mut self) {
        (0..self.configs.len()).for_each(|index| self.start(index));
    }

    /// How a running validator ends by itself.
    pub async fn end(&mut self, index: usize) -> Result<(), NodeError> {
        let (task, _stop) = self.running.remove(&index).unwrap();
        tokio::time::timeout(Duration::from_secs(90), task).await.expect("it ends by itself").unwrap()
    }

    /// A validator's vote for these as the next epoch's: names as they are configured, keys as they lie in the files.
    pub fn ballot(&self, epoch: Epoch, before: &[PublicKey], voter: usize, members: &[usize]) -> (Digest, Vec<u8>) {
        let key_of = |index: usize| ledger_node::key::open(&self.configs[index].key).unwrap();
        let member = |&index: &usize| {
            let (key, name) = (key_of(index), self.configs[index].name.clone());
            let validator = Validator { name: name.clone(), key: key.public() };
            let message = possession_to_sign_seat(&self.chain, epoch, &validator);
            let possession = (!before.contains(&key.public())).then(|| key.sign(&message));
            Member { name, key: key.public(), possession }
        };
        let members = members.iter().map(member).collect();
        let voter_key = before[voter];
        let body = Body::Ballot(Ballot { epoch, voter: voter as u16, members });
        let core = Core { chain: self.chain, valid_until: 9_000, body };
        let held = (0..self.configs.len()).map(key_of).find(|key| key.public() == voter_key);
        let key =
            held.unwrap_or_else(|| ledger_node::key::open(&self.home.path().join(format!("{voter}.key"))).unwrap());
        let signature = key.sign(&transaction_to_sign(&self.chain, &core.id()));
        let signatures = vec![Signed { signer: Signer::Validator(voter as u16), signature }];
        let transaction = Transaction { core, statements: vec![], signatures, authored: vec![] };
        (transaction.id(), schemas::cbor::encode(&transaction))
    }

    /// A newcomer's word that it is there: `members` as in `ballot`.
    pub fn confirmation(&self, epoch: Epoch, member: usize, members: &[usize]) -> (Digest, Vec<u8>) {
        let key_of = |index: usize| ledger_node::key::open(&self.configs[index].key).unwrap();
        let validator =
            |&index: &usize| Validator { name: self.configs[index].name.clone(), key: key_of(index).public() };
        let list: Vec<_> = members.iter().map(validator).collect();
        let key = key_of(member);
        let body = Body::ConfirmSeat(ConfirmSeat { epoch, members: list_hash(&list), key: key.public() });
        let core = Core { chain: self.chain, valid_until: 9_000, body };
        let signature = key.sign(&transaction_to_sign(&self.chain, &core.id()));
        let signatures = vec![Signed { signer: Signer::NewKey, signature }];
        let transaction = Transaction { core, statements: vec![], signatures, authored: vec![] };
        (transaction.id(), schemas::cbor::encode(&transaction))
    }

    /// Ends a validator between two turns of its loop.
    pub async fn stop(&mut self, index: usize) {
        let (task, stop) = self.running.remove(&index).unwrap();
        stop.cancel();
        task.await.unwrap().unwrap();
    }

    /// How a validator ends that refuses to start.
    pub async fn refusal(&self, index: usize) -> NodeError {
        ledger_node::run(self.configs[index].clone(), CancellationToken::new()).await.unwrap_err()
    }

    /// A ledger client whose first addresses are these validators.
    pub fn ledger(&self, key: &str) -> HttpLedger {
        let validators = self.configs.iter();
        HttpLedger::new(&LedgerConfig {
            genesis: self.home.path().join("genesis.json"),
            validators: validators
                .map(|c| ValidatorAddress { name: c.name.clone(), url: format!("https://{}", c.rpc) })
                .collect(),
            key: self.home.path().join(key),
            timeout_ms: 5_000,
        })
        .unwrap()
    }

    /// A small transaction: a new subject.
    pub fn subject(&self, number: u64) -> (Digest, Vec<u8>) {
        let mut id = [7; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let body = RegisterSubject { subject: SubjectId(id), institution: INSTITUTION, key: None, guardians: vec![] };
        let core = Core { chain: self.chain, valid_until: 9_000, body: Body::RegisterSubject(body) };
        self.signed(core, vec![])
    }

    /// A large one: a hundred cases.
    pub fn anchor(&self, number: u64) -> (Digest, Vec<u8>) {
        let statements: Vec<_> = (0..100_u64)
            .map(|i| {
                let digest = |label: u8| Digest([label.wrapping_add(i as u8); 32]);
                Statement {
                    case: self.case(number, i),
                    version: 1,
                    previous: None,
                    institution: INSTITUTION,
                    header: digest(1),
                    root: digest(2),
                    object: digest(3),
                    subject_tag: SubjectTag([4; 32]),
                    wraps: digest(5),
                    time: now(),
                }
            })
            .collect();
        let root = statements_root(&statements);
        let body = Body::AnchorCases(AnchorCases { institution: INSTITUTION, root, count: 100 });
        let core = Core { chain: self.chain, valid_until: 9_000, body };
        self.signed(core, statements)
    }

    /// Proof against a validator, made with its own key.
    pub fn contradiction(&self, index: u16) -> (Digest, Vec<u8>) {
        let key = ledger_node::key::open(&self.home.path().join(format!("{index}.key"))).unwrap();
        let [one, other] = [1, 2].map(|label| {
            let (epoch, view, height, phase) = (0, 5, 70, Phase::Commit);
            let vote = Vote { chain: self.chain, epoch, view, height, phase, digest: Digest([label; 32]) };
            let by = ValidatorSignature { validator: index, signature: key.sign(&vote.to_sign()) };
            SignedVote { vote, by }
        });
        let body = Body::ReportConflict(Conflict::of(&one, &other).unwrap());
        let core = Core { chain: self.chain, valid_until: 9_000, body };
        let transaction = Transaction { core, statements: vec![], signatures: vec![], authored: vec![] };
        (transaction.id(), schemas::cbor::encode(&transaction))
    }

    /// A case of `anchor`.
    pub fn case(&self, number: u64, index: u64) -> CaseId {
        let mut case = [0; 16];
        case[..8].copy_from_slice(&number.to_be_bytes());
        case[8..].copy_from_slice(&index.to_be_bytes());
        CaseId(case)
    }

    /// A second version of the first case of `anchor`.
    pub fn amended(&self, number: u64) -> (Digest, Vec<u8>) {
        let (_, bytes) = self.anchor(number);
        let first: Transaction = schemas::cbor::decode(&bytes).unwrap();
        let old = first.statements[0].clone();
        let next = Statement { version: 2, previous: Some(old.header), header: Digest([9; 32]), ..old };
        let root = statements_root(std::slice::from_ref(&next));
        let body = Body::SupersedeCase(SupersedeCase { institution: INSTITUTION, root });
        self.signed(Core { chain: self.chain, valid_until: 9_000, body }, vec![next])
    }

    fn signed(&self, core: Core, statements: Vec<Statement>) -> (Digest, Vec<u8>) {
        let signature = sign(&self.signing, &transaction_to_sign(&self.chain, &core.id()));
        let signer = Signer::Institution(INSTITUTION);
        let transaction =
            Transaction { core, statements, signatures: vec![Signed { signer, signature }], authored: vec![] };
        (transaction.id(), schemas::cbor::encode(&transaction))
    }

    pub fn votes(&self, index: usize) -> PathBuf {
        self.configs[index].data.join("votes").join("00000001.log")
    }
}

/// A process that ends while a validator still closes its store is aborted by RocksDB.
impl Drop for Validators {
    fn drop(&mut self) {
        let running = std::mem::take(&mut self.running);
        running.values().for_each(|(_, stop)| stop.cancel());
        tokio::task::block_in_place(|| {
            for (task, _) in running.into_values() {
                drop(tokio::runtime::Handle::current().block_on(task));
            }
        });
    }
}

/// Submits and waits for the verified proof of acceptance.
pub async fn execute(ledger: &HttpLedger, (id, bytes): (Digest, Vec<u8>)) -> ledger_client::EntryProof {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        // a validator that has just started may not listen yet
        drop(ledger.submit(bytes.clone()).await);
        if let Ok(Some(proof)) = ledger.proof(&id, Duration::from_secs(2)).await {
            assert_eq!(proof.entry.outcome, Outcome::Accepted);
            return proof;
        }
        if tokio::time::Instant::now() > deadline {
            panic!("no proof in time: {:?}", ledger.status().await);
        }
    }
}

/// Waits until each of these validators says that it holds final blocks up to the height.
pub async fn caught_up(ledger: &HttpLedger, validators: &[usize], height: Height) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let all = ledger.status().await;
        let has = |&i: &usize| all[i].status.as_ref().and_then(|s| s["height"].as_u64()).is_some_and(|h| h >= height);
        if validators.iter().all(has) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "not caught up: {all:?}");
        pause(ledger).await;
    }
}

/// Waits for heads of a quorum that were signed without a block.
pub async fn idle_heads(ledger: &HttpLedger) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let (first, quorum) = (now(), ledger.validators().newest().quorum());
    loop {
        let heads = ledger.heads().await;
        if heads.iter().filter(|signed| signed.head.time > first).count() >= quorum {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "no heads without blocks: {heads:?}");
        pause(ledger).await;
    }
}

/// A look-up of nothing, which the validators hold open for a moment.
async fn pause(ledger: &HttpLedger) {
    drop(ledger.proof(&Digest([0xee; 32]), Duration::from_millis(50)).await);
}

/// A whole answer of the operators' listener.
pub async fn operators_say(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: operators\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Connections that never say anything, from an address of their own.
pub async fn silent(address: &str, count: usize) -> Vec<TcpStream> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let mut out = Vec::new();
    while out.len() < count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        match socket.connect(address.parse().unwrap()).await {
            Ok(stream) => out.push(stream),
            // it does not listen yet
            Err(_) => tokio::task::yield_now().await,
        }
        assert!(tokio::time::Instant::now() < deadline, "nobody listens at {address}");
    }
    out
}

pub fn now() -> TimeMs {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as TimeMs
}

fn write_key(path: &Path, key: &SigningKey) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(key.to_pkcs8_pem(LineEnding::LF).unwrap().as_bytes()).unwrap();
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(RawPublicKey::from_slice(key.verifying_key().to_sec1_point(true).as_bytes()).unwrap())
}

fn sign(key: &SigningKey, message: &[u8]) -> Signature {
    let signature: p256::ecdsa::Signature = key.sign(message);
    Signature(RawSignature(signature.normalize_s().to_bytes().into()))
}
