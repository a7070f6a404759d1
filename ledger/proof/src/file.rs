//! Whatever an auditor can be given, verified with nothing but the genesis: receipts, log entries, keys of the state, consistency
//! of two logs, COSE receipts. By the reference implementation of signatures.

use schemas::block::Epoch;
use schemas::cbor;
use schemas::genesis::Genesis;
use schemas::proof::{ConsistencyProof, EpochProof, Filed, Proof, ProofFile, StateProof};
use schemas::receipt::EntryProof;
use schemas::transaction::LogEntry;

use crate::cose::verify_cose_receipts;
use crate::entry::verify_entry_proof;
use crate::epochs::Epochs;
use crate::error::VerifyError;
use crate::receipt::{Verified, verify_parsed_receipt};
use crate::signature::P256;
use crate::state::{verify_consistency_proof, verify_state_proof};
use crate::validators::ValidatorSet;

/// What a valid file proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifiedFile {
    /// A version of a case was anchored.
    Receipt(Box<Verified>),
    /// What the ledger decided about a transaction.
    Entry(Box<EntryProof>),
    /// What a key holds at a height.
    State(Box<StateProof>),
    /// A log continues another.
    Consistency(Box<ConsistencyProof>),
    /// What the ledger decided about a transaction, in receipts that others can check too.
    Cose(LogEntry),
}

/// Verifies a file of any kind: JSON by the format that it names, else COSE receipts.
///
/// # Errors
/// `VerifyError`; `is_incomplete` tells a file that only lacks signatures from an invalid one.
pub fn verify_file(bytes: &[u8], genesis: &Genesis) -> Result<VerifiedFile, VerifyError> {
    if let Ok(receipts) = cbor::decode(bytes) {
        let set = ValidatorSet::with_verifier(genesis, &P256);
        return verify_cose_receipts(&set, &receipts).map(VerifiedFile::Cose);
    }
    Ok(match ProofFile::parse(bytes)? {
        ProofFile::Receipt(receipt) => VerifiedFile::Receipt(Box::new(verify_parsed_receipt(&receipt, genesis)?)),
        ProofFile::Entry(filed) => {
            verify_entry_proof(&epochs_of(genesis, &filed)?, &filed.proof)?;
            VerifiedFile::Entry(Box::new(filed.proof))
        }
        ProofFile::State(filed) => {
            verify_state_proof(&epochs_of(genesis, &filed)?, &filed.proof)?;
            VerifiedFile::State(Box::new(filed.proof))
        }
        ProofFile::Consistency(filed) => {
            verify_consistency_proof(&epochs_of(genesis, &filed)?, &filed.proof)?;
            VerifiedFile::Consistency(Box::new(filed.proof))
        }
    })
}

/// The epochs that a filed proof brings; its chain is the genesis'.
fn epochs_of<T: Proof>(genesis: &Genesis, filed: &Filed<T>) -> Result<Epochs, VerifyError> {
    let epochs = epochs_of_file(genesis, &filed.epochs, filed.proof.epoch())?;
    if filed.chain == *epochs.chain() { Ok(epochs) } else { Err(VerifyError::OtherChain { place: "proof" }) }
}

/// The epochs that a file proves: up to the latest that it names, neither fewer nor more.
pub(crate) fn epochs_of_file(genesis: &Genesis, proofs: &[EpochProof], latest: Epoch) -> Result<Epochs, VerifyError> {
    if proofs.len() as u64 != latest {
        return Err(VerifyError::Contradiction { place: "epochs", expected: "a proof of each epoch up to the latest" });
    }
    Epochs::with_verifier(genesis, &P256).extended(proofs)
}
