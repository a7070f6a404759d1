//! The world of one seed: a virtual clock, a queue of events, the seats, the wires, the one chain and the checkers. Single
//! threaded; everything that happens is an event at a time, and the dice decide all that is open.

mod copy;
mod crash;
mod epoch;
mod nemesis;
mod recover;
mod said;
mod turn;

pub use copy::Copying;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use ledger_core::{Input, Request};
use schemas::block::{Epoch, Phase, ValidatorIndex, View};
use schemas::id::{Digest, Height};
use schemas::limits;
use schemas::pbft::{Message, SignedVote};

use crate::attackers::{self, Hand, Kind};
use crate::chain::Chain;
use crate::check::Checks;
use crate::client::Clients;
use crate::count::Count;
use crate::dice::Dice;
use crate::frame::Frame;
use crate::keys::Keys;
use crate::network::Network;
use crate::plan::Plan;
use crate::seat::Seat;
use crate::verify::{self, Checked};

/// True time at the start.
const BEGINNING_MS: u64 = 100_000;

enum Event {
    /// A frame reaches a seat.
    Arrive(usize, Rc<Frame>),
    /// A seat takes its inputs; void when rescheduled.
    Turn(usize, u64),
    /// The sync of a turn returned, in the life in which it began.
    Synced(usize, u32),
    /// A crashed seat starts again.
    Start(usize, u32),
    /// The next transaction.
    Submit,
    /// One more transaction of a steady load.
    Load,
    /// Clients ask again.
    Resubmit,
    /// Faults change.
    Nemesis,
    /// The validators vote for other ones.
    Vote,
    /// A new validator begins.
    Join(usize),
    /// One that copies the state looks at its clock.
    Copy(usize, u32),
}

/// At a time, in order of creation.
struct Scheduled(u64, u64, Event);

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// All of a run.
pub struct World {
    /// What the seed means.
    pub plan: Plan,
    /// True time.
    pub now: u64,
    /// The chain.
    pub chain: Chain,
    /// Figures.
    pub count: Count,
    /// Hash over everything that happened.
    pub trace: u64,
    keys: Keys,
    dice: Dice,
    seats: Vec<Seat>,
    network: Network,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    checks: Checks,
    clients: Clients,
    /// Proof against attackers, and whose it is.
    evidence: Vec<(usize, Request)>,
    /// What equivocating attackers said first: it reached somebody honest.
    first_words: BTreeMap<(ValidatorIndex, View, Height, Phase), Digest>,
    healed: bool,
    deaths: usize,
}

impl World {
    /// Everyone starts with an empty disk.
    pub fn new(plan: Plan, mut dice: Dice) -> Self {
        let keys = Keys::new(plan.n, &plan.changes, plan.seed, plan.real);
        let mut seats: Vec<Seat> = (0..plan.seats() as ValidatorIndex).map(|index| Seat::new(index, None)).collect();
        seats.iter_mut().skip(plan.n).for_each(|seat| seat.is_out = true);
        let mut count = Count::default();
        for &(index, kind) in &plan.attackers {
            count.attackers.insert(kind.name(), 1);
            seats[usize::from(index)].attacker = Some((kind, attackers::make(kind)));
            if kind == Kind::Twins {
                seats.push(Seat::new(index, Some((kind, attackers::make(kind)))));
            }
        }
        for seat in seats.iter_mut().filter(|_| plan.skew_ms > 0) {
            seat.skew_ms = i64::try_from(dice.below(plan.skew_ms)).unwrap_or(0) - (plan.skew_ms / 2) as i64;
            count.fault("clock_skew");
        }
        let network = Network::new(&plan);
        let chain = Chain::new(&keys);
        let mut world = Self {
            now: BEGINNING_MS,
            chain,
            count,
            trace: plan.seed,
            keys,
            dice,
            seats,
            network,
            queue: BinaryHeap::new(),
            scheduled: 0,
            checks: Checks::default(),
            clients: Clients::default(),
            evidence: vec![],
            first_words: BTreeMap::new(),
            healed: false,
            deaths: 0,
            plan,
        };
        (0..world.seats.len()).for_each(|seat| world.start(seat));
        world.at(1, Event::Submit);
        world.at(100, Event::Resubmit);
        world.at(50, Event::Nemesis);
        if !world.plan.changes.is_empty() {
            let delay = world.dice.between(1, 3_000);
            world.at(delay, Event::Vote);
        }
        world
    }

