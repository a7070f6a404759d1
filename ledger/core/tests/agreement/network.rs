//! A network of replicas in one thread: seeded loss, duplication, delay, reordering, crashes with lost log or store
//! tails. Signatures are mocked. Checks agreement at every execution. The same seed gives the same run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use ledger_core::{
    ChangeError, Config, Decided, Effect, Execution, Input, Proposal, Replica, Request, Start, VerifiedNewView,
    VerifiedViewChange,
};
use schemas::block::{Block, Header, Phase, TransactionBytes, ValidatorIndex, Vote};
use schemas::cbor::sha256;
use schemas::evidence::Word;
use schemas::id::{Digest, Height, TimeMs};
use schemas::pbft::{Attest, Decision, Message, PrePrepare, Record, Recovery, SignedVote, Status};
use schemas::view::{Checkpoint, NewView};

use crate::disk::Disk;
pub use crate::mock::{CHAIN, Dice, Faults, Mock, is_signed, transaction};
use crate::outcomes::Outcomes;

struct Node {
    replica: Option<Replica>,
    disk: Disk,
}

pub struct Network {
    pub n: usize,
    pub now: TimeMs,
    pub faults: Faults,
    pub dice: Dice,
    /// A validator that an attacker runs: it has no replica here.
    pub attacker: Option<ValidatorIndex>,
    /// Crashes within a turn happen while at most this many are down.
    pub down_max: usize,
    /// View changes and new views that did not verify.
    pub refused: Vec<ChangeError>,
    /// Frames that are lost: (from, to) pairs cut by a partition.
    pub cut: Vec<(ValidatorIndex, ValidatorIndex)>,
    /// Requests to this one are lost: it never hears of them.
    pub deaf: Option<ValidatorIndex>,
    /// Prepares reach the attacker alone, and nobody hears what he lacks.
    pub unprepared: bool,
    /// Where the epoch ends, and the height whose execution decides it.
    pub seal: Option<(Height, Height)>,
    /// Who came to the end of the epoch.
    pub sealed: BTreeSet<ValidatorIndex>,
    /// Votes, attestations and view changes of each.
    pub spoken: BTreeMap<ValidatorIndex, u64>,
    /// The NEW-VIEW of each view that began.
    pub new_views: BTreeMap<u64, NewView>,
    said: BTreeMap<(ValidatorIndex, u64, Height, u8), Digest>,
    left: BTreeMap<ValidatorIndex, u64>,
    /// Who holds proof against whom; a replica that restarts may find it again.
    pub blamed: BTreeSet<(ValidatorIndex, ValidatorIndex)>,
    /// What reached the attacker.
    pub heard: Vec<Message>,
    nodes: Vec<Node>,
    wire: BinaryHeap<Reverse<(TimeMs, u64, ValidatorIndex, ValidatorIndex)>>,
    frames: BTreeMap<u64, Message>,
    sent: u64,
    agreed: BTreeMap<Height, Header>,
    pub outcomes: Outcomes,
    /// Hash over every effect of every replica.
    pub trace: Digest,
}

impl Network {
    pub fn new(n: usize, seed: u64, faults: Faults) -> Self {
        let mut network = Self {
            n,
            now: 1_000,
            faults,
            dice: Dice::new(seed),
            attacker: None,
            down_max: 0,
            refused: vec![],
            cut: vec![],
            deaf: None,
            unprepared: false,
            seal: None,
            sealed: BTreeSet::new(),
            spoken: BTreeMap::new(),
            new_views: BTreeMap::new(),
            said: BTreeMap::new(),
            left: BTreeMap::new(),
            blamed: BTreeSet::new(),
            heard: vec![],
            nodes: (0..n).map(|_| Node { replica: None, disk: Disk::default() }).collect(),
            wire: BinaryHeap::new(),
            frames: BTreeMap::new(),
            sent: 0,
            agreed: BTreeMap::new(),
            outcomes: Outcomes::default(),
            trace: Digest::ZERO,
        };
        for index in 0..n {
            network.start(index as ValidatorIndex);
        }
        network
    }

