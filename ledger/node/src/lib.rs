//! One validator: tokio, RocksDB and mutual TLS around the pure protocol. It performs the core's effects in order, keeps the
//! vote log and the block store, and serves the RPC. It never sends what is not durable, and ends at the first failed sync.

mod admitted;
mod allowance;
mod backup;
mod behind;
mod config;
mod confirm;
mod copier;
mod epoch;
mod error;
mod evidence;
mod execute;
mod floor;
mod handshake;
mod inbox;
pub mod key;
mod lock;
mod metrics;
mod node;
mod operators;
mod peers;
mod protocol;
mod refusals;
mod rpc;
mod snapshots;
mod store;
mod tls;
mod transfer;
mod verify;
mod votelog;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use ledger_core::{Config, Replica, Request, Start};
use ledger_proof::{AwsLc, ValidatorSet};
use schemas::block::ValidatorIndex;
use schemas::genesis::Genesis;
use schemas::id::{ChainId, Height};
use schemas::state::EpochRecord;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use backup::{Backup, BackupFile, backup, restore};
pub use config::{NodeConfig, PeerConfig};
pub use epoch::keep_proofs;
pub use error::NodeError;
pub use floor::SyncedWriter;
pub use store::StoreError;
pub use votelog::LogError;

use crate::confirm::Confirming;
use crate::epoch::Seat;
use crate::inbox::Inbox;
use crate::key::ValidatorKey;
use crate::lock::DataLock;
use crate::metrics::Metrics;
use crate::node::{Heights, History, Node, Parts};
use crate::peers::Outboxes;
use crate::protocol::Protocol;
use crate::rpc::RpcListener;
use crate::snapshots::{Question, Snapshots};
use crate::store::Store;
use crate::votelog::VoteLog;

/// Longest wait for open connections at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs a validator until `shutdown` is cancelled, from epoch to epoch.
///
/// # Errors
/// `NodeError` when it cannot start, or when log, store or agreement fail: then the process must end.
pub async fn run(config: NodeConfig, shutdown: CancellationToken) -> Result<(), NodeError> {
    let _lock = DataLock::take(&config.data)?;
    let (mut behind, mut over) = (None, Over::default());
    loop {
        if over.store.is_none() {
            transfer::prepare(&config, behind.take(), &shutdown).await?;
        }
        if shutdown.is_cancelled() {
            return Ok(());
        }
        match validate(config.clone(), std::mem::take(&mut over), &shutdown).await? {
            Outcome::Stopped => return Ok(()),
            Outcome::Behind(height) => {
                warn!(height, "the others hold no blocks any more that follow");
                behind = Some(height);
            }
            Outcome::Sealed(next) => over = next,
        }
    }
}

/// What goes over from one epoch to the next.
#[derive(Default)]
struct Over {
    store: Option<Arc<Store>>,
    waiting: Vec<Request>,
}

/// How a validator's life in an epoch ends.
enum Outcome {
    Stopped,
    /// Others hold no blocks above this height that it could follow with.
    Behind(Height),
    /// The epoch is over.
    Sealed(Over),
}

/// What ended the wait.
enum Woken {
    Stopped,
    Behind,
    Looped(Result<Option<Vec<Request>>, NodeError>),
}

