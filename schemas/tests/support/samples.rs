//! One fixed value of everything that travels, for golden vectors and encoding tests. Signatures and keys here are bytes of
//! the right shape, nothing more.
#![allow(dead_code, reason = "each test binary uses its part")]

use schemas::ballot::{Ballot, ConfirmSeat, Member, list_hash};
use schemas::block::{
    Batch, Block, CommitCertificate, Head, Header, Phase, SignedHead, TransactionBytes, ValidatorSignature, Vote,
    transactions_root,
};
use schemas::cbor;
use schemas::cose_receipt::{CoseReceipt, CoseReceipts, ReceiptBytes};
use schemas::envelope::{self, Meaning, Statement, Wrap, WrapKind, statements_root};
use schemas::evidence::{Conflict, Kind, Side};
use schemas::id::{
    CaseId, ChainId, ConsentId, Digest, InstitutionId, PractitionerId, PublicKey, RawPublicKey, RawSignature,
    Signature, SubjectId, SubjectTag,
};
use schemas::proof::{AttestedHeader, ConsistencyProof, EpochProof, StateProof, Value};
use schemas::receipt::EntryProof;
use schemas::state::{
    AccessCursor, CaseHead, CastBallot, ConsentSet, EpochRecord, Evidence, LiveConsent, SeatConfirmation, Subject,
};
use schemas::transaction::{
    AnchorCases, Authored, Basis, Body, Core, GrantConsent, Guardian, LogEntry, Outcome, RecordAccess, Refusal,
    RegisterInstitution, RegisterPractitioner, RegisterSubject, RevokeConsent, Signed, Signer, SupersedeCase,
    Transaction, signed_hash,
};
use schemas::tree::{Leaf, Place};

pub const CHAIN: ChainId = ChainId([0xc0; 32]);
pub const INSTITUTION: InstitutionId = InstitutionId([0x11; 16]);
pub const SUBJECT: SubjectId = SubjectId([0x55; 16]);
pub const TIME: u64 = 1_700_000_000_000;

pub fn key(n: u8) -> PublicKey {
    let mut bytes = [n; 33];
    bytes[0] = 2;
    PublicKey(RawPublicKey(bytes))
}

pub fn signature(n: u8) -> Signature {
    Signature(RawSignature([n; 64]))
}

pub fn digest(n: u8) -> Digest {
    Digest([n; 32])
}

pub fn statement(version: u32) -> Statement {
    Statement {
        case: CaseId([0xca; 16]),
        version,
        previous: (version > 1).then(|| digest(0x0e)),
        institution: INSTITUTION,
        header: digest(0x0f),
        root: digest(0x10),
        object: digest(0x12),
        subject_tag: SubjectTag([0x13; 32]),
        wraps: digest(0x14),
        time: TIME,
    }
}

fn transaction(body: Body, statements: Vec<Statement>, signers: &[Signer], authored: Vec<Authored>) -> Transaction {
    let signatures =
        (1..).zip(signers).map(|(n, signer)| Signed { signer: *signer, signature: signature(n) }).collect();
    Transaction { core: Core { chain: CHAIN, valid_until: 1_000, body }, statements, signatures, authored }
}

/// One transaction of every type, with its name.
pub fn transactions() -> Vec<Transaction> {
    let by = Signer::Institution(INSTITUTION);
    let practitioner = PractitionerId([0x33; 16]);
    let (first, next) = (statement(1), statement(2));
    let root_of = |statement: &Statement| statements_root(std::slice::from_ref(statement));
    let (first_root, next_root) = (root_of(&first), root_of(&next));
    let authored = vec![Authored { statement: 0, practitioner, signature: signature(9) }];
    let institution = RegisterInstitution {
        institution: INSTITUTION,
        key: key(1),
        gateways: vec![key(2)],
        transports: vec![key(3), key(4)],
    };
    let grant = GrantConsent {
        consent: ConsentId([0x44; 16]),
        subject: SUBJECT,
        set_version: 2,
        commitment: digest(0x45),
        basis: Basis::Signed,
        custodian: INSTITUTION,
        from: Some(TIME),
        until: None,
        supersedes: Some(ConsentId([0x43; 16])),
    };
    let access = RecordAccess {
        institution: INSTITUTION,
        gateway: key(2),
        first: 300,
        count: 24,
        root: digest(0x61),
        previous: digest(0x60),
        height_min: 70,
        height_max: 70_000,
        break_glass: vec![digest(0x62)],
    };
    let register = |body, signers: &[Signer]| transaction(body, vec![], signers, vec![]);
    vec![
        register(Body::RegisterInstitution(institution), &[Signer::NewKey]),
        register(
            Body::RegisterPractitioner(RegisterPractitioner {
                practitioner,
                institution: INSTITUTION,
                key: key(5),
                expires: Some(TIME + 1),
            }),
            &[by, Signer::NewKey],
        ),
        register(
            Body::RegisterSubject(RegisterSubject {
                subject: SUBJECT,
                institution: INSTITUTION,
                key: Some(key(6)),
                guardians: vec![Guardian { key: key(7), expires: TIME + 2 }],
            }),
            &[by, Signer::NewKey],
        ),
        transaction(
            Body::AnchorCases(AnchorCases { institution: INSTITUTION, root: first_root, count: 1 }),
            vec![first],
            &[by],
            authored,
        ),
        transaction(
            Body::SupersedeCase(SupersedeCase { institution: INSTITUTION, root: next_root }),
            vec![next],
            &[by],
            vec![],
        ),
        register(Body::GrantConsent(grant), &[Signer::Subject(SUBJECT)]),
        register(
            Body::RevokeConsent(RevokeConsent { consent: ConsentId([0x44; 16]), subject: SUBJECT }),
            &[Signer::Guardian(key(7))],
        ),
        register(Body::RecordAccess(access), &[Signer::Gateway(key(2))]),
        register(Body::ReportConflict(conflict()), &[]),
        register(Body::Ballot(ballot()), &[Signer::Validator(2)]),
        register(Body::ConfirmSeat(confirm_seat()), &[Signer::NewKey]),
    ]
}

