//! A small honest chain for tests: keys from seeds, a genesis, signed transactions, and blocks with every certificate. It
//! knows nothing of the contract: outcomes are given.
#![allow(dead_code, reason = "each test binary uses its part")]

use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::Signer as _;
use schemas::block::{
    Batch, Block, CommitCertificate, Header, Phase, TransactionBytes, ValidatorSignature, Vote, attestation_to_sign,
    transactions_root,
};
use schemas::cbor;
use schemas::cose;
use schemas::envelope::{Statement, statements_root};
use schemas::genesis::{Genesis, GenesisInstitution, Validator, possession_to_sign};
use schemas::id::{
    CaseId, ChainId, Digest, InstitutionId, PublicKey, RawPublicKey, RawSignature, Signature, SubjectTag,
};
use schemas::merkle;
use schemas::receipt::EntryProof;
use schemas::transaction::{
    AnchorCases, Body, Core, LogEntry, Outcome, RegisterInstitution, Signed, Signer, SupersedeCase, Transaction,
    signed_hash,
};

/// When every test genesis was made.
pub const CREATED: u64 = 1_700_000_000_000;

/// A key from a seed: the same in every run.
pub fn key(seed: u16) -> SigningKey {
    SigningKey::from_slice(&cbor::sha256(&seed.to_be_bytes()).0).expect("a digest is a valid scalar")
}

pub fn public(key: &SigningKey) -> PublicKey {
    let point = key.verifying_key().to_sec1_point(true);
    PublicKey(RawPublicKey::from_slice(point.as_bytes()).expect("33 bytes"))
}

pub fn sign(key: &SigningKey, message: &[u8]) -> Signature {
    let signature: p256::ecdsa::Signature = key.sign(message);
    Signature(RawSignature(signature.normalize_s().to_bytes().into()))
}

pub fn institution_key() -> SigningKey {
    key(100)
}
pub fn gateway_key() -> SigningKey {
    key(101)
}
pub fn other_institution_key() -> SigningKey {
    key(110)
}
pub const INSTITUTION: InstitutionId = InstitutionId([0x11; 16]);
pub const OTHER_INSTITUTION: InstitutionId = InstitutionId([0x22; 16]);

fn institution(name: &str, id: InstitutionId, seed: u16) -> GenesisInstitution {
    let register = RegisterInstitution {
        institution: id,
        key: public(&key(seed)),
        gateways: vec![public(&key(seed + 1))],
        transports: vec![public(&key(seed + 2))],
    };
    let possession = sign(&key(seed), &possession_to_sign(&register));
    GenesisInstitution { name: name.into(), register, possession }
}

/// n validators `v0`… with the keys 0…, and two institutions with the keys 100… and 110….
pub fn genesis(n: u16) -> Genesis {
    Genesis {
        created: CREATED,
        validators: (0..n).map(|i| Validator { name: format!("v{i}"), key: public(&key(i)) }).collect(),
        institutions: vec![institution("north", INSTITUTION, 100), institution("south", OTHER_INSTITUTION, 110)],
    }
}

pub fn statement(case: u8) -> Statement {
    Statement {
        case: CaseId([case; 16]),
        version: 1,
        previous: None,
        institution: INSTITUTION,
        header: cbor::sha256(&[case, 1]),
        root: cbor::sha256(&[case, 2]),
        object: cbor::sha256(&[case, 3]),
        subject_tag: SubjectTag([case; 32]),
        wraps: cbor::sha256(&[case, 4]),
        time: CREATED + 1,
    }
}

/// The successor of a statement.
pub fn amended(old: &Statement) -> Statement {
    Statement {
        version: old.version + 1,
        previous: Some(old.header),
        header: cbor::sha256(old.header.as_bytes()),
        ..old.clone()
    }
}

/// An AnchorCases or, for a later version, SupersedeCase, signed by `INSTITUTION`.
pub fn anchor(chain: ChainId, valid_until: u64, statements: Vec<Statement>) -> Transaction {
    let root = statements_root(&statements);
    let body = if statements.first().is_some_and(|s| s.version > 1) {
        Body::SupersedeCase(SupersedeCase { institution: INSTITUTION, root })
    } else {
        let count = u32::try_from(statements.len()).expect("small");
        Body::AnchorCases(AnchorCases { institution: INSTITUTION, root, count })
    };
    let core = Core { chain, valid_until, body };
    let signature = sign(&institution_key(), &cose::transaction_to_sign(&chain, &core.id()));
    Transaction {
        core,
        statements,
        signatures: vec![Signed { signer: Signer::Institution(INSTITUTION), signature }],
        authored: vec![],
    }
}

