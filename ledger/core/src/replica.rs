//! The replica: its state, the dispatch of inputs, and what all transitions share. The transitions themselves are in
//! `replica/`, one verb each.

mod agree;
mod attest;
mod blame;
mod change;
mod execute;
mod forward;
mod help;
mod propose;
mod recover;
mod renew;
mod seal;
mod start;
mod tell;
mod timer;

use std::collections::BTreeMap;

use schemas::block::{self, Epoch, Phase, ValidatorIndex, View};
use schemas::id::{ChainId, Height, TimeMs};
use schemas::limits;
use schemas::pbft::Recovery;
use schemas::view::Checkpoint;

use crate::complete::Complete;
use crate::mutants::planted;
use crate::pool::Pool;
use crate::proposal::Request;
use crate::slot::Slot;
use crate::witness::Witness;
use crate::{Config, Effect, Input, Sign};

pub use start::Start;

/// One validator's protocol state. Equal states are formatted equally: it holds no hash map and no pointer that differs.
#[derive(Clone, Debug)]
pub struct Replica {
    config: Config,
    /// The view in which it votes, or for whose NEW-VIEW it waits.
    view: View,
    /// Whether the view has begun here: view 0 always, any other with its NEW-VIEW.
    active: bool,
    /// Time of the last tick.
    now: TimeMs,
    /// Newest executed height.
    executed: Height,
    /// An `Execute` effect waits for its `Executed` input.
    executing: bool,
    /// Up to where every block has q attestations.
    certified: Height,
    /// The newest checkpoint with its proof: the own certified height, or a higher one that others proved.
    checkpoint: Checkpoint,
    /// Certified height of the last garbage collection (§4.3): records up to it may go.
    stable: Height,
    /// The next height that this replica proposes as primary.
    next: Height,
    /// Time of the newest own proposal: times of a primary never go back.
    proposed_time: TimeMs,
    slots: BTreeMap<Height, Slot>,
    pool: Pool,
    timeliness: propose::Timeliness,
    telling: tell::Telling,
    changing: change::Changing,
    timer: timer::Timer,
    witness: Witness,
    /// What it may have said and does not know any more; then it says nothing.
    silence: Option<Recovery>,
    asking: recover::Asking,
    helping: help::Helping,
    /// The last height of the epoch, once it is decided.
    seal: Option<Height>,
}

impl Replica {
    /// Takes one verified input and says what has to be done.
    pub fn step(&mut self, input: Input, signer: &dyn Sign) -> Vec<Effect> {
        let mut effects = Vec::new();
        let (view, executed, certified) = (self.view, self.executed, self.certified);
        self.compare(&input, &mut effects);
        match input {
            input if self.is_silent() => self.follow(input, signer, &mut effects),
            Input::Tick(now) => self.tick(now, signer, &mut effects),
            Input::Request(from, request) => self.take_request(from, request),
            Input::Proposed(proposal) => self.accept(proposal, signer, &mut effects),
            Input::Voted(vote) => self.vote(vote, signer, &mut effects),
            Input::Shown(_) => {}
            Input::Attested(attest) => self.hear_attestation(attest, &mut effects),
            Input::Told(from, status) => self.hear_status(from, status, &mut effects),
            Input::Asked(from, nonce, waits_for) => {
                self.note_asker(from, waits_for);
                self.answer(from, nonce, &mut effects);
            }
            Input::Answered(..) => {}
            Input::HandsOver(from, hand_over) => self.hear_hand_over(from, hand_over),
            Input::Final(blocks) => self.catch_up(blocks, &mut effects),
            Input::Executed(header, seal, accepted) => self.executed(header, seal, &accepted, signer, &mut effects),
            Input::ViewChanged(change) => self.hear_view_change(change, signer, &mut effects),
            Input::Renewed(new_view) => self.hear_new_view(new_view, signer, &mut effects),
            Input::Decided(decided) => self.learn(decided, signer, &mut effects),
        }
        execute_last(&mut effects);
        assert!(self.view >= view, "views only grow");
        assert!(self.executed >= executed && self.certified >= certified, "heights only grow");
        assert!(self.certified <= self.executed && self.stable <= self.certified, "final means executed");
        assert!(self.checkpoint.height >= self.certified, "what is certified is a checkpoint");
        assert!(self.seal.is_none_or(|seal| self.executed <= seal), "nothing of the epoch stands above its end");
        effects
    }

    /// Newest executed height.
    pub const fn executed_height(&self) -> Height {
        self.executed
    }

    /// Up to where every block has q attestations.
    pub const fn certified_height(&self) -> Height {
        self.certified
    }

