//! What the state holds at a height, and that one log continues another: both under attested headers.

use schemas::merkle;
use schemas::proof::{AttestedHeader, ConsistencyProof, StateProof};
use schemas::tree::{self, Place};

use crate::certificate::verify_attestations;
use crate::error::VerifyError;
use crate::validators::Validators;

/// Checks that the key holds the value that the proof names, or nothing, in the state after its header's block, and that a
/// quorum attests that header.
///
/// # Errors
/// `VerifyError`; `Incomplete` when all is valid but too few attest.
pub fn verify_state_proof<V: Validators + ?Sized>(validators: &V, proof: &StateProof) -> Result<(), VerifyError> {
    let wrong_key = VerifyError::Contradiction { place: "key", expected: "a key of the state tree" };
    let place = Place::of(&proof.key).ok_or(wrong_key)?;
    let value = proof.value.as_ref().map(|value| &value.0[..]);
    if !tree::verify(&place, value, proof.other.as_ref(), &proof.siblings, &proof.header.state_root) {
        return Err(VerifyError::Path { place: "state" });
    }
    verify_attestations(validators, &proof.header, &proof.attestations)
}

/// Checks that the log of the second header continues that of the first, and that quorums attest both.
///
/// # Errors
/// `VerifyError`; `Incomplete` when all is valid but too few attest.
pub fn verify_consistency_proof<V: Validators + ?Sized>(
    validators: &V,
    proof: &ConsistencyProof,
) -> Result<(), VerifyError> {
    let (first, second) = (&proof.first.header, &proof.second.header);
    if first.height > second.height {
        return Err(VerifyError::Contradiction { place: "headers", expected: "the earlier one first" });
    }
    if first.height == second.height && first != second {
        return Err(VerifyError::Contradiction { place: "headers", expected: "one header at one height" });
    }
    let (from, to) = ((first.log_size, &first.log_root), (second.log_size, &second.log_root));
    if !merkle::verify_consistency(from, to, &proof.path) {
        return Err(VerifyError::Path { place: "consistency" });
    }
    for AttestedHeader { header, attestations } in [&proof.first, &proof.second] {
        verify_attestations(validators, header, attestations)?;
    }
    Ok(())
}
