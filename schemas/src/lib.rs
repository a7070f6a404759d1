//! Words that every part of Chartseal agrees on: identifiers, lossless JSON, the sealed case, transactions, blocks,
//! receipts, limits. No IO, no clock, no randomness, no keys: whatever is here can be checked by anyone.

pub mod ballot;
pub mod block;
pub mod cbor;
pub mod class;
pub mod cose;
pub mod cose_receipt;
pub mod envelope;
pub mod evidence;
pub mod genesis;
pub mod id;
pub mod json;
pub mod limits;
pub mod merkle;
pub mod pbft;
pub mod proof;
pub mod receipt;
pub mod state;
pub mod transaction;
pub mod transfer;
pub mod tree;
pub mod view;
pub mod wallet;

pub use class::ErrorClass;