/// Runs from what lies on the disk, until the epoch ends.
async fn validate(config: NodeConfig, over: Over, shutdown: &CancellationToken) -> Result<Outcome, NodeError> {
    // whatever ends this future ends all its tasks
    let stop = shutdown.child_token();
    let _guard = stop.clone().drop_guard();
    let (genesis, key) = identify(&config)?;
    let (peers, rpc) = (bind(&config.listen).await?, bind(&config.rpc).await?);
    let operators = match &config.operators {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let (stopping, data) = (stop.clone(), config.data.clone());
    let opened = tokio::task::spawn_blocking(move || Opened::open(&config, genesis, key, over, stopping)).await;
    let Opened { node, protocol, effects, questions, peer_tls, rpc_tls, dials } =
        opened.map_err(|_| NodeError::Ended("start"))??;
    let (epoch, height) = (node.config.epoch, node.heights.borrow().executed);
    info!(validator = node.me, epoch, height, "the validator starts");

    let (failed, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("pbft".to_owned());
    let looping = thread
        .spawn(move || drop(failed.send(protocol.run(effects))))
        .map_err(|_| NodeError::Ended("protocol loop"))?;
    let answering = Arc::clone(&node);
    let thread = std::thread::Builder::new().name("snapshots".to_owned());
    let snapshots = thread.spawn(move || {
        if let Err(e) = snapshots::serve(&answering, &questions, &data) {
            error!(error = %e, "no snapshots for others any more: the store cannot be read");
        }
    });
    drop(snapshots.map_err(|_| NodeError::Ended("snapshots"))?);
    let mut tasks = vec![tokio::spawn(peers::listen(Arc::clone(&node), peers, peer_tls, stop.clone()))];
    for (peer, address, tls) in dials {
        tasks.push(tokio::spawn(peers::dial(Arc::clone(&node), peer, address, tls, stop.clone())));
    }
    if let Some(listener) = operators {
        let router = operators::router(Arc::clone(&node));
        tasks.push(tokio::spawn(operators::serve(listener, router, stop.clone())));
    }
    let listener = RpcListener::start(rpc, rpc_tls);
    tasks.push(tokio::spawn(rpc::serve(listener, rpc::router(Arc::clone(&node)), stop.clone())));

    let woken = tokio::select! {
        () = shutdown.cancelled() => Woken::Stopped,
        () = node.behind.known.notified() => Woken::Behind,
        result = ended => Woken::Looped(result.unwrap_or(Err(NodeError::Ended("protocol loop")))),
    };
    let (height, store) = (node.heights.borrow().certified, Arc::clone(&node.store));
    stop.cancel();
    let joined = tokio::task::spawn_blocking(move || looping.join()).await;
    close(tasks, node).await;
    match (woken, joined) {
        (Woken::Looped(Ok(Some(waiting))), Ok(Ok(()))) => Ok(Outcome::Sealed(Over { store: Some(store), waiting })),
        (Woken::Looped(Err(e)), _) => Err(e),
        (Woken::Stopped, Ok(Ok(()))) => Ok(Outcome::Stopped),
        (Woken::Behind, Ok(Ok(()))) => Ok(Outcome::Behind(height)),
        _ => Err(NodeError::Ended("protocol loop")),
    }
}

/// Waits until nothing listens and nobody reads any more; what takes too long is cut off.
async fn close(tasks: Vec<JoinHandle<()>>, node: Arc<Node>) {
    let until = tokio::time::Instant::now() + CLOSE_TIMEOUT;
    for mut task in tasks {
        if tokio::time::timeout_at(until, &mut task).await.is_err() {
            task.abort();
            drop(task.await);
        }
    }
    while Arc::strong_count(&node) > 1 && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What opening the log and the store gives.
struct Opened {
    node: Arc<Node>,
    protocol: Protocol,
    effects: Vec<ledger_core::Effect>,
    questions: Receiver<Question>,
    peer_tls: Arc<rustls::ServerConfig>,
    rpc_tls: Arc<rustls::ServerConfig>,
    dials: Vec<(ValidatorIndex, String, Arc<rustls::ClientConfig>)>,
}

impl Opened {
    fn open(
        config: &NodeConfig,
        genesis: Genesis,
        key: ValidatorKey,
        over: Over,
        stop: CancellationToken,
    ) -> Result<Self, NodeError> {
        let (chain, waiting_max) = (genesis.chain_id(), config.mempool_transactions);
        let (log_folder, store_folder) = (config.data.join("votes"), config.data.join("blocks"));
        let (mark, confirming) = (mark_of(config), Confirming::of(config));
        // `transfer::prepare` came before: a new log beside an old store or key would let this validator contradict itself
        assert!(
            VoteLog::exists(&log_folder)? || !(mark.exists() || Store::exists(&store_folder)),
            "whoever has voted has a log"
        );
        let (log, records) = VoteLog::open(&log_folder, &chain, &mark)?;
        let changes = ledger_contract::genesis_changes(&genesis);
        let store = match over.store {
            Some(store) => store,
            None => Arc::new(Store::open(&store_folder, config.store_bytes, &chain, &changes)?),
        };
        let tip = store.tip()?;
        let (executed, tree) = (tip.height(), store.tree(&tip)?);
        let history = History::of(config);
        let unattested = store.unattested(executed)?;
        let certified = executed - unattested.len() as u64;
        let seat = Seat::of_store(&store, &chain, certified, &key.public())?;
        epoch::keep(config, &store, seat.epoch, certified)?;
        let dials = dials(config, &seat, &key)?;
        let (peer_keys, validators) = (seat.keys().collect::<BTreeSet<_>>(), set_of(&seat, chain));
        let Seat { epoch, members, me, guests, base, seal } = seat;
        let is_base = certified == base.height;
        let checkpoint = if is_base { base.clone() } else { store.checkpoint(certified, &chain)? };
        let config = Config { chain, epoch, validators: members.len(), me, base };
        let now = protocol::now_ms();
        let start =
            Start { config: config.clone(), executed, unattested, checkpoint, seal, records, now, nonce: nonce()? };
        let (replica, effects) = Replica::start(start, &key)?;

        let transports = genesis.institutions.iter().flat_map(|i| i.register.transports.iter().copied());
        let peer_tls = tls::server(&key, peer_keys.clone())?;
        let rpc_tls = tls::server(&key, peer_keys.into_iter().chain(transports).collect())?;
        let key = Arc::new(key);
        let (inputs, inbox) = Inbox::new(members.len() + guests.len());
        let (snapshots, questions) = Snapshots::new();
        let node = Arc::new(Node::new(Parts {
            outboxes: Outboxes::new(me, members.len(), guests.len()),
            guests: guests.into_iter().map(|guest| guest.key).collect(),
            genesis,
            validators,
            config,
            store,
            key: Arc::clone(&key),
            history,
            snapshots,
            transfer: None,
            metrics: Metrics::new()?,
            heights: Heights { executed, certified },
            waiting_max,
            stop,
            inputs,
        }));
        node.seal.store(seal.unwrap_or(Height::MAX), Ordering::Relaxed);
        let mut protocol = Protocol::new(Arc::clone(&node), replica, key, tree, log, inbox, tip.hash(&chain));
        protocol.waiting = over.waiting;
        protocol.confirming = confirming;
        Ok(Self { node, protocol, effects, questions, peer_tls, rpc_tls, dials })
    }
}

/// A number that no earlier life of this validator has used.
fn nonce() -> Result<u64, NodeError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| key::KeyError::Randomness)?;
    Ok(u64::from_be_bytes(bytes))
}

/// The mark beside the key, left behind the log and before the first vote: who has the one and not the other lost its disk.
fn mark_of(config: &NodeConfig) -> PathBuf {
    config.key.with_extension("started")
}

/// The genesis and the key; who it is among whom says the epoch.
fn identify(config: &NodeConfig) -> Result<(Genesis, ValidatorKey), NodeError> {
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
    // a name of the genesis with another key is a mix-up, unless a later epoch gave it that key
    let named = genesis.validators.iter().find(|validator| validator.name == config.name);
    let (epochs, _) = epoch::known(config, &genesis)?;
    match named {
        Some(named)
            if named.key != key.public()
                && epochs.newest().epoch() == 0
                && !Store::exists(&config.data.join("blocks")) =>
        {
            Err(wrong(format!("validator {}: found another key than in the key file", config.name)))
        }
        None if epochs.newest().epoch() == 0 && !Store::exists(&config.data.join("blocks")) => Err(wrong(format!(
            "found no validator {}, expected the configuration's name; a newcomer starts with what `chartseal ledger confirm` \
                 wrote beside its key",
            config.name
        ))),
        _ => Ok((genesis, key)),
    }
}

/// The validators of a seat's epoch.
fn set_of(seat: &Seat, chain: ChainId) -> ValidatorSet {
    let (epoch, first, members) = (seat.epoch, seat.base.height + 1, seat.members.clone());
    let set = ValidatorSet::of_epoch(chain, &EpochRecord { epoch, first, members, decided_at: 0 }, &AwsLc);
    seat.seal.map_or(set.clone(), |seal| set.until(seal))
}

/// Whom to dial, and whom to expect there.
fn dials(
    config: &NodeConfig,
    seat: &Seat,
    key: &ValidatorKey,
) -> Result<Vec<(ValidatorIndex, String, Arc<rustls::ClientConfig>)>, NodeError> {
    let dial = |(index, address): (ValidatorIndex, String)| {
        let expected = seat.keys().nth(usize::from(index));
        let expected = expected.ok_or(NodeError::Ended("list of validators"))?;
        Ok((index, address, tls::client(key, expected)?))
    };
    seat.addresses(config)?.into_iter().map(dial).collect()
}

async fn bind(address: &str) -> Result<TcpListener, NodeError> {
    TcpListener::bind(address).await.map_err(|cause| listen_error(address, cause))
}

fn listen_error(address: &str, cause: std::io::Error) -> NodeError {
    NodeError::Listen { address: address.to_owned(), cause }
}
