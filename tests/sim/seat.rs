//! One running validator: the real replica, its disk, its clock, and the loop of `ledger/node/src/protocol.rs` around it:
//! inputs of a turn, a tick, effects in order, one sync, then everything that it justifies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ledger_contract::StateTree;
use ledger_core::{Input, Replica};
use schemas::block::{Epoch, Phase, ValidatorIndex, View, Vote};
use schemas::id::{Digest, Height, TimeMs};
use schemas::pbft::{Message, Record};

use crate::attackers::{Attacker, Kind};
use crate::disk::{Log, Store};
use crate::verify::Published;
use crate::world::Copying;

/// What a record justifies to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A vote.
    Vote(View, Height, Phase, Digest),
    /// A view change for a view.
    ViewChange(Epoch, View),
    /// The new view of a primary.
    NewView(Epoch, View),
}

/// A validator, honest or the replica that an attacker uses.
pub struct Seat {
    /// Its index; twins share one.
    pub index: ValidatorIndex,
    /// Who twists what it says.
    pub attacker: Option<(Kind, Box<dyn Attacker>)>,
    /// Running, or crashed.
    pub replica: Option<Replica>,
    /// Its vote log.
    pub log: Log,
    /// Its block store.
    pub store: Store,
    /// Its state tree, while it runs.
    pub tree: StateTree,
    /// Its clock minus true time.
    pub skew_ms: i64,
    /// Inputs that wait for a turn.
    pub inbox: VecDeque<Input>,
    /// What the turn wants to send.
    pub outbox: Vec<(Option<ValidatorIndex>, Message)>,
    /// What readers see.
    pub published: Published,
    /// Highest height that prepared in this turn.
    pub unsynced_prepared: Height,
    /// Grows with every crash: events of an earlier life are void.
    pub life: u32,
    /// The disk syncs until then.
    pub busy_until: u64,
    /// Stands still until then.
    pub paused_until: u64,
    /// When and as which the next turn is scheduled.
    pub turn: (u64, u64),
    /// Will not start again.
    pub is_dead: bool,
    /// It must copy the state before it can start.
    pub lacks_state: bool,
    /// It has no state and copies it from the others.
    pub copying: Option<Box<Copying>>,
    /// From which height on peers hold blocks, if they lack those that are needed here.
    pub blocks_from: BTreeMap<ValidatorIndex, Height>,
    /// It is no validator, not yet or no more.
    pub is_out: bool,
    /// The epoch of its replica.
    pub epoch: Epoch,
    /// The epoch is over at its last height.
    pub sealed: bool,
    /// The low watermark, and up to where the log was let go.
    pub stable: Height,
    /// See `stable`.
    pub dropped: Height,
    /// Votes that durable records stand for.
    pub justified: BTreeSet<Reason>,
    /// Votes that the turn's records will stand for.
    pub justifying: Vec<Reason>,
    /// Which validators it exchanges messages with; all when empty.
    pub circle: Vec<bool>,
}

impl Seat {
    /// A validator with an empty disk.
    pub fn new(index: ValidatorIndex, attacker: Option<(Kind, Box<dyn Attacker>)>) -> Self {
        Self {
            index,
            attacker,
            replica: None,
            log: Log::default(),
            store: Store::default(),
            tree: StateTree::default(),
            skew_ms: 0,
            inbox: VecDeque::new(),
            outbox: vec![],
            published: Published::default(),
            unsynced_prepared: 0,
            life: 0,
            busy_until: 0,
            paused_until: 0,
            turn: (u64::MAX, 0),
            is_dead: false,
            lacks_state: false,
            copying: None,
            blocks_from: BTreeMap::new(),
            is_out: false,
            epoch: 0,
            sealed: false,
            stable: 0,
            dropped: 0,
            justified: BTreeSet::new(),
            justifying: vec![],
            circle: vec![],
        }
    }

    /// Not an attacker's.
    pub const fn is_honest(&self) -> bool {
        self.attacker.is_none()
    }

    /// Its clock.
    pub fn clock(&self, now: u64) -> TimeMs {
        now.saturating_add_signed(self.skew_ms)
    }

    /// Whether it exchanges messages with a validator: twins do so with a part only.
    pub fn is_with(&self, other: ValidatorIndex) -> bool {
        self.circle.get(usize::from(other)).copied().unwrap_or(true)
    }

    /// It lost its votes and says nothing.
    pub fn is_silent(&self) -> bool {
        self.replica.as_ref().is_some_and(Replica::is_silent)
    }

    /// Something is in flight or waits: ticks come faster.
    pub fn is_busy(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.slots() > 0 || replica.waiting().0 > 0)
    }

    /// Writes a record down, and notes which votes it justifies once it is durable.
    pub fn append(&mut self, record: &Record, bytes: &[u8]) {
        if let Record::Prepared(prepared) = record {
            self.unsynced_prepared = self.unsynced_prepared.max(prepared.vote.height);
        }
        self.justifying.extend(justified(record));
        self.log.append(record, bytes);
    }

    /// The log's sync returned.
    pub fn synced(&mut self) {
        self.log.synced();
        self.unsynced_prepared = 0;
        self.justified.extend(std::mem::take(&mut self.justifying));
    }

    /// The turn's end: what readers may know.
    pub fn publish(&mut self) {
        let Some(replica) = &self.replica else { return };
        let (certified, view, changing) = (replica.certified_height(), replica.view(), replica.is_changing());
        let epoch = self.epoch;
        self.published = Published { certified, epoch, view, changing, complete: replica.complete() };
    }

    /// A restart: what the durable log justifies, and nothing else.
    pub fn remember(&mut self, records: &[Record]) {
        self.justified = records.iter().flat_map(justified).collect();
    }
}

fn justified(record: &Record) -> Vec<Reason> {
    let of = |vote: &Vote, phase| Reason::Vote(vote.view, vote.height, phase, vote.digest);
    match record {
        Record::Accepted(pre_prepare, prepare) => {
            let phase = if prepare.is_some() { Phase::Prepare } else { Phase::PrePrepare };
            vec![Reason::Vote(pre_prepare.view, pre_prepare.batch.height, phase, pre_prepare.batch.digest())]
        }
        Record::Repeated(repeated) => {
            let phase = if repeated.prepare.is_some() { Phase::Prepare } else { Phase::PrePrepare };
            vec![of(&repeated.vote, phase)]
        }
        Record::Prepared(prepared) => vec![of(&prepared.vote, prepared.vote.phase)],
        Record::ViewChange(_, signed) => vec![Reason::ViewChange(signed.change.epoch, signed.change.view)],
        Record::NewView(_, message) => vec![Reason::NewView(message.epoch, message.view)],
        Record::Committed(_) | Record::Decided(_) | Record::Recovering(..) => vec![],
    }
}
