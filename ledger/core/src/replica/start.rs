//! A replica starts from what it wrote down: the store's executed height and every record of the vote log above the final
//! height. After this it is in the view of its log and holds each vote that it may have sent, so it can only repeat itself.

use std::collections::BTreeMap;

use schemas::block::{Header, Phase, ValidatorSignature, View};
use schemas::id::{Height, TimeMs};
use schemas::limits;
use schemas::pbft::{Committed, Decision, PrePrepare, Prepared, Record, Repeated};
use schemas::view::{Checkpoint, NewView, PreparedCertificate, SignedViewChange};

use crate::change::VerifiedNewView;
use crate::mutants::planted;
use crate::pool::Pool;
use crate::proposal::{Decided, Proposal, Request};
use crate::replica::{Replica, change, help, propose, recover, tell, timer};
use crate::slot::Slot;
use crate::witness::Witness;
use crate::{Config, CoreError, Effect, Sign};

/// What a replica starts from.
#[derive(Clone, Debug)]
pub struct Start {
    /// Who it is.
    pub config: Config,
    /// Newest executed height of the store, 0 for none.
    pub executed: Height,
    /// Headers of the executed heights at the end that do not have q attestations yet, in order.
    pub unattested: Vec<Header>,
    /// Header hash and attestations of the height before these; the epoch's base where nothing of the epoch is final.
    pub checkpoint: Checkpoint,
    /// Where the epoch ends, if the state after the executed height says so.
    pub seal: Option<Height>,
    /// The vote log in order. Records of earlier epochs are passed over.
    pub records: Vec<Record>,
    /// The time now.
    pub now: TimeMs,
    /// Random: no question of an earlier life had it.
    pub nonce: u64,
}

impl Replica {
    /// Restores the state before the first step. The effects continue what was interrupted.
    ///
    /// # Errors
    /// `CoreError` when log or store contradict themselves.
    pub fn start(start: Start, signer: &dyn Sign) -> Result<(Self, Vec<Effect>), CoreError> {
        let Start { config, executed, unattested, mut checkpoint, seal, records, now, nonce } = start;
        // a copied one may have more, and a view change takes no more than are needed
        checkpoint.attestations.truncate(schemas::block::quorum(config.validators));
        if usize::from(config.me) >= config.validators {
            return Err(CoreError::NotAValidator { me: config.me, validators: config.validators });
        }
        let certified = executed.saturating_sub(unattested.len() as u64);
        let heights_fit = unattested.iter().zip(certified + 1..).all(|(header, height)| header.height == height);
        if !heights_fit || unattested.len() as u64 > executed {
            return Err(CoreError::HeaderGap { executed });
        }
        let is_base = certified == config.base.height && checkpoint != config.base;
        if checkpoint.height != certified || certified < config.base.height || is_base {
            return Err(CoreError::CheckpointGap { found: checkpoint.height, certified });
        }
        let validators = config.validators;
        let mut replica = Self {
            config,
            view: View::default(),
            active: true,
            now,
            executed,
            executing: false,
            certified,
            checkpoint,
            stable: certified - certified % limits::CHECKPOINT_INTERVAL,
            next: 0,
            proposed_time: 0,
            slots: BTreeMap::new(),
            pool: Pool::new(validators),
            timeliness: propose::Timeliness::default(),
            telling: tell::Telling::default(),
            changing: change::Changing::default(),
            timer: timer::Timer::default(),
            witness: Witness::default(),
            silence: None,
            asking: recover::Asking::new(nonce),
            helping: help::Helping::default(),
            seal,
        };
        for record in records {
            replica.restore(record)?;
        }
        if replica.is_silent() {
            replica.active = false;
        }
        // not before: a record may name a body that an earlier one holds
        replica.slots.values_mut().for_each(Slot::drop_bodies);
        replica.pool.restarted();
        replica.next = replica.next.max(executed + 1);
        if planted("height-proposed-again") {
            replica.next = executed + 1;
        }
        let mut effects = Vec::new();
        replica.resume(unattested, signer, &mut effects)?;
        Ok((replica, effects))
    }

