//! The contract without consensus: executes transactions block by block over a map, and makes signed transactions.
#![allow(dead_code, reason = "each test binary uses its part")]

use ledger_contract::{Changes, Executed, execute_block, genesis_changes};
use ledger_proof::AwsLc;
use p256::ecdsa::SigningKey;
use schemas::block::TransactionBytes;
use schemas::cose;
use schemas::envelope::{Statement, statements_root};
use schemas::id::{ChainId, ConsentId, Digest, InstitutionId, PractitionerId, SubjectId};
use schemas::transaction::{
    Basis, Body, Core, GrantConsent, Guardian, Outcome, RecordAccess, RegisterPractitioner, RegisterSubject,
    RevokeConsent, Signed, Signer, SupersedeCase, Transaction,
};

use crate::chain::{self, CREATED, INSTITUTION, bytes, gateway_key, institution_key, public, sign};

pub struct Ledger {
    pub chain: ChainId,
    pub state: Changes,
    pub height: u64,
    /// `valid_until` of what `sign` makes.
    pub valid_until: u64,
}

impl Ledger {
    pub fn new() -> Self {
        let genesis = chain::genesis(4);
        Self { chain: genesis.chain_id(), state: genesis_changes(&genesis), height: 0, valid_until: 100 }
    }

    pub const fn time_at(&self, height: u64) -> u64 {
        CREATED + height * 1_000
    }

    pub fn raw_block(&mut self, transactions: &[TransactionBytes]) -> Executed {
        self.height += 1;
        let time = self.time_at(self.height);
        let done = execute_block(&self.state, &self.chain, self.height, time, transactions, &AwsLc).expect("a map");
        self.state.extend(done.changes.clone());
        done
    }

    pub fn block(&mut self, transactions: &[Transaction]) -> Vec<Outcome> {
        let transactions: Vec<_> = transactions.iter().map(bytes).collect();
        self.raw_block(&transactions).entries.iter().map(|entry| entry.outcome).collect()
    }

    pub fn execute(&mut self, tx: &Transaction) -> Outcome {
        self.block(std::slice::from_ref(tx))[0]
    }

    pub fn sign(&self, body: Body, signers: &[(Signer, SigningKey)]) -> Transaction {
        signed(&Core { chain: self.chain, valid_until: self.valid_until, body }, signers)
    }

    /// Registers or binds a subject of `INSTITUTION`.
    pub fn register(&mut self, id: SubjectId, own: Option<&SigningKey>, guardians: Vec<Guardian>) {
        let mut signers = vec![(Signer::Institution(INSTITUTION), institution_key())];
        signers.extend(own.map(|own| (Signer::NewKey, own.clone())));
        let tx = self.sign(subject(id, INSTITUTION, own, guardians), &signers);
        assert_eq!(self.execute(&tx), Outcome::Accepted);
    }
}

/// Signatures over the transaction's id.
pub fn signed(core: &Core, signers: &[(Signer, SigningKey)]) -> Transaction {
    let message = cose::transaction_to_sign(&core.chain, &core.id());
    let signatures =
        signers.iter().map(|(signer, key)| Signed { signer: *signer, signature: sign(key, &message) }).collect();
    Transaction { core: core.clone(), statements: vec![], signatures, authored: vec![] }
}

/// A SupersedeCase by any institution.
pub fn anchor_by(chain: ChainId, institution: InstitutionId, key: &SigningKey, statement: Statement) -> Transaction {
    let root = statements_root(std::slice::from_ref(&statement));
    let core = Core { chain, valid_until: 100, body: Body::SupersedeCase(SupersedeCase { institution, root }) };
    let signature = sign(key, &cose::transaction_to_sign(&chain, &core.id()));
    Transaction {
        core,
        statements: vec![statement],
        signatures: vec![Signed { signer: Signer::Institution(institution), signature }],
        authored: vec![],
    }
}

pub fn practitioner(id: PractitionerId, at: InstitutionId, key: &SigningKey, expires: Option<u64>) -> Body {
    Body::RegisterPractitioner(RegisterPractitioner { practitioner: id, institution: at, key: public(key), expires })
}

pub fn subject(id: SubjectId, at: InstitutionId, own: Option<&SigningKey>, guardians: Vec<Guardian>) -> Body {
    Body::RegisterSubject(RegisterSubject { subject: id, institution: at, key: own.map(public), guardians })
}

pub fn consent(subject: SubjectId, id: u8, set_version: u64, basis: Basis) -> Body {
    Body::GrantConsent(GrantConsent {
        consent: ConsentId([id; 16]),
        subject,
        set_version,
        commitment: Digest([id; 32]),
        basis,
        custodian: INSTITUTION,
        from: None,
        until: None,
        supersedes: None,
    })
}

pub fn revoke(subject: SubjectId, id: u8) -> Body {
    Body::RevokeConsent(RevokeConsent { consent: ConsentId([id; 16]), subject })
}

pub trait RecordAccessDefaults {
    /// The first batch of `INSTITUTION`'s gateway: one entry.
    fn defaults() -> RecordAccess {
        RecordAccess {
            institution: INSTITUTION,
            gateway: public(&gateway_key()),
            first: 0,
            count: 1,
            root: Digest([1; 32]),
            previous: Digest::ZERO,
            height_min: 0,
            height_max: 0,
            break_glass: vec![],
        }
    }
}
impl RecordAccessDefaults for RecordAccess {}
