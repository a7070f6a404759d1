//! The contract's state as every follower keeps it: one row per subject, case, consent set, institution, practitioner and
//! gateway (frozen by `schemas/wire/transactions.md`). Rules are in `ledger-contract`; here are only keys and records.
//! Nothing in here is content: digests, random ids, keys, heights and windows.

use minicbor::{Decode, Encode};

use crate::ballot;
use crate::block::{Epoch, ValidatorIndex};
use crate::evidence::Conflict;
use crate::genesis::Validator;
use crate::id::{self, CaseId, ConsentId, Digest, Height, InstitutionId, PractitionerId, PublicKey, SubjectId, TimeMs};
use crate::limits;
use crate::transaction::{Basis, Guardian, RegisterInstitution, RegisterPractitioner};

/// `case/<id>` → [`CaseHead`].
pub fn case_key(case: &CaseId) -> Vec<u8> {
    key(b"case/", case.as_bytes())
}

/// `subj/<id>` → [`Subject`].
pub fn subject_key(subject: &SubjectId) -> Vec<u8> {
    key(b"subj/", subject.as_bytes())
}

/// The subject that a key of the state names; none for rows of other kinds.
pub fn subject_of_key(key: &[u8]) -> Option<SubjectId> {
    SubjectId::from_slice(key.strip_prefix(b"subj/")?)
}

/// `cons/<subject>` → [`ConsentSet`].
pub fn consent_set_key(subject: &SubjectId) -> Vec<u8> {
    key(b"cons/", subject.as_bytes())
}

/// The subject whose consents a key of the state names; none for rows of other kinds.
pub fn subject_of_consent_set_key(key: &[u8]) -> Option<SubjectId> {
    SubjectId::from_slice(key.strip_prefix(b"cons/")?)
}

/// `dead/<subject><consent>` → height. Under the subject, so that nobody can end a stranger's consent beforehand.
pub fn tombstone_key(subject: &SubjectId, consent: &ConsentId) -> Vec<u8> {
    let mut out = key(b"dead/", subject.as_bytes());
    out.extend_from_slice(consent.as_bytes());
    out
}

/// `inst/<id>` → [`RegisterInstitution`].
pub fn institution_key(institution: &InstitutionId) -> Vec<u8> {
    key(b"inst/", institution.as_bytes())
}

/// `prac/<id>` → [`RegisterPractitioner`].
pub fn practitioner_key(practitioner: &PractitionerId) -> Vec<u8> {
    key(b"prac/", practitioner.as_bytes())
}

/// `gate/<public key>` → [`AccessCursor`].
pub fn access_cursor_key(gateway: &PublicKey) -> Vec<u8> {
    key(b"gate/", gateway.as_bytes())
}

/// `tx/<id>` → height at which it was accepted. A refused transaction leaves no row.
pub fn transaction_key(id: &Digest) -> Vec<u8> {
    key(b"tx/", id.as_bytes())
}

/// `vali/<epoch><index>` → [`PublicKey`], the numbers in 8 and 2 bytes, big-endian.
pub fn validator_key(epoch: Epoch, validator: ValidatorIndex) -> Vec<u8> {
    key(b"vali/", &place_of(epoch, validator))
}

/// `evid/<epoch><index>` → [`Evidence`]: the first that was handed in against this validator.
pub fn evidence_key(epoch: Epoch, validator: ValidatorIndex) -> Vec<u8> {
    key(b"evid/", &place_of(epoch, validator))
}

/// `epoc/<epoch>` → [`EpochRecord`], the number in 8 bytes, big-endian.
pub fn epoch_key(epoch: Epoch) -> Vec<u8> {
    key(b"epoc/", &epoch.to_be_bytes())
}

/// `epoc/` → the highest [`Epoch`] that has a record: the current one, or the next once it is decided.
pub fn newest_epoch_key() -> Vec<u8> {
    key(b"epoc/", &[])
}

/// `ball/<epoch><index>` → [`CastBallot`]: the newest of this validator.
pub fn ballot_key(epoch: Epoch, voter: ValidatorIndex) -> Vec<u8> {
    key(b"ball/", &place_of(epoch, voter))
}

/// `conf/<epoch><public key>` → [`SeatConfirmation`]: the newest of this member of the next epoch.
pub fn confirmation_key(epoch: Epoch, member: &PublicKey) -> Vec<u8> {
    [b"conf/".as_slice(), &epoch.to_be_bytes(), member.as_bytes()].concat()
}

/// `seat/<public key>` → the first [`Epoch`] that has this validator.
pub fn seat_key(validator: &PublicKey) -> Vec<u8> {
    key(b"seat/", validator.as_bytes())
}

fn place_of(epoch: Epoch, validator: ValidatorIndex) -> [u8; 10] {
    let mut out = [0; 10];
    let (numbers, index) = out.split_at_mut(8);
    numbers.copy_from_slice(&epoch.to_be_bytes());
    index.copy_from_slice(&validator.to_be_bytes());
    out
}

/// Kinds of keys in the state tree and the bytes of their ids.
const KINDS: [(&str, usize); 14] = [
    ("case", 16),
    ("subj", 16),
    ("cons", 16),
    ("dead", 32),
    ("inst", 16),
    ("prac", 16),
    ("gate", 33),
    ("vali", 10),
    ("evid", 10),
    ("epoc", 8),
    ("epoc", 0),
    ("ball", 10),
    ("conf", 41),
    ("seat", 33),
];