    pub fn config(&self, me: ValidatorIndex) -> Config {
        Config { chain: CHAIN, epoch: 0, validators: self.n, me, base: Checkpoint::genesis(&CHAIN) }
    }

    /// The agreed header of a height, once anyone executed it.
    pub fn agreed(&self, height: Height) -> Option<&Header> {
        self.agreed.get(&height)
    }

    /// The checkpoint that a validator could prove.
    pub fn checkpoint(&self, index: usize) -> Checkpoint {
        self.nodes[index].disk.checkpoint()
    }

    pub fn is_changing(&self, index: usize) -> bool {
        self.nodes[index].replica.as_ref().is_some_and(Replica::is_changing)
    }

    pub fn view(&self, index: usize) -> u64 {
        self.nodes[index].replica.as_ref().map_or(0, Replica::view)
    }

    pub fn executed(&self, index: usize) -> Height {
        self.nodes[index].disk.executed()
    }

    pub fn certified(&self, index: usize) -> Height {
        self.nodes[index].disk.certified()
    }

    /// What it can give to those who are behind.
    pub fn block(&self, index: usize, height: Height) -> Option<Block> {
        self.nodes[index].disk.block(height)
    }

    pub fn is_executed(&self, number: u64) -> bool {
        self.outcomes.is_accepted(&transaction(number))
    }

    pub fn is_up(&self, index: usize) -> bool {
        self.nodes[index].replica.is_some()
    }

    pub fn waiting(&self, index: usize) -> usize {
        self.nodes[index].replica.as_ref().map_or(0, |replica| replica.waiting().0)
    }

    pub fn slots(&self, index: usize) -> usize {
        self.nodes[index].replica.as_ref().map_or(0, Replica::slots)
    }

    pub fn start(&mut self, index: ValidatorIndex) {
        if self.attacker == Some(index) {
            return;
        }
        let disk = &self.nodes[usize::from(index)].disk;
        let unattested = disk.blocks[disk.certified() as usize..].iter().map(|(_, header)| header.clone()).collect();
        let start = Start {
            config: self.config(index),
            executed: disk.executed(),
            unattested,
            checkpoint: disk.checkpoint(),
            seal: self.seal.filter(|(decided, _)| disk.executed() >= *decided).map(|(_, at)| at),
            records: disk.log.clone(),
            now: self.now,
            nonce: 0,
        };
        let (replica, effects) = Replica::start(start, &Mock(index)).expect("an honest log");
        self.nodes[usize::from(index)].replica = Some(replica);
        self.blamed.retain(|&(by, _)| by != index);
        self.perform(index, effects, true);
    }

    /// Stops a replica between turns; the store may lose its unflushed tail.
    pub fn crash(&mut self, index: ValidatorIndex) {
        let node = &mut self.nodes[usize::from(index)];
        node.replica = None;
        if self.dice.percent(50) {
            let keep = node.disk.flushed.max(node.disk.executed().saturating_sub(self.dice.below(12)));
            node.disk.blocks.truncate(keep as usize);
            node.disk.attestations.retain(|&h, _| h <= keep);
        }
    }

    /// The disk is gone; the key says that votes are missing.
    pub fn lose(&mut self, index: ValidatorIndex) {
        let node = &mut self.nodes[usize::from(index)];
        (node.replica, node.disk) = (None, Disk::default());
        node.disk.log.push(Record::Recovering(1, Recovery::unknown()));
        self.start(index);
    }

    pub fn is_silent(&self, index: usize) -> bool {
        self.nodes[index].replica.as_ref().is_some_and(Replica::is_silent)
    }

    /// Crashes in the middle of a turn: nothing of the turn reached the log or the wire, the store may have it all.
    pub fn crash_in_turn(&mut self, index: ValidatorIndex, input: Input) {
        let Some(replica) = &mut self.nodes[usize::from(index)].replica else { return };
        let effects = replica.step(input, &Mock(index));
        if self.dice.percent(70) {
            self.perform(index, effects, false);
        }
        self.nodes[usize::from(index)].replica = None;
    }

    pub fn submit(&mut self, index: usize, number: u64) {
        self.hand_in(index, &transaction(number));
    }