/// Three stay, one of them with another name, and one comes.
pub fn ballot() -> Ballot {
    let stays = |n: u8, name: &str| Member { name: name.into(), key: key(n), possession: None };
    let comes = Member { name: "new-4".into(), key: key(9), possession: Some(signature(9)) };
    Ballot { epoch: 6, voter: 2, members: vec![stays(1, "v1"), stays(2, "v2"), stays(3, "renamed"), comes] }
}

/// The one who comes is there.
pub fn confirm_seat() -> ConfirmSeat {
    ConfirmSeat { epoch: 6, members: list_hash(&ballot().validators()), key: key(9) }
}

pub fn conflict() -> Conflict {
    let side = |n| Side { digest: digest(n), signature: signature(n) };
    let (lower, higher) = (side(0x71), side(0x72));
    Conflict { epoch: 0, validator: 3, view: 2, height: 69_999, kind: Kind::Commit, lower, higher }
}

/// The kinds that are no votes.
pub fn other_conflicts() -> [Conflict; 2] {
    let (attested, left) = (Kind::Attestation, Kind::ViewChange);
    [Conflict { kind: attested, view: 0, ..conflict() }, Conflict { kind: left, height: 0, ..conflict() }]
}

pub fn entry(outcome: Outcome) -> LogEntry {
    let tx = &transactions()[3];
    let signed = signed_hash(&cbor::encode(tx));
    LogEntry { height: 70_000, index: 3, transaction: tx.id(), signed, outcome }
}

pub fn batch() -> Batch {
    let transactions_root = transactions_root(&encoded());
    Batch { chain: CHAIN, epoch: 0, height: 70_000, transactions_root, time: TIME }
}

/// The types that came first: later ones leave the batch as it was.
fn encoded() -> Vec<TransactionBytes> {
    transactions().iter().take(8).map(|tx| TransactionBytes(cbor::encode(tx).into())).collect()
}

pub fn header() -> Header {
    Header {
        chain: CHAIN,
        epoch: 0,
        height: 70_000,
        batch: batch().digest(),
        previous: digest(0x70),
        log_size: 100_000,
        log_root: digest(0x71),
        time: TIME,
        state_root: digest(0x72),
    }
}

pub fn vote() -> Vote {
    Vote { chain: CHAIN, epoch: 0, view: 1, height: 70_000, phase: Phase::Commit, digest: batch().digest() }
}

pub fn validator_signatures() -> Vec<ValidatorSignature> {
    (0..3).map(|n: u8| ValidatorSignature { validator: n.into(), signature: signature(n) }).collect()
}

pub fn block() -> Block {
    let certificate = CommitCertificate { view: 1, commits: validator_signatures() };
    let attestations = validator_signatures();
    Block { batch: batch(), transactions: encoded(), certificate, header: header(), attestations }
}

pub fn head() -> SignedHead {
    let head = Head { chain: CHAIN, epoch: 0, height: 70_000, header: header().hash(), time: TIME };
    SignedHead { head, by: validator_signatures()[2] }
}

pub fn entry_proof() -> EntryProof {
    EntryProof {
        entry: entry(Outcome::Accepted),
        log_index: 99_999,
        path: vec![digest(0x80), digest(0x81)],
        header: header(),
        attestations: validator_signatures(),
    }
}

pub fn state_proof(is_present: bool) -> StateProof {
    let (_, key, value) = records().remove(0);
    let other = Leaf { place: Place(digest(0x82)), value: digest(0x83) };
    StateProof {
        key,
        value: is_present.then_some(Value(value)),
        other: (!is_present).then_some(other),
        siblings: vec![digest(0x84), digest(0x85)],
        header: header(),
        attestations: validator_signatures(),
    }
}

pub fn consistency_proof() -> ConsistencyProof {
    let attested = || AttestedHeader { header: header(), attestations: validator_signatures() };
    ConsistencyProof { first: attested(), second: attested(), path: vec![digest(0x86)] }
}

