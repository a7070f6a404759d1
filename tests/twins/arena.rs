//! One scenario with the real core: five replicas, one clock, one queue of messages that are delivered one after the other.
//!
//! A round has one partition. What a round's replicas say arrives within their side; commits and attestations are still under
//! way when the partition changes, so they reach only who is on their side in the next round too. At the end of a round nobody
//! hears anybody until everyone gives up its view. After the last round all is heard, and everything must become final.

mod said;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use ::tests::chain::Chain;
use ::tests::check::{self, Checks};
use ::tests::client::Clients;
use ::tests::frame::Frame;
use ::tests::keys::Keys;
use ::tests::verify::{self, Checked, Published};
use ledger_core::{Config, Effect, Execution, Input, Replica, Request, Start};
use schemas::block::{Block, CommitCertificate, Phase, ValidatorIndex, ValidatorSignature};
use schemas::evidence::Conflict;
use schemas::id::{Height, TimeMs};
use schemas::limits;
use schemas::pbft::Message;
use schemas::view::Checkpoint;

use crate::report::Count;
use crate::scenario::{REPLICAS, Scenario, VALIDATORS};

/// Time at the start.
const BEGINNING_MS: TimeMs = 100_000;
/// Between ticks.
const TICK_MS: TimeMs = 100;
/// Ticks of a round: time for a view change and a block, not enough to lose patience.
const ROUND_TICKS: u64 = 12;
/// Between ticks while nobody hears anybody: the longest after which a replica does not think that it slept.
const CUT_TICK_MS: TimeMs = limits::TICK_GAP_MS_MAX;
/// Everyone has given up its view after this many of them, however often its patience doubled.
const CUT_TICKS: u64 = 2 * limits::VIEW_TIMEOUT_MS_MAX / CUT_TICK_MS;
/// After healing everything is final within this.
const LIVE_WITHIN_MS: TimeMs = 2 * limits::VIEW_TIMEOUT_MS_MAX;
/// Clients ask again after this.
const RESUBMIT_MS: TimeMs = 1_000;
/// More messages than a turn of honest replicas can cause.
const MESSAGES_MAX: usize = 20_000;

const _: () = assert!(ROUND_TICKS * TICK_MS < limits::VIEW_TIMEOUT_MS && limits::VIEW_CHANGE_AGAIN_MS < 6 * TICK_MS);

/// Who hears whom.
#[derive(Clone, Copy)]
enum Wires {
    Round(usize),
    Cut,
    Healed,
}

struct Seat {
    index: ValidatorIndex,
    /// `None` once a twin stopped.
    replica: Option<Replica>,
    executed: Height,
    certified: Height,
}

/// The five and what they did.
pub struct Arena<'a> {
    scenario: &'a Scenario,
    keys: &'a Keys,
    now: TimeMs,
    wires: Wires,
    seats: Vec<Seat>,
    queue: VecDeque<(usize, Rc<Frame>)>,
    chain: Chain,
    checks: Checks,
    clients: Clients,
    /// Proofs of the heights, whoever saw them first.
    certificates: BTreeMap<Height, CommitCertificate>,
    attestations: BTreeMap<Height, Vec<ValidatorSignature>>,
    /// Figures.
    pub count: Count,
}

impl<'a> Arena<'a> {
    /// Everyone starts with an empty disk.
    pub fn new(scenario: &'a Scenario, keys: &'a Keys) -> Self {
        let mut arena = Self {
            scenario,
            keys,
            now: BEGINNING_MS,
            wires: Wires::Cut,
            seats: vec![],
            queue: VecDeque::new(),
            chain: Chain::new(keys),
            checks: Checks::default(),
            clients: Clients::default(),
            certificates: BTreeMap::new(),
            attestations: BTreeMap::new(),
            count: Count::default(),
        };
        for replica in 0..REPLICAS {
            let me = scenario.validator(replica);
            let start = Start {
                config: Config { me, ..keys.config(0).expect("the first epoch") },
                executed: 0,
                unattested: vec![],
                checkpoint: Checkpoint::genesis(&keys.chain),
                seal: None,
                records: vec![],
                now: BEGINNING_MS,
                nonce: 0,
            };
            let (replica, effects) = Replica::start(start, &keys.signer(0, me)).expect("an empty disk");
            assert!(effects.is_empty(), "nothing was interrupted");
            arena.seats.push(Seat { index: me, replica: Some(replica), executed: 0, certified: 0 });
        }
        arena
    }