/// A key from what people write: `case/` and the id in hex. `None` for another kind or length.
pub fn key_of_text(text: &str) -> Option<Vec<u8>> {
    let (kind, id) = text.split_once('/')?;
    let id = id::from_hex(id)?;
    let (prefix, _) = KINDS.iter().find(|&&(name, length)| name == kind && length == id.len())?;
    Some([prefix.as_bytes(), b"/", &id].concat())
}

/// A key as people read it; hex of all of it when it is of no known kind.
pub fn text_of_key(key: &[u8]) -> String {
    let of_kind = |(name, _): &(&str, usize)| {
        let id = key.strip_prefix(name.as_bytes())?.strip_prefix(b"/")?;
        Some(format!("{name}/{}", id::to_hex(id)))
    };
    KINDS.iter().find_map(of_kind).unwrap_or_else(|| id::to_hex(key))
}

fn key(prefix: &[u8], id: &[u8]) -> Vec<u8> {
    [prefix, id].concat()
}

/// The newest version of a case.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CaseHead {
    /// Its version, from 1.
    #[n(0)]
    pub version: u32,
    /// Hash of its header: what the next version names as `previous`.
    #[n(1)]
    pub header: Digest,
    /// RFC 9162 leaf hash of its statement.
    #[n(2)]
    pub statement: Digest,
    /// The custodian.
    #[n(3)]
    pub institution: InstitutionId,
    /// Height at which it was anchored.
    #[n(4)]
    pub height: Height,
}

/// A registered subject.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Subject {
    /// The custodian.
    #[n(0)]
    pub institution: InstitutionId,
    /// The patient's own key, once bound.
    #[n(1)]
    pub key: Option<PublicKey>,
    /// Guardians.
    #[n(2)]
    pub guardians: Vec<Guardian>,
    /// Height of the newest registration.
    #[n(3)]
    pub height: Height,
}

/// A subject's live consents. All of them are in one row, so that their completeness is provable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ConsentSet {
    /// Raised by one with every change; 0 before the first.
    #[n(0)]
    pub version: u64,
    /// In the order in which they were granted.
    #[n(1)]
    pub live: Vec<LiveConsent>,
}

/// A consent in force.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LiveConsent {
    /// The version of the consent.
    #[n(0)]
    pub consent: ConsentId,
    /// Salted hash of the Consent's canonical bytes.
    #[n(1)]
    pub commitment: Digest,
    /// Whose key service enforces it.
    #[n(2)]
    pub custodian: InstitutionId,
    /// From when it applies.
    #[n(3)]
    pub from: Option<TimeMs>,
    /// Until when it applies.
    #[n(4)]
    pub until: Option<TimeMs>,
    /// Height at which it was granted.
    #[n(5)]
    pub height: Height,
    /// On whose word it stands.
    #[n(6)]
    pub basis: Basis,
}

/// Where a gateway's access log stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AccessCursor {
    /// Sequence number of the next entry.
    #[n(0)]
    pub next: u64,
    /// Root of the newest batch; zero before the first.
    #[n(1)]
    pub root: Digest,
    /// Height of the newest batch.
    #[n(2)]
    pub height: Height,
}

impl AccessCursor {
    /// Before the first batch.
    pub const START: Self = Self { next: 0, root: Digest::ZERO, height: 0 };
}

/// Proof against a validator. One is enough: later ones of the same epoch are refused, so that nobody fills the state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Evidence {
    /// The two votes.
    #[n(0)]
    pub conflict: Conflict,
    /// Height at which it was handed in.
    #[n(1)]
    pub height: Height,
}

/// An epoch: its validators and where it begins. Under a header of the epoch before it is what that epoch decided.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EpochRecord {
    /// Its number.
    #[n(0)]
    pub epoch: Epoch,
    /// Its first height: one behind the seal of the epoch before; 1 in epoch 0.
    #[n(1)]
    pub first: Height,
    /// Its validators, in order of index.
    #[n(2)]
    pub members: Vec<Validator>,
    /// Height of the ballot that decided it; 0 in epoch 0.
    #[n(3)]
    pub decided_at: Height,
}

impl EpochRecord {
    /// The epoch of a genesis.
    pub const fn genesis(members: Vec<Validator>) -> Self {
        Self { epoch: 0, first: 1, members, decided_at: 0 }
    }

    /// What a ballot at a height decides to follow this epoch.
    pub fn next(&self, members: Vec<Validator>, decided_at: Height) -> Self {
        let first = ballot::seal_height(decided_at).saturating_add(1);
        Self { epoch: self.epoch.saturating_add(1), first, members, decided_at }
    }

    /// The last height of the epoch before: its seal. 0 in epoch 0.
    pub const fn previous_seal(&self) -> Height {
        self.first.saturating_sub(1)
    }
}

/// A vote that counts for the members of the next epoch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CastBallot {
    /// The list that it names.
    #[n(0)]
    pub members: Vec<Validator>,
    /// Height at which it was cast.
    #[n(1)]
    pub height: Height,
}

/// A member of the next epoch that is there.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SeatConfirmation {
    /// Hash of the list in which it takes its seat.
    #[n(0)]
    pub members: Digest,
    /// Height at which it said so.
    #[n(1)]
    pub height: Height,
}

impl SeatConfirmation {
    /// Whether it is young enough at a height.
    pub const fn counts_at(&self, height: Height) -> bool {
        height <= self.height.saturating_add(limits::CONFIRMATION_HEIGHTS)
    }
}

/// Record of an institution: what it registered.
pub type Institution = RegisterInstitution;
/// Record of a practitioner: what was registered.
pub type Practitioner = RegisterPractitioner;
