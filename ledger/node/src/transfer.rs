//! A validator without a state gets one (the shell of `ledger_core::Transfer`). It connects to the others, copies the snapshot of a
//! height beside where its store will be, and moves it there when it is whole and durable: until then the folder is thrown
//! away at every start. Whoever lost its votes too begins a vote log that says so, before anything else can be said.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use ledger_core::{Config, Snapshot, Transfer, TransferEffect, TransferInput, TransferStart};
use ledger_proof::{AwsLc, Epochs};
use schemas::block::{ValidatorSignature, attestation_bytes, quorum};
use schemas::cose::Verifier as _;
use schemas::genesis::Genesis;
use schemas::id::{ChainId, Digest, Height};
use schemas::pbft::{Record, Recovery};
use schemas::proof::EpochProof;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::copier::{Copier, CopierInbox};
use crate::epoch::Seat;
use crate::inbox::Inbox;
use crate::key::ValidatorKey;
use crate::metrics::Metrics;
use crate::node::{Heights, History, Node, Parts};
use crate::peers::{self, Outboxes};
use crate::protocol::now_ms;
use crate::snapshots::Snapshots;
use crate::store::{Copy, Store};
use crate::votelog::{LogError, Mark, VoteLog, file_error};
use crate::{CLOSE_TIMEOUT, NodeConfig, NodeError, bind, dials, epoch, identify, mark_of, nonce, set_of, tls};

/// Between two ticks.
const TICK: Duration = Duration::from_millis(50);
/// Between two words about how it goes.
const SAY: Duration = Duration::from_secs(2);

/// The folders of a validator.
struct Folders {
    votes: PathBuf,
    votes_new: PathBuf,
    blocks: PathBuf,
    blocks_new: PathBuf,
    blocks_old: PathBuf,
}

impl Folders {
    fn of(config: &NodeConfig) -> Self {
        let at = |name: &str| config.data.join(name);
        Self {
            votes: at("votes"),
            votes_new: at("votes.new"),
            blocks: at("blocks"),
            blocks_new: at("blocks.new"),
            blocks_old: at("blocks.old"),
        }
    }
}

/// Brings a validator to where it can start: nothing to do unless it lost its votes, or lacks blocks above its own height `behind`
/// that others do not hold any more.
///
/// # Errors
/// `NodeError` when it must not start, or the copy fails.
pub(crate) async fn prepare(
    config: &NodeConfig,
    behind: Option<Height>,
    stop: &CancellationToken,
) -> Result<(), NodeError> {
    let folders = Folders::of(config);
    for leftover in [&folders.votes_new, &folders.blocks_new, &folders.blocks_old] {
        remove(leftover)?;
    }
    // without the store that its dropped votes are final in, a log does not know all that was said
    let has_log = VoteLog::exists(&folders.votes)?;
    let is_alone = has_log
        && !Store::exists(&folders.blocks)
        && (VoteLog::has_dropped(&folders.votes)? || is_of_later_epoch(config)?);
    let has_votes = has_log && !is_alone;
    let mark = mark_of(config);
    let has_voted = mark.exists() || Store::exists(&folders.blocks) || is_alone;
    if has_votes && behind.is_none() {
        return Ok(());
    }
    let (genesis, key) = identify(config)?;
    let ((epochs, _), chain) = (epoch::known(config, &genesis)?, genesis.chain_id());
    // one that comes with a later epoch begins with the state of that one
    let is_new = !has_votes && !has_voted;
    if is_new && epochs.newest().epoch() == 0 {
        return Ok(());
    }
    let n = epoch::newest_seat(&epochs, &key.public())?.members.len();
    if !has_votes && n - 1 < quorum(n) {
        let (path, mark) = (folders.votes.display().to_string(), mark.display().to_string());
        return Err(LogError::Forgotten { path, mark }.into());
    }
    // what a backup holds is history that others may have pruned; the rest comes as blocks
    let mut height = 0;
    if behind.is_some() || !Store::exists(&folders.blocks) {
        warn!("this validator copies the state from the others");
        let Some(copied) = copy(config, &folders, behind.unwrap_or(0), stop).await? else { return Ok(()) };
        height = copied;
    }
    if is_new {
        // it has said nothing in any epoch behind the first
        begin_votes(&folders, &chain, &mark, height, Recovery { epoch: 0, until: 0, above: 0 })?;
    } else if !has_votes {
        warn!("this validator lost its votes: it follows in silence until nothing that it may have said can matter");
        begin_votes(&folders, &chain, &mark, height, Recovery::unknown())?;
    }
    if Store::exists(&folders.blocks_new) {
        swap(&folders)?;
    }
    Ok(())
}

