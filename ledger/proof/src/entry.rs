//! What the ledger decided about one transaction: a log entry under an attested header.

use schemas::merkle;
use schemas::receipt::EntryProof;

use crate::certificate::verify_attestations;
use crate::error::VerifyError;
use crate::validators::Validators;

/// Checks that the entry is in the log of its own block's header and that a quorum attests that header. The outcome, accepted
/// or refused, is for the caller to read.
///
/// # Errors
/// `VerifyError`; `Incomplete` when all is valid but too few attest.
pub fn verify_entry_proof<V: Validators + ?Sized>(validators: &V, proof: &EntryProof) -> Result<(), VerifyError> {
    if proof.entry.height != proof.header.height {
        return Err(VerifyError::Contradiction { place: "entry", expected: "the height of its header" });
    }
    let leaf = proof.entry.leaf();
    let header = &proof.header;
    if !merkle::verify_inclusion(&leaf, proof.log_index, header.log_size, &proof.path, &header.log_root) {
        return Err(VerifyError::Path { place: "log" });
    }
    verify_attestations(validators, header, &proof.attestations)
}
