//! Stateless validity: what a primary, a mempool and execution ask of the bytes alone. One spelling, bounded size, the right
//! chain, counts and roots that fit, signers in one order. Signatures and state are execution's work.

use schemas::ErrorClass;
use schemas::ballot;
use schemas::cbor::{self, CborError};
use schemas::envelope::{Statement, statements_root};
use schemas::id::{ChainId, InstitutionId};
use schemas::limits;
use schemas::transaction::{Body, Transaction};

/// Bytes that are no valid transaction, whatever the state is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// Larger than its type may be.
    #[error("transaction: found {found} bytes, expected at most {expected}")]
    Size {
        /// Bytes there.
        found: usize,
        /// The bound of its type.
        expected: usize,
    },
    /// Not a transaction in its one spelling.
    #[error("transaction: {0}")]
    Encoding(#[from] CborError),
    /// For another chain.
    #[error("transaction: found another chain, expected {expected}")]
    OtherChain {
        /// The chain here.
        expected: ChainId,
    },
    /// Its parts contradict each other.
    #[error("{place}: found a contradiction, expected {expected}")]
    Contradiction {
        /// Where.
        place: &'static str,
        /// What must hold.
        expected: &'static str,
    },
}

impl AdmitError {
    /// The class that decides about retries.
    pub const fn class(&self) -> ErrorClass {
        ErrorClass::Caller
    }
}

const fn contradiction(place: &'static str, expected: &'static str) -> AdmitError {
    AdmitError::Contradiction { place, expected }
}

/// Reads signed bytes and checks all that needs no state.
///
/// # Errors
/// `AdmitError`: the bytes are refused for good.
pub fn admit(bytes: &[u8], chain: &ChainId) -> Result<Transaction, AdmitError> {
    check_size(bytes, limits::TRANSACTION_BYTES_MAX)?;
    let tx: Transaction = cbor::decode(bytes)?;
    if tx.core.chain != *chain {
        return Err(AdmitError::OtherChain { expected: *chain });
    }
    match tx.core.body {
        Body::AnchorCases(_) => {}
        Body::Ballot(_) => check_size(bytes, limits::BALLOT_BYTES_MAX)?,
        _ => check_size(bytes, limits::TRANSACTION_SMALL_BYTES_MAX)?,
    }
    check_statements(&tx)?;
    check_signers(&tx)?;
    check_body(&tx.core.body)?;
    Ok(tx)
}

const fn check_size(bytes: &[u8], expected: usize) -> Result<(), AdmitError> {
    if bytes.len() > expected { Err(AdmitError::Size { found: bytes.len(), expected }) } else { Ok(()) }
}

fn check_statements(tx: &Transaction) -> Result<(), AdmitError> {
    let expected_count = match &tx.core.body {
        Body::AnchorCases(body) => body.count as usize,
        Body::SupersedeCase(_) => 1,
        _ => 0,
    };
    if tx.statements.len() != expected_count {
        return Err(contradiction("statements", "as many as the body says"));
    }
    let Some((institution, root)) = tx.core.body.statements_root() else { return Ok(()) };
    if expected_count == 0 || expected_count > limits::STATEMENTS_MAX {
        return Err(contradiction("statements", "1 to 100"));
    }
    if !tx.statements.iter().all(|statement| is_placed(statement, institution, &tx.core.body)) {
        return Err(contradiction("statements", "the body's institution, and version and previous of its type"));
    }
    if statements_root(&tx.statements) != *root {
        return Err(contradiction("statements", "the root that the body names"));
    }
    let mut cases: Vec<_> = tx.statements.iter().map(|statement| statement.case).collect();
    cases.sort_unstable();
    if cases.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(contradiction("statements", "every case once"));
    }
    Ok(())
}

fn is_placed(statement: &Statement, institution: &InstitutionId, body: &Body) -> bool {
    let is_first = statement.version == 1 && statement.previous.is_none();
    let is_next = statement.version > 1 && statement.previous.is_some();
    statement.institution == *institution && if matches!(body, Body::AnchorCases(_)) { is_first } else { is_next }
}

/// Signers ascend (the order of `Signer`), authors ascend by statement: one spelling for one set of signatures.
fn check_signers(tx: &Transaction) -> Result<(), AdmitError> {
    // proof against a validator needs nobody's word
    let is_proof = matches!(tx.core.body, Body::ReportConflict(_));
    if tx.signatures.is_empty() != is_proof || tx.signatures.len() > 2 {
        return Err(contradiction("signatures", "one or two, and none beside proof against a validator"));
    }
    if !tx.signatures.is_sorted_by(|a, b| a.signer < b.signer) {
        return Err(contradiction("signatures", "every signer once, in order"));
    }
    let in_order = tx.authored.is_sorted_by(|a, b| a.statement < b.statement);
    let in_range = tx.authored.last().is_none_or(|last| (last.statement as usize) < tx.statements.len());
    if !in_order || !in_range {
        return Err(contradiction("authored", "at most one per statement, in order"));
    }
    Ok(())
}

fn check_body(body: &Body) -> Result<(), AdmitError> {
    let (ok, place, expected) = match body {
        Body::RegisterSubject(b) => {
            let mut keys: Vec<_> = b.guardians.iter().map(|guardian| guardian.key).chain(b.key).collect();
            keys.sort_unstable();
            let distinct = keys.windows(2).all(|pair| pair[0] != pair[1]);
            (b.guardians.len() <= limits::GUARDIANS_MAX && distinct, "guardians", "at most 8, every key once")
        }
        Body::GrantConsent(b) => {
            let window = b.from.zip(b.until).is_none_or(|(from, until)| from < until);
            (window && b.supersedes != Some(b.consent), "consent", "a window, and another consent to supersede")
        }
        Body::RecordAccess(b) => {
            let count = b.count as usize;
            let counted = (1..=limits::ACCESS_BATCH_MAX).contains(&count);
            let inline = b.break_glass.len() <= limits::BREAK_GLASS_MAX.min(count);
            let ordered = b.height_min <= b.height_max && b.first.checked_add(u64::from(b.count)).is_some();
            (counted && inline && ordered, "access batch", "1 to 4096 entries, at most 64 inline, heights in order")
        }
        Body::ReportConflict(b) => (
            b.is_canonical(),
            "conflict",
            "two digests, the lower one first, no view of attestations, no height of view changes",
        ),
        Body::Ballot(b) => match ballot::contradiction(&b.validators()) {
            Some(expected) => (false, "members", expected),
            None => (true, "members", ""),
        },
        _ => return Ok(()),
    };
    if ok { Ok(()) } else { Err(contradiction(place, expected)) }
}