    /// Runs for a while.
    pub fn run(&mut self, duration_ms: u64) {
        let end = self.now + duration_ms;
        while let Some(Reverse(Scheduled(at, _, _))) = self.queue.peek() {
            if *at > end {
                break;
            }
            let Some(Reverse(Scheduled(at, _, event))) = self.queue.pop() else { break };
            self.now = at;
            self.happen(event);
        }
        self.now = end;
    }

    /// All transactions are submitted.
    pub fn is_submitted(&self) -> bool {
        self.clients.submitted.len() as u64 >= self.plan.transactions
    }

    /// Every submitted transaction has an outcome that every living honest validator knows to be final.
    pub fn is_done(&self) -> bool {
        let is_alive = |&&(seat, _): &&(usize, Request)| !self.seats[seat].is_dead && !self.seats[seat].is_out;
        let evidence = self.evidence.iter().filter(is_alive).map(|(_, request)| request);
        let needed = self.clients.submitted.iter().chain(evidence).map(|request| self.chain.verdict(request));
        let Some(needed) = needed.collect::<Option<Vec<Height>>>() else { return false };
        let needed = needed.into_iter().max().unwrap_or(0);
        // a change that was voted for comes into force
        let epoch = self.keys.epoch_of(Height::MAX);
        let mut living = self.seats.iter().filter(|seat| seat.is_honest() && !seat.is_dead && !seat.is_out);
        let is_settled = usize::try_from(epoch).is_ok_and(|epoch| epoch == self.plan.changes.len());
        is_settled && living.all(|seat| seat.published.certified >= needed && seat.published.epoch == epoch)
    }

    /// Few validators, nobody faulty, all in one view, and nobody still to come.
    pub fn is_sound(&self) -> bool {
        let is_well =
            |seat: &Seat| seat.is_honest() && !seat.is_dead && seat.replica.is_some() && !seat.published.changing;
        let (epoch, view) = self.newest();
        let mut members = self.seats.iter().enumerate();
        self.plan.n <= 7
            && members.all(|(at, seat)| match at < self.plan.members(epoch) {
                true => !seat.is_out && is_well(seat) && seat.published.view == view,
                false => seat.is_out,
            })
    }

    /// The newest epoch and in it the highest view of an honest validator.
    fn newest(&self) -> (Epoch, View) {
        let honest = self.seats.iter().filter(|seat| seat.is_honest() && !seat.is_out);
        honest.map(|seat| (seat.published.epoch, seat.published.view)).max().unwrap_or_default()
    }

    /// The highest view of an honest validator.
    pub fn view(&self) -> View {
        self.newest().1
    }

    /// The primary of that view.
    fn primary(&self) -> usize {
        let (epoch, view) = self.newest();
        usize::from(schemas::block::primary_of(view, self.plan.members(epoch)))
    }

    /// More transactions from now on.
    pub fn load(&mut self, transactions: u64, spacing_ms: u64) {
        self.plan.transactions += transactions;
        for number in 0..transactions {
            self.at(number * spacing_ms, Event::Load);
        }
    }

    /// No living honest validator is behind the newest view that began: it is in it, or, having lost patience alone, wants a
    /// later one (§4.4: it said so, and cannot go back).
    pub fn is_at_rest(&self) -> bool {
        let is_in = |seat: &&Seat| seat.is_honest() && !seat.is_dead && !seat.is_out;
        let living = || self.seats.iter().filter(is_in).map(|seat| &seat.published);
        let newest = living().filter(|at| !at.changing).map(|at| at.view).max();
        newest.is_some_and(|newest| living().all(|at| at.view > newest || (at.view == newest && !at.changing)))
    }

    /// How far everyone is, for the message of a run that is not live.
    pub fn standing(&self) -> String {
        let seats = self.seats.iter().map(|seat| {
            let role = seat.attacker.as_ref().map_or("honest", |(kind, _)| kind.name());
            let role = if seat.is_dead { "dead" } else { role };
            let role = if seat.is_out { "out" } else { role };
            let core = seat
                .replica
                .as_ref()
                .map(|r| (r.view(), r.is_changing(), r.executed_height(), r.certified_height(), r.waiting().0));
            format!(
                "{}: {role}, epoch {}, (view, changing, executed, certified, waiting) {core:?}",
                seat.index, seat.epoch
            )
        });
        seats.collect::<Vec<_>>().join("; ")
    }