    /// A client's transaction at a validator's door.
    pub fn hand_in(&mut self, index: usize, bytes: &TransactionBytes) {
        let request = Request::read(bytes.clone()).unwrap();
        if !self.outcomes.is_known(&request, self.executed(index)) {
            self.input(index as ValidatorIndex, Input::Request(None, request));
        }
    }

    /// What the honest say is remembered across restarts: never two digests in one view, height and phase, never a vote in a
    /// view that was left, never two view changes for one view.
    fn assert_no_contradiction(&mut self, from: ValidatorIndex, message: &Message) {
        let said = |said: &mut BTreeMap<_, Digest>, key, digest: Digest| {
            let before = *said.entry(key).or_insert(digest);
            assert_eq!(before, digest, "validator {from} contradicts itself at (view, height, phase) {key:?}");
        };
        if matches!(message, Message::Vote(_) | Message::Attest(_) | Message::ViewChange(_)) {
            *self.spoken.entry(from).or_default() += 1;
        }
        let left = self.left.entry(from).or_default();
        match message {
            Message::Vote(SignedVote { vote, by }) if by.validator == from => {
                assert!(vote.view >= *left, "validator {from} votes in view {} after it left for {left}", vote.view);
                said(&mut self.said, (from, vote.view, vote.height, vote.phase as u8), vote.digest);
            }
            Message::PrePrepare(PrePrepare { view, batch, .. }) => {
                let primary = schemas::block::primary_of(*view, self.n);
                assert!(*view >= *left, "validator {from} proposes in view {view} after it left for {left}");
                said(&mut self.said, (primary, *view, batch.height, 0), batch.digest());
            }
            Message::Attest(Attest { height, header, by }) if by.validator == from => {
                said(&mut self.said, (from, 0, *height, 3), *header);
            }
            Message::ViewChange(signed) => {
                let digest = sha256(&signed.change.to_sign());
                said(&mut self.said, (from, signed.change.view, 0, 4), digest);
                *left = signed.change.view.max(*left);
            }
            _ => {}
        }
    }

    pub fn send(&mut self, from: ValidatorIndex, to: ValidatorIndex, message: Message) {
        if self.attacker != Some(from) {
            self.assert_no_contradiction(from, &message);
        }
        if let Message::NewView(new_view) = &message {
            self.new_views.insert(new_view.view, new_view.clone());
        }
        let is_help = matches!(&message, Message::Vote(v) if v.vote.phase == Phase::Prepare)
            || matches!(message, Message::Status(_));
        if self.unprepared && is_help && self.attacker != Some(to) {
            return;
        }
        let copies = 1 + u64::from(self.dice.percent(self.faults.duplication));
        for _ in 0..copies {
            if self.dice.percent(self.faults.loss) || self.cut.contains(&(from, to)) {
                continue;
            }
            self.sent += 1;
            let at = self.now + 1 + self.dice.below(self.faults.delay_ms + 1);
            self.wire.push(Reverse((at, self.sent, from, to)));
            self.frames.insert(self.sent, message.clone());
        }
    }

    /// Lets time pass: deliveries in order, a tick of everyone each 10 ms, sometimes a crash within a turn.
    pub fn run(&mut self, duration_ms: u64, crash_percent: u64, may_crash: &[ValidatorIndex]) {
        let end = self.now + duration_ms;
        while self.now < end {
            self.now += 1;
            while let Some(&Reverse((at, number, from, to))) = self.wire.peek() {
                if at > self.now {
                    break;
                }
                self.wire.pop();
                let message = self.frames.remove(&number).expect("each frame once");
                self.deliver(from, to, message, crash_percent, may_crash);
            }
            if self.now.is_multiple_of(10) {
                for index in 0..self.n {
                    self.input(index as ValidatorIndex, Input::Tick(self.now));
                }
            }
        }
    }

