//! Prepare and commit (§4.2). A batch is prepared with the pre-prepare and q − 1 matching prepares of backups: q distinct
//! signers, 2f + 1 at n = 3f + 1. It is committed with q matching commits once it is prepared here.

use schemas::block::{CommitCertificate, Phase, ValidatorSignature};
use schemas::id::Height;
use schemas::pbft::{Committed, Message, Prepared, Record, SignedVote};

use crate::replica::Replica;
use crate::slot::Slot;
use crate::{Effect, Sign};

impl Replica {
    /// Counts a prepare or commit of another validator.
    pub(super) fn vote(&mut self, signed: SignedVote, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let SignedVote { vote, by } = signed;
        let is_ours = vote.chain == self.config.chain && vote.epoch == self.config.epoch && vote.view == self.view;
        let is_other = self.is_member(by.validator) && by.validator != self.config.me;
        let is_primary = by.validator == self.primary();
        if !is_ours || !is_other {
            return;
        }
        let Some(slot) = self.slot(vote.height) else { return };
        match vote.phase {
            Phase::Prepare if !is_primary => Slot::count(&mut slot.prepares, by, vote.digest),
            Phase::Commit => Slot::count(&mut slot.commits, by, vote.digest),
            // a pre-prepare comes with its body; the primary sends no prepare
            Phase::PrePrepare | Phase::Prepare => return,
        }
        self.prepare(vote.height, signer, effects);
    }

    /// prepared(m, v, n, i): writes the certificate and the commit down, then sends the commit.
    pub(super) fn prepare(&mut self, height: Height, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let (me, needed) = (self.config.me, self.quorum() - 1);
        let Some(slot) = self.slots.get(&height) else { return };
        let Some(digest) = slot.digest() else { return };
        let prepares = Slot::over(&slot.prepares, &digest);
        if !slot.commits.contains_key(&me) && prepares.len() >= needed {
            let Some(signature) = self.sign(slot, Phase::Commit, signer) else { return };
            let Some(vote) = slot.proposal.as_ref().map(|p| p.vote(Phase::Commit)) else { return };
            let by = ValidatorSignature { validator: me, signature };
            effects.push(Effect::Append(Record::Prepared(Prepared { vote, prepares, commit: signature })));
            effects.push(Effect::Broadcast(Message::Vote(SignedVote { vote, by })));
            if let Some(slot) = self.slots.get_mut(&height) {
                assert!(slot.commits.insert(me, (digest, signature)).is_none(), "one commit per view and height");
            }
        }
        self.commit(height, signer, effects);
    }

    /// committed-local(m, v, n, i): prepared, and q commits.
    fn commit(&mut self, height: Height, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let (me, view, needed) = (self.config.me, self.view, self.quorum());
        let Some(slot) = self.slots.get_mut(&height) else { return };
        let Some(digest) = slot.digest() else { return };
        let commits = Slot::over(&slot.commits, &digest);
        if slot.certificate.is_some() || !slot.commits.contains_key(&me) || commits.len() < needed {
            return;
        }
        assert!(commits.iter().any(|c| c.validator == me), "the own commit is over the accepted digest");
        let certificate = CommitCertificate { view, commits };
        slot.certificate = Some(certificate.clone());
        effects.push(Effect::Append(Record::Committed(Committed { height, digest, certificate })));
        // executed already when the store was ahead of the log
        self.attest(height, signer, effects);
        self.certify(height, effects);
        self.execute_next(effects);
    }
}
