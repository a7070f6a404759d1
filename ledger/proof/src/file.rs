//! Whatever an auditor can be given, verified with nothing but the genesis: receipts, log entries, keys of the state, consistency
//! of two logs, COSE receipts. By the reference implementation of signatures.

use schemas::cbor;
use schemas::cose_receipt::{self, CoseReceipt, CoseReceipts};
use schemas::genesis::Genesis;
use schemas::id::ChainId;
use schemas::merkle;
use schemas::proof::{ConsistencyProof, ProofFile, StateProof};
use schemas::receipt::EntryProof;
use schemas::transaction::LogEntry;

use crate::certificate::ValidatorSet;
use crate::entry::verify_entry_proof;
use crate::error::VerifyError;
use crate::receipt::{Verified, verify_parsed_receipt};
use crate::signature::P256;
use crate::state::{verify_consistency_proof, verify_state_proof};

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
    let set = ValidatorSet::with_verifier(genesis, &P256);
    if let Ok(receipts) = cbor::decode(bytes) {
        return verify_cose_receipts(&set, &receipts).map(VerifiedFile::Cose);
    }
    Ok(match ProofFile::parse(bytes)? {
        ProofFile::Receipt(receipt) => VerifiedFile::Receipt(Box::new(verify_parsed_receipt(&receipt, genesis, &set)?)),
        ProofFile::Entry(filed) => {
            is_chain(&set, &filed.chain)?;
            verify_entry_proof(&set, &filed.proof)?;
            VerifiedFile::Entry(Box::new(filed.proof))
        }
        ProofFile::State(filed) => {
            is_chain(&set, &filed.chain)?;
            verify_state_proof(&set, &filed.proof)?;
            VerifiedFile::State(Box::new(filed.proof))
        }
        ProofFile::Consistency(filed) => {
            is_chain(&set, &filed.chain)?;
            verify_consistency_proof(&set, &filed.proof)?;
            VerifiedFile::Consistency(Box::new(filed.proof))
        }
    })
}

fn is_chain(set: &ValidatorSet, chain: &ChainId) -> Result<(), VerifyError> {
    if chain == set.chain() { Ok(()) } else { Err(VerifyError::OtherChain { place: "proof" }) }
}

/// Checks COSE receipts (RFC 9942) of one entry: each by another validator of the genesis, all over one root, at least a quorum.
///
/// # Errors
/// `VerifyError`; `Incomplete` when all are valid but too few.
pub fn verify_cose_receipts(set: &ValidatorSet, receipts: &CoseReceipts) -> Result<LogEntry, VerifyError> {
    const PLACE: &str = "COSE receipts";
    let contradiction = |expected| VerifyError::Contradiction { place: PLACE, expected };
    let entry = cbor::decode(&receipts.entry).map_err(|_| contradiction("the CBOR of a log entry"))?;
    if !receipts.receipts.is_sorted_by(|a, b| a < b) || receipts.receipts.len() > set.keys().len() {
        return Err(VerifyError::Validators { place: PLACE });
    }
    let mut signers = std::collections::BTreeSet::new();
    let mut first = None;
    for bytes in &receipts.receipts {
        let receipt: CoseReceipt = cbor::decode(&bytes.0).map_err(|_| contradiction("receipts of inclusion"))?;
        let root = verify_cose_receipt(set, &receipts.entry, &receipt)?;
        if *first.get_or_insert((receipt.size, root)) != (receipt.size, root) {
            return Err(contradiction("one log"));
        }
        if !signers.insert(receipt.key) {
            return Err(VerifyError::Validators { place: PLACE });
        }
    }
    if signers.len() < set.quorum() {
        return Err(VerifyError::Incomplete { place: PLACE, found: signers.len(), expected: set.quorum() });
    }
    Ok(entry)
}

/// Checks one validator's COSE receipt of an entry; the root of the log that it is over.
///
/// # Errors
/// `VerifyError` naming what does not fit.
pub fn verify_cose_receipt(
    set: &ValidatorSet,
    entry: &[u8],
    receipt: &CoseReceipt,
) -> Result<schemas::id::Digest, VerifyError> {
    let place = "COSE receipt";
    if receipt.chain != *set.chain() {
        return Err(VerifyError::OtherChain { place });
    }
    if !set.keys().contains(&receipt.key) {
        return Err(VerifyError::Validators { place });
    }
    let leaf = merkle::leaf_hash(entry);
    let root = merkle::root_of_path(&leaf, receipt.index, receipt.size, &receipt.path);
    let root = root.ok_or(VerifyError::Path { place })?;
    let message = cose_receipt::to_sign(&receipt.key, &receipt.chain, &root);
    if !set.verifier().verify(&receipt.key, &message, &receipt.signature) {
        return Err(VerifyError::Signature { place });
    }
    Ok(root)
}
