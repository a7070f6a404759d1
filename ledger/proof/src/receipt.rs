//! The receipt of a case: built once from what the ledger answered, verified by anyone with the genesis (formats.md §5).

use schemas::cose::{self, Verifier as _};
use schemas::envelope::Statement;
use schemas::genesis::Genesis;
use schemas::id::{CaseId, Digest, Height, InstitutionId, PublicKey, Signature, TimeMs};
use schemas::merkle;
use schemas::proof::EpochProof;
use schemas::receipt::{ENGINE, Encoded, EntryProof, FORMAT, Placed, Receipt};
use schemas::transaction::{Body, Core, Outcome, Signer, Transaction};

use crate::entry::verify_entry_proof;
use crate::epochs::Epochs;
use crate::error::VerifyError;
use crate::file::epochs_of_file;
use crate::signature::P256;

/// What a valid receipt proves: this version of this case was released by this institution and anchored at this height.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The case.
    pub case: CaseId,
    /// Its version.
    pub version: u32,
    /// Who released it.
    pub institution: InstitutionId,
    /// Height at which it was anchored.
    pub height: Height,
    /// The ledger's time at that height.
    pub time: TimeMs,
    /// The transaction that anchored it.
    pub transaction: Digest,
    /// What was anchored: digests of header, object and wraps.
    pub statement: Statement,
}

/// Builds the receipt of one statement of an accepted transaction, with the epoch proofs up to the proof's epoch (`Epochs::proofs`).
///
/// # Errors
/// `VerifyError::Contradiction` when transaction, index and proofs do not belong together. Signatures are not checked here.
pub fn build_receipt(
    tx: &Transaction,
    statement: usize,
    proof: &EntryProof,
    epochs: &[EpochProof],
) -> Result<Receipt, VerifyError> {
    let receipts = Receipts::of(tx, proof, epochs)?;
    let path = merkle::path(&receipts.leaves, statement);
    path.and_then(|path| receipts.build(statement, path))
        .ok_or_else(|| contradiction("statement", "an index of the transaction"))
}

/// Builds the receipts of all statements of an accepted transaction, in their order.
///
/// # Errors
/// As `build_receipt`.
pub fn build_receipts(
    tx: &Transaction,
    proof: &EntryProof,
    epochs: &[EpochProof],
) -> Result<Vec<Receipt>, VerifyError> {
    let receipts = Receipts::of(tx, proof, epochs)?;
    let paths = merkle::paths(&receipts.leaves).into_iter().enumerate();
    Ok(paths.filter_map(|(statement, path)| receipts.build(statement, path)).collect())
}

const fn contradiction(place: &'static str, expected: &'static str) -> VerifyError {
    VerifyError::Contradiction { place, expected }
}

/// What the receipts of one transaction have in common.
struct Receipts<'a> {
    tx: &'a Transaction,
    proof: &'a EntryProof,
    epochs: &'a [EpochProof],
    leaves: Vec<Digest>,
    signature: Signature,
}

impl<'a> Receipts<'a> {
    fn of(tx: &'a Transaction, proof: &'a EntryProof, epochs: &'a [EpochProof]) -> Result<Self, VerifyError> {
        if epochs.len() as u64 != proof.header.epoch {
            return Err(contradiction("epochs", "a proof of each epoch up to the header's"));
        }
        let (institution, root) =
            tx.core.body.statements_root().ok_or(contradiction("transaction", "one that anchors statements"))?;
        if proof.entry.transaction != tx.id() {
            return Err(contradiction("entry", "the transaction's own entry"));
        }
        let leaves: Vec<_> = tx.statements.iter().map(Statement::leaf).collect();
        if merkle::root(&leaves) != *root {
            return Err(contradiction("statements", "the root that the transaction names"));
        }
        let signed = tx.signatures.iter().find(|signed| signed.signer == Signer::Institution(*institution));
        let signed = signed.ok_or(contradiction("transaction", "the institution's signature"))?;
        Ok(Self { tx, proof, epochs, leaves, signature: signed.signature })
    }

