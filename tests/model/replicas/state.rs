//! A state of the model: three real replicas, what is under way, and what was said and executed. Replicas are compared by a hash of
//! all that they hold; unchanged ones are shared between states.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use ::tests::frame::Frame;
use ::tests::verify::{self, Checked};
use ledger_core::{Config, Effect, Execution, Input, Replica, Request, Start};
use schemas::block::{Batch, Header, Phase, ValidatorIndex, View, Vote};
use schemas::cbor;
use schemas::id::{Digest, Height, TimeMs};
use schemas::limits;
use schemas::pbft::Message;
use schemas::view::{Checkpoint, SignedViewChange};

use super::{Bounds, N};

const BEGINNING_MS: TimeMs = 100_000;
/// Honest ones whose commits, with the liar's, are a quorum.
const LOCKING: usize = 2;

/// An honest replica.
#[derive(Clone)]
struct Held {
    replica: Replica,
    now: TimeMs,
    /// Digest of the last executed header.
    header: Digest,
    /// Of all the above.
    hash: u64,
}

/// Lists in a formatted replica in which states may differ without a difference in what follows: what it witnessed is for blame
/// alone, and of a certificate it matters what it proves, not who signed it.
const SAME: &[&str] = &["first: ", "prepares: ", "commits: ", "attestations: ", "changes: "];

impl Held {
    fn rehash(&mut self) {
        let all = format!("{:?}", self.replica);
        let mut hasher = DefaultHasher::new();
        let mut rest = all.as_str();
        while let Some(at) = rest.find(['[', '{', '(']) {
            let (before, behind) = rest.split_at(at);
            let is_same = SAME.iter().any(|label| before.ends_with(label)) || before.ends_with("Signature");
            let skipped = if is_same { closing(behind) } else { 1 };
            before.hash(&mut hasher);
            rest = &behind[skipped..];
        }
        rest.hash(&mut hasher);
        self.hash = hasher.finish();
    }
}

/// Behind the bracket that closes the first one.
fn closing(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'[' | b'{' | b'(' => depth += 1,
            b']' | b'}' | b')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// A vote without its signer.
type Said = (View, Height, Digest);

/// A state.
#[derive(Clone)]
pub struct State {
    replicas: BTreeMap<ValidatorIndex, Arc<Held>>,
    /// Messages by receiver and hash.
    wires: BTreeMap<(ValidatorIndex, u64), Arc<(ValidatorIndex, Message)>>,
    /// Prepares and proposals of the honest.
    prepares: BTreeSet<Said>,
    /// Commits of the honest.
    commits: BTreeMap<Said, BTreeSet<ValidatorIndex>>,
    /// What each accepted last at a height, for the liar to vote for.
    accepted: BTreeMap<(ValidatorIndex, Height), (View, Digest)>,
    /// View changes of the honest.
    leaves: BTreeMap<(View, ValidatorIndex), Arc<SignedViewChange>>,
    /// Where the liar proposed something to whom.
    pub lies: BTreeSet<(ValidatorIndex, View, Height)>,
    executed: BTreeMap<Height, BTreeSet<Digest>>,
    /// Views in which something was decided.
    decided: BTreeSet<View>,
    /// A batch holds what no client made.
    pub is_invented: bool,
    /// An honest validator is blamed, or halts.
    pub is_wronged: bool,
    /// Somebody holds proof against the liar.
    pub is_liar_blamed: bool,
}

impl State {
    fn key(&self) -> impl Hash + PartialEq + '_ {
        let replicas: Vec<u64> = self.replicas.values().map(|held| held.hash).collect();
        let wires: Vec<_> = self.wires.keys().collect();
        let leaves = self.leaves.iter().map(|(place, signed)| {
            let prepared = signed.change.prepared.iter().map(|certificate| (certificate.view, certificate.digest));
            (place, prepared.collect::<Vec<_>>())
        });
        let leaves: Vec<_> = leaves.collect();
        let said = (&self.prepares, &self.commits, &self.accepted, &self.lies, leaves);
        (replicas, wires, said, &self.executed, &self.decided, self.is_invented, self.is_wronged)
    }
}
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |held: &Arc<Held>| (held.replica.view(), held.replica.is_changing(), held.replica.executed_height());
        let at: Vec<_> = self.replicas.iter().map(|(index, held)| (index, at(held))).collect();
        write!(f, "(view, changing, executed) {at:?}, {} under way, commits {:?}", self.wires.len(), self.commits)
    }
}

