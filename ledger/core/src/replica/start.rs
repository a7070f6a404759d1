//! A replica starts from what it wrote down: the store's executed height and every record of the vote log above the final
//! height. After this it holds each vote that it may have sent, so it can only repeat itself.

use std::collections::BTreeMap;

use schemas::block::{Header, Phase, ValidatorSignature, View};
use schemas::id::{Height, TimeMs};
use schemas::limits;
use schemas::pbft::{Committed, PrePrepare, Prepared, Record};

use crate::pool::Pool;
use crate::proposal::{Proposal, Request};
use crate::replica::{Replica, propose, tell};
use crate::slot::Slot;
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
    /// The vote log in order.
    pub records: Vec<Record>,
    /// The time now.
    pub now: TimeMs,
}

impl Replica {
    /// Restores the state before the first step. The effects continue what was interrupted.
    ///
    /// # Errors
    /// `CoreError` when log or store contradict themselves.
    pub fn start(start: Start, signer: &dyn Sign) -> Result<(Self, Vec<Effect>), CoreError> {
        let Start { config, executed, unattested, records, now } = start;
        if usize::from(config.me) >= config.validators {
            return Err(CoreError::NotAValidator { me: config.me, validators: config.validators });
        }
        let certified = executed.saturating_sub(unattested.len() as u64);
        let heights_fit = unattested.iter().zip(certified + 1..).all(|(header, height)| header.height == height);
        if !heights_fit || unattested.len() as u64 > executed {
            return Err(CoreError::HeaderGap { executed });
        }
        let mut replica = Self {
            config,
            view: View::default(),
            now,
            executed,
            executing: false,
            certified,
            stable: certified - certified % limits::CHECKPOINT_INTERVAL,
            next: executed + 1,
            proposed_time: 0,
            slots: BTreeMap::new(),
            pool: Pool::default(),
            timeliness: propose::Timeliness::default(),
            telling: tell::Telling::default(),
        };
        for record in records {
            replica.restore(record)?;
        }
        let mut effects = Vec::new();
        replica.resume(unattested, signer, &mut effects)?;
        Ok((replica, effects))
    }

    fn restore(&mut self, record: Record) -> Result<(), CoreError> {
        let height = record.height();
        self.next = self.next.max(height + 1);
        if let Record::Accepted(pre_prepare, _) = &record {
            self.proposed_time = self.proposed_time.max(pre_prepare.batch.time);
        }
        if height <= self.certified {
            return Ok(());
        }
        let me = self.config.me;
        let slot = self.slots.entry(height).or_default();
        match record {
            Record::Accepted(pre_prepare, prepare) => {
                let proposal = read(pre_prepare)?;
                if slot.digest().is_some_and(|digest| digest != proposal.digest()) {
                    return Err(CoreError::Contradiction { height, what: "two proposals" });
                }
                if let Some(signature) = prepare {
                    slot.prepares.insert(me, (proposal.digest(), signature));
                }
                self.pool.take(&proposal);
                slot.proposal = Some(proposal);
            }
            Record::Prepared(Prepared { vote, prepares, commit }) => {
                if slot.digest() != Some(vote.digest) || vote.phase != Phase::Commit {
                    return Err(CoreError::Contradiction { height, what: "a commit without its proposal" });
                }
                for by in prepares {
                    Slot::count(&mut slot.prepares, by, vote.digest);
                }
                Slot::count(&mut slot.commits, ValidatorSignature { validator: me, signature: commit }, vote.digest);
            }
            Record::Committed(Committed { digest, certificate, .. }) => {
                if slot.digest() != Some(digest) {
                    return Err(CoreError::Contradiction { height, what: "a certificate without its proposal" });
                }
                for &by in &certificate.commits {
                    Slot::count(&mut slot.commits, by, digest);
                }
                slot.certificate = Some(certificate);
            }
        }
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
            if slot.certificate.is_some() && slot.digest().is_some_and(|digest| digest != header.batch) {
                return Err(CoreError::Contradiction { height, what: "the store executed another batch" });
            }
            if let Some(proposal) = &slot.proposal {
                self.pool.executed(proposal.requests());
            }
            slot.header = Some(header);
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