    /// All rounds, then healing.
    pub fn play(&mut self) -> Result<(), String> {
        for round in 0..self.scenario.rounds() {
            self.round(round);
            self.lose_patience();
        }
        self.heal()
    }

    /// Each side has a transaction of its own, so that twins propose different batches.
    fn round(&mut self, round: usize) {
        self.wires = Wires::Round(round);
        for side in 0..2 {
            let request = self.clients.submit(self.keys, false);
            for replica in (0..REPLICAS).filter(|&replica| self.scenario.side(round, replica) == side) {
                self.offer(replica, None, &request);
            }
        }
        (0..ROUND_TICKS).for_each(|_| self.pass(TICK_MS));
    }

    /// Nobody hears anybody, until everyone wants the next view.
    fn lose_patience(&mut self) {
        self.wires = Wires::Cut;
        let request = self.clients.submit(self.keys, false);
        (0..REPLICAS).for_each(|replica| self.offer(replica, None, &request));
        for _ in 0..CUT_TICKS {
            self.pass(CUT_TICK_MS);
            if self.seats.iter().filter_map(|seat| seat.replica.as_ref()).all(Replica::is_changing) {
                return;
            }
        }
        panic!("patience: somebody keeps its view for ever: {}", self.standing());
    }

    fn heal(&mut self) -> Result<(), String> {
        self.wires = Wires::Healed;
        let healed = self.now;
        while !self.is_done() {
            let since = self.now - healed;
            if since > LIVE_WITHIN_MS {
                return Err(format!("liveness: not all is final {since} ms after healing: {}", self.standing()));
            }
            if since.is_multiple_of(RESUBMIT_MS) {
                self.resubmit();
            }
            self.pass(TICK_MS);
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let decided = self.clients.submitted.iter().map(|request| self.chain.verdict(request));
        let Some(heights) = decided.collect::<Option<Vec<Height>>>() else { return false };
        let last = heights.into_iter().max().unwrap_or(0);
        self.seats.iter().filter(|seat| self.is_honest(seat)).all(|seat| seat.certified >= last)
    }

    fn resubmit(&mut self) {
        let missing = self.clients.submitted.iter().filter(|request| self.chain.verdict(request).is_none());
        for request in missing.cloned().collect::<Vec<_>>() {
            (0..REPLICAS).for_each(|replica| self.offer(replica, None, &request));
        }
    }

    /// Time passes; everything that is said arrives before it goes on.
    fn pass(&mut self, duration_ms: TimeMs) {
        self.now += duration_ms;
        for replica in 0..REPLICAS {
            // two machines have two clocks
            self.step(replica, Input::Tick(self.now + u64::from(replica == VALIDATORS)));
        }
        let mut delivered = 0;
        while let Some((to, frame)) = self.queue.pop_front() {
            self.arrive(to, &frame);
            delivered += 1;
            assert!(delivered < MESSAGES_MAX, "messages without end: {}", self.standing());
        }
    }

    fn offer(&mut self, replica: usize, from: Option<ValidatorIndex>, request: &Request) {
        if !self.chain.is_known(request, self.seats[replica].executed) {
            self.step(replica, Input::Request(from, request.clone()));
        }
    }

    fn is_honest(&self, seat: &Seat) -> bool {
        seat.index != self.scenario.doubled
    }

    fn standing(&self) -> String {
        let seats = self.seats.iter().map(|seat| {
            let core = seat.replica.as_ref();
            let core =
                core.map(|r| (r.view(), r.is_changing(), r.executed_height(), r.certified_height(), r.waiting().0));
            format!("{}: (view, changing, executed, certified, waiting) {core:?}", seat.index)
        });
        seats.collect::<Vec<_>>().join("; ")
    }

    fn step(&mut self, replica: usize, input: Input) {
        let seat = &mut self.seats[replica];
        let Some(core) = seat.replica.as_mut() else { return };
        let view = core.view();
        let effects = core.step(input, &self.keys.signer(0, seat.index));
        let entered = core.view() > view;
        self.count.steps += 1;
        self.count.view_changes += u64::from(entered && seat.index != self.scenario.doubled);
        self.perform(replica, effects);
    }

    fn perform(&mut self, replica: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                // nobody crashes here, and no epoch ends
                Effect::Append(_) | Effect::Stable(_) | Effect::Sealed(_) => {}
                Effect::Broadcast(message) => self.say(replica, None, message),
                Effect::Send(to, message) => self.say(replica, Some(to), message),
                Effect::Execute(execution) => self.execute(replica, &execution),
                Effect::Certify(height, attestations) => {
                    let done = self.chain.at(height).expect("certified means executed");
                    check::attestations(self.keys, &done.header, &attestations);
                    self.seats[replica].certified = height;
                    self.attestations.entry(height).or_insert(attestations);
                }
                Effect::Blame(conflict) => self.blame(replica, &conflict),
                Effect::Halt(divergence) => {
                    let seat = &self.seats[replica];
                    assert!(!self.is_honest(seat), "validator {} halts: {divergence}", seat.index);
                    self.seats[replica].replica = None;
                    return;
                }
            }
        }
    }

    fn execute(&mut self, replica: usize, execution: &Execution) {
        check::commits(self.keys, execution);
        let (height, view) = (execution.batch.height, execution.certificate.view);
        let is_first = self.chain.height() < height;
        let done = self.chain.execute(self.keys, execution).unwrap_or_else(|broken| panic!("{broken}"));
        assert!(height == self.seats[replica].executed + 1, "total order: {height} after another height");
        self.seats[replica].executed = height;
        self.certificates.entry(height).or_insert_with(|| execution.certificate.clone());
        if is_first {
            let mut ids = done.entries.iter().map(|entry| &entry.transaction);
            assert!(ids.all(|id| self.clients.made(id)), "validity: nobody submitted what stands at height {height}");
            self.count.committed.insert(view);
            self.count.null_blocks += u64::from(done.transactions.is_empty());
        }
        self.step(replica, Input::Executed(done.header.clone(), None, done.accepted()));
    }

    fn blame(&mut self, replica: usize, conflict: &Conflict) {
        let accused = conflict.validator;
        assert!(accused == self.scenario.doubled, "framed: validator {accused} is honest, and blamed: {conflict:?}");
        let words = conflict.words(self.keys.chain);
        let valid =
            words.iter().all(|word| self.keys.is_signed(word.epoch, accused, &word.to_sign(), &word.by.signature));
        assert!(conflict.is_canonical() && valid, "framed: no proof against {accused}: {conflict:?}");
        if self.is_honest(&self.seats[replica]) {
            self.count.conflicts += 1;
        }
    }

    fn say(&mut self, replica: usize, to: Option<ValidatorIndex>, message: Message) {
        let index = self.seats[replica].index;
        if index != self.scenario.doubled {
            self.check_said(index, &message);
        }
        let lingers = match &message {
            Message::Vote(signed) => signed.vote.phase == Phase::Commit,
            Message::Attest(_) => true,
            _ => false,
        };
        let frame = Rc::new(Frame::new(index, message));
        for other in 0..REPLICAS {
            let receiver = self.seats[other].index;
            let hears = match self.wires {
                Wires::Cut => false,
                Wires::Healed => true,
                Wires::Round(round) => {
                    self.scenario.are_together(round, replica, other)
                        && (!lingers || self.scenario.are_together(round + 1, replica, other))
                }
            };
            if receiver != index && to.is_none_or(|to| to == receiver) && hears {
                self.queue.push_back((other, Rc::clone(&frame)));
            }
        }
    }

    fn arrive(&mut self, replica: usize, frame: &Frame) {
        let seat = &self.seats[replica];
        let Some(core) = &seat.replica else { return };
        let Some(checked) = verify::check(self.keys, frame) else { return };
        match checked {
            Checked::Fetch(height) => self.answer(replica, frame.from, *height),
            Checked::Request(request) => self.offer(replica, Some(frame.from), &request.clone()),
            _ => {
                let (view, changing) = (core.view(), core.is_changing());
                let (certified, epoch, complete) = (seat.certified, 0, core.complete());
                let published = Published { certified, epoch, view, changing, complete };
                if let Some(input) = verify::input(frame.from, checked, &published) {
                    self.step(replica, input);
                }
            }
        }
    }

    /// Final blocks for one who is behind.
    fn answer(&mut self, replica: usize, to: ValidatorIndex, from: Height) {
        let blocks: Vec<Block> = (from.max(1)..=self.seats[replica].certified)
            .filter_map(|height| {
                let done = self.chain.at(height)?;
                Some(Block {
                    batch: done.batch.clone(),
                    transactions: done.transactions.clone(),
                    certificate: self.certificates.get(&height)?.clone(),
                    header: done.header.clone(),
                    attestations: self.attestations.get(&height)?.clone(),
                })
            })
            .collect();
        if !blocks.is_empty() {
            self.say(replica, Some(to), Message::Blocks(blocks));
        }
    }
}