/// Whether a later epoch than the genesis' is known: a store that begins with the genesis would fit no vote.
fn is_of_later_epoch(config: &NodeConfig) -> Result<bool, NodeError> {
    let (genesis, _) = identify(config)?;
    Ok(epoch::known(config, &genesis)?.0.newest().epoch() > 0)
}

/// A vote log whose first record says what others may be missing: whole or not at all.
fn begin_votes(
    folders: &Folders,
    chain: &ChainId,
    mark: &Path,
    height: Height,
    recovery: Recovery,
) -> Result<(), NodeError> {
    let lost = Mark::read(mark)?.unwrap_or_default();
    VoteLog::begin(&folders.votes_new, chain, &lost, &Record::Recovering(height + 1, recovery))?;
    remove(&folders.votes)?;
    rename(&folders.votes_new, &folders.votes)
}

/// The copy takes the store's place. A crash in between leaves a validator without a store: it copies again, in silence if its log has
/// dropped votes.
fn swap(folders: &Folders) -> Result<(), NodeError> {
    if folders.blocks.exists() {
        rename(&folders.blocks, &folders.blocks_old)?;
    }
    rename(&folders.blocks_new, &folders.blocks)?;
    remove(&folders.blocks_old)
}

fn rename(from: &Path, to: &Path) -> Result<(), NodeError> {
    std::fs::rename(from, to).map_err(file_error(from))?;
    let folder = to.parent().unwrap_or(Path::new("."));
    Ok(std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(file_error(folder))?)
}

fn remove(path: &Path) -> Result<(), NodeError> {
    match std::fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(file_error(path)(cause).into()),
        _ => Ok(()),
    }
}

