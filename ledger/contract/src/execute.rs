//! Executes a block: for each transaction, in order, the common rules (one spelling, `valid_until`, not executed before), the
//! rules of its type, its signatures; then all of its changes or none. What it must never do: let the store's failure look
//! like a verdict, or depend on anything but its arguments.

mod anchor;
mod ballot;
mod consent;
mod register;
mod report;

use std::cell::Cell;

use schemas::block::TransactionBytes;
use schemas::cose::{self, Verifier};
use schemas::id::{ChainId, Height, PublicKey, Signature, TimeMs};
use schemas::limits;
use schemas::state;
use schemas::transaction::{Body, LogEntry, Outcome, Refusal, Signer, Transaction, signed_hash};

use crate::admit::admit;
use crate::state::{
    Changes, Overlay, State, StateError, institution, practitioner, subject, transaction_height, validator_key,
};

/// What a block did: one log entry per transaction, and the changes of all accepted ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// In the order of the transactions.
    pub entries: Vec<LogEntry>,
    /// To be written with the block, atomically.
    pub changes: Changes,
}

/// Why a transaction stops: a verdict, or a store that failed.
#[derive(Debug)]
enum Stop {
    Refused(Refusal),
    State(StateError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
impl From<StateError> for Stop {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

/// Where and when a transaction is executed, and how signatures are verified.
struct Context<'a> {
    state: &'a dyn State,
    verifier: &'a dyn Verifier,
    height: Height,
    time: TimeMs,
    /// A bit for each voter whose newcomers' signatures were looked at in this block.
    looked_at: &'a Cell<u64>,
}

/// Executes the transactions of the block at `height` with the effective `time` of its header. Bytes that `admit` refuses
/// get `Refused(Malformed)` under their signed hash as id, so that they cannot take the place of a well-formed one.
///
/// # Errors
/// `StateError` when the state cannot be read; nothing is decided then.
pub fn execute_block(
    state: &dyn State,
    chain: &ChainId,
    height: Height,
    time: TimeMs,
    transactions: &[TransactionBytes],
    verifier: &dyn Verifier,
) -> Result<Executed, StateError> {
    let mut overlay = Overlay::over(state);
    let mut entries = Vec::with_capacity(transactions.len());
    let looked_at = Cell::new(0);
    for (index, bytes) in (0..).zip(transactions) {
        let signed = signed_hash(bytes.as_ref());
        let (transaction, outcome) = match admit(bytes.as_ref(), chain) {
            Err(_) => (signed, Outcome::Refused(Refusal::Malformed)),
            Ok(tx) => {
                let context = Context { state: &overlay, verifier, height, time, looked_at: &looked_at };
                match execute(&context, &tx) {
                    Ok(changes) => {
                        overlay.changes.extend(changes);
                        (tx.id(), Outcome::Accepted)
                    }
                    Err(Stop::Refused(refusal)) => (tx.id(), Outcome::Refused(refusal)),
                    Err(Stop::State(error)) => return Err(error),
                }
            }
        };
        entries.push(LogEntry { height, index, transaction, signed, outcome });
    }
    Ok(Executed { entries, changes: overlay.changes })
}

/// One transaction: its changes, or why not.
fn execute(context: &Context<'_>, tx: &Transaction) -> Result<Changes, Stop> {
    let id = tx.id();
    if tx.core.valid_until < context.height {
        return Err(Refusal::Expired.into());
    }
    if tx.core.valid_until - context.height > limits::VALID_UNTIL_AHEAD_MAX {
        return Err(Refusal::ValidTooLong.into());
    }
    if transaction_height(context.state, &id)?.is_some() {
        return Err(Refusal::Duplicate.into());
    }
    let mut changes = match &tx.core.body {
        Body::RegisterInstitution(_) => return Err(Refusal::GenesisOnly.into()),
        Body::RegisterPractitioner(body) => register::practitioner(context, tx, body),
        Body::RegisterSubject(body) => register::subject(context, tx, body),
        Body::AnchorCases(body) => anchor::anchor(context, tx, body),
        Body::SupersedeCase(body) => anchor::supersede(context, tx, body),
        Body::GrantConsent(body) => consent::grant(context, tx, body),
        Body::RevokeConsent(body) => consent::revoke(context, tx, body),
        Body::RecordAccess(body) => register::access(context, tx, body),
        Body::ReportConflict(body) => report::conflict(context, tx, body),
        Body::Ballot(body) => ballot::ballot(context, tx, body),
        Body::ConfirmSeat(body) => ballot::confirm(context, tx, body),
    }?;
    changes.put(state::transaction_key(&id), &context.height);
    Ok(changes)
}

impl Context<'_> {
    /// The transaction must carry the signatures of exactly `signers`, all valid.
    fn authenticate(&self, tx: &Transaction, signers: &[Signer]) -> Result<(), Stop> {
        if !tx.signatures.iter().map(|signed| &signed.signer).eq(signers) {
            return Err(Refusal::Signature.into());
        }
        for check in signer_checks(self.state, tx)? {
            if !check.is_some_and(|check| self.verifier.verify(&check.key, &check.message, &check.signature)) {
                return Err(Refusal::Signature.into());
            }
        }
        Ok(())
    }
}

/// One signature that execution will verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureCheck {
    /// By whom.
    pub key: PublicKey,
    /// Over what.
    pub message: Vec<u8>,
    /// The signature.
    pub signature: Signature,
}

