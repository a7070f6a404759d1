//! Offline verification: signatures, certificates, blocks, log entries and receipts (formats.md §4 and §5). Pure: whoever
//! holds the genesis can check everything here without trusting the machine that sent it. It must never accept what it
//! does not fully understand, and never panic on bytes from outside.

mod certificate;
mod entry;
mod error;
mod genesis;
mod receipt;
mod signature;

pub use certificate::{
    Fresh, ValidatorSet, freshness, proved_fresh, verify_attestations, verify_block, verify_commits,
    verify_finalised_block, verify_head,
};
pub use entry::verify_entry_proof;
pub use error::VerifyError;
pub use genesis::verify_genesis;
pub use receipt::{Verified, build_receipt, build_receipts, verify_receipt};
pub use schemas::cose::Verifier;
pub use schemas::receipt::EntryProof;
pub use signature::{AwsLc, P256, SignatureError, verify_signature};
