//! What must hold after every step, whoever attacks. Each checker panics with its name; whoever runs the seed catches it. Only
//! honest validators are held to anything: an attacker's replica is a means of attack.

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::Execution;
use schemas::block::{self, Batch, Epoch, Header, Phase, ValidatorIndex, ValidatorSignature, View, Vote};
use schemas::id::{Digest, Height};
use schemas::limits;
use schemas::view::{Checkpoint, NewView, SignedViewChange, ViewChange};

use crate::keys::Keys;
use crate::oracle;

/// View and height of votes.
type Place = (View, Height);

/// What honest validators said and did so far.
#[derive(Default)]
pub struct Checks {
    /// Each honest vote ever sent: nobody sends two that differ.
    said: BTreeMap<(ValidatorIndex, View, Height, Phase), Digest>,
    /// Each honest attestation ever sent.
    attested: BTreeMap<(ValidatorIndex, Height), Digest>,
    /// Honest senders of commits.
    committing: BTreeMap<Place, (Digest, BTreeSet<ValidatorIndex>)>,
    /// Batches of which a quorum may hold commits, by height.
    locked: BTreeMap<Height, (View, Digest)>,
    /// Honest prepares and proposals, by height.
    prepared: BTreeMap<Height, BTreeSet<(View, Digest)>>,
    /// Per validator: stable checkpoint of this life, and what was flushed for good.
    stable: BTreeMap<ValidatorIndex, Height>,
    /// The view that each honest validator wants: no new vote below it.
    left: BTreeMap<(Epoch, ValidatorIndex), View>,
    /// The highest view in which each honest validator voted.
    voted: BTreeMap<(Epoch, ValidatorIndex), View>,
    /// View changes by sender and view, as they were first said.
    changes: BTreeMap<(Epoch, ValidatorIndex, View), Digest>,
    /// Views that began.
    began: BTreeSet<(Epoch, View)>,
    /// The last height of each epoch that is decided.
    seals: BTreeMap<Epoch, Height>,
    /// Honest validators that lost their votes and have said nothing since.
    silent: BTreeSet<ValidatorIndex>,
}

impl Checks {
    /// An honest validator sends a vote. `attackers` may add theirs to any quorum.
    pub fn say(&mut self, by: ValidatorIndex, vote: &Vote, n: usize, attackers: usize) {
        let Vote { epoch, view, height, phase, digest, .. } = *vote;
        let seal = self.seals.get(&epoch).copied().unwrap_or(Height::MAX);
        assert!(
            height <= seal,
            "beyond the seal: {by} votes at height {height} in epoch {epoch}, which ends at {seal}"
        );
        let is_new = match self.said.insert((by, view, height, phase), digest) {
            None => true,
            Some(before) => {
                let what = format!("view {view}, height {height}, {phase:?}");
                assert!(before == digest, "contradiction: validator {by} sends two votes at {what}");
                false
            }
        };
        if !is_new {
            return;
        }
        let left = self.left.get(&(epoch, by)).copied().unwrap_or(0);
        assert!(view >= left, "old view: validator {by} left for view {left}, then votes in {view} at height {height}");
        let voted = self.voted.entry((epoch, by)).or_default();
        assert!(view >= *voted, "old view: validator {by} voted in view {voted}, then in {view} at height {height}");
        *voted = view;
        match phase {
            Phase::PrePrepare | Phase::Prepare => {
                // honest ones may accept different halves of an equivocation: only commits must agree
                self.prepared.entry(height).or_default().insert((view, digest));
                self.check_survival(height, view, digest);
            }
            Phase::Commit => self.commit(by, vote, n, attackers),
        }
    }

    fn commit(&mut self, by: ValidatorIndex, vote: &Vote, n: usize, attackers: usize) {
        let Vote { view, height, digest, .. } = *vote;
        let (first, senders) = self.committing.entry((view, height)).or_insert_with(|| (digest, BTreeSet::new()));
        assert!(*first == digest, "two batches are prepared in view {view} at height {height}");
        senders.insert(by);
        if senders.len() + attackers >= block::quorum(n) {
            let held = self.locked.entry(height).or_insert((view, digest));
            assert!(
                held.1 == digest,
                "two batches may be committed at height {height}, in views {} and {view}",
                held.0
            );
            held.0 = held.0.min(view);
            let (lock, lowest) = (held.1, held.0);
            let voted = self.prepared.get(&height).into_iter().flatten();
            for &(view, digest) in voted.filter(|(view, _)| *view > lowest) {
                assert!(digest == lock, "prepared, then lost: height {height}, view {lowest}, and another in {view}");
            }
        }
    }

