//! An honest chain of four epochs for tests, and headers that validators of any of them sign for any other.
#![allow(dead_code, reason = "each test binary uses its part")]

use ledger_proof::Epochs;
use schemas::block::{Block, Header, ValidatorSignature, attestation_to_sign, quorum};
use schemas::cbor;
use schemas::genesis::Validator;
use schemas::proof::{AttestedHeader, EpochProof};
use schemas::receipt::EntryProof;
use schemas::state::{EpochRecord, epoch_key};
use schemas::transaction::{Outcome, Transaction};

use crate::chain::{Chain, anchor, bytes, key, public, sign, statement};
use crate::tree::Tree;

/// Who sits where in each epoch. Epoch 3 has nobody of epoch 0 left.
pub const SEATS: [&[u16]; 4] = [&[0, 1, 2, 3], &[0, 1, 2, 3, 4, 5, 6], &[6, 5, 4, 3, 7], &[7, 8, 9, 10, 11, 12]];

/// What happened in one epoch.
pub struct Era {
    pub record: EpochRecord,
    pub seal: u64,
    pub block: Block,
    pub tx: Transaction,
    pub entry: EntryProof,
}

/// An honest chain of four epochs, each with one block; the last has no end yet.
pub struct World {
    pub chain: Chain,
    pub state: Tree,
    pub eras: Vec<Era>,
    pub proofs: Vec<EpochProof>,
}

pub fn members(seats: &[u16]) -> Vec<Validator> {
    seats.iter().map(|seed| Validator { name: format!("v{seed}"), key: public(&key(*seed)) }).collect()
}

impl World {
    pub fn new() -> Self {
        let mut chain = Chain::new(4);
        let (mut state, mut eras, mut proofs) = (Tree::default(), vec![], vec![]);
        let mut record = EpochRecord::genesis(members(SEATS[0]));
        state.rows.insert(epoch_key(0), cbor::encode(&record));
        for (epoch, seats) in SEATS.iter().enumerate() {
            (chain.epoch, chain.seats, chain.height) = (epoch as u64, seats.to_vec(), record.first + 9);
            let next = SEATS.get(epoch + 1).map(|seats| record.next(members(seats), chain.height + 1));
            if let Some(next) = &next {
                state.rows.insert(epoch_key(next.epoch), cbor::encode(next));
            }
            chain.state_root = state.root();
            let tx = anchor(chain.id, 10_000, vec![statement(epoch as u8 + 1), statement(epoch as u8 + 101)]);
            let entries = chain.entries(std::slice::from_ref(&tx), Outcome::Accepted);
            let (mut block, mut entry) = chain.block(vec![bytes(&tx)], &entries);
            let mut entry = entry.remove(0);
            let q = quorum(seats.len());
            [&mut block.attestations, &mut block.certificate.commits, &mut entry.attestations]
                .into_iter()
                .for_each(|by| by.truncate(q));
            if let Some(next) = &next {
                let attested =
                    AttestedHeader { header: block.header.clone(), attestations: block.attestations.clone() };
                let proof = EpochProof::of(state.prove(epoch_key(next.epoch), &attested));
                proofs.push(proof.expect("the record of an epoch"));
            }
            let seal = next.as_ref().map_or(u64::MAX, EpochRecord::previous_seal);
            eras.push(Era { record: record.clone(), seal, block, tx, entry });
            record = next.unwrap_or(record);
        }
        Self { chain, state, eras, proofs }
    }

    /// Known up to an epoch.
    pub fn epochs(&self, epoch: usize) -> Epochs {
        Epochs::of(&self.chain.genesis).extended(&self.proofs[..epoch]).expect("honest")
    }

    /// A header of an era that its first q validators attest, moved and signed again by the validators of `by`.
    pub fn forged(&self, era: usize, by: usize, change: impl FnOnce(&mut Header)) -> AttestedHeader {
        let mut header = self.eras[era].block.header.clone();
        change(&mut header);
        let attestations = all_sign(by, &attestation_to_sign(&header));
        AttestedHeader { header, attestations }
    }
}

/// All validators of an epoch sign.
pub fn all_sign(epoch: usize, message: &[u8]) -> Vec<ValidatorSignature> {
    let by = |(validator, seed): (u16, &u16)| ValidatorSignature { validator, signature: sign(&key(*seed), message) };
    (0..).zip(SEATS[epoch]).map(by).collect()
}