    fn restore(&mut self, record: Record) -> Result<(), CoreError> {
        let height = record.height();
        match record.epoch() {
            Some(epoch) if epoch < self.config.epoch => return Ok(()),
            Some(epoch) if epoch > self.config.epoch => {
                return Err(CoreError::Contradiction { height, what: "a later epoch than the store's" });
            }
            _ => {}
        }
        // whoever says something of its own was silent for long enough
        if !matches!(record, Record::Committed(_) | Record::Decided(_) | Record::Recovering(..)) {
            self.silence = None;
        }
        match &record {
            Record::Accepted(PrePrepare { view, batch, .. }, _) => {
                self.proposed_time = self.proposed_time.max(batch.time);
                self.restore_vote(*view, height)?;
            }
            Record::Repeated(Repeated { vote, .. }) | Record::Prepared(Prepared { vote, .. }) => {
                self.restore_vote(vote.view, height)?;
            }
            Record::Committed(_)
            | Record::Decided(_)
            | Record::ViewChange(..)
            | Record::NewView(..)
            | Record::Recovering(..) => {}
        }
        let is_final = height <= self.certified;
        match record {
            Record::ViewChange(..) if planted("view-change-forgotten") => Ok(()),
            Record::ViewChange(_, signed) => self.restore_view_change(signed),
            Record::NewView(_, message) => self.restore_new_view(message),
            Record::Recovering(_, recovery) => {
                self.restore_silence(recovery);
                Ok(())
            }
            _ if is_final => Ok(()),
            Record::Accepted(..) if planted("vote-forgotten") => Ok(()),
            Record::Accepted(pre_prepare, prepare) => {
                let proposal = read(pre_prepare)?;
                self.restore_proposal(proposal, prepare)
            }
            Record::Repeated(Repeated { vote, pre_prepare, prepare }) => {
                let missing = CoreError::Contradiction { height, what: "a batch proposed again without its body" };
                let body = self.body_of(height, &vote.digest).ok_or(missing)?;
                self.restore_proposal(body.proposed(vote.view, pre_prepare), prepare)
            }
            Record::Prepared(_) if planted("certificate-forgotten") => Ok(()),
            Record::Prepared(prepared) => self.restore_prepared(prepared),
            Record::Committed(committed) => self.restore_committed(committed),
            Record::Decided(decision) => self.restore_decided(decision),
        }
    }

    /// A vote of a view: this replica was in it. Its NEW-VIEW may stand in a dropped segment, and again further on.
    fn restore_vote(&mut self, view: View, height: Height) -> Result<(), CoreError> {
        if view < self.view || (view == self.view && !self.active) {
            return Err(CoreError::Contradiction { height, what: "a vote in a view that was left before" });
        }
        if view > self.view {
            self.leave_view(view);
            self.active = true;
            self.next = 0;
        }
        self.next = self.next.max(height.saturating_add(1));
        Ok(())
    }

    fn restore_view_change(&mut self, signed: SignedViewChange) -> Result<(), CoreError> {
        let (view, height) = (signed.change.view, signed.change.checkpoint.height);
        if view < self.view || (view == self.view && self.active) {
            return Err(CoreError::Contradiction { height, what: "a view change for a view that began before" });
        }
        if view > self.view {
            self.leave_view(view);
            self.timer.left_view();
        }
        self.changing.own = Some(signed);
        Ok(())
    }

    fn restore_new_view(&mut self, message: NewView) -> Result<(), CoreError> {
        let new_view = VerifiedNewView::own(&self.config, message);
        if new_view.view() < self.view {
            let height = new_view.checkpoint().height;
            return Err(CoreError::Contradiction { height, what: "a new view below one that was entered" });
        }
        if new_view.view() > self.view {
            self.leave_view(new_view.view());
        }
        // written down again in the course of the view: what was proposed since stays
        let next = if self.active { self.next } else { 0 };
        if new_view.checkpoint().height > self.checkpoint.height {
            self.checkpoint = new_view.checkpoint().clone();
        }
        self.install(&new_view);
        self.next = self.next.max(next);
        self.changing.began = Some(new_view);
        Ok(())
    }