    /// What a quorum may have committed is what every later view proposes.
    fn check_survival(&self, height: Height, view: View, digest: Digest) {
        if let Some(&(lowest, lock)) = self.locked.get(&height)
            && view > lowest
        {
            assert!(digest == lock, "prepared, then lost: height {height}, view {lowest}, and another in {view}");
        }
    }

    /// An honest validator sends an attestation.
    pub fn attest(&mut self, by: ValidatorIndex, height: Height, header: Digest) {
        let before = self.attested.insert((by, height), header);
        assert!(before.is_none_or(|before| before == header), "contradiction: {by} attests two headers at {height}");
    }

    /// An honest validator leaves all views below: its view change names everything that it committed to above its
    /// checkpoint, in a view not below.
    pub fn leave(&mut self, by: ValidatorIndex, change: &ViewChange) {
        let hash = schemas::cbor::sha256(&change.to_sign());
        let epoch = change.epoch;
        let before = self.changes.insert((epoch, by, change.view), hash);
        assert!(before.is_none_or(|before| before == hash), "contradiction: {by} sends two view changes for one view");
        if before.is_some() {
            return;
        }
        let voted = self.voted.get(&(epoch, by)).copied().unwrap_or(0);
        assert!(change.view > voted || change.view == 0, "{by} votes in view {voted}, then leaves for {}", change.view);
        // a timer moves on by one, and f + 1 who want more contain an honest one
        let of_epoch = self.left.range((epoch, 0)..=(epoch, ValidatorIndex::MAX));
        let highest = of_epoch.map(|(_, &view)| view).max().unwrap_or(0);
        assert!(
            change.view <= highest + 1,
            "dragged: {by} leaves for view {}, nobody honest is above {highest}",
            change.view
        );
        let left = self.left.entry((epoch, by)).or_default();
        assert!(change.view > *left, "{by} leaves for view {}, after it left for {left}", change.view);
        *left = change.view;
        let said = self.said.range((by, 0, 0, Phase::PrePrepare)..(by, change.view, 0, Phase::PrePrepare));
        for (&(_, view, height, phase), digest) in said {
            if phase != Phase::Commit || height <= change.checkpoint.height {
                continue;
            }
            let named = change.prepared.iter().find(|certificate| certificate.height == height);
            let holds = named.is_some_and(|named| named.view > view || (named.view == view && named.digest == *digest));
            assert!(
                holds,
                "{by} leaves for view {} without its prepared certificate of view {view}, {height}",
                change.view
            );
        }
    }

    /// A new view assigns what follows from its view changes.
    pub fn new_view(&mut self, message: &NewView, assigned: &[(Height, Digest)]) {
        let expected: Vec<_> = oracle::assignment(message.chain, &message.changes).into_iter().collect();
        assert!(assigned == expected, "view {} assigns {assigned:?}, expected {expected:?}", message.view);
    }

    /// Whether this is the first that is heard of a view.
    pub fn begins(&mut self, epoch: Epoch, view: View) -> bool {
        self.began.insert((epoch, view))
    }

    /// The end of an epoch is decided.
    pub fn seals(&mut self, epoch: Epoch, at: Height) {
        let before = self.seals.insert(epoch, at);
        assert!(before.is_none_or(|before| before == at), "epoch {epoch} ends at {before:?} and at {at}");
    }

    /// A validator's low watermark moves.
    pub fn stable(&mut self, by: ValidatorIndex, height: Height) {
        let before = self.stable.insert(by, height).unwrap_or(0);
        assert!(height > before, "stable checkpoint of {by} retreats from {before} to {height}");
    }

    /// A validator lost its disk: its stable checkpoint too. What it said stays said.
    pub fn lose(&mut self, by: ValidatorIndex) {
        self.stable.remove(&by);
        self.silent.insert(by);
    }

    /// It says nothing until it may.
    pub fn is_silent(&self, by: ValidatorIndex) -> bool {
        self.silent.contains(&by)
    }

    /// It speaks again.
    pub fn speaks(&mut self, by: ValidatorIndex) -> bool {
        self.silent.remove(&by)
    }

    /// A restart finds what is durable.
    pub fn restart(&mut self, by: ValidatorIndex, certified: Height, (epoch, view): (Epoch, View)) {
        let place = (epoch, by);
        let known = self.left.get(&place).max(self.voted.get(&place)).copied().unwrap_or(0);
        assert!(
            view >= known || self.is_silent(by),
            "amnesia: validator {by} starts in view {view}, and was in {known} before"
        );
        let stable = self.stable.entry(by).or_default();
        // not flushed yet: the store may be behind, the log still has everything
        *stable = (*stable).min(certified);
    }
}

