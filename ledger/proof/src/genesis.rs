//! Checks a genesis beyond its shape: every institution holds the key that it registers, and no id stands twice.

use std::collections::BTreeSet;

use schemas::cose::Verifier;
use schemas::genesis::{Genesis, GenesisError, NAMES, possession_to_sign};
use schemas::limits;

use crate::{P256, VerifyError};

/// Checks bounds, unique ids and proofs of possession. To be asked once when a genesis file is read.
///
/// # Errors
/// `VerifyError::Genesis` with what contradicts, `VerifyError::Signature` when a proof of possession is not valid.
pub fn verify_genesis(genesis: &Genesis) -> Result<(), VerifyError> {
    let contradiction = |what| Err(VerifyError::Genesis(GenesisError::Contradiction(what)));
    if genesis.validators.is_empty() || genesis.validators.len() > limits::VALIDATORS_MAX {
        return contradiction("expected 1 to 64 validators");
    }
    if genesis.institutions.len() > limits::INSTITUTIONS_MAX {
        return contradiction("expected at most 1024 institutions");
    }
    if !genesis.has_proper_names() {
        return contradiction(NAMES);
    }
    let mut ids = BTreeSet::new();
    let mut keys: BTreeSet<_> = genesis.validators.iter().map(|v| v.key).collect();
    if keys.len() != genesis.validators.len() {
        return contradiction("expected every validator's key once");
    }
    for institution in &genesis.institutions {
        let register = &institution.register;
        if !ids.insert(register.institution) {
            return contradiction("expected every institution's id once");
        }
        if !std::iter::once(&register.key).chain(&register.gateways).all(|key| keys.insert(*key)) {
            return contradiction("expected every key once");
        }
        if !P256.verify(&register.key, &possession_to_sign(register), &institution.possession) {
            return Err(VerifyError::Signature { place: "genesis institution" });
        }
    }
    Ok(())
}
