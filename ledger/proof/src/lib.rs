//! Offline verification: signatures, certificates, blocks, log entries, the state, consistency and receipts (formats.md §4 and §5). Pure: whoever
//! holds the genesis can check everything here without trusting the machine that sent it. It must never accept what it
//! does not fully understand, and never panic on bytes from outside.

mod certificate;
mod cose;
mod entry;
mod epochs;
mod error;
mod file;
mod genesis;
mod receipt;
mod signature;
mod state;
mod validators;

pub use certificate::{
    Fresh, freshness, proved_fresh, verify_attestations, verify_block, verify_commits, verify_finalised_block,
    verify_head,
};
pub use cose::{verify_cose_receipt, verify_cose_receipts};
pub use entry::verify_entry_proof;
pub use epochs::Epochs;
pub use error::VerifyError;
pub use file::{VerifiedFile, verify_file};
pub use genesis::verify_genesis;
pub use receipt::{Verified, build_receipt, build_receipts, verify_receipt};
pub use schemas::cose::Verifier;
pub use schemas::receipt::EntryProof;
pub use signature::{AwsLc, P256, SignatureError, verify_signature};
pub use state::{verify_consistency_proof, verify_state_proof};
pub use validators::{ValidatorSet, Validators};