    /// The view in which it votes, or for whose NEW-VIEW it waits.
    pub const fn view(&self) -> View {
        self.view
    }

    /// Whether it left a view and the next one has not begun.
    pub const fn is_changing(&self) -> bool {
        !self.active && !self.is_silent()
    }

    /// Number and bytes of waiting transactions.
    pub fn waiting(&self) -> (usize, usize) {
        self.pool.size()
    }

    /// The same of those that its own clients handed in: they have their own places.
    pub fn waiting_of_clients(&self) -> (usize, usize) {
        self.pool.size_of_clients()
    }

    /// What it needs no more votes for in its view: prepares once its commit is signed, commits once the height is decided.
    pub fn complete(&self) -> Complete {
        let heights = self.slots.iter().filter_map(|(&height, slot)| {
            let (digest, &(committed, _)) = (slot.digest()?, slot.commits.get(&self.config.me)?);
            let is_decided = slot.decided.as_ref().is_some_and(|decided| decided.digest() == digest);
            let phase = if is_decided { Phase::Commit } else { Phase::Prepare };
            (committed == digest).then_some((height, digest, phase))
        });
        Complete { view: self.view, heights: heights.collect() }
    }

    /// Heights whose state is held in memory.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Whoever is no validator of the epoch has no places.
    fn take_request(&mut self, from: Option<ValidatorIndex>, request: Request) {
        if from.is_none_or(|from| self.is_member(from)) {
            self.pool.admit(from, request, self.now);
        }
    }

    fn tick(&mut self, now: TimeMs, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        if now > self.now.saturating_add(limits::TICK_GAP_MS_MAX) {
            self.timer.woke();
        }
        self.now = self.now.max(now);
        if self.active && self.is_primary() {
            self.propose(signer, effects);
        } else {
            self.forward(effects);
        }
        self.watch(signer, effects);
        self.tell(effects);
    }

    /// The primary of view v is replica v mod n (§4).
    fn primary(&self) -> ValidatorIndex {
        block::primary_of(self.view, self.config.validators)
    }

    fn is_primary(&self) -> bool {
        self.primary() == self.config.me
    }

    fn quorum(&self) -> usize {
        if planted("quorum-2f+1") {
            return 2 * self.faults() + 1;
        }
        block::quorum(self.config.validators)
    }

    fn faults(&self) -> usize {
        block::faults_tolerated(self.config.validators)
    }

    /// Between the watermarks: h < n <= H (§4.2), of the own garbage collection or of a checkpoint that others proved.
    fn is_in_window(&self, height: Height) -> bool {
        let is_below_high = |low: Height| height <= low.saturating_add(limits::WATERMARK_WINDOW);
        let is_above = |low: Height| height > low && (is_below_high(low) || planted("endless-window"));
        height > self.certified && (is_above(self.stable) || is_above(self.checkpoint.height))
    }

    /// Where proposals are voted for: a view change must be able to carry what prepares there.
    fn is_open(&self, height: Height) -> bool {
        let low = self.checkpoint.height;
        height > low && (height <= low.saturating_add(limits::OPEN_HEIGHTS_MAX) || planted("votes-beyond-view-changes"))
    }

    fn is_place(&self, chain: ChainId, epoch: Epoch) -> bool {
        chain == self.config.chain && epoch == self.config.epoch
    }

    fn is_member(&self, validator: ValidatorIndex) -> bool {
        usize::from(validator) < self.config.validators
    }

    /// The slot of a height that is in the window and not final yet.
    fn slot(&mut self, height: Height) -> Option<&mut Slot> {
        self.is_in_window(height).then(|| self.slots.entry(height).or_default())
    }

    /// The own signature of a phase over the slot's proposal.
    fn sign(&self, slot: &Slot, phase: Phase, signer: &dyn Sign) -> Option<schemas::id::Signature> {
        let proposal = slot.proposal.as_ref()?;
        assert!(self.active && proposal.view() == self.view, "votes are of the view, while it lasts");
        Some(signer.sign(&proposal.vote(phase).to_sign()))
    }
}

/// A block leads to the next one: what this step says was prepared must be in the log before either is executed. There is one execution at
/// most, for the next waits for its result.
fn execute_last(effects: &mut Vec<Effect>) {
    let at = effects.iter().position(|effect| matches!(effect, Effect::Execute(_)));
    if let Some(at) = at.filter(|_| !planted("executes-before-prepared")) {
        let execution = effects.remove(at);
        effects.push(execution);
    }
    assert!(effects.iter().filter(|effect| matches!(effect, Effect::Execute(_))).count() <= 1, "one at a time");
}
