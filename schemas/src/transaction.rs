//! Transactions of the smart contract (formats.md §3, frozen by `schemas/wire/transactions.md`). A transaction names
//! digests, random ids, keys and consent facts; never content, never a wrapped key, never free text. Replay is stopped by
//! natural keys; `valid_until` bounds every unknown outcome.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::ballot::{Ballot, ConfirmSeat};
use crate::block::ValidatorIndex;
use crate::cbor::{self, Parts};
use crate::envelope::Statement;
use crate::evidence::Conflict;
use crate::id::{
    ChainId, ConsentId, Digest, Height, InstitutionId, PractitionerId, PublicKey, Signature, SubjectId, TimeMs,
};

/// The signed part: its labelled hash is the transaction id.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Core {
    /// The chain it is for.
    #[n(0)]
    pub chain: ChainId,
    /// Last height at which it may be executed.
    #[n(1)]
    pub valid_until: Height,
    /// What it does.
    #[n(2)]
    pub body: Body,
}

impl Core {
    /// The transaction id: H("cs1/transaction" ‖ core).
    pub fn id(&self) -> Digest {
        Parts::new("cs1/transaction").part(self).hash()
    }
}

/// A transaction as it is submitted. `signed_hash` covers all of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Transaction {
    /// The signed part.
    #[n(0)]
    pub core: Core,
    /// Statements whose root is in the body; empty for bodies without one.
    #[n(1)]
    pub statements: Vec<Statement>,
    /// Who signed.
    #[n(2)]
    pub signatures: Vec<Signed>,
    /// Practitioners' signatures over single statements.
    #[n(3)]
    pub authored: Vec<Authored>,
}

impl Transaction {
    /// The transaction id.
    pub fn id(&self) -> Digest {
        self.core.id()
    }
}

/// Hash of the signed bytes, in the log entry beside the id.
pub fn signed_hash(bytes: &[u8]) -> Digest {
    Parts::new("cs1/signed").hash_with(bytes)
}

/// One signature: COSE_Sign1, ES256, detached, over the transaction's id (`schemas::cose::transaction_to_sign`).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Signed {
    /// In what role.
    #[n(0)]
    pub signer: Signer,
    /// The signature.
    #[n(1)]
    pub signature: Signature,
}

