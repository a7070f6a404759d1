//! Attestations of executed headers: q of them make a block final for everyone outside, and at every 64th height a stable
//! checkpoint (§4.3). A replica attests only what it saw committed itself: body and certificate are in its own log.

use schemas::block::{self, ValidatorSignature};
use schemas::id::Height;
use schemas::limits;
use schemas::pbft::{Attest, Message, Record};
use schemas::view::Checkpoint;

use crate::mutants::planted;
use crate::replica::Replica;
use crate::slot::Slot;
use crate::{Divergence, Effect, Sign};

impl Replica {
    /// Signs and sends the own attestation.
    pub(super) fn attest(&mut self, height: Height, signer: &dyn Sign, effects: &mut Vec<Effect>) {
        let (me, is_silent) = (self.config.me, self.is_silent());
        let Some(slot) = self.slots.get_mut(&height) else { return };
        let Some(header) = &slot.header else { return };
        if is_silent || slot.decided.is_none() || slot.block.is_some() {
            return;
        }
        let (hash, signature) = (header.hash(), signer.sign(&block::attestation_to_sign(header)));
        let before = slot.attestations.insert(me, (hash, signature));
        assert!(before.is_none_or(|(h, _)| h == hash), "one attestation per height");
        let by = ValidatorSignature { validator: me, signature };
        effects.push(Effect::Broadcast(Message::Attest(Attest { height, header: hash, by })));
    }

    /// Counts an attestation of another validator, whoever passes it on. It may come before the own execution.
    pub(super) fn hear_attestation(&mut self, attest: Attest, effects: &mut Vec<Effect>) {
        let Attest { height, header, by } = attest;
        if !self.is_member(by.validator) || by.validator == self.config.me {
            return;
        }
        let Some(slot) = self.slot(height) else { return };
        Slot::count(&mut slot.attestations, by, header);
        self.certify(height, effects);
    }

    /// Moves the final height as far as it goes, and with it the low watermark.
    pub(super) fn certify(&mut self, height: Height, effects: &mut Vec<Effect>) {
        if let Some(divergence) = self.divergence(height) {
            effects.push(Effect::Halt(divergence));
            return;
        }
        self.show_attestations(height, effects);
        while let Some(attestations) = self.final_attestations(self.certified + 1) {
            assert!(self.certified < self.executed, "what is not executed has no header");
            self.certified += 1;
            let header = self.slots.remove(&self.certified).and_then(|slot| slot.header);
            if self.certified > self.checkpoint.height
                && let Some(header) = header
            {
                let (height, attestations) = (self.certified, attestations.clone());
                self.checkpoint = Checkpoint { height, header: header.hash(), attestations };
            }
            effects.push(Effect::Certify(self.certified, attestations));
            if self.certified.is_multiple_of(limits::WITNESS_HEIGHTS / 4) {
                self.witness.forget(self.certified, self.view);
            }
            if self.certified.is_multiple_of(limits::CHECKPOINT_INTERVAL) {
                self.stable = self.certified;
                // records of older heights go; in which view this replica is must outlast them
                if !planted("view-goes-with-the-log") {
                    effects.extend(self.view_record().map(Effect::Append));
                    effects.extend(self.silence_record(self.certified.saturating_add(1)).map(Effect::Append));
                }
                effects.push(Effect::Stable(self.stable));
            }
            if self.seal == Some(self.certified) {
                effects.push(Effect::Sealed(self.certified));
                return;
            }
        }
    }

    /// What the log must hold about the view.
    fn view_record(&self) -> Option<Record> {
        let height = self.certified.saturating_add(1);
        if self.is_silent() {
            return None;
        }
        let began = self.changing.began.as_ref().map(|began| Record::NewView(height, began.message().clone()));
        began.or_else(|| self.changing.own.clone().map(|own| Record::ViewChange(height, own)))
    }

    fn final_attestations(&self, height: Height) -> Option<Vec<ValidatorSignature>> {
        let slot = self.slots.get(&height)?;
        let hash = slot.header.as_ref()?.hash();
        let mut matching = Slot::over(&slot.attestations, &hash);
        let needed = self.quorum() - usize::from(planted("checkpoint-one-short"));
        matching.truncate(needed);
        (matching.len() == needed).then_some(matching)
    }

    /// f + 1 attestations of another header contain an honest one: this replica's execution is wrong.
    fn divergence(&self, height: Height) -> Option<Divergence> {
        let slot = self.slots.get(&height)?;
        let ours = slot.header.as_ref()?.hash();
        let others = slot.attestations.values().filter(|(hash, _)| *hash != ours).count();
        (others > self.faults()).then_some(Divergence { height, ours })
    }
}
