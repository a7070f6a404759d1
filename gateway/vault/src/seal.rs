//! Algorithm 1, *release*: the institution seals a case. The paper's steps and where they are:
//!
//! 1. choose a fresh case key K                         → `seal_with`
//! 2. encrypt each part of the case under its own key   → `unit::seal_onto`
//! 3. wrap K for those who may open                     → `wrap::for_custodian`, `wrap::for_patient`
//! 4. commit to content, object and wraps               → `Header`, `Statement`
//! 5. sign the commitment as the institution            → `Vault::sign_anchor`, up to 100 cases at once
//!
//! It must never seal twice under one K: a retry reuses the stored bytes or calls this again, which draws a new K.

use schemas::envelope::{self, Header, Meaning, Statement, Wrap};
use schemas::id::{CaseId, ChainId, Digest, InstitutionId, PractitionerId, PublicKey, TimeMs};
use schemas::{cbor, limits, merkle};

use crate::derive::{CaseKeys, Secret, UnitKeys};
use crate::error::SealError;
use crate::random::{self, NoRandomness, Source};
use crate::subject::SubjectKey;
use crate::unit::{self, UnitRef};
use crate::wrap;

/// What is to be sealed as one case.
pub struct SealRequest<'a> {
    /// The chain on which it will be anchored.
    pub chain: ChainId,
    /// Who releases it.
    pub institution: InstitutionId,
    /// Whom it is about; the institution's own subject when it is about no patient.
    pub subject: &'a SubjectKey,
    /// The patient's bound public key, if any.
    pub patient: Option<PublicKey>,
    /// The practitioner who authored it and will sign its statement, if any.
    pub practitioner: Option<PractitionerId>,
    /// The units, at least one.
    pub units: Vec<UnitRef<'a>>,
    /// When it is sealed.
    pub time: TimeMs,
    /// Case id, version and header hash of the version that this one replaces.
    pub previous: Option<(CaseId, u32, Digest)>,
}

/// A sealed case, not yet checked and not yet signed.
#[derive(Debug)]
pub struct Sealed {
    /// The header.
    pub header: Header,
    /// The object: what goes to the object store under `statement.object`.
    pub object: Vec<u8>,
    /// What is to be signed and anchored.
    pub statement: Statement,
    /// The wraps, for the custodian's purgeable database.
    pub wraps: Vec<Wrap>,
}

impl From<NoRandomness> for SealError {
    fn from(_: NoRandomness) -> Self {
        Self::Randomness
    }
}

/// Seals with the given source of randomness.
pub(crate) fn seal_with(mut request: SealRequest<'_>, source: &mut dyn Source) -> Result<Sealed, SealError> {
    check_units(&request.units)?;
    let (case, version, previous) = match request.previous {
        Some((case, version, hash)) => (case, version.checked_add(1).ok_or(SealError::Version)?, Some(hash)),
        None => {
            let mut case = CaseId([0; 16]);
            source.fill(&mut case.0)?;
            (case, 1, None)
        }
    };
    let k = random::secret(source)?;
    let keys = CaseKeys::extract(&k, &case, version);
    let unit_keys: Vec<UnitKeys> = (0..).zip(&request.units).map(|(index, _)| keys.unit(index)).collect();
    let leaves: Vec<Digest> =
        unit_keys.iter().zip(&request.units).map(|(keys, unit)| keys.leaf(unit.kind, &unit.bytes)).collect();
    let header = Header {
        version: envelope::VERSION,
        suite: envelope::SUITE_P256_AES256,
        chain: request.chain,
        case,
        case_version: version,
        previous,
        institution: request.institution,
        subject_tag: request.subject.tag(&case),
        root: merkle::root(&leaves),
        unit_count: count(&request.units)?,
        key_commitment: keys.commitment(),
        canonical_form: envelope::CANONICAL_JSON,
        fhir_version: envelope::FHIR_R4,
        padded_lengths: padded_lengths(&request.units)?,
        time: request.time,
        meaning: if previous.is_some() { Meaning::Amended } else { Meaning::Released },
        practitioner: request.practitioner.map(|id| keys.practitioner(&id)),
    };
    let header_hash = header.hash();
    let object = object(&header, &header_hash, &leaves, &unit_keys, std::mem::take(&mut request.units))?;
    let wraps = wraps(&request, &header, &header_hash, &k, source)?;
    let statement = statement(&header, header_hash, &object, &wraps);
    Ok(Sealed { header, object, statement, wraps })
}

fn check_units(units: &[UnitRef<'_>]) -> Result<(), SealError> {
    let max = limits::CASE_UNITS_MAX;
    if units.is_empty() || units.len() > max {
        return Err(SealError::Units { found: units.len(), max });
    }
    for (index, unit) in units.iter().enumerate() {
        if !unit.has_plain_kind() {
            return Err(SealError::Kind { unit: index });
        }
        if unit.bytes.len() > limits::UNIT_BYTES_MAX {
            return Err(SealError::TooLarge { unit: index, found: unit.bytes.len(), max: limits::UNIT_BYTES_MAX });
        }
    }
    Ok(())
}

fn count(units: &[UnitRef<'_>]) -> Result<u32, SealError> {
    u32::try_from(units.len()).map_err(|_| SealError::Cipher)
}

fn padded_lengths(units: &[UnitRef<'_>]) -> Result<Vec<u32>, SealError> {
    units.iter().map(|unit| u32::try_from(unit.padded_length()).map_err(|_| SealError::Cipher)).collect()
}

/// Bytes that are the units' own are let go one after the other, each once it is sealed.
fn object(
    header: &Header,
    header_hash: &Digest,
    leaves: &[Digest],
    keys: &[UnitKeys],
    units: Vec<UnitRef<'_>>,
) -> Result<Vec<u8>, SealError> {
    let mut object = envelope::assemble(header, leaves, &[]);
    object.reserve_exact(units.iter().map(|unit| envelope::ciphertext_bytes(unit.padded_length())).sum());
    for ((index, unit), keys) in (0..).zip(units).zip(keys) {
        unit::seal_onto(&mut object, &unit, keys, header_hash, index).ok_or(SealError::Cipher)?;
    }
    Ok(object)
}

fn wraps(
    request: &SealRequest<'_>,
    header: &Header,
    header_hash: &Digest,
    k: &Secret,
    source: &mut dyn Source,
) -> Result<Vec<Wrap>, SealError> {
    let mut wraps = vec![wrap::for_custodian(request.subject.custodian(), &header.subject_tag, header_hash, k)?];
    if let Some(patient) = &request.patient {
        wraps.push(wrap::for_patient(patient, header_hash, k, source)?);
    }
    Ok(wraps)
}

fn statement(header: &Header, header_hash: Digest, object: &[u8], wraps: &[Wrap]) -> Statement {
    Statement {
        case: header.case,
        version: header.case_version,
        previous: header.previous,
        institution: header.institution,
        header: header_hash,
        root: header.root,
        object: cbor::sha256(object),
        subject_tag: header.subject_tag,
        wraps: envelope::wrap_set_hash(wraps),
        time: header.time,
    }
}

#[cfg(test)]
mod tests;