/// The role of a signature; its key is looked up in the state or in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Signer {
    /// The institution's registered key.
    #[n(1)]
    Institution(#[n(0)] InstitutionId),
    /// A practitioner's registered key.
    #[n(2)]
    Practitioner(#[n(0)] PractitionerId),
    /// The subject's bound key.
    #[n(3)]
    Subject(#[n(0)] SubjectId),
    /// A guardian of the subject, by key.
    #[n(4)]
    Guardian(#[n(0)] PublicKey),
    /// A gateway of an institution, by key.
    #[n(5)]
    Gateway(#[n(0)] PublicKey),
    /// Proof of possession of the key that the body registers.
    #[n(6)]
    NewKey,
    /// A validator of the epoch that the body names.
    #[n(7)]
    Validator(#[n(0)] ValidatorIndex),
}

/// A practitioner's signature over one statement's CBOR bytes (external AAD = chain id).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Authored {
    /// Index of the statement.
    #[n(0)]
    pub statement: u32,
    /// Who authored it.
    #[n(1)]
    pub practitioner: PractitionerId,
    /// The signature.
    #[n(2)]
    pub signature: Signature,
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Body {
    /// An institution joins. In this version at genesis only.
    #[n(1)]
    RegisterInstitution(#[n(0)] RegisterInstitution),
    /// A practitioner of an institution.
    #[n(2)]
    RegisterPractitioner(#[n(0)] RegisterPractitioner),
    /// A patient's pseudonym at an institution; again with a key while none is bound.
    #[n(3)]
    RegisterSubject(#[n(0)] RegisterSubject),
    /// Up to 100 new cases.
    #[n(4)]
    AnchorCases(#[n(0)] AnchorCases),
    /// A new version of one case.
    #[n(5)]
    SupersedeCase(#[n(0)] SupersedeCase),
    /// A consent comes into force.
    #[n(6)]
    GrantConsent(#[n(0)] GrantConsent),
    /// A consent ends for good.
    #[n(7)]
    RevokeConsent(#[n(0)] RevokeConsent),
    /// A batch of the access log.
    #[n(8)]
    RecordAccess(#[n(0)] RecordAccess),
    /// Proof that a validator is faulty. It needs no signature of whoever hands it in.
    #[n(9)]
    ReportConflict(#[n(0)] Conflict),
    /// A validator's vote for the members of the next epoch.
    #[n(10)]
    Ballot(#[n(0)] Ballot),
    /// A member of the list that was voted for takes its seat.
    #[n(11)]
    ConfirmSeat(#[n(0)] ConfirmSeat),
}

impl Body {
    /// The type's name, for people and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::RegisterInstitution(_) => "RegisterInstitution",
            Self::RegisterPractitioner(_) => "RegisterPractitioner",
            Self::RegisterSubject(_) => "RegisterSubject",
            Self::AnchorCases(_) => "AnchorCases",
            Self::SupersedeCase(_) => "SupersedeCase",
            Self::GrantConsent(_) => "GrantConsent",
            Self::RevokeConsent(_) => "RevokeConsent",
            Self::RecordAccess(_) => "RecordAccess",
            Self::ReportConflict(_) => "ReportConflict",
            Self::Ballot(_) => "Ballot",
            Self::ConfirmSeat(_) => "ConfirmSeat",
        }
    }

    /// The root that the institution signs, for bodies that carry statements.
    pub const fn statements_root(&self) -> Option<(&InstitutionId, &Digest)> {
        match self {
            Self::AnchorCases(b) => Some((&b.institution, &b.root)),
            Self::SupersedeCase(b) => Some((&b.institution, &b.root)),
            _ => None,
        }
    }
}

/// An institution: its signing key, its gateways' keys and the keys of its TLS clients.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cbor(map)]
pub struct RegisterInstitution {
    /// Random id.
    #[n(0)]
    pub institution: InstitutionId,
    /// Key that signs statements.
    #[n(1)]
    pub key: PublicKey,
    /// Keys that sign RecordAccess.
    #[n(2)]
    pub gateways: Vec<PublicKey>,
    /// Keys whose certificates may open the validators' RPC.
    #[n(3)]
    pub transports: Vec<PublicKey>,
}

/// A practitioner and their key. Signed by the institution and the new key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RegisterPractitioner {
    /// Random id.
    #[n(0)]
    pub practitioner: PractitionerId,
    /// Affiliation.
    #[n(1)]
    pub institution: InstitutionId,
    /// Signing key.
    #[n(2)]
    pub key: PublicKey,
    /// Until when the key counts.
    #[n(3)]
    pub expires: Option<TimeMs>,
}

/// A guardian who may grant and revoke for the subject.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Guardian {
    /// The guardian's key.
    #[n(0)]
    pub key: PublicKey,
    /// Until when.
    #[n(1)]
    pub expires: TimeMs,
}

/// A subject. Signed by the institution, and by the subject's key when one is bound.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RegisterSubject {
    /// Random id.
    #[n(0)]
    pub subject: SubjectId,
    /// The custodian.
    #[n(1)]
    pub institution: InstitutionId,
    /// The patient's own key.
    #[n(2)]
    pub key: Option<PublicKey>,
    /// Guardians.
    #[n(3)]
    pub guardians: Vec<Guardian>,
}

/// New cases: the root of the statements beside the core.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AnchorCases {
    /// Who releases them.
    #[n(0)]
    pub institution: InstitutionId,
    /// RFC 9162 root of the statements.
    #[n(1)]
    pub root: Digest,
    /// Number of statements, 1 to 100.
    #[n(2)]
    pub count: u32,
}

/// A new version of one case: the root of its single statement, whose `previous` is the head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SupersedeCase {
    /// The custodian.
    #[n(0)]
    pub institution: InstitutionId,
    /// RFC 9162 root of the one statement.
    #[n(1)]
    pub root: Digest,
}

/// On whose word a consent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Basis {
    /// Signed by the subject's key or a guardian's.
    #[n(1)]
    Signed,
    /// Attested by the institution, while no subject key is bound.
    #[n(2)]
    Attested,
}

/// A consent comes into force.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct GrantConsent {
    /// This version of this consent.
    #[n(0)]
    pub consent: ConsentId,
    /// Whose.
    #[n(1)]
    pub subject: SubjectId,
    /// Version of the subject's consent set after this: current + 1.
    #[n(2)]
    pub set_version: u64,
    /// Salted hash of the Consent's canonical bytes.
    #[n(3)]
    pub commitment: Digest,
    /// On whose word.
    #[n(4)]
    pub basis: Basis,
    /// Whose key service enforces it.
    #[n(5)]
    pub custodian: InstitutionId,
    /// From when it applies.
    #[n(6)]
    pub from: Option<TimeMs>,
    /// Until when it applies.
    #[n(7)]
    pub until: Option<TimeMs>,
    /// The version that it replaces.
    #[n(8)]
    pub supersedes: Option<ConsentId>,
}

/// A consent ends for good; of an unknown id a tombstone stays. Idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RevokeConsent {
    /// The version that ends.
    #[n(0)]
    pub consent: ConsentId,
    /// Whose.
    #[n(1)]
    pub subject: SubjectId,
}

/// A batch of one gateway's access log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RecordAccess {
    /// The gateway's institution.
    #[n(0)]
    pub institution: InstitutionId,
    /// The gateway.
    #[n(1)]
    pub gateway: PublicKey,
    /// Sequence number of the first entry; contiguous from 0.
    #[n(2)]
    pub first: u64,
    /// Number of entries, at least 1.
    #[n(3)]
    pub count: u32,
    /// RFC 9162 root over the entries' salted leaves.
    #[n(4)]
    pub root: Digest,
    /// Root of the previous batch, zero for the first.
    #[n(5)]
    pub previous: Digest,
    /// Lowest height at which a decision of the batch was taken.
    #[n(6)]
    pub height_min: Height,
    /// Highest.
    #[n(7)]
    pub height_max: Height,
    /// Leaves of break-glass entries, inline.
    #[n(8)]
    pub break_glass: Vec<Digest>,
}

/// Why execution refused a transaction. Deterministic; part of the log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Refusal {
    /// `valid_until` lies below the height.
    #[n(1)]
    Expired,
    /// `valid_until` lies too far ahead.
    #[n(2)]
    ValidTooLong,
    /// This very transaction was executed before.
    #[n(3)]
    Duplicate,
    /// The institution is not registered.
    #[n(4)]
    UnknownInstitution,
    /// The practitioner is not registered, expired or of another institution.
    #[n(5)]
    UnknownPractitioner,
    /// The subject is not registered.
    #[n(6)]
    UnknownSubject,
    /// A required signature is missing, superfluous or wrong.
    #[n(7)]
    Signature,
    /// An id that must be new is used.
    #[n(8)]
    IdUsed,
    /// `previous` or the version is not the head's successor.
    #[n(9)]
    NotHead,
    /// The set version is not the next one.
    #[n(10)]
    SetVersion,
    /// The consent was revoked.
    #[n(11)]
    Revoked,
    /// Another institution's subject, case or gateway.
    #[n(12)]
    NotCustodian,
    /// The access batch is not contiguous.
    #[n(13)]
    NotContiguous,
    /// A bound of `limits` is exceeded.
    #[n(14)]
    TooMany,
    /// The type is not open after genesis.
    #[n(15)]
    GenesisOnly,
    /// Body and statements contradict each other.
    #[n(16)]
    Malformed,
    /// No such validator in this epoch.
    #[n(17)]
    UnknownValidator,
    /// A ballot or a confirmation of another epoch than the current one.
    #[n(18)]
    OtherEpoch,
    /// The members of the next epoch are decided.
    #[n(19)]
    ChangeDecided,
    /// A key that was a validator's in an earlier epoch and is not in the current one: it never returns.
    #[n(20)]
    KeyRetired,
    /// A newcomer's proof that it holds its key is missing or wrong, or there is one of a validator of now.
    #[n(21)]
    Possession,
    /// A ballot for the members of now by one who has no vote to take back, or a seat that is confirmed already.
    #[n(22)]
    Unchanged,
    /// A seat in a list for which no quorum votes now.
    #[n(23)]
    NotElected,
}

/// What execution decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// Applied.
    #[n(0)]
    Accepted,
    /// Not applied, and why.
    #[n(1)]
    Refused(#[n(0)] Refusal),
}

/// A leaf of the log: CBOR[height, index, transaction id, hash of the signed bytes, result].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogEntry {
    /// Height of the block.
    #[n(0)]
    pub height: Height,
    /// Position in the block.
    #[n(1)]
    pub index: u32,
    /// Transaction id.
    #[n(2)]
    pub transaction: Digest,
    /// Hash of the signed bytes.
    #[n(3)]
    pub signed: Digest,
    /// What execution decided.
    #[n(4)]
    pub outcome: Outcome,
}

impl LogEntry {
    /// RFC 9162 leaf hash.
    pub fn leaf(&self) -> Digest {
        crate::merkle::leaf_hash(&cbor::encode(self))
    }
}
