//! COSE receipts (RFC 9942) of one log entry by a quorum of one epoch's validators. A validator signs the log of the entry's own
//! block whenever it is asked, so the signers may be of a later epoch than the block.

use std::collections::BTreeSet;

use schemas::cbor;
use schemas::cose_receipt::{self, CoseReceipt, CoseReceipts};
use schemas::id::{Digest, PublicKey};
use schemas::merkle;
use schemas::transaction::LogEntry;

use crate::epochs::Epochs;
use crate::error::VerifyError;
use crate::validators::{ValidatorSet, Validators as _};

const PLACE: &str = "COSE receipts";

const fn contradiction(expected: &'static str) -> VerifyError {
    VerifyError::Contradiction { place: PLACE, expected }
}

/// Checks receipts of one entry, given the validators of the genesis: each by another validator of the last epoch that the file
/// proves, all over one root, at least a quorum. No earlier epoch would do: a file carries no proofs that it does not need.
///
/// # Errors
/// `VerifyError`; `Incomplete` when all are valid but too few.
pub fn verify_cose_receipts(genesis: &ValidatorSet, receipts: &CoseReceipts) -> Result<LogEntry, VerifyError> {
    if genesis.epoch() != 0 {
        return Err(contradiction("the validators of the genesis to begin with"));
    }
    let epochs = Epochs::starting(genesis.clone()).extended(&receipts.epochs)?;
    let entry: LogEntry = cbor::decode(&receipts.entry).map_err(|_| contradiction("the CBOR of a log entry"))?;
    let set = epochs.newest();
    if !receipts.receipts.is_sorted_by(|a, b| a < b) || receipts.receipts.len() > set.keys().len() {
        return Err(VerifyError::Validators { place: PLACE });
    }
    let mut signers = BTreeSet::new();
    let mut first = None;
    for bytes in &receipts.receipts {
        let receipt: CoseReceipt = cbor::decode(&bytes.0).map_err(|_| contradiction("receipts of inclusion"))?;
        let root = verify_one(set, &receipts.entry, &receipt)?;
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
    let would_do = |set: &ValidatorSet| set.last().is_some_and(|last| entry.height <= last) && is_quorum(set, &signers);
    if (0..set.epoch()).filter_map(|epoch| epochs.in_epoch(epoch)).any(would_do) {
        return Err(contradiction("no more epoch proofs than needed"));
    }
    Ok(entry)
}

/// Whether all of them are validators of the epoch, and enough.
fn is_quorum(set: &ValidatorSet, signers: &BTreeSet<PublicKey>) -> bool {
    signers.len() >= set.quorum() && signers.iter().all(|signer| set.keys().contains(signer))
}

/// Checks the receipt of an entry by one validator of any epoch that is known; the root of the log that it is over.
///
/// # Errors
/// `VerifyError` naming what does not fit.
pub fn verify_cose_receipt(epochs: &Epochs, entry: &[u8], receipt: &CoseReceipt) -> Result<Digest, VerifyError> {
    let set = (0..=epochs.newest().epoch()).filter_map(|epoch| epochs.in_epoch(epoch));
    let set = set.into_iter().find(|set| set.keys().contains(&receipt.key));
    verify_one(set.unwrap_or_else(|| epochs.newest()), entry, receipt)
}

/// The same by a validator of this epoch.
fn verify_one(set: &ValidatorSet, entry: &[u8], receipt: &CoseReceipt) -> Result<Digest, VerifyError> {
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