    fn deliver(
        &mut self,
        from: ValidatorIndex,
        to: ValidatorIndex,
        message: Message,
        crash: u64,
        who: &[ValidatorIndex],
    ) {
        if self.attacker == Some(to) {
            self.heard.push(message);
            return;
        }
        if self.deaf == Some(to) && matches!(message, Message::Request(_)) {
            return;
        }
        let node = &self.nodes[usize::from(to)];
        let input = match message {
            Message::Request(bytes) => Input::Request(Some(from), Request::read(bytes).unwrap()),
            Message::PrePrepare(PrePrepare { view, batch, transactions, signature }) => {
                let requests = transactions.into_iter().map(|t| Request::read(t).unwrap()).collect();
                Input::Proposed(Proposal::check(view, batch, requests, signature).unwrap())
            }
            Message::Vote(vote) => Input::Voted(vote),
            Message::Shown(signed) => {
                assert!(
                    is_signed(signed.by.validator, &signed.vote.to_sign(), &signed.by.signature),
                    "nobody lies here"
                );
                Input::Shown(signed)
            }
            Message::Attest(attest) => Input::Attested(attest),
            Message::Status(status) => Input::Told(from, status),
            Message::Blocks(blocks) => Input::Final(blocks),
            Message::ViewChange(signed) => match VerifiedViewChange::check(&self.config(to), signed, &is_signed) {
                Ok(verified) => Input::ViewChanged(verified),
                Err(e) => return self.refused.push(e),
            },
            Message::NewView(message) => match VerifiedNewView::check(&self.config(to), message, &is_signed) {
                Ok(verified) => Input::Renewed(verified),
                Err(e) => return self.refused.push(e),
            },
            Message::Decided(Decision { batch, transactions, certificate }) => {
                let (epoch, view, height, digest) = (batch.epoch, certificate.view, batch.height, batch.digest());
                let vote = Vote { chain: batch.chain, epoch, view, height, phase: Phase::Commit, digest };
                assert!(certificate.commits.iter().all(|c| is_signed(c.validator, &vote.to_sign(), &c.signature)));
                assert!(certificate.commits.len() >= schemas::block::quorum(self.n));
                let requests = transactions.into_iter().map(|t| Request::read(t).unwrap()).collect();
                Input::Decided(Decided::check(batch, requests, certificate).unwrap())
            }
            Message::Ask(nonce, waits_for) => Input::Asked(from, nonce, waits_for),
            Message::Answer(answer) => Input::Answered(from, answer),
            Message::HandOver(hand_over) => Input::HandsOver(from, hand_over),
            Message::AskOffer(_)
            | Message::Offered(_)
            | Message::AskPiece(_)
            | Message::Piece(_)
            | Message::BlocksFrom(_) => unreachable!("everyone has a state and all blocks"),
            Message::Fetch(height) => {
                let blocks: Vec<_> = (height..height + 10).map_while(|h| node.disk.block(h)).collect();
                if node.replica.is_some() && !blocks.is_empty() {
                    self.send(to, from, Message::Blocks(blocks));
                }
                return;
            }
        };
        if let Input::Request(_, request) = &input
            && self.outcomes.is_known(request, node.disk.executed())
        {
            return;
        }
        let down = (0..self.n).filter(|&i| !self.is_up(i)).count();
        if who.contains(&to) && down <= self.down_max && self.dice.below(1000) < crash {
            self.crash_in_turn(to, input);
        } else {
            self.input(to, input);
        }
    }

    pub fn input(&mut self, index: ValidatorIndex, input: Input) {
        if matches!(input, Input::Tick(now) if now.is_multiple_of(1_000)) && self.sealed.contains(&index) {
            self.say_next_epoch(index);
        }
        // who came to the end takes nothing more
        let Some(replica) =
            &mut self.nodes[usize::from(index)].replica.as_mut().filter(|_| !self.sealed.contains(&index))
        else {
            return;
        };
        let effects = replica.step(input, &Mock(index));
        self.perform(index, effects, true);
    }

    /// What its replica of the next epoch says.
    fn say_next_epoch(&mut self, index: ValidatorIndex) {
        let height = self.certified(usize::from(index));
        let (executed, certified, proposed) = (height, height, height);
        let status = Status { view: 0, executed, certified, proposed, stuck: false, changing: false, epoch: 1 };
        for to in (0..self.n as ValidatorIndex).filter(|&to| to != index) {
            self.send(index, to, Message::Status(status));
        }
    }

