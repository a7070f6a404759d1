//! Snapshots for validators that copy the state, and for backups: of the height that one asks for, taken between two blocks, kept while somebody asks for
//! pieces. One thread makes all answers, one after the other, so that copying never takes more than its share. Each peer
//! has one snapshot and a few open questions; the loop waits for no more than one answer, and once a second at most, however
//! many ask.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemas::block::ValidatorIndex;
use schemas::id::Height;
use schemas::limits;
use schemas::pbft::Message;
use schemas::transfer::{Asked, Content, Manifest, Piece, Told};
use tracing::{info, warn};

use crate::backup;
use crate::node::Node;
use crate::store::{StoreError, View};

/// Between two looks at what waits.
const LOOK: Duration = Duration::from_millis(50);
/// The loop waits no longer than this for its snapshot; the peer asks again.
const FREEZE_MAX: Duration = Duration::from_millis(200);
const IDLE: Duration = Duration::from_millis(limits::TRANSFER_VIEW_IDLE_MS);
const AGE: Duration = Duration::from_millis(limits::TRANSFER_VIEW_MS_MAX);
/// Between two times that the loop stands.
const FREEZE_AGAIN: Duration = Duration::from_millis(limits::TRANSFER_FREEZE_AGAIN_MS);
const AGAIN: Duration = Duration::from_millis(limits::TRANSFER_VIEW_AGAIN_MS);

/// The way to the thread that answers.
pub(crate) struct Snapshots {
    questions: SyncSender<Question>,
    open: Mutex<BTreeMap<ValidatorIndex, usize>>,
    /// Heights whose snapshot somebody waits for.
    wanted: Mutex<BTreeSet<Height>>,
    /// The loop stands between two blocks until this is told.
    freeze: Mutex<Option<SyncSender<()>>>,
    /// When the loop stood last.
    stood: Mutex<Option<Instant>>,
}

/// What the thread is asked.
pub(crate) enum Question {
    Piece(ValidatorIndex, Asked),
    /// Look at what the loop wants.
    Look,
}