    fn restore_proposal(
        &mut self,
        proposal: Proposal,
        prepare: Option<schemas::id::Signature>,
    ) -> Result<(), CoreError> {
        let (height, digest, me) = (proposal.batch().height, proposal.digest(), self.config.me);
        let slot = self.slots.entry(height).or_default();
        if slot.digest().is_some_and(|before| before != digest) {
            return Err(CoreError::Contradiction { height, what: "two proposals" });
        }
        if let Some(signature) = prepare {
            slot.prepares.insert(me, (digest, signature));
        }
        if !proposal.is_empty() {
            slot.keep_body(&proposal);
        }
        self.pool.take(proposal.requests(), self.now);
        slot.proposal = Some(proposal);
        Ok(())
    }

    fn restore_prepared(&mut self, prepared: Prepared) -> Result<(), CoreError> {
        let Prepared { vote, mut prepares, commit } = prepared;
        // older versions wrote all that they had
        prepares.truncate(self.quorum().saturating_sub(1));
        let (me, height, digest) = (self.config.me, vote.height, vote.digest);
        let slot = self.slots.entry(height).or_default();
        let accepted = slot.proposal.as_ref().filter(|p| p.digest() == digest && vote.phase == Phase::Commit);
        let Some(pre_prepare) = accepted.map(Proposal::signature) else {
            return Err(CoreError::Contradiction { height, what: "a commit without its proposal" });
        };
        for &by in &prepares {
            Slot::count(&mut slot.prepares, by, digest);
        }
        Slot::count(&mut slot.commits, ValidatorSignature { validator: me, signature: commit }, digest);
        slot.learn_prepared(&PreparedCertificate { view: vote.view, height, digest, pre_prepare, prepares });
        Ok(())
    }

    fn restore_committed(&mut self, committed: Committed) -> Result<(), CoreError> {
        let Committed { height, digest, certificate } = committed;
        let missing = CoreError::Contradiction { height, what: "a certificate without its proposal" };
        let body = self.body_of(height, &digest).ok_or(missing)?;
        let view = self.view;
        let slot = self.slots.entry(height).or_default();
        if certificate.view == view {
            for &by in &certificate.commits {
                Slot::count(&mut slot.commits, by, digest);
            }
        }
        Self::restore_decision(slot, Decided::of(body, certificate))
    }

    fn restore_decided(&mut self, decision: Decision) -> Result<(), CoreError> {
        let Decision { batch, transactions, certificate } = decision;
        let height = batch.height;
        let altered = CoreError::Contradiction { height, what: "a decision that does not hash to its root" };
        let requests: Result<Vec<_>, _> = transactions.into_iter().map(Request::read).collect();
        let decided = requests.ok().and_then(|requests| Decided::check(batch, requests, certificate).ok());
        Self::restore_decision(self.slots.entry(height).or_default(), decided.ok_or(altered)?)
    }

    fn restore_decision(slot: &mut Slot, decided: Decided) -> Result<(), CoreError> {
        let height = decided.batch().height;
        if slot.decided.as_ref().is_some_and(|before| before.digest() != decided.digest()) {
            return Err(CoreError::Contradiction { height, what: "two decisions" });
        }
        slot.decided = Some(decided);
        Ok(())
    }

    /// Executes what was committed and attests what was executed.
    fn resume(
        &mut self,
        unattested: Vec<Header>,
        signer: &dyn Sign,
        effects: &mut Vec<Effect>,
    ) -> Result<(), CoreError> {
        for header in unattested {
            let height = header.height;
            let slot = self.slots.entry(height).or_default();
            if slot.decided.as_ref().is_some_and(|decided| decided.digest() != header.batch) {
                return Err(CoreError::Contradiction { height, what: "the store executed another batch" });
            }
            let body = slot.body(&header.batch);
            slot.header = Some(header);
            if let Some(body) = body {
                // of what was accepted nobody hands another copy in, and what is in flight does not come back
                self.pool.executed(body.requests(), &[]);
            }
            self.attest(height, signer, effects);
        }
        self.execute_next(effects);
        Ok(())
    }
}

/// A record's proposal was checked before it was written: what fails now was altered.
fn read(pre_prepare: PrePrepare) -> Result<Proposal, CoreError> {
    let PrePrepare { view, batch, transactions, signature } = pre_prepare;
    let height = batch.height;
    let altered = CoreError::Contradiction { height, what: "a proposal that does not hash to its root" };
    let requests: Result<Vec<_>, _> = transactions.into_iter().map(Request::read).collect();
    let Ok(requests) = requests else { return Err(altered) };
    Proposal::check(view, batch, requests, signature).map_err(|_| altered)
}