/// What a new view rests on: view changes of different members, each with a proven checkpoint and prepared certificates of q
/// signers, the primary by its pre-prepare alone.
pub fn view_changes(keys: &Keys, message: &NewView) {
    let (epoch, n) = (message.epoch, keys.validators(message.epoch));
    let base = keys.config(epoch).expect("an epoch that began").base;
    let senders: BTreeSet<_> = message.changes.iter().map(|signed| signed.by.validator).collect();
    assert!(senders.len() == message.changes.len() && senders.len() >= block::quorum(n), "view changes: too few");
    for SignedViewChange { change, by } in &message.changes {
        let is_theirs =
            change.view == message.view && keys.is_signed(epoch, by.validator, &change.to_sign(), &by.signature);
        assert!(is_theirs, "view changes: one of {} that is not its own", by.validator);
        let Checkpoint { height, header, attestations } = &change.checkpoint;
        if change.checkpoint != base {
            let bytes = block::attestation_bytes(&keys.chain, epoch, *height, header);
            quorum(keys, epoch, "a checkpoint", &bytes, attestations);
        }
        for certificate in &change.prepared {
            let bytes = |phase| certificate.vote(keys.chain, epoch, phase).to_sign();
            let primary = block::primary_of(certificate.view, n);
            let proposed = keys.is_signed(epoch, primary, &bytes(Phase::PrePrepare), &certificate.pre_prepare);
            let signers: BTreeSet<_> = certificate.prepares.iter().map(|prepare| prepare.validator).collect();
            let is_quorum = signers.len() + 1 >= block::quorum(n) && !signers.contains(&primary);
            let prepares = bytes(Phase::Prepare);
            let valid =
                certificate.prepares.iter().all(|by| keys.is_signed(epoch, by.validator, &prepares, &by.signature));
            let holds = proposed && is_quorum && valid && certificate.view < change.view;
            assert!(holds, "view changes: {} claims a prepared certificate that is none", by.validator);
        }
    }
}

/// The commit certificate that an execution rests on.
pub fn commits(keys: &Keys, execution: &Execution) {
    let Execution { batch, certificate, .. } = execution;
    let vote = commit_vote(batch, certificate.view);
    quorum(keys, batch.epoch, "commits", &vote.to_sign(), &certificate.commits);
}

/// The attestations that make a height final.
pub fn attestations(keys: &Keys, header: &Header, attestations: &[ValidatorSignature]) {
    quorum(keys, header.epoch, "attestations", &block::attestation_to_sign(header), attestations);
}

fn commit_vote(batch: &Batch, view: View) -> Vote {
    let (chain, epoch, height) = (batch.chain, batch.epoch, batch.height);
    Vote { chain, epoch, view, height, phase: Phase::Commit, digest: batch.digest() }
}

fn quorum(keys: &Keys, epoch: Epoch, what: &str, message: &[u8], signatures: &[ValidatorSignature]) {
    let n = keys.validators(epoch);
    let distinct: BTreeSet<_> = signatures.iter().map(|by| by.validator).collect();
    assert!(distinct.len() == signatures.len(), "certificate of {what}: a validator counts twice");
    assert!(signatures.len() >= block::quorum(n), "certificate of {what}: {} of {n}", signatures.len());
    let valid = signatures.iter().all(|by| keys.is_signed(epoch, by.validator, message, &by.signature));
    assert!(valid, "certificate of {what}: a signature that does not verify");
}

/// Memory is bounded by the window, whatever peers send.
pub fn memory(slots: usize, waiting: (usize, usize)) {
    let slots_max = usize::try_from(limits::WATERMARK_WINDOW).unwrap_or(0) * 2;
    assert!(slots <= slots_max, "memory: {slots} heights held, at most {slots_max}");
    // the clients'; of peers two lanes, and of what was proposed
    let transactions_max = limits::MEMPOOL_TRANSACTIONS_MAX + 4 * limits::MEMPOOL_PEERS_MAX;
    let bytes_max = limits::MEMPOOL_BYTES_MAX + 4 * limits::MEMPOOL_PEERS_BYTES_MAX;
    assert!(waiting.0 <= transactions_max, "memory: {} transactions wait", waiting.0);
    assert!(waiting.1 <= bytes_max, "memory: {} bytes wait", waiting.1);
}