pub fn epoch_proof() -> EpochProof {
    let siblings = vec![digest(0x89), digest(0x8a)];
    EpochProof { record: epoch_record(), siblings, header: header(), attestations: validator_signatures() }
}

/// What the ballots of epoch 6 decided at height 69,999.
pub fn epoch_record() -> EpochRecord {
    let members = ballot().validators();
    EpochRecord { epoch: 6, first: 1, members: members.clone(), decided_at: 0 }.next(members, 69_999)
}

pub fn cose_receipt() -> CoseReceipt {
    let path = vec![digest(0x87), digest(0x88)];
    CoseReceipt { key: key(3), chain: CHAIN, size: 5, index: 1, path, signature: signature(4) }
}

pub fn cose_receipts() -> CoseReceipts {
    let receipts = vec![ReceiptBytes(cbor::encode(&cose_receipt()))];
    CoseReceipts { entry: cbor::encode(&entry(Outcome::Accepted)), receipts, epochs: vec![] }
}

/// Every record of the state: key and value.
pub fn records() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    use schemas::state as s;
    let head = CaseHead {
        version: 2,
        header: digest(0x0f),
        statement: statement(2).leaf(),
        institution: INSTITUTION,
        height: 9,
    };
    let guardians = vec![Guardian { key: key(7), expires: TIME }];
    let subject = Subject { institution: INSTITUTION, key: Some(key(6)), guardians, height: 9 };
    let live = LiveConsent {
        consent: ConsentId([0x44; 16]),
        commitment: digest(0x45),
        custodian: INSTITUTION,
        from: None,
        until: Some(TIME),
        height: 9,
        basis: Basis::Attested,
    };
    let set = ConsentSet { version: 3, live: vec![live] };
    let cursor = AccessCursor { next: 324, root: digest(0x61), height: 9 };
    let members = ballot().validators();
    vec![
        ("case", s::case_key(&CaseId([0xca; 16])), cbor::encode(&head)),
        ("subject", s::subject_key(&SUBJECT), cbor::encode(&subject)),
        ("consent set", s::consent_set_key(&SUBJECT), cbor::encode(&set)),
        ("tombstone", s::tombstone_key(&SUBJECT, &ConsentId([0x44; 16])), cbor::encode(&9u64)),
        ("access cursor", s::access_cursor_key(&key(2)), cbor::encode(&cursor)),
        ("transaction", s::transaction_key(&digest(0x99)), cbor::encode(&9u64)),
        ("validator", s::validator_key(0, 3), cbor::encode(&key(8))),
        ("evidence", s::evidence_key(0, 3), cbor::encode(&Evidence { conflict: conflict(), height: 70_000 })),
        ("epoch", s::epoch_key(7), cbor::encode(&epoch_record())),
        ("newest epoch", s::newest_epoch_key(), cbor::encode(&7u64)),
        ("ballot", s::ballot_key(6, 2), cbor::encode(&CastBallot { members: members.clone(), height: 69_998 })),
        (
            "seat confirmation",
            s::confirmation_key(6, &key(9)),
            cbor::encode(&SeatConfirmation { members: list_hash(&members), height: 69_999 }),
        ),
        ("seat", s::seat_key(&key(9)), cbor::encode(&7u64)),
    ]
}

/// A header of two units, of 256 and 512 padded bytes.
pub fn case_header(leaves: &[Digest]) -> envelope::Header {
    envelope::Header {
        version: envelope::VERSION,
        suite: envelope::SUITE_P256_AES256,
        chain: CHAIN,
        case: CaseId([0xca; 16]),
        case_version: 1,
        previous: None,
        institution: INSTITUTION,
        subject_tag: SubjectTag([0x13; 32]),
        root: schemas::merkle::root(leaves),
        unit_count: 2,
        key_commitment: digest(0x20),
        canonical_form: envelope::CANONICAL_JSON,
        fhir_version: envelope::FHIR_R4,
        padded_lengths: vec![256, 512],
        time: TIME,
        meaning: Meaning::Released,
        practitioner: None,
    }
}

pub fn wrap() -> Wrap {
    Wrap {
        kind: WrapKind::Patient,
        recipient: key(6).as_bytes().to_vec(),
        consent: None,
        epoch: 0,
        encapsulated: vec![4; 65],
        ciphertext: vec![5; 48],
    }
}

pub const REFUSALS: [Refusal; 23] = [
    Refusal::Expired,
    Refusal::ValidTooLong,
    Refusal::Duplicate,
    Refusal::UnknownInstitution,
    Refusal::UnknownPractitioner,
    Refusal::UnknownSubject,
    Refusal::Signature,
    Refusal::IdUsed,
    Refusal::NotHead,
    Refusal::SetVersion,
    Refusal::Revoked,
    Refusal::NotCustodian,
    Refusal::NotContiguous,
    Refusal::TooMany,
    Refusal::GenesisOnly,
    Refusal::Malformed,
    Refusal::UnknownValidator,
    Refusal::OtherEpoch,
    Refusal::ChangeDecided,
    Refusal::KeyRetired,
    Refusal::Possession,
    Refusal::Unchanged,
    Refusal::NotElected,
];