    fn at(&mut self, delay_ms: u64, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled(self.now + delay_ms, self.scheduled, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(seat, frame) => self.arrive(seat, &frame),
            Event::Turn(seat, number) => self.turn(seat, number),
            Event::Synced(seat, life) => self.synced(seat, life),
            Event::Start(seat, life) => {
                if self.seats[seat].life == life && !self.seats[seat].is_dead {
                    self.start(seat);
                }
            }
            Event::Submit => self.submit(),
            Event::Load => self.submit_one(),
            Event::Resubmit => self.resubmit(),
            Event::Nemesis => self.nemesis(),
            Event::Vote => self.vote(),
            Event::Join(seat) => self.join(seat),
            Event::Copy(seat, life) => self.copy_on(seat, life),
        }
    }

    fn submit(&mut self) {
        if self.is_submitted() {
            return;
        }
        self.submit_one();
        let burst = self.dice.percent(10);
        let delay = if burst { 0 } else { self.dice.between(1, self.plan.spacing_ms) };
        self.at(delay, Event::Submit);
    }

    fn submit_one(&mut self) {
        let is_urgent = self.dice.percent(15);
        let request = self.clients.submit(&self.keys, is_urgent);
        let seat = self.dice.index(self.seats.len());
        self.offer(seat, request);
    }

    fn resubmit(&mut self) {
        let missing: Vec<Request> =
            self.clients.submitted.iter().filter(|r| self.chain.verdict(r).is_none()).cloned().collect();
        for request in missing.into_iter().take(64) {
            (0..self.seats.len()).for_each(|seat| self.offer(seat, request.clone()));
        }
        // as the node does, once a second until the ledger holds it
        for (seat, request) in self.evidence.clone() {
            if self.chain.verdict(&request).is_none() {
                self.offer(seat, request);
            }
        }
        self.at(1_000, Event::Resubmit);
    }

    /// A client's transaction at a validator's door.
    fn offer(&mut self, seat: usize, request: Request) {
        let known = self.chain.is_known(&request, self.seats[seat].store.executed());
        if !known {
            self.input(seat, Input::Request(None, request));
        }
    }

    /// Queues an input for the seat's next turn.
    fn input(&mut self, seat: usize, input: Input) {
        let at = &mut self.seats[seat];
        if at.replica.is_none() || at.inbox.len() >= limits::LOOP_QUEUE_MAX {
            return;
        }
        at.inbox.push_back(input);
        let wanted = at.busy_until.max(at.paused_until).max(self.now + 1);
        self.turn_at(seat, wanted);
    }

    /// Schedules the next turn, unless one comes sooner.
    fn turn_at(&mut self, seat: usize, at: u64) {
        let turn = &mut self.seats[seat].turn;
        if turn.0 > at {
            *turn = (at, turn.1 + 1);
            let number = turn.1;
            self.at(at.saturating_sub(self.now), Event::Turn(seat, number));
        }
    }

    fn arrive(&mut self, seat: usize, frame: &Rc<Frame>) {
        let from = frame.from;
        self.note(seat, frame);
        if self.seats[seat].copying.is_some() && self.seats[seat].paused_until <= self.now {
            return self.copied(seat, frame);
        }
        if self.seats[seat].replica.is_none() || !self.seats[seat].is_with(from) {
            return;
        }
        self.attack(seat, |attacker, hand| attacker.hear(from, &frame.message, hand));
        let Some(checked) = verify::check(&self.keys, frame) else { return };
        match checked {
            Checked::Fetch(height) => self.answer(seat, from, *height),
            Checked::AskOffer(nonce) => self.offer_state(seat, from, *nonce),
            Checked::AskPiece(asked) => self.give_piece(seat, from, *asked),
            Checked::BlocksFrom(height) => self.hear_blocks_from(seat, from, *height),
            Checked::Request(request) if self.chain.is_known(request, self.seats[seat].store.executed()) => {}
            _ => {
                let Some(input) = verify::input(from, checked, &self.seats[seat].published) else { return };
                let admits = self.seats[seat].attacker.as_mut().is_none_or(|(_, attacker)| attacker.admits(&input));
                if admits {
                    self.input(seat, input);
                }
            }
        }
    }