pub fn bytes(tx: &Transaction) -> TransactionBytes {
    TransactionBytes(cbor::encode(tx).into())
}

/// A chain of n validators that all sign what they are given.
pub struct Chain {
    pub genesis: Genesis,
    pub id: ChainId,
    pub height: u64,
    /// Of the next blocks' headers.
    pub state_root: Digest,
    /// Of the next blocks.
    pub epoch: u64,
    /// Seeds of the validators' keys in that epoch, in order of index.
    pub seats: Vec<u16>,
    leaves: Vec<Digest>,
    previous: Digest,
}

impl Chain {
    pub fn new(n: u16) -> Self {
        let genesis = genesis(n);
        let id = genesis.chain_id();
        let (state_root, previous) = (Digest([0x57; 32]), Digest(id.0));
        Self { genesis, id, height: 0, state_root, epoch: 0, seats: (0..n).collect(), leaves: vec![], previous }
    }

    pub fn time(&self) -> u64 {
        CREATED + 1_000 * self.height
    }

    /// Entries of the next block's transactions, all with one outcome.
    pub fn entries(&self, transactions: &[Transaction], outcome: Outcome) -> Vec<LogEntry> {
        (0..)
            .zip(transactions)
            .map(|(index, tx)| LogEntry {
                height: self.height + 1,
                index,
                transaction: tx.id(),
                signed: signed_hash(bytes(tx).as_ref()),
                outcome,
            })
            .collect()
    }

    /// The next block, committed and attested by everyone, and the proof of each entry.
    pub fn block(&mut self, transactions: Vec<TransactionBytes>, entries: &[LogEntry]) -> (Block, Vec<EntryProof>) {
        self.height += 1;
        let batch = Batch {
            chain: self.id,
            epoch: self.epoch,
            height: self.height,
            transactions_root: transactions_root(&transactions),
            time: self.time(),
        };
        let first = self.leaves.len();
        self.leaves.extend(entries.iter().map(LogEntry::leaf));
        let header = Header {
            chain: self.id,
            epoch: self.epoch,
            height: self.height,
            batch: batch.digest(),
            previous: self.previous,
            log_size: self.leaves.len() as u64,
            log_root: merkle::root(&self.leaves),
            time: batch.time,
            state_root: self.state_root,
        };
        self.previous = header.hash();
        let vote = Vote {
            chain: self.id,
            epoch: self.epoch,
            view: 0,
            height: self.height,
            phase: Phase::Commit,
            digest: batch.digest(),
        };
        let attestations = self.all_sign(&attestation_to_sign(&header));
        let certificate = CommitCertificate { view: 0, commits: self.all_sign(&vote.to_sign()) };
        let proofs = (first..)
            .zip(entries)
            .map(|(at, entry)| EntryProof {
                entry: entry.clone(),
                log_index: at as u64,
                path: merkle::path(&self.leaves, at).expect("in the log"),
                header: header.clone(),
                attestations: attestations.clone(),
            })
            .collect();
        (Block { batch, transactions, certificate, header, attestations }, proofs)
    }

    /// Where the log of `from` leaves is in that of `to`.
    pub fn consistency(&self, from: u64, to: u64) -> Vec<Digest> {
        let mut nodes = std::collections::BTreeMap::new();
        let mut frontier = merkle::Frontier::default();
        for leaf in &self.leaves {
            frontier.append(*leaf, |level, at, hash| {
                nodes.insert((level, at), *hash);
            });
        }
        merkle::consistency_from_nodes(from, to, &mut |level, at| nodes.get(&(level, at)).copied()).expect("in the log")
    }

    pub fn all_sign(&self, message: &[u8]) -> Vec<ValidatorSignature> {
        let by =
            |(validator, seed): (u16, &u16)| ValidatorSignature { validator, signature: sign(&key(*seed), message) };
        (0..).zip(&self.seats).map(by).collect()
    }
}
