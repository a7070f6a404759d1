//! What a reader needs to prove a disclosed unit against the anchored root: the salt of its leaf and the leaf's path. The
//! way out hands it over with `$verify`. The salt opens nothing: it only lets the holder of the bytes recompute the leaf.

use gateway_consent::Permit;
use schemas::id::Digest;
use schemas::merkle;

use crate::error::{OpenError, UnitError};
use crate::open::OpenCase;

/// Proof that a unit is the one that was sealed: leaf = HMAC(salt, "cs1/leaf" ‖ type ‖ len ‖ bytes) and the path to the
/// root that the statement of the case names.
pub struct UnitProof {
    /// `s_i`.
    pub salt: [u8; 32],
    /// The leaf.
    pub leaf: Digest,
    /// Index of the unit.
    pub index: u32,
    /// Units of the case.
    pub count: u32,
    /// RFC 9162 inclusion path.
    pub path: Vec<Digest>,
}

impl OpenCase<'_> {
    /// The proof of one unit, for whom it is disclosed to. The salt of a unit that was not permitted would let its
    /// content be guessed, so the permit must be for this very unit.
    ///
    /// # Errors
    /// `OpenError::Permit` when the permit is for another case, version or unit; `OpenError::Unit` when there is none.
    pub fn unit_proof(&self, index: usize, permit: &Permit) -> Result<UnitProof, OpenError> {
        self.check_permit(index, permit)?;
        let absent = OpenError::Unit { unit: index, error: UnitError::Absent };
        let leaves = self.leaves();
        let number = u32::try_from(index).map_err(|_| absent.clone())?;
        let (Some(leaf), Some(path)) = (leaves.get(index), merkle::path(leaves, index)) else { return Err(absent) };
        let count = self.header().unit_count;
        Ok(UnitProof { salt: *self.keys().unit(number).salt(), leaf: *leaf, index: number, count, path })
    }
}