impl State {
    /// Everyone has heard of every transaction.
    pub fn new(bounds: &Bounds) -> Self {
        let mut replicas = BTreeMap::new();
        for me in bounds.honest() {
            let config = Config { me, ..bounds.keys.config(0).expect("the first epoch") };
            let checkpoint = Checkpoint::genesis(&bounds.keys.chain);
            let (executed, now) = (0, BEGINNING_MS);
            let start =
                Start { config, executed, unattested: vec![], checkpoint, seal: None, records: vec![], now, nonce: 0 };
            let (mut replica, _) = Replica::start(start, &bounds.keys.signer(0, me)).expect("an empty disk");
            for request in &bounds.requests {
                let effects = replica.step(Input::Request(None, request.clone()), &bounds.keys.signer(0, me));
                assert!(effects.is_empty(), "a request waits for a tick");
            }
            let mut held = Held { replica, now, header: Digest(bounds.keys.chain.0), hash: 0 };
            held.rehash();
            replicas.insert(me, Arc::new(held));
        }
        Self {
            replicas,
            wires: BTreeMap::new(),
            prepares: BTreeSet::new(),
            commits: BTreeMap::new(),
            accepted: BTreeMap::new(),
            leaves: BTreeMap::new(),
            lies: BTreeSet::new(),
            executed: BTreeMap::new(),
            decided: BTreeSet::new(),
            is_invented: false,
            is_wronged: false,
            is_liar_blamed: false,
        }
    }