impl Snapshots {
    pub fn new() -> (Self, Receiver<Question>) {
        let (questions, inbox) = sync_channel(limits::TRANSFER_QUEUE_MAX);
        let (open, wanted, freeze, stood) = (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        (Self { questions, open, wanted, freeze, stood }, inbox)
    }

    /// Takes a peer's question, if it has not too many open ones: it asks again.
    pub fn ask(&self, from: ValidatorIndex, asked: Asked) {
        let mut open = lock(&self.open);
        let count = open.entry(from).or_default();
        if *count < limits::TRANSFER_PIECES_PER_PEER_MAX
            && self.questions.try_send(Question::Piece(from, asked)).is_ok()
        {
            *count += 1;
        }
    }

    /// Takes a snapshot of a height that was just executed, if somebody waits for it. To be called before anything else is
    /// executed.
    pub fn executed(&self, height: Height) {
        let is_wanted = {
            let mut wanted = lock(&self.wanted);
            let is_wanted = wanted.contains(&height);
            wanted.retain(|&other| other > height);
            is_wanted
        };
        // who finds it gone asks for another height
        if !is_wanted || !self.may_stand(Instant::now()) {
            return;
        }
        let (taken, waits) = sync_channel(1);
        *lock(&self.freeze) = Some(taken);
        // a full queue is looked at all the same
        drop(self.questions.try_send(Question::Look));
        if waits.recv_timeout(FREEZE_MAX).is_err() {
            *lock(&self.freeze) = None;
            warn!(height, "no snapshot in time; whoever wants one asks for another height");
        }
    }

    /// Whether the loop may stand now; then it may not for a while.
    fn may_stand(&self, now: Instant) -> bool {
        let mut stood = lock(&self.stood);
        let may = stood.is_none_or(|at| now.saturating_duration_since(at) >= FREEZE_AGAIN);
        if may {
            *stood = Some(now);
        }
        may
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A snapshot that somebody asks for.
struct Frozen<'a> {
    view: View<'a>,
    manifest: Option<Manifest>,
    /// Who asked for it, and when last.
    asked: BTreeMap<ValidatorIndex, Instant>,
    /// Who waits for its manifest until the height is final.
    waiting: BTreeSet<ValidatorIndex>,
    taken: Instant,
}

/// The thread's state.
struct Serving<'a> {
    node: &'a Node,
    frozen: Vec<Frozen<'a>>,
    /// Which height a peer waits for.
    wanted: BTreeMap<ValidatorIndex, Height>,
    /// When a peer asked for another height last.
    moved: BTreeMap<ValidatorIndex, Instant>,
}

/// Answers until told to stop.
///
/// # Errors
/// `StoreError` when the store cannot be read.
pub(crate) fn serve(node: &Arc<Node>, questions: &Receiver<Question>, data: &Path) -> Result<(), StoreError> {
    let mut serving = Serving { node, frozen: vec![], wanted: BTreeMap::new(), moved: BTreeMap::new() };
    while !node.stop.is_cancelled() {
        match questions.recv_timeout(LOOK) {
            Ok(Question::Piece(from, asked)) => {
                serving.freeze()?;
                let answered = serving.answer(from, asked);
                if let Some(count) = lock(&node.snapshots.open).get_mut(&from) {
                    *count = count.saturating_sub(1);
                }
                answered?;
            }
            Ok(Question::Look) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        serving.freeze()?;
        serving.let_go();
        serving.tell_manifests()?;
        if let Err(e) = backup::answer(&node.store, data) {
            warn!(error = %e, "no checkpoint for the backup that was asked for");
        }
    }
    Ok(())
}

impl<'a> Serving<'a> {
    /// Takes the snapshot for which the loop stands.
    fn freeze(&mut self) -> Result<(), StoreError> {
        let Some(taken) = lock(&self.node.snapshots.freeze).take() else { return Ok(()) };
        let view = View::take(&self.node.store);
        // the loop goes on, whatever came out
        let _ = taken.try_send(());
        if let Some(view) = view? {
            self.keep(view);
        }
        Ok(())
    }

    /// Keeps a snapshot for all who want its height.
    fn keep(&mut self, view: View<'a>) {
        let (height, now) = (view.height(), Instant::now());
        let wants = self.wanted.iter().filter(|(_, wanted)| **wanted == height).map(|(&peer, _)| peer);
        let waiting: BTreeSet<_> = wants.collect();
        self.wanted.retain(|_, wanted| *wanted > height);
        if waiting.is_empty() || self.frozen.iter().any(|frozen| frozen.view.height() == height) {
            return;
        }
        info!(height, "a snapshot is taken for others");
        let asked = waiting.iter().map(|&peer| (peer, now)).collect();
        self.frozen.push(Frozen { view, manifest: None, asked, waiting, taken: now });
    }

    fn answer(&mut self, from: ValidatorIndex, asked: Asked) -> Result<(), StoreError> {
        if asked.piece == Piece::Manifest {
            return self.want(from, asked);
        }
        let frozen = self.frozen.iter_mut().find(|frozen| frozen.view.height() == asked.height);
        let Some(frozen) = frozen.filter(|frozen| frozen.asked.contains_key(&from)) else {
            self.tell(from, asked, Content::Gone);
            return Ok(());
        };
        frozen.asked.insert(from, Instant::now());
        let content = match asked.piece {
            Piece::Manifest => unreachable!("it was looked at before"),
            Piece::State { depth, index } => frozen.view.rows(depth, index)?.map(Content::State),
            Piece::Log(number) => frozen.view.entries(number)?.map(Content::Log),
        };
        self.tell(from, asked, content.unwrap_or(Content::Gone));
        Ok(())
    }

    /// A peer wants the snapshot of a height: it lets go of every other one.
    fn want(&mut self, from: ValidatorIndex, asked: Asked) -> Result<(), StoreError> {
        let (height, now) = (asked.height, Instant::now());
        let is_new = self.wanted.get(&from) != Some(&height)
            && !self.frozen.iter().any(|frozen| frozen.view.height() == height && frozen.asked.contains_key(&from));
        if is_new {
            if self.moved.get(&from).is_some_and(|at| at.elapsed() < AGAIN) {
                return Ok(());
            }
            self.moved.insert(from, now);
            self.frozen.iter_mut().filter(|frozen| frozen.view.height() != height).for_each(|frozen| {
                frozen.asked.remove(&from);
                frozen.waiting.remove(&from);
            });
        }
        if let Some(frozen) = self.frozen.iter_mut().find(|frozen| frozen.view.height() == height) {
            frozen.asked.insert(from, now);
            frozen.waiting.insert(from);
            return Ok(());
        }
        // published before the store is looked at: the loop that executes it now takes it, or it is there already
        self.wanted.insert(from, height);
        lock(&self.node.snapshots.wanted).insert(height);
        let view = View::take(&self.node.store)?;
        let executed = view.as_ref().map_or(0, View::height);
        match view {
            Some(view) if executed == height => self.keep(view),
            _ if height > executed && height <= executed.saturating_add(limits::WATERMARK_WINDOW) => {}
            _ => {
                self.wanted.remove(&from);
                self.tell(from, asked, Content::Gone);
            }
        }
        Ok(())
    }

    /// Sends manifests of heights that have become final.
    fn tell_manifests(&mut self) -> Result<(), StoreError> {
        let certified = self.node.heights.borrow().certified;
        let mut told = Vec::new();
        for frozen in self.frozen.iter_mut().filter(|frozen| !frozen.waiting.is_empty()) {
            let height = frozen.view.height();
            if height > certified {
                continue;
            }
            if frozen.manifest.is_none() {
                let proven = self.node.store.attested(height)?.ok_or(StoreError::Corrupt { row: "attestations" })?;
                frozen.manifest = Some(frozen.view.manifest(proven.attestations, limits::TRANSFER_PIECE_BYTES)?);
            }
            let Some(manifest) = &frozen.manifest else { continue };
            for to in std::mem::take(&mut frozen.waiting) {
                told.push((to, height, Box::new(manifest.clone())));
            }
        }
        for (to, height, manifest) in told {
            self.tell(to, Asked { height, piece: Piece::Manifest }, Content::Manifest(manifest));
        }
        Ok(())
    }

    /// Lets snapshots go that nobody asks for any more.
    fn let_go(&mut self) {
        for frozen in &mut self.frozen {
            frozen.asked.retain(|_, at| at.elapsed() < IDLE);
        }
        self.frozen.retain(|frozen| !frozen.asked.is_empty() && frozen.taken.elapsed() < AGE);
    }

    fn tell(&self, to: ValidatorIndex, asked: Asked, content: Content) {
        self.node.outboxes.send(Some(to), &Message::Piece(Told { asked, content }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_stands_once_a_second_however_many_heights_are_wanted() {
        // nobody answers: each time that the loop stands is a question in the queue
        let ((snapshots, questions), start) = (Snapshots::new(), Instant::now());
        lock(&snapshots.wanted).extend(1..=100);
        (1..=50).for_each(|height| snapshots.executed(height));
        let stood = lock(&snapshots.stood).expect("it stood");
        let seconds = start.elapsed().as_millis() / FREEZE_AGAIN.as_millis();
        assert!(questions.try_iter().count() as u128 <= 1 + seconds, "once");
        assert!(!snapshots.may_stand(stood + FREEZE_AGAIN / 2));
        assert!(snapshots.may_stand(stood + FREEZE_AGAIN) && !snapshots.may_stand(stood + FREEZE_AGAIN));
    }
}
