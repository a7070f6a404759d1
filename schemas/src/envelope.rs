//! The sealed case (formats.md §2, frozen by `schemas/wire/envelope.md`): header, statement, wraps and the layout of the
//! object. Everything in here is public; keys and sealing are in `gateway-vault`.

use std::ops::Range;

use minicbor::{Decode, Encode};

use crate::cbor::{self, CborError, Parts};
use crate::id::{CaseId, ChainId, ConsentId, Digest, InstitutionId, SubjectTag, TimeMs};
use crate::limits;
use crate::merkle;

/// First bytes of every object.
pub const MAGIC: &[u8; 4] = b"CS1\0";
/// Envelope version of this file.
pub const VERSION: u8 = 1;
/// DHKEM(P-256, HKDF-SHA256) wraps over AES-256-GCM units. Suite 2 is reserved for MLKEM768-P256.
pub const SUITE_P256_AES256: u8 = 1;
/// Canonical form: RFC 8785 order and strings, numbers as written (`schemas::json`).
pub const CANONICAL_JSON: u8 = 1;
/// FHIR R4 (4.0.1).
pub const FHIR_R4: u8 = 4;
/// Bytes that AES-GCM adds to each chunk.
pub const TAG_BYTES: usize = 16;

/// What the institution's signature means (21 CFR 11.50).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Meaning {
    /// The institution releases what its system sent.
    #[n(1)]
    Released,
    /// The institution amends a case that it released before.
    #[n(2)]
    Amended,
}

/// The header: authenticated by every unit, signed through the statement.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Header {
    /// Envelope version.
    #[n(0)]
    pub version: u8,
    /// Suite of wraps and units.
    #[n(1)]
    pub suite: u8,
    /// Chain on which the case is anchored.
    #[n(2)]
    pub chain: ChainId,
    /// The case.
    #[n(3)]
    pub case: CaseId,
    /// Version of the case, from 1.
    #[n(4)]
    pub case_version: u32,
    /// Hash of the previous version's header.
    #[n(5)]
    pub previous: Option<Digest>,
    /// Who released it.
    #[n(6)]
    pub institution: InstitutionId,
    /// HMAC(tag key, case id).
    #[n(7)]
    pub subject_tag: SubjectTag,
    /// RFC 9162 root over the leaves.
    #[n(8)]
    pub root: Digest,
    /// Number of units.
    #[n(9)]
    pub unit_count: u32,
    /// Key commitment `kc`.
    #[n(10)]
    pub key_commitment: Digest,
    /// Canonical form of the units.
    #[n(11)]
    pub canonical_form: u8,
    /// FHIR version of the units.
    #[n(12)]
    pub fhir_version: u8,
    /// Padded plaintext length of each unit, in bytes.
    #[n(13)]
    pub padded_lengths: Vec<u32>,
    /// When it was sealed.
    #[n(14)]
    pub time: TimeMs,
    /// What the signature means.
    #[n(15)]
    pub meaning: Meaning,
    /// Salted commitment to the practitioner who authored it.
    #[n(16)]
    pub practitioner: Option<Digest>,
}

impl Header {
    /// SHA-256 of the encoded header: additional data of every unit, `info` of every wrap.
    pub fn hash(&self) -> Digest {
        cbor::sha256(&cbor::encode(self))
    }
}

/// What is signed and anchored of a case. Its CBOR bytes are a leaf of the signed root.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Statement {
    /// The case.
    #[n(0)]
    pub case: CaseId,
    /// Version of the case, from 1.
    #[n(1)]
    pub version: u32,
    /// Header hash of the previous version.
    #[n(2)]
    pub previous: Option<Digest>,
    /// Who released it.
    #[n(3)]
    pub institution: InstitutionId,
    /// SHA-256 of the header.
    #[n(4)]
    pub header: Digest,
    /// Root over the unit leaves.
    #[n(5)]
    pub root: Digest,
    /// SHA-256 of the object: the storage pointer.
    #[n(6)]
    pub object: Digest,
    /// HMAC(tag key, case id).
    #[n(7)]
    pub subject_tag: SubjectTag,
    /// Hash of the wrap set (`wrap_set_hash`).
    #[n(8)]
    pub wraps: Digest,
    /// When it was sealed.
    #[n(9)]
    pub time: TimeMs,
}

impl Statement {
    /// RFC 9162 leaf hash of this statement.
    pub fn leaf(&self) -> Digest {
        merkle::leaf_hash(&cbor::encode(self))
    }
}

/// Root over statements, in order: what the institution signs.
pub fn statements_root(statements: &[Statement]) -> Digest {
    merkle::root(&statements.iter().map(Statement::leaf).collect::<Vec<_>>())
}

/// For whom a wrap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum WrapKind {
    /// The custodian's per-subject key (symmetric, recipient = subject tag).
    #[n(0)]
    Custodian,
    /// The patient's bound public key (HPKE, recipient = the key).
    #[n(1)]
    Patient,
    /// A client under a consent (HPKE, recipient = the key); carries unit keys only.
    #[n(2)]
    Client,
}

