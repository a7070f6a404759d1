//! The smart contract (formats.md §3): which transactions are valid and what they change. Pure and deterministic: the same
//! state, height, time and bytes give the same entries and changes on every machine. No clock, randomness, float or IO; it
//! must never panic on a transaction, and a refused one changes nothing.

mod admit;
mod epoch;
mod execute;
mod replay;
mod state;
mod tree;

pub use admit::{AdmitError, admit};
pub use epoch::{Seal, cast_ballot, confirmed, elected, epoch_at, epoch_record, newest_epoch, seal, seat};
pub use execute::{Executed, SignatureCheck, execute_block, signature_checks};
pub use replay::{Replay, ReplayError};
pub use state::{
    Changes, State, StateError, access_cursor, case_head, consent_set, evidence, genesis_changes, institution,
    is_revoked, practitioner, subject, transaction_height, validator_key,
};
pub use tree::{Found, NodeName, Nodes, StateTree, Written, find, forget, subtrees};
