//! What a patient's wallet and a gateway say to each other (frozen by `schemas/wire/wallet.md`): the invitation that a desk hands
//! out, the binding of a key, signed questions, sealed cases with their receipts, signed consents. CBOR in its one spelling; names
//! no key but public ones. Stands beside the way out: nothing here is plaintext of a record.

use minicbor::{Decode, Encode};

use crate::cbor::Parts;
use crate::cose;
use crate::envelope::Wrap;
use crate::id::{CaseId, ChainId, ConsentId, Digest, Height, InstitutionId, PublicKey, Signature, SubjectId, TimeMs};
use crate::state::ConsentSet;

/// Format of a handed-out case.
pub const CASE_FORMAT: &str = "chartseal-case-1";

/// What a desk gives to the patient before her: whoever holds it may bind one key, once, before it ends.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Invitation {
    /// The gateway's address, without a slash at the end.
    #[n(0)]
    pub gateway: String,
    /// The chain.
    #[n(1)]
    pub chain: ChainId,
    /// The custodian.
    #[n(2)]
    pub institution: InstitutionId,
    /// The patient's pseudonym there.
    #[n(3)]
    pub subject: SubjectId,
    /// When it ends.
    #[n(4)]
    pub expires: TimeMs,
    /// The gateway's own proof of subject and end; opens for nobody else.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub seal: Vec<u8>,
}

/// Where a gateway stands; public.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Standing {
    /// The chain.
    #[n(0)]
    pub chain: ChainId,
    /// The custodian.
    #[n(1)]
    pub institution: InstitutionId,
    /// Height that it has executed.
    #[n(2)]
    pub height: Height,
}

/// Binds a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bind {
    /// The seal of the invitation.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub seal: Vec<u8>,
    /// RegisterSubject with the key, signed by it (`NewKey`) and by nobody else yet.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub transaction: Vec<u8>,
}

/// A bound key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Bound {
    /// The patient's pseudonym.
    #[n(0)]
    pub subject: SubjectId,
    /// Height of the block that bound it.
    #[n(1)]
    pub height: Height,
}

/// What a wallet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Ask {
    /// The patient's cases and consents.
    #[n(0)]
    Status,
    /// One sealed case.
    #[n(1)]
    Case(#[n(0)] CaseId),
}

/// A question, for one gateway and once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Question {
    /// The chain.
    #[n(0)]
    pub chain: ChainId,
    /// Whose gateway is asked: no other one may use it.
    #[n(1)]
    pub institution: InstitutionId,
    /// The bound key.
    #[n(2)]
    pub key: PublicKey,
    /// What is asked for.
    #[n(3)]
    pub ask: Ask,
    /// When.
    #[n(4)]
    pub time: TimeMs,
    /// Random: a question is answered once.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub nonce: [u8; 16],
}

impl Question {
    /// What the bound key signs. The label keeps it apart from every transaction.
    pub fn to_sign(&self) -> Vec<u8> {
        cose::sig_structure(self.chain.as_bytes(), &Parts::new("cs1/wallet-question").part(self).finish())
    }
}

/// A question with the signature of the key that it names.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SignedQuestion {
    /// The question.
    #[n(0)]
    pub question: Question,
    /// Over `Question::to_sign`.
    #[n(1)]
    pub signature: Signature,
}

/// The answer to `Ask::Status`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Status {
    /// The patient's pseudonym.
    #[n(0)]
    pub subject: SubjectId,
    /// Logical id of the Patient resource, where there is one.
    #[n(1)]
    pub patient: Option<String>,
    /// Height of what follows.
    #[n(2)]
    pub height: Height,
    /// All live consents on the ledger.
    #[n(3)]
    pub set: ConsentSet,
    /// The consents that the gateway keeps, ended ones too.
    #[n(4)]
    pub consents: Vec<KnownConsent>,
    /// Cases with a wrap for the key, newest first, up to `limits::WALLET_CASES_MAX`.
    #[n(5)]
    pub cases: Vec<KnownCase>,
}

/// A consent that the gateway keeps.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KnownConsent {
    /// FHIR logical id.
    #[n(0)]
    pub logical_id: String,
    /// The newest version on the ledger.
    #[n(1)]
    pub head: ConsentId,
    /// Versions that are live or whose outcome is not known: ending the consent ends all of them.
    #[n(2)]
    pub open: Vec<ConsentId>,
    /// Whether it has ended for good.
    #[n(3)]
    pub revoked: bool,
}

/// A case that can be collected.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KnownCase {
    /// The case.
    #[n(0)]
    pub case: CaseId,
    /// Its version.
    #[n(1)]
    pub version: u32,
    /// Height at which it was anchored.
    #[n(2)]
    pub height: Height,
    /// Effective time of that block.
    #[n(3)]
    pub time: TimeMs,
}

/// A sealed case as it is handed out and kept in files: checked with the genesis, opened with the patient's key, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SealedCase {
    /// `CASE_FORMAT`.
    #[n(0)]
    pub format: String,
    /// The receipt in its one spelling.
    #[n(1)]
    pub receipt: String,
    /// All wraps that the statement names.
    #[n(2)]
    pub wraps: Vec<Wrap>,
    /// The object.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub object: Vec<u8>,
}

/// A consent that comes into force by the patient's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Grant {
    /// GrantConsent, signed by the subject's key.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub transaction: Vec<u8>,
    /// Canonical bytes of the FHIR Consent.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub document: Vec<u8>,
    /// Salt of its commitment.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    /// The consent of which this is a new version; none: a new one.
    #[n(3)]
    pub replaces: Option<String>,
}

/// A consent that ends by the patient's signature.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Revoke {
    /// FHIR logical id.
    #[n(0)]
    pub logical_id: String,
    /// RevokeConsent of the head and of every open version, each signed by the subject's key.
    #[n(1)]
    pub transactions: Vec<minicbor::bytes::ByteVec>,
}

/// What became of a grant or a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Written {
    /// FHIR logical id.
    #[n(0)]
    pub logical_id: String,
    /// The version on the ledger.
    #[n(1)]
    pub consent: ConsentId,
    /// Height at which the ledger executed it.
    #[n(2)]
    pub height: Height,
}

/// Salted hash of the canonical document: what the ledger commits to.
pub fn consent_commitment(salt: &[u8], canonical: &[u8]) -> Digest {
    Parts::new("cs1/consent").bytes(salt).bytes(canonical).hash()
}