    fn build(&self, statement: usize, path: Vec<Digest>) -> Option<Receipt> {
        let (tx, proof) = (self.tx, self.proof);
        let leaf = tx.statements.get(statement)?;
        Some(Receipt {
            format: FORMAT.into(),
            engine: ENGINE.into(),
            chain: tx.core.chain,
            statement: Placed {
                leaf: Encoded(leaf.clone()),
                index: statement as u64,
                size: self.leaves.len() as u64,
                path,
            },
            signature: self.signature,
            transaction: Encoded(tx.core.clone()),
            entry: Placed {
                leaf: Encoded(proof.entry.clone()),
                index: proof.log_index,
                size: proof.header.log_size,
                path: proof.path.clone(),
            },
            header: Encoded(proof.header.clone()),
            attestations: proof.attestations.clone(),
            epochs: self.epochs.to_vec(),
        })
    }
}

/// Verifies a receipt file with nothing but the genesis, by the reference implementation.
///
/// # Errors
/// `VerifyError`; `is_incomplete` tells a receipt that only lacks attestations from an invalid one.
pub fn verify_receipt(bytes: &[u8], genesis: &Genesis) -> Result<Verified, VerifyError> {
    verify_parsed_receipt(&Receipt::parse(bytes)?, genesis)
}

pub(crate) fn verify_parsed_receipt(receipt: &Receipt, genesis: &Genesis) -> Result<Verified, VerifyError> {
    let epochs = &epochs_of_file(genesis, &receipt.epochs, receipt.header.0.epoch)?;
    let core = &receipt.transaction.0;
    if receipt.chain != *epochs.chain() || core.chain != *epochs.chain() {
        return Err(VerifyError::OtherChain { place: "receipt" });
    }
    verify_statement(receipt, core, genesis, epochs)?;
    verify_entry(receipt, core, epochs)?;
    let (statement, entry) = (&receipt.statement.leaf.0, &receipt.entry.leaf.0);
    Ok(Verified {
        case: statement.case,
        version: statement.version,
        institution: statement.institution,
        height: entry.height,
        time: receipt.header.0.time,
        transaction: entry.transaction,
        statement: statement.clone(),
    })
}

/// The statement is under the root of the transaction, whose id the institution signed.
fn verify_statement(receipt: &Receipt, core: &Core, genesis: &Genesis, epochs: &Epochs) -> Result<(), VerifyError> {
    let contradiction = |place, expected| Err(VerifyError::Contradiction { place, expected });
    let placed = &receipt.statement;
    let statement = &placed.leaf.0;
    let (institution, root, fits) = match &core.body {
        Body::AnchorCases(body) => (
            body.institution,
            body.root,
            u64::from(body.count) == placed.size && statement.version == 1 && statement.previous.is_none(),
        ),
        Body::SupersedeCase(body) => {
            (body.institution, body.root, placed.size == 1 && statement.version > 1 && statement.previous.is_some())
        }
        _ => return contradiction("transaction", "one that anchors statements"),
    };
    if !fits || statement.institution != institution {
        return contradiction("statement", "count, version and institution of its transaction");
    }
    if !merkle::verify_inclusion(&statement.leaf(), placed.index, placed.size, &placed.path, &root) {
        return Err(VerifyError::Path { place: "statements" });
    }
    let key = institution_key(genesis, &institution).ok_or(VerifyError::UnknownInstitution)?;
    if !P256.verify(key, &cose::transaction_to_sign(epochs.chain(), &core.id()), &receipt.signature) {
        return Err(VerifyError::Signature { place: "institution" });
    }
    Ok(())
}

/// The ledger accepted the transaction: its entry is in the log of an attested header.
fn verify_entry(receipt: &Receipt, core: &Core, epochs: &Epochs) -> Result<(), VerifyError> {
    let contradiction = |place, expected| Err(VerifyError::Contradiction { place, expected });
    let (entry, header) = (&receipt.entry.leaf.0, &receipt.header.0);
    if entry.transaction != core.id() {
        return contradiction("entry", "the id of the transaction");
    }
    if entry.outcome != Outcome::Accepted {
        return Err(VerifyError::NotAccepted);
    }
    if entry.height > core.valid_until {
        return contradiction("entry", "a height at which the transaction was valid");
    }
    if receipt.entry.size != header.log_size {
        return contradiction("entry", "the log size of its header");
    }
    let proof = EntryProof {
        entry: entry.clone(),
        log_index: receipt.entry.index,
        path: receipt.entry.path.clone(),
        header: header.clone(),
        attestations: receipt.attestations.clone(),
    };
    verify_entry_proof(epochs, &proof)
}

fn institution_key<'a>(genesis: &'a Genesis, id: &InstitutionId) -> Option<&'a PublicKey> {
    genesis.institutions.iter().map(|i| &i.register).find(|r| r.institution == *id).map(|r| &r.key)
}