    fn perform(&mut self, index: ValidatorIndex, effects: Vec<Effect>, synced: bool) {
        let mut unsynced = Vec::new();
        for effect in effects {
            self.trace = sha256(format!("{}{index}{effect:?}", self.trace).as_bytes());
            let disk = &mut self.nodes[usize::from(index)].disk;
            match effect {
                Effect::Append(record) if synced => disk.log.push(record),
                Effect::Append(record) => unsynced.push(record),
                Effect::Broadcast(message) if synced => {
                    for to in (0..self.n as ValidatorIndex).filter(|&to| to != index) {
                        self.send(index, to, message.clone());
                    }
                }
                Effect::Send(to, message) if synced => self.send(index, to, message),
                Effect::Broadcast(_) | Effect::Send(..) => {}
                Effect::Execute(execution) => {
                    // as the node: the log is synced before a height is executed that prepared in the same turn
                    let height = execution.batch.height;
                    let prepared = |r: &Record| matches!(r, Record::Prepared(p) if p.vote.height >= height);
                    if unsynced.iter().any(prepared) {
                        disk.log.append(&mut unsynced);
                    }
                    self.execute(index, *execution, synced);
                }
                Effect::Certify(height, attestations) => {
                    assert!(attestations.len() >= schemas::block::quorum(self.n), "q attestations");
                    disk.attestations.insert(height, attestations);
                }
                Effect::Stable(height) if synced => {
                    disk.flushed = height;
                    disk.log.retain(|record| record.height() > height);
                }
                Effect::Stable(_) => {}
                Effect::Blame(conflict) => {
                    let valid = |word: &Word| is_signed(word.by.validator, &word.to_sign(), &word.by.signature);
                    assert!(conflict.is_canonical() && conflict.words(CHAIN).iter().all(valid), "proof: {conflict:?}");
                    assert_eq!(self.attacker, Some(conflict.validator), "{index} blames one who is honest");
                    assert!(self.blamed.insert((index, conflict.validator)), "{index} blames it once");
                }
                Effect::Sealed(height) => {
                    assert_eq!(
                        Some(height),
                        self.seal.map(|(_, at)| at),
                        "validator {index}: the epoch ends elsewhere"
                    );
                    self.sealed.insert(index);
                }
                Effect::Halt(divergence) => panic!("validator {index}: {divergence}"),
            }
        }
    }

    fn execute(&mut self, index: ValidatorIndex, execution: Execution, synced: bool) {
        let view = (0..self.n).map(|i| self.view(i)).max().unwrap_or(0);
        let disk = &mut self.nodes[usize::from(index)].disk;
        let previous = disk.blocks.last().map(|(_, header)| header);
        let header = Header {
            chain: CHAIN,
            epoch: 0,
            height: disk.executed() + 1,
            batch: execution.batch.digest(),
            previous: previous.map_or(Digest(CHAIN.0), Header::hash),
            log_size: previous.map_or(0, |h| h.log_size) + execution.transactions.len() as u64,
            log_root: sha256(&execution.batch.transactions_root.0),
            time: previous.map_or(0, |h| h.time).max(execution.batch.time),
            state_root: sha256(&execution.batch.digest().0),
        };
        assert_eq!(header.height, execution.batch.height, "heights in order");
        let signers: std::collections::BTreeSet<_> =
            execution.certificate.commits.iter().map(|c| c.validator).collect();
        assert!(signers.len() >= schemas::block::quorum(self.n), "q commits of different validators");
        assert_eq!(schemas::block::transactions_root(&execution.transactions), execution.batch.transactions_root);
        let agreed = self.agreed.entry(header.height).or_insert_with(|| header.clone());
        assert_eq!(*agreed, header, "agreement at height {}", header.height);
        let accepted = self.outcomes.accept(&execution, view > 0);
        disk.blocks.push((execution, header.clone()));
        let Some(replica) = &mut self.nodes[usize::from(index)].replica else { return };
        let seal = self.seal.filter(|(decided, _)| header.height >= *decided).map(|(_, at)| at);
        let effects = replica.step(Input::Executed(header, seal, accepted), &Mock(index));
        self.perform(index, effects, synced);
    }
}
