//! The protocol loop: one thread that takes inputs, asks the pure core, and performs its effects in order. A turn ends with
//! one sync of the vote log; only then frames leave and heights are published. The first failure of log or store ends it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ledger_contract::{StateTree, seal};
use ledger_core::{Effect, Execution, Input, Replica, Request};
use schemas::block::ValidatorIndex;
use schemas::id::{Digest, Height, TimeMs};
use schemas::limits;
use schemas::pbft::{Message, Record};
use tracing::{debug, info, warn};

use crate::NodeError;
use crate::confirm::Confirming;
use crate::evidence::Pending;
use crate::execute::execute;
use crate::inbox::Queued;
use crate::key::ValidatorKey;
use crate::node::{Heights, Node};
use crate::store::StoreError;
use crate::verify::is_known;
use crate::votelog::{PENDING_BYTES_SOFT, VoteLog};

/// Inputs of one turn.
const TURN_INPUTS_MAX: usize = 1024;
/// Between ticks while something is in flight.
const TICK_BUSY: Duration = Duration::from_millis(5);
/// Between ticks of an idle chain.
const TICK_IDLE: Duration = Duration::from_millis(50);
/// Segments of the vote log before the store is flushed and old ones are dropped.
const SEGMENTS_KEPT: usize = 4;

/// The loop's state.
pub(crate) struct Protocol {
    pub node: Arc<Node>,
    pub replica: Replica,
    pub key: Arc<ValidatorKey>,
    /// The state after the newest executed block.
    pub tree: StateTree,
    pub log: VoteLog,
    pub inputs: Receiver<Queued>,
    outbox: Vec<(Option<ValidatorIndex>, Message)>,
    /// Highest height that prepared in this turn, 0 for none.
    unsynced_prepared: Height,
    stable: Height,
    /// Up to where the log was asked to let go.
    dropped: Height,
    flushing: Option<Flushing>,
    /// Hash of the newest executed header.
    tip: Digest,
    /// From the epoch before: handed in at the start.
    pub waiting: Vec<Request>,
    /// With it this validator says that it is there for the next epoch.
    pub confirming: Confirming,
    /// The epoch is over.
    sealed: bool,
    /// The latest time that the clock showed.
    latest: TimeMs,
    /// How far the log was a second ago.
    quiet_at: u64,
    /// Proof that the ledger does not hold, and when it was said last.
    evidence: (Pending, Instant),
}

impl Protocol {
    pub fn new(
        node: Arc<Node>,
        replica: Replica,
        key: Arc<ValidatorKey>,
        tree: StateTree,
        log: VoteLog,
        inputs: Receiver<Queued>,
        tip: Digest,
    ) -> Self {
        let (outbox, flushing) = (vec![], None);
        let (unsynced_prepared, stable, dropped) = (0, 0, 0);
        let evidence = (Pending::default(), Instant::now());
        Self {
            node,
            replica,
            key,
            tree,
            log,
            inputs,
            outbox,
            unsynced_prepared,
            stable,
            dropped,
            flushing,
            tip,
            waiting: vec![],
            confirming: Confirming::default(),
            sealed: false,
            latest: 0,
            quiet_at: 0,
            evidence,
        }
    }

    /// Runs until told to stop, or until the epoch is over: then what waits for the next one.
    ///
    /// # Errors
    /// `NodeError` when log, store or agreement fail: the process must end.
    pub fn run(mut self, start: Vec<Effect>) -> Result<Option<Vec<Request>>, NodeError> {
        self.perform(start)?;
        for request in std::mem::take(&mut self.waiting) {
            self.step(Input::Request(None, request))?;
        }
        self.end_turn()?;
        while !self.node.stop.is_cancelled() && !self.sealed {
            self.turn()?;
        }
        self.flushing = None;
        self.log.mark()?;
        if !self.sealed {
            return Ok(None);
        }
        // the next epoch's votes must never stand in a log beside a store that has not come to it
        self.node.store.flush()?;
        info!(height = self.replica.certified_height(), "the epoch is over");
        Ok(Some(self.replica.end()))
    }