    /// Whether an equivocating attacker contradicts itself before the honest, be it to two of them.
    fn note(&mut self, seat: usize, frame: &Frame) {
        let is_two_faced = self.plan.attackers.contains(&(frame.from, Kind::Equivocating));
        if !is_two_faced || !self.seats[seat].is_honest() || self.seats[seat].replica.is_none() {
            return;
        }
        let (place, digest) = match &frame.message {
            Message::Vote(SignedVote { vote, by }) => ((by.validator, vote.view, vote.height, vote.phase), vote.digest),
            Message::PrePrepare(said) => {
                ((frame.from, said.view, said.batch.height, Phase::PrePrepare), said.batch.digest())
            }
            _ => return,
        };
        let first = *self.first_words.entry(place).or_insert(digest);
        self.count.contradictions += u64::from(first != digest);
    }

    /// Final blocks for one who is behind.
    fn answer(&mut self, seat: usize, to: ValidatorIndex, from: Height) {
        let at = &self.seats[seat];
        let last = at.published.certified.min(from.saturating_add(limits::CATCH_UP_BLOCKS_MAX as u64 - 1));
        let blocks = (from.max(1)..=last).map_while(|height| {
            let (certificate, attestations) = at.store.proofs(height)?;
            let done = self.chain.at(height)?;
            Some(schemas::block::Block {
                batch: done.batch.clone(),
                transactions: done.transactions.clone(),
                certificate: certificate.clone(),
                header: done.header.clone(),
                attestations: attestations.clone(),
            })
        });
        let blocks: Vec<_> = blocks.collect();
        if blocks.is_empty() && last >= from {
            let first = at.store.first() + 1;
            self.say(seat, Some(to), Message::BlocksFrom(first));
        } else if !blocks.is_empty() {
            self.say(seat, Some(to), Message::Blocks(blocks));
        }
    }

    /// A message leaves a seat: an attacker's is twisted first.
    fn say(&mut self, seat: usize, to: Option<ValidatorIndex>, message: Message) {
        if self.seats[seat].is_honest() {
            self.check_said(seat, &message);
            self.send(seat, to, message, 0);
        } else {
            self.attack(seat, |attacker, hand| attackers::say(attacker, to, message, hand));
        }
    }

    /// Puts a message on the wires.
    fn send(&mut self, seat: usize, to: Option<ValidatorIndex>, message: Message, delay_ms: u64) {
        let message = if self.plan.real {
            let bytes = schemas::cbor::encode(&message);
            schemas::cbor::decode(&bytes).expect("what we encode we decode")
        } else {
            message
        };
        let from = self.seats[seat].index;
        let frame = Rc::new(Frame::new(from, message));
        let everyone = 0..self.plan.seats() as ValidatorIndex;
        for to in everyone.filter(|&other| other != from && to.is_none_or(|to| to == other)) {
            if !self.seats[seat].is_with(to) {
                continue;
            }
            let arrivals =
                self.network.arrivals(from, to, &frame.message, self.now + delay_ms, &mut self.dice, &mut self.count);
            for at in arrivals.into_iter().flatten() {
                for receiver in 0..self.seats.len() {
                    if self.seats[receiver].index == to {
                        self.at(at - self.now, Event::Arrive(receiver, Rc::clone(&frame)));
                    }
                }
            }
        }
    }

    /// Lets the seat's attacker act, then sends what it wants to.
    fn attack(&mut self, seat: usize, act: impl FnOnce(&mut dyn attackers::Attacker, &mut Hand)) {
        let Some((kind, mut attacker)) = self.seats[seat].attacker.take() else { return };
        let at = &self.seats[seat];
        let friends: Vec<ValidatorIndex> = self.plan.attackers.iter().map(|&(index, _)| index).collect();
        let mut hand = Hand {
            me: at.index,
            epoch: at.epoch,
            n: self.plan.members(at.epoch),
            now: self.now,
            view: at.replica.as_ref().map_or(0, ledger_core::Replica::view),
            certified: at.published.certified,
            friends: &friends,
            known: &self.clients.bytes,
            chain: &self.chain,
            dice: &mut self.dice,
            keys: &self.keys,
            out: vec![],
            wants: None,
        };
        act(attacker.as_mut(), &mut hand);
        let (out, wants) = (hand.out, hand.wants);
        self.seats[seat].attacker = Some((kind, attacker));
        for said in out {
            self.send(seat, said.to, said.message, said.delay_ms);
        }
        if let Some(wish) = wants {
            self.grant(seat, wish);
        }
    }

    fn mix(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.trace = (self.trace ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
    }
}