/// A wrapped case key, or wrapped unit keys. Lives in the custodian's purgeable database, never on the ledger.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Wrap {
    /// For whom.
    #[n(0)]
    pub kind: WrapKind,
    /// The recipient: subject tag or public key.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub recipient: Vec<u8>,
    /// The consent under which it was made, for clients.
    #[n(2)]
    pub consent: Option<ConsentId>,
    /// Raised with each re-wrap after a revocation.
    #[n(3)]
    pub epoch: u32,
    /// HPKE encapsulation; empty for the custodian.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub encapsulated: Vec<u8>,
    /// The wrapped key with its tag.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub ciphertext: Vec<u8>,
}

impl std::fmt::Debug for Wrap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wrap({:?}, {} bytes)", self.kind, self.ciphertext.len())
    }
}

/// Hash of a wrap set: the only thing of it that the ledger sees.
pub fn wrap_set_hash(wraps: &[Wrap]) -> Digest {
    wraps.iter().fold(Parts::new("cs1/wraps"), Parts::part).hash()
}

/// An object that is not laid out as `CS1\0 ‖ header ‖ leaves ‖ C_*`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Other first bytes.
    #[error("found other first bytes than CS1, expected a sealed case")]
    Magic,
    /// The header does not decode in its one spelling.
    #[error("sealed case header: {0}")]
    Header(#[from] CborError),
    /// Version, suite or form that this build does not know.
    #[error("found an envelope version, suite or form that is not known here")]
    Unknown,
    /// The lengths in the header do not fill the object exactly.
    #[error("found {found} bytes, expected {expected} by the header")]
    Length {
        /// Bytes there.
        found: usize,
        /// Bytes by the header.
        expected: usize,
    },
    /// The leaves do not hash to the header's root, or their count is not the header's.
    #[error("found leaves that do not make the header's root")]
    Leaves,
}

/// An object taken apart, not yet opened. Borrowed: objects can be large.
#[derive(Debug)]
pub struct ObjectParts<'a> {
    /// The header.
    pub header: Header,
    /// SHA-256 of the header bytes.
    pub header_hash: Digest,
    /// One salted leaf per unit.
    pub leaves: Vec<Digest>,
    /// Ciphertext of each unit, chunks and tags.
    pub units: Vec<&'a [u8]>,
}

/// Bytes of a unit's ciphertext for a padded plaintext length.
pub const fn ciphertext_bytes(padded: usize) -> usize {
    let chunks = if padded == 0 { 1 } else { padded.div_ceil(limits::UNIT_CHUNK_BYTES) };
    padded + chunks * TAG_BYTES
}

/// Lays an object out.
pub fn assemble(header: &Header, leaves: &[Digest], units: &[Vec<u8>]) -> Vec<u8> {
    let header = cbor::encode(header);
    let size = MAGIC.len() + header.len() + leaves.len() * 32 + units.iter().map(Vec::len).sum::<usize>();
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&header);
    leaves.iter().for_each(|leaf| out.extend_from_slice(leaf.as_bytes()));
    units.iter().for_each(|unit| out.extend_from_slice(unit));
    out
}

/// Takes an object apart and checks layout and root; signatures and content are the vault's and the verifier's work.
///
/// # Errors
/// `ObjectError` for anything but the one layout.
pub fn take_apart(object: &[u8]) -> Result<ObjectParts<'_>, ObjectError> {
    let rest = object.strip_prefix(MAGIC.as_slice()).ok_or(ObjectError::Magic)?;
    let header_length = header_length(rest)?;
    let (header_bytes, rest) = rest.split_at(header_length);
    let header: Header = cbor::decode(header_bytes)?;
    if (header.version, header.suite, header.canonical_form) != (VERSION, SUITE_P256_AES256, CANONICAL_JSON) {
        return Err(ObjectError::Unknown);
    }
    let count = header.padded_lengths.len();
    if count == 0 || count > limits::CASE_UNITS_MAX || header.unit_count as usize != count {
        return Err(ObjectError::Leaves);
    }
    let mut ranges: Vec<Range<usize>> = Vec::with_capacity(count);
    let mut at = count * 32;
    for &padded in &header.padded_lengths {
        let length = ciphertext_bytes(padded as usize);
        ranges.push(at..at + length);
        at += length;
    }
    if at != rest.len() {
        return Err(ObjectError::Length { found: rest.len(), expected: at });
    }
    let leaves: Vec<Digest> = rest[..count * 32].chunks_exact(32).filter_map(Digest::from_slice).collect();
    if merkle::root(&leaves) != header.root {
        return Err(ObjectError::Leaves);
    }
    let units = ranges.into_iter().map(|range| &rest[range]).collect();
    Ok(ObjectParts { header, header_hash: cbor::sha256(header_bytes), leaves, units })
}

fn header_length(bytes: &[u8]) -> Result<usize, ObjectError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    decoder.skip().map_err(|_| CborError::Malformed { expected: "Header", offset: decoder.position() })?;
    Ok(decoder.position())
}