    fn turn(&mut self) -> Result<(), NodeError> {
        let is_idle = self.replica.slots() == 0 && self.replica.waiting().0 == 0;
        match self.inputs.recv_timeout(if is_idle { TICK_IDLE } else { TICK_BUSY }) {
            Ok(queued) => self.step(queued.input)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(NodeError::Ended("way into the loop")),
        }
        for _ in 1..TURN_INPUTS_MAX {
            if self.log.pending() >= PENDING_BYTES_SOFT {
                break;
            }
            let Ok(queued) = self.inputs.try_recv() else { break };
            self.step(queued.input)?;
        }
        self.report()?;
        let now = self.look_at_clock()?;
        self.step(Input::Tick(now))?;
        self.end_turn()
    }

    /// The core's time never goes back: a clock that was ahead and is put right would stop its timers for as long. A new life begins
    /// with the right time.
    fn look_at_clock(&mut self) -> Result<TimeMs, NodeError> {
        let now = now_ms();
        self.latest = self.latest.max(now);
        let back_ms = self.latest - now;
        if back_ms > limits::CLOCK_SKEW_MS_MAX { Err(NodeError::Clock { back_ms }) } else { Ok(now) }
    }

    /// Hands in proof against others, and that it is there for the next epoch, once a second until the ledger holds it.
    fn report(&mut self) -> Result<(), NodeError> {
        let (pending, said) = &mut self.evidence;
        if said.elapsed() < Duration::from_millis(limits::HEAD_INTERVAL_MS) {
            return Ok(());
        }
        *said = Instant::now();
        let groups = self.log.groups();
        if std::mem::replace(&mut self.quiet_at, groups) == groups {
            self.log.mark_quiet()?;
        }
        let (store, chain, height) = (&self.node.store, self.node.chain, self.replica.executed_height());
        let mut requests = pending.requests(store, chain, height)?;
        requests.extend(self.confirming.request(store, chain, height, &self.key)?);
        for request in requests {
            self.step(Input::Request(None, request))?;
        }
        Ok(())
    }

    fn step(&mut self, input: Input) -> Result<(), NodeError> {
        if self.sealed {
            return Ok(());
        }
        // it may have been executed while it waited: it would never be again, and the primary would be blamed
        if let Input::Request(_, request) = &input
            && is_known(&self.node, request)?
        {
            return Ok(());
        }
        let effects = self.replica.step(input, &*self.key);
        self.perform(effects)
    }

    fn perform(&mut self, effects: Vec<Effect>) -> Result<(), NodeError> {
        for effect in effects {
            match effect {
                Effect::Append(record) => {
                    if let Record::Prepared(prepared) = &record {
                        self.unsynced_prepared = self.unsynced_prepared.max(prepared.vote.height);
                    }
                    self.log.append(&record);
                }
                Effect::Broadcast(message) => self.outbox.push((None, message)),
                Effect::Send(to, message) => self.outbox.push((Some(to), message)),
                Effect::Execute(execution) => self.execute(&execution)?,
                Effect::Certify(height, attestations) => self.node.store.attest(height, &attestations)?,
                Effect::Stable(height) => self.stable = height,
                Effect::Sealed(_) => self.sealed = true,
                Effect::Blame(conflict) => {
                    let kind = conflict.kind.name();
                    warn!(peer = conflict.validator, kind, height = conflict.height, "a validator contradicts itself");
                    self.node.metrics.blamed.inc();
                    self.evidence.0.add(*conflict);
                }
                Effect::Halt(divergence) => return Err(divergence.into()),
            }
        }
        Ok(())
    }