    /// Proposals and NEW-VIEWs under way: to whom, and which.
    pub fn arriving(&self) -> impl Iterator<Item = (ValidatorIndex, u64)> + '_ {
        let arrives = |message: &Message| matches!(message, Message::PrePrepare(_) | Message::NewView(_));
        self.wires.iter().filter(move |(_, sent)| arrives(&sent.1)).map(|(&place, _)| place)
    }

    /// The replica of an honest validator.
    pub fn replica(&self, index: ValidatorIndex) -> &Replica {
        &self.replicas[&index].replica
    }

    /// The highest view.
    pub fn view(&self) -> View {
        self.replicas.values().map(|held| held.replica.view()).max().unwrap_or(0)
    }

    /// A message arrives.
    pub fn arrive(&mut self, bounds: &Bounds, to: ValidatorIndex, number: u64) -> Option<()> {
        let sent = self.wires.remove(&(to, number))?;
        let before = self.replicas[&to].hash;
        let (from, message) = sent.as_ref().clone();
        self.hear(bounds, to, from, message);
        (self.replicas[&to].hash != before).then_some(())
    }

    /// All votes of a phase arrive, with the liar's if nothing is complete without it.
    pub fn complete(&mut self, bounds: &Bounds, to: ValidatorIndex, phase: Phase, height: Height) -> Option<()> {
        let before = self.replica(to).complete();
        let view = self.replica(to).view();
        let is_one = |vote: &Vote| (vote.view, vote.phase, vote.height) == (view, phase, height);
        let votes = self.wires.iter().filter(|((receiver, _), sent)| match &sent.1 {
            Message::Vote(signed) => *receiver == to && is_one(&signed.vote),
            _ => false,
        });
        let votes: Vec<u64> = votes.map(|((_, number), _)| *number).collect();
        for number in votes {
            if self.wires.contains_key(&(to, number)) {
                self.arrive(bounds, to, number);
            }
        }
        let after = self.replica(to).complete();
        if after == before {
            let &(of, digest) = self.accepted.get(&(to, height)).filter(|(of, _)| *of == view)?;
            self.hear(bounds, to, bounds.liar, bounds.vote(of, height, phase, digest));
        }
        (self.replica(to).complete() != before).then_some(())
    }

    /// The view changes of two reach a primary that left for its view, which begins.
    pub fn renew(&mut self, bounds: &Bounds, who: ValidatorIndex, from: [ValidatorIndex; 2]) -> Option<()> {
        let view = self.replica(who).view();
        (self.replica(who).is_changing() && schemas::block::primary_of(view, N) == who).then_some(())?;
        for by in from {
            let change = self.view_change(bounds, view, by)?;
            self.hear(bounds, who, by, Message::ViewChange(change));
        }
        (!self.replica(who).is_changing()).then_some(())
    }

    /// What a validator said when it left for a view; the liar says that it knows nothing.
    pub fn view_change(&self, bounds: &Bounds, view: View, by: ValidatorIndex) -> Option<SignedViewChange> {
        if by == bounds.liar {
            return Some(bounds.view_change(view));
        }
        self.leaves.get(&(view, by)).map(|said| said.as_ref().clone())
    }

    /// Through the same door as in the simulator.
    pub fn hear(&mut self, bounds: &Bounds, to: ValidatorIndex, from: ValidatorIndex, message: Message) {
        let frame = Frame::new(from, message);
        let input = match verify::check(&bounds.keys, &frame) {
            Some(Checked::At(_, input) | Checked::View(_, _, input)) => input.clone(),
            _ => return,
        };
        self.step(bounds, to, input);
        self.forget(to);
    }

    /// A primary's turn ends.
    pub fn propose(&mut self, bounds: &Bounds, who: ValidatorIndex) -> Option<()> {
        let held = &self.replicas[&who];
        let (view, now) = (held.replica.view(), held.now);
        let is_primary = schemas::block::primary_of(view, N) == who && !held.replica.is_changing();
        (is_primary && held.replica.waiting().0 > 0 && held.replica.executed_height() < bounds.height_max)
            .then_some(())?;
        self.step(bounds, who, Input::Tick(now));
        Some(())
    }

    /// Time passes for one replica, until it leaves its view. Not twice in a row: then q have to want it.
    pub fn leave(&mut self, bounds: &Bounds, who: ValidatorIndex) -> Option<()> {
        let view = self.replica(who).view();
        (view < bounds.view_max && !self.replica(who).is_changing()).then_some(())?;
        for _ in 0..limits::VIEW_TIMEOUT_MS_MAX / limits::TICK_GAP_MS_MAX {
            let held = Arc::make_mut(self.replicas.get_mut(&who)?);
            held.now += limits::TICK_GAP_MS_MAX;
            let now = held.now;
            self.step(bounds, who, Input::Tick(now));
            if self.replica(who).view() > view {
                self.forget(who);
                return Some(());
            }
        }
        None
    }

    fn step(&mut self, bounds: &Bounds, who: ValidatorIndex, input: Input) {
        let held = Arc::make_mut(self.replicas.get_mut(&who).expect("an honest one"));
        let effects = held.replica.step(input, &bounds.keys.signer(0, who));
        held.rehash();
        for effect in effects {
            match effect {
                Effect::Append(_) | Effect::Certify(..) | Effect::Stable(_) | Effect::Sealed(_) => {}
                Effect::Broadcast(message) => self.say(bounds, who, None, message),
                Effect::Send(to, message) => self.say(bounds, who, Some(to), message),
                Effect::Execute(execution) => self.execute(bounds, who, &execution),
                Effect::Blame(conflict) => {
                    self.is_liar_blamed |= conflict.validator == bounds.liar;
                    self.is_wronged |= conflict.validator != bounds.liar;
                }
                Effect::Halt(_) => self.is_wronged = true,
            }
        }
    }

    fn execute(&mut self, bounds: &Bounds, who: ValidatorIndex, execution: &Execution) {
        let Execution { batch, transactions, certificate } = execution;
        let made = |bytes| bounds.requests.iter().any(|request| request.bytes() == bytes);
        self.is_invented |= !transactions.iter().all(made);
        self.executed.entry(batch.height).or_default().insert(batch.digest());
        self.decided.insert(certificate.view);
        let held = Arc::make_mut(self.replicas.get_mut(&who).expect("an honest one"));
        let header = header(batch, held.header);
        held.header = header.hash();
        let ids = bounds.requests.iter().filter(|request| transactions.contains(request.bytes())).map(Request::id);
        self.step(bounds, who, Input::Executed(header, None, ids.collect()));
    }

    fn say(&mut self, bounds: &Bounds, who: ValidatorIndex, to: Option<ValidatorIndex>, message: Message) {
        match &message {
            Message::PrePrepare(said) => {
                self.prepares.insert((said.view, said.batch.height, said.batch.digest()));
                self.accepted.insert((who, said.batch.height), (said.view, said.batch.digest()));
            }
            Message::Vote(signed) => {
                let said = (signed.vote.view, signed.vote.height, signed.vote.digest);
                if signed.vote.phase == Phase::Commit {
                    self.commits.entry(said).or_default().insert(who);
                } else {
                    self.prepares.insert(said);
                    self.accepted.insert((who, said.1), (said.0, said.2));
                }
            }
            Message::ViewChange(signed) => {
                self.leaves.insert((signed.change.view, who), Arc::new(signed.clone()));
                return;
            }
            Message::NewView(said) => {
                for (height, digest) in ::tests::oracle::assignment(said.chain, &said.changes) {
                    self.prepares.insert((said.view, height, digest));
                    self.accepted.insert((who, height), (said.view, digest));
                }
            }
            // what only helps is lost
            _ => return,
        }
        let mut hasher = DefaultHasher::new();
        cbor::encode(&message).hash(&mut hasher);
        let (number, sent) = (hasher.finish(), Arc::new((who, message)));
        for other in bounds.honest().filter(|&other| other != who && to.is_none_or(|to| to == other)) {
            self.wires.insert((other, number), Arc::clone(&sent));
            self.forget(other);
        }
    }

    /// Loses what its receiver can make nothing of any more: it would arrive without an effect.
    fn forget(&mut self, to: ValidatorIndex) {
        let replica = &self.replicas[&to].replica;
        let (view, changing, complete) = (replica.view(), replica.is_changing(), replica.complete());
        let begins = |of: View| of > view || (of == view && changing);
        self.wires.retain(|&(receiver, _), sent| {
            receiver != to
                || match &sent.1 {
                    Message::PrePrepare(said) => said.view >= view,
                    Message::Vote(signed) => signed.vote.view >= view && !complete.covers(&signed.vote),
                    Message::NewView(message) => begins(message.view),
                    _ => false,
                }
        });
    }

    /// Whether a replica accepted something at a height of a view.
    pub fn accepts(&self, who: ValidatorIndex, view: View, height: Height) -> bool {
        self.accepted.get(&(who, height)).is_some_and(|(of, _)| *of == view)
    }

    /// One batch per height.
    pub fn agrees(&self) -> bool {
        self.executed.values().all(|digests| digests.len() == 1)
    }

    /// What q may have committed is all that is voted for in later views, and at its height nothing else may be committed.
    pub fn survives(&self) -> bool {
        let locked = self.commits.iter().filter(|(_, by)| by.len() >= LOCKING).map(|(said, _)| said);
        locked.into_iter().all(|&(view, height, digest)| {
            self.prepares.iter().all(|&(later, at, other)| later <= view || at != height || other == digest)
        })
    }

    /// Whether something was decided in a view.
    pub fn has_committed(&self, view: View) -> bool {
        self.decided.contains(&view)
    }
}

/// What executing a batch makes, as far as votes can tell.
fn header(batch: &Batch, previous: Digest) -> Header {
    let Batch { chain, epoch, height, time, .. } = *batch;
    let (log_root, state_root) = (Digest::ZERO, Digest::ZERO);
    Header { chain, epoch, height, batch: batch.digest(), previous, log_size: height, log_root, time, state_root }
}