/// The signatures of an admitted transaction whose keys the state knows now: for verifying them in parallel, before execution
/// asks a caching `Verifier` for the same ones. It decides nothing. The newcomers' in a ballot are left to execution: they are
/// many, and worth looking at only when the voter's own holds.
///
/// # Errors
/// `StateError` when the state cannot be read.
pub fn signature_checks(state: &dyn State, tx: &Transaction) -> Result<Vec<SignatureCheck>, StateError> {
    let mut checks: Vec<_> = signer_checks(state, tx)?.into_iter().flatten().collect();
    for authored in &tx.authored {
        if let Some(author) = practitioner(state, &authored.practitioner)? {
            checks.extend(anchor::authored_check(tx, authored, author.key));
        }
    }
    Ok(checks)
}

/// For each signature its check, `None` where the signer's key is not known.
fn signer_checks(state: &dyn State, tx: &Transaction) -> Result<Vec<Option<SignatureCheck>>, StateError> {
    let id = tx.id();
    let mut checks = Vec::with_capacity(tx.signatures.len());
    for signed in &tx.signatures {
        let key = signer_key(state, &tx.core.body, &signed.signer)?;
        let message = cose::transaction_to_sign(&tx.core.chain, &id);
        checks.push(key.map(|key| SignatureCheck { key, message, signature: signed.signature }));
    }
    Ok(checks)
}

fn signer_key(state: &dyn State, body: &Body, signer: &Signer) -> Result<Option<PublicKey>, StateError> {
    Ok(match signer {
        Signer::Institution(id) => institution(state, id)?.map(|institution| institution.key),
        Signer::Practitioner(id) => practitioner(state, id)?.map(|practitioner| practitioner.key),
        Signer::Subject(id) => subject(state, id)?.and_then(|subject| subject.key),
        Signer::Guardian(key) | Signer::Gateway(key) => Some(*key),
        Signer::NewKey => match body {
            Body::RegisterPractitioner(body) => Some(body.key),
            Body::RegisterSubject(body) => body.key,
            Body::ConfirmSeat(body) => Some(body.key),
            _ => None,
        },
        Signer::Validator(index) => match body {
            Body::Ballot(body) => validator_key(state, body.epoch, *index)?,
            _ => None,
        },
    })
}

// a bit for each voter
const _: () = assert!(limits::VALIDATORS_MAX <= 64);