    fn execute(&mut self, execution: &Execution) -> Result<(), NodeError> {
        // what the store executed must be in this validator's view changes, also when the power fails now
        if self.unsynced_prepared >= execution.batch.height {
            self.sync()?;
        }
        let (header, accepted) = execute(&self.node, &mut self.tree, execution)?;
        self.node.snapshots.executed(header.height);
        self.tip = header.hash();
        let seal = seal(&*self.node.store, self.node.config.epoch).map_err(StoreError::from)?.map(|seal| seal.at);
        self.node.seal.store(seal.unwrap_or(Height::MAX), Ordering::Relaxed);
        self.step(Input::Executed(header, seal, accepted))
    }

    fn sync(&mut self) -> Result<(), NodeError> {
        self.unsynced_prepared = 0;
        if self.log.pending() > 0 {
            let started = Instant::now();
            self.log.sync()?;
            self.node.metrics.synced(started.elapsed());
        }
        Ok(())
    }

    /// One sync, then everything that it justifies.
    fn end_turn(&mut self) -> Result<(), NodeError> {
        self.sync()?;
        let (executed, certified) = (self.replica.executed_height(), self.replica.certified_height());
        // the head goes first: whoever holds a proof of a height finds no quorum of heads below it
        self.node.tip.send_replace(Some((executed, self.tip, Instant::now())));
        for (to, message) in self.outbox.drain(..) {
            self.node.outboxes.send(to, &message);
        }
        let heights = Heights { executed, certified };
        self.node.heights.send_if_modified(|published| std::mem::replace(published, heights) != heights);
        let (waiting, bytes) = self.replica.waiting();
        self.node.waiting.store(waiting, Ordering::Relaxed);
        self.node.waiting_bytes.store(bytes, Ordering::Relaxed);
        let (waiting, bytes) = self.replica.waiting_of_clients();
        self.node.clients_waiting.store(waiting, Ordering::Relaxed);
        self.node.clients_waiting_bytes.store(bytes, Ordering::Relaxed);
        let view = self.replica.view();
        self.node.complete.send_replace(self.replica.complete());
        if self.node.view.swap(view, Ordering::Relaxed) != view {
            info!(view, changing = self.replica.is_changing(), "another view");
        }
        self.node.changing.store(self.replica.is_changing(), Ordering::Relaxed);
        self.node.silent.store(self.replica.is_silent(), Ordering::Relaxed);
        self.flush()
    }

    /// Makes the store durable beside the loop when the vote log has grown; then the log lets its old segments go.
    fn flush(&mut self) -> Result<(), NodeError> {
        if let Some(flushing) = self.flushing.take_if(|flushing| flushing.is_finished()) {
            let height = flushing.join()?;
            self.log.drop_up_to(height)?;
        }
        if self.flushing.is_some() || self.log.segments() <= SEGMENTS_KEPT || self.stable == self.dropped {
            return Ok(());
        }
        let (store, height) = (Arc::clone(&self.node.store), self.stable);
        self.dropped = height;
        debug!(height, "flushing the block store");
        let forget_below = |history: Option<u64>| history.map_or(0, |blocks| height.saturating_sub(blocks));
        let (cases, bodies) = (forget_below(self.node.history.cases), forget_below(self.node.history.bodies));
        self.flushing = Some(Flushing(Some(std::thread::spawn(move || {
            store.forget_cases(cases)?;
            store.forget_bodies(bodies)?;
            store.forget_entries(height)?;
            store.flush().map(|()| height)
        }))));
        Ok(())
    }
}

/// A flush beside the loop. Whoever lets go of it waits for it, also after an error: a process that ends while RocksDB works on
/// another thread is aborted, and says nothing of why it ended.
struct Flushing(Option<JoinHandle<Result<Height, StoreError>>>);

impl Flushing {
    fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Up to which height everything is durable.
    fn join(mut self) -> Result<Height, NodeError> {
        let ended = NodeError::Ended("flush of the block store");
        let Some(thread) = self.0.take() else { return Err(ended) };
        Ok(thread.join().map_err(|_| ended)??)
    }
}

impl Drop for Flushing {
    fn drop(&mut self) {
        drop(self.0.take().map(JoinHandle::join));
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> TimeMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(TimeMs::MAX))
}
