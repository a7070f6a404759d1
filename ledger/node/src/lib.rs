//! One validator: tokio, RocksDB and mutual TLS around the pure protocol. It performs the core's effects in order, keeps the
//! vote log and the block store, and serves the RPC. It never sends what is not durable, and ends at the first failed sync.

mod config;
mod error;
mod evidence;
mod execute;
mod handshake;
pub mod key;
mod metrics;
mod node;
mod operators;
mod peers;
mod protocol;
mod rpc;
mod store;
mod tls;
mod verify;
mod votelog;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use ledger_core::{Config, Replica, Start};
use schemas::block::ValidatorIndex;
use schemas::genesis::Genesis;
use schemas::id::PublicKey;
use schemas::limits;
use schemas::view::Checkpoint;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use config::{NodeConfig, PeerConfig};
pub use error::NodeError;
pub use store::StoreError;
pub use votelog::LogError;

use crate::key::ValidatorKey;
use crate::metrics::Metrics;
use crate::node::{Heights, Node, Parts};
use crate::peers::Outboxes;
use crate::protocol::Protocol;
use crate::rpc::RpcListener;
use crate::store::Store;
use crate::votelog::VoteLog;

/// Longest wait for open connections at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a validator until `shutdown` is cancelled.
///
/// # Errors
/// `NodeError` when it cannot start, or when log, store or agreement fail: then the process must end.
pub async fn run(config: NodeConfig, shutdown: CancellationToken) -> Result<(), NodeError> {
    // whatever ends this future ends all its tasks
    let stop = shutdown.child_token();
    let _guard = stop.clone().drop_guard();
    let (genesis, key, me) = identify(&config)?;
    let addresses = peer_addresses(&config, &genesis, me)?;
    let (peers, rpc) = (bind(&config.listen).await?, bind(&config.rpc).await?);
    let operators = match &config.operators {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let stopping = stop.clone();
    let opened = tokio::task::spawn_blocking(move || Opened::open(&config, genesis, key, me, stopping)).await;
    let Opened { node, protocol, effects, peer_tls, rpc_tls, dial_tls } =
        opened.map_err(|_| NodeError::Ended("start"))??;
    info!(validator = me, height = node.heights.borrow().executed, "the validator starts");

    let (failed, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("pbft".to_owned());
    let looping = thread
        .spawn(move || drop(failed.send(protocol.run(effects))))
        .map_err(|_| NodeError::Ended("protocol loop"))?;
    tokio::spawn(peers::listen(Arc::clone(&node), peers, peer_tls, stop.clone()));
    for ((peer, address), tls) in addresses.into_iter().zip(dial_tls) {
        tokio::spawn(peers::dial(Arc::clone(&node), peer, address, tls, stop.clone()));
    }
    if let Some(listener) = operators {
        tokio::spawn(operators::serve(listener, operators::router(Arc::clone(&node)), stop.clone()));
    }
    let listener = RpcListener::start(rpc, rpc_tls);
    let serving = tokio::spawn(rpc::serve(listener, rpc::router(Arc::clone(&node)), stop.clone()));

    tokio::select! {
        () = shutdown.cancelled() => {}
        result = ended => return result.unwrap_or(Err(NodeError::Ended("protocol loop"))),
    }
    stop.cancel();
    let joined = tokio::task::spawn_blocking(move || looping.join()).await;
    // open connections may hold the store a little longer
    drop(tokio::time::timeout(CLOSE_TIMEOUT, serving).await);
    let closed = tokio::time::Instant::now() + CLOSE_TIMEOUT;
    while Arc::strong_count(&node) > 1 && tokio::time::Instant::now() < closed {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    if matches!(joined, Ok(Ok(()))) { Ok(()) } else { Err(NodeError::Ended("protocol loop")) }
}

/// What opening the log and the store gives.
struct Opened {
    node: Arc<Node>,
    protocol: Protocol,
    effects: Vec<ledger_core::Effect>,
    peer_tls: Arc<rustls::ServerConfig>,
    rpc_tls: Arc<rustls::ServerConfig>,
    dial_tls: Vec<Arc<rustls::ClientConfig>>,
}

impl Opened {
    fn open(
        config: &NodeConfig,
        genesis: Genesis,
        key: ValidatorKey,
        me: ValidatorIndex,
        stop: CancellationToken,
    ) -> Result<Self, NodeError> {
        let (chain, waiting_max) = (genesis.chain_id(), config.mempool_transactions);
        let (log_folder, store_folder) = (config.data.join("votes"), config.data.join("blocks"));
        let mark = config.key.with_extension("started");
        // looked at before anything is made: a new log beside an old store or key would let this validator contradict itself
        if !VoteLog::exists(&log_folder)? {
            let path = log_folder.display().to_string();
            if Store::exists(&store_folder) {
                return Err(LogError::Missing { path }.into());
            }
            if mark.exists() {
                return Err(LogError::Forgotten { path, mark: mark.display().to_string() }.into());
            }
        }
        let (log, records) = VoteLog::open(&log_folder)?;
        leave_mark(&mark)?;
        let changes = ledger_contract::genesis_changes(&genesis);
        let store = Arc::new(Store::open(&store_folder, config.store_bytes, &chain, &changes)?);
        let tip = store.tip()?;
        let (executed, tree, case_history) = (tip.height(), store.tree(&tip)?, config.case_history_blocks);
        let unattested = store.unattested(executed)?;
        let certified = executed - unattested.len() as u64;
        let validators = genesis.validators.len();
        let config = Config { chain, epoch: 0, validators, me, base: Checkpoint::genesis(&chain) };
        let checkpoint = store.checkpoint(certified, &chain)?;
        let now = protocol::now_ms();
        let start = Start {
            config: config.clone(),
            executed,
            unattested,
            checkpoint,
            seal: None,
            records,
            now,
            nonce: nonce()?,
        };
        let (replica, effects) = Replica::start(start, &key)?;

        let keys: BTreeSet<PublicKey> = genesis.validator_keys().into_iter().collect();
        let transports = genesis.institutions.iter().flat_map(|i| i.register.transports.iter().copied());
        let peer_tls = tls::server(&key, keys.clone())?;
        let rpc_tls = tls::server(&key, keys.into_iter().chain(transports).collect())?;
        let others = (0..).zip(genesis.validator_keys()).filter(|&(index, _)| index != me);
        let dial_tls = others.map(|(_, expected)| tls::client(&key, expected)).collect::<Result<_, _>>()?;
        let key = Arc::new(key);
        let (inputs, inbox) = sync_channel(limits::LOOP_QUEUE_MAX);
        let node = Arc::new(Node::new(Parts {
            outboxes: Outboxes::new(me, validators),
            genesis,
            config,
            store,
            key: Arc::clone(&key),
            case_history,
            metrics: Metrics::new()?,
            heights: Heights { executed, certified },
            waiting_max,
            stop,
            inputs,
        }));
        let protocol = Protocol::new(Arc::clone(&node), replica, key, tree, log, inbox, tip.hash(&chain));
        Ok(Self { node, protocol, effects, peer_tls, rpc_tls, dial_tls })
    }
}

/// A number that no earlier life of this validator has used.
fn nonce() -> Result<u64, NodeError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| key::KeyError::Randomness)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Leaves a mark beside the key, behind the log and before the first vote: who has the one and not the other lost its disk.
fn leave_mark(mark: &Path) -> Result<(), LogError> {
    match std::fs::File::create_new(mark).and_then(|file| file.sync_all()) {
        Ok(()) => {
            let folder = mark.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(votelog::file_error(folder))
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(votelog::file_error(mark)(cause)),
    }
}

/// Who this validator is: genesis, key and name must fit.
fn identify(config: &NodeConfig) -> Result<(Genesis, ValidatorKey, ValidatorIndex), NodeError> {
    let place = config.genesis.display().to_string();
    let wrong = |message: String| NodeError::Config { place: place.clone(), message };
    let text = std::fs::read_to_string(&config.genesis).map_err(|e| wrong(e.to_string()))?;
    let genesis = Genesis::parse(&text)?;
    ledger_proof::verify_genesis(&genesis).map_err(NodeError::Possession)?;
    let n = genesis.validators.len();
    if n < 4 && !config.development {
        return Err(wrong(format!("found {n} validators, expected at least 4, or `development = true`")));
    }
    let key = key::open(&config.key)?;
    let position = genesis.validators.iter().position(|v| v.name == config.name);
    let named = position.and_then(|index| genesis.validators.get(index));
    let me = position.and_then(|index| ValidatorIndex::try_from(index).ok());
    match (named, me) {
        (Some(named), Some(me)) if named.key == key.public() => Ok((genesis, key, me)),
        (Some(_), Some(_)) => Err(wrong(format!("validator {}: found another key than in the key file", config.name))),
        _ => Err(wrong(format!("found no validator {}, expected the configuration's name", config.name))),
    }
}

/// The addresses of all other validators in order of index.
fn peer_addresses(
    config: &NodeConfig,
    genesis: &Genesis,
    me: ValidatorIndex,
) -> Result<Vec<(ValidatorIndex, String)>, NodeError> {
    let wrong = |message: String| NodeError::Config { place: "peers".to_owned(), message };
    let mut out = Vec::new();
    for (index, validator) in (0..).zip(&genesis.validators).filter(|&(index, _)| index != me) {
        let mut found = config.peers.iter().filter(|peer| peer.name == validator.name);
        match (found.next(), found.next()) {
            (Some(peer), None) => out.push((index, peer.address.clone())),
            (None, _) => return Err(wrong(format!("found no address of validator {}", validator.name))),
            (Some(_), Some(_)) => return Err(wrong(format!("found validator {} twice", validator.name))),
        }
    }
    if config.peers.len() != out.len() {
        return Err(wrong("found a name that is no other validator of the genesis".to_owned()));
    }
    Ok(out)
}

async fn bind(address: &str) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|cause| listen_error(address, cause))
}

fn listen_error(address: &str, cause: std::io::Error) -> NodeError {
    NodeError::Listen { address: address.to_owned(), cause }
}
