//! Opening a stored case: the object is proved against its anchored digest, K comes from a wrap and must be the one that
//! the header commits to, and each unit is decrypted alone, under a consent's permit or a named purpose of the custodian.

use gateway_consent::Permit;
use schemas::cbor;
use schemas::envelope::{self, Header, ObjectParts, Wrap, WrapKind};
use schemas::id::Digest;

use crate::derive::{CaseKeys, Secret, UnitKeys};
use crate::error::{OpenError, UnitError};
use crate::subject::SubjectKey;
use crate::unit::{self, Unit};
use crate::wrap;

/// For what the custodian opens without a consent's permit. Nothing of it may be disclosed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CustodyPurpose {
    /// *anchor* checks what *seal* made (Algorithm 2).
    IngestCheck,
    /// *index* reads what it must summarise after a restart.
    Index,
    /// *normalise* folds a partial update into the head, or an operator traces where a resource came from.
    Provenance,
}

/// The custodian's word that a unit is opened for its own work and not for disclosure. The way out must never hold one:
/// who answers a request has a `Permit` or opens nothing.
#[derive(Clone, Copy, Debug)]
pub struct Custody(CustodyPurpose);

impl Custody {
    /// Claims custody. Only the steps of the way in and the operator's trace may call this; a reviewer finds every use by
    /// this name.
    pub const fn claimed_by_custodian_for(purpose: CustodyPurpose) -> Self {
        Self(purpose)
    }

    /// The purpose, for the span of the step.
    pub const fn purpose(&self) -> CustodyPurpose {
        self.0
    }
}

/// A case whose object is the anchored one and whose K is at hand. Has no Debug: it holds K's derivations.
pub struct OpenCase<'a> {
    parts: ObjectParts<'a>,
    keys: CaseKeys,
}

impl<'a> OpenCase<'a> {
    /// As the custodian, with the subject's key.
    pub(crate) fn as_custodian(
        subject: &SubjectKey,
        wraps: &[Wrap],
        object: &'a [u8],
        expected: &Digest,
    ) -> Result<Self, OpenError> {
        let parts = take_apart(object, expected)?;
        if subject.tag(&parts.header.case) != parts.header.subject_tag {
            return Err(OpenError::Subject);
        }
        let recipient = parts.header.subject_tag.as_bytes().as_slice();
        let open = |wrap: &Wrap| wrap::open_as_custodian(subject.custodian(), wrap, &parts.header_hash);
        let k = unwrap_for(wraps, WrapKind::Custodian, recipient, open)?;
        Self::with_key(parts, &k)
    }

    /// As the patient, with the private key of the bound public key.
    pub(crate) fn as_patient(
        secret: &p256::SecretKey,
        public: &[u8],
        wraps: &[Wrap],
        object: &'a [u8],
        expected: &Digest,
    ) -> Result<Self, OpenError> {
        let parts = take_apart(object, expected)?;
        let open = |wrap: &Wrap| wrap::open_as_patient(secret, wrap, &parts.header_hash);
        let k = unwrap_for(wraps, WrapKind::Patient, public, open)?;
        Self::with_key(parts, &k)
    }

    fn with_key(parts: ObjectParts<'a>, k: &Secret) -> Result<Self, OpenError> {
        let keys = CaseKeys::extract(k, &parts.header.case, parts.header.case_version);
        if keys.commitment() != parts.header.key_commitment {
            return Err(OpenError::Commitment);
        }
        Ok(Self { parts, keys })
    }

    /// The header.
    pub const fn header(&self) -> &Header {
        &self.parts.header
    }

    /// SHA-256 of the header.
    pub const fn header_hash(&self) -> &Digest {
        &self.parts.header_hash
    }

    /// Number of units.
    pub fn unit_count(&self) -> usize {
        self.parts.units.len()
    }

    /// Decrypts one unit for disclosure. The permit proves that the consent engine decided about this very unit.
    ///
    /// # Errors
    /// `OpenError::Permit` when the permit is for another case, version or unit, else `OpenError::Unit`.
    pub fn unit(&self, index: usize, permit: &Permit) -> Result<Unit, OpenError> {
        self.check_permit(index, permit)?;
        self.decrypt(index)
    }

    /// Whether the permit is the decision about this very unit of this very version.
    pub(crate) fn check_permit(&self, index: usize, permit: &Permit) -> Result<(), OpenError> {
        let permitted = permit.unit();
        let header = &self.parts.header;
        let same = (permitted.case, permitted.version) == (header.case, header.case_version);
        if !same || usize::try_from(permitted.index) != Ok(index) {
            return Err(OpenError::Permit { unit: index });
        }
        Ok(())
    }

    /// Decrypts one unit for the custodian's own work.
    ///
    /// # Errors
    /// `OpenError::Unit`.
    pub fn unit_for_custody(&self, index: usize, _custody: Custody) -> Result<Unit, OpenError> {
        self.decrypt(index)
    }

    pub(crate) fn decrypt(&self, index: usize) -> Result<Unit, OpenError> {
        self.open_with(index, unit::open)
    }

    /// Checks one unit as `decrypt` does, and keeps nothing of it.
    pub(crate) fn check_unit(&self, index: usize) -> Result<(), OpenError> {
        self.open_with(index, unit::check)
    }

    fn open_with<T>(
        &self,
        index: usize,
        open: impl Fn(&[u8], &UnitKeys, &Digest, u32, &Digest) -> Result<T, UnitError>,
    ) -> Result<T, OpenError> {
        let failed = |error| OpenError::Unit { unit: index, error };
        let number = u32::try_from(index).map_err(|_| failed(UnitError::Absent))?;
        let (Some(sealed), Some(leaf)) = (self.parts.units.get(index), self.parts.leaves.get(index)) else {
            return Err(failed(UnitError::Absent));
        };
        open(sealed, &self.keys.unit(number), &self.parts.header_hash, number, leaf).map_err(failed)
    }

    pub(crate) fn leaves(&self) -> &[Digest] {
        &self.parts.leaves
    }

    pub(crate) const fn keys(&self) -> &CaseKeys {
        &self.keys
    }
}

fn take_apart<'a>(object: &'a [u8], expected: &Digest) -> Result<ObjectParts<'a>, OpenError> {
    if cbor::sha256(object) != *expected {
        return Err(OpenError::Digest);
    }
    Ok(envelope::take_apart(object)?)
}

fn unwrap_for(
    wraps: &[Wrap],
    kind: WrapKind,
    recipient: &[u8],
    open: impl Fn(&Wrap) -> Option<Secret>,
) -> Result<Secret, OpenError> {
    let mut mine = wraps.iter().filter(|wrap| wrap.kind == kind && wrap.recipient == recipient).peekable();
    if mine.peek().is_none() {
        return Err(OpenError::NoWrap);
    }
    mine.find_map(open).ok_or(OpenError::Wrap)
}