/// Copies the state of a height not below `above`; the height of the copy, 0 when others have nothing but the genesis. `None` when told to stop.
async fn copy(
    config: &NodeConfig,
    folders: &Folders,
    above: Height,
    stop: &CancellationToken,
) -> Result<Option<Height>, NodeError> {
    let stop = stop.child_token();
    let _guard = stop.clone().drop_guard();
    let (genesis, key) = identify(config)?;
    let (epochs, proofs) = epoch::known(config, &genesis)?;
    let seat = epoch::newest_seat(&epochs, &key.public())?;
    let listener = bind(&config.listen).await?;
    std::fs::create_dir_all(&config.data).map_err(file_error(&config.data))?;
    let store = Arc::new(Store::begin_copy(&folders.blocks_new, config.store_bytes)?);
    let (inputs, inbox) = Copier::new(seat.members.len());
    let peer_tls = tls::server(&key, seat.keys().collect())?;
    let dials = dials(config, &seat, &key)?;
    let key = Arc::new(key);
    let node = Arc::new(listening(config, genesis, seat, key, Arc::clone(&store), inputs, stop.clone())?);
    tokio::spawn(peers::listen(Arc::clone(&node), listener, peer_tls, stop.clone()));
    for (peer, address, tls) in dials {
        tokio::spawn(peers::dial(Arc::clone(&node), peer, address, tls, stop.clone()));
    }
    let copying = tokio::task::spawn_blocking(move || copy_pieces(&node, above, &epochs, &proofs, &inbox)).await;
    let copied = copying.map_err(|_| NodeError::Ended("state transfer"))??;
    stop.cancel();
    let closed = tokio::time::Instant::now() + CLOSE_TIMEOUT;
    while Arc::strong_count(&store) > 1 && tokio::time::Instant::now() < closed {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let store = Arc::into_inner(store).ok_or(NodeError::Ended("state transfer"))?;
    drop(store);
    if copied == Some(0) {
        remove(&folders.blocks_new)?;
    }
    Ok(copied)
}

/// A node that only listens for what is copied.
fn listening(
    config: &NodeConfig,
    genesis: Genesis,
    seat: Seat,
    key: Arc<ValidatorKey>,
    store: Arc<Store>,
    transfer: Copier,
    stop: CancellationToken,
) -> Result<Node, NodeError> {
    let chain = genesis.chain_id();
    let validators = set_of(&seat, chain);
    let Seat { epoch, members, me, base, .. } = seat;
    let history = History::of(config);
    let config = Config { chain, epoch, validators: members.len(), me, base };
    let (inputs, _) = Inbox::new(0);
    Ok(Node::new(Parts {
        outboxes: Outboxes::new(me, members.len(), 0),
        guests: vec![],
        genesis,
        validators,
        config,
        store,
        key,
        history,
        snapshots: Snapshots::new().0,
        transfer: Some(transfer),
        metrics: Metrics::new()?,
        heights: Heights::default(),
        waiting_max: 0,
        stop,
        inputs,
    }))
}

/// Runs the machine until all pieces are here, then makes a store out of them.
fn copy_pieces(
    node: &Node,
    above: Height,
    epochs: &Epochs,
    proofs: &[EpochProof],
    inbox: &CopierInbox,
) -> Result<Option<Height>, NodeError> {
    let is_final =
        |height: Height, header: &Digest, by: &[ValidatorSignature]| is_final(node, epochs, height, header, by);
    let start = TransferStart { config: node.config.clone(), nonce: nonce()?, now: now_ms(), above };
    let (mut transfer, mut said) = (Transfer::start(start), Instant::now());
    while !node.stop.is_cancelled() {
        let mut effects = match inbox.next(TICK) {
            Ok(input) => transfer.step(input, &is_final),
            Err(RecvTimeoutError::Timeout) => vec![],
            Err(RecvTimeoutError::Disconnected) => return Err(NodeError::Ended("state transfer")),
        };
        effects.extend(transfer.step(TransferInput::Tick(now_ms()), &is_final));
        for effect in effects {
            match effect {
                TransferEffect::Send(to, message) => node.outboxes.send(Some(to), &message),
                TransferEffect::Begin => node.store.clear_copy()?,
                TransferEffect::KeepRows(rows) => node.store.copy_rows(&rows)?,
                TransferEffect::KeepEntries(number, entries) => node.store.copy_entries(number, &entries)?,
                TransferEffect::Lied(peer, lie) => warn!(peer, error = %lie, "a validator lied about the state"),
                TransferEffect::Done(snapshot) => return finish(node, proofs, snapshot).map(Some),
            }
        }
        if said.elapsed() >= SAY {
            let (offers, left, all) = transfer.progress();
            info!(offers, left, all, "the state is being copied");
            if let Some(epoch) = transfer.epoch_ahead() {
                let known = node.config.epoch;
                warn!(
                    epoch,
                    known, "the others are in a later epoch: copy a KEY.epochs.json of one of them beside this key"
                );
            }
            said = Instant::now();
        }
    }
    Ok(None)
}

/// Whether q validators of the height's epoch attest its header.
fn is_final(node: &Node, epochs: &Epochs, height: Height, header: &Digest, by: &[ValidatorSignature]) -> bool {
    let set = epochs.at(height);
    let bytes = attestation_bytes(&node.chain, set.epoch(), height, header);
    let is_signed = |by: &ValidatorSignature| {
        set.keys().get(usize::from(by.validator)).is_some_and(|key| AwsLc.verify(key, &bytes, &by.signature))
    };
    by.len() >= set.quorum() && by.is_sorted_by(|a, b| a.validator < b.validator) && by.iter().all(is_signed)
}

fn finish(node: &Node, proofs: &[EpochProof], snapshot: Option<Box<Snapshot>>) -> Result<Height, NodeError> {
    let Some(snapshot) = snapshot else { return Ok(0) };
    // whoever asks this validator needs them too
    proofs.iter().try_for_each(|proof| node.store.keep_epoch_proof(proof))?;
    let Snapshot { header, attestations, before } = *snapshot;
    let height = header.height;
    node.store.finish_copy(&node.chain, &Copy { header, attestations, before })?;
    info!(height, "the state is copied");
    Ok(height)
}
