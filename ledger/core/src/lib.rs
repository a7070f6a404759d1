//! Castro and Liskov's PBFT (OSDI '99 §4, with the choices of formats.md §4), as a pure function:
//! `Replica::step(Input) -> Vec<Effect>`.
//!
//! ```text
//! Requested -> Proposed (pre-prepare) -> Prepared (q signers) -> Committed (q commits) -> Executed -> Certified (q attestations)
//! ```
//!
//! Where the paper's parts are:
//!
//! | part | where |
//! |---|---|
//! | §4 primary = v mod n, quorums | `replica.rs` |
//! | §4.1 requests; replies | `pool.rs`, `replica/forward.rs`; a reply is q attestations of the block, which the RPC of `ledger/node` gives |
//! | §4.2 pre-prepare, batches, heights in flight | `replica/propose.rs`, `pool.rs` (`is_ripe`, `batch`), `batch.rs` |
//! | §4.2 prepare, commit | `replica/agree.rs` |
//! | §4.2 watermarks | `replica.rs` (`is_in_window`, `is_open`) |
//! | §4.2 execution in order | `replica/execute.rs` |
//! | §4.3 checkpoints, garbage collection | `replica/attest.rs` (`certify`); the log is cut by `ledger/node/src/protocol.rs` (`flush`) |
//! | §4.4 VIEW-CHANGE, its set P | `replica/change.rs` |
//! | §4.4 NEW-VIEW: O computed again, null requests | `change.rs` (`Plan`), `replica/renew.rs` |
//! | §4.5.2 timers, their doubling; f + 1 are joined | `replica/timer.rs`; `replica/change.rs` (`join`) |
//! | §4.6 a time that all accept | `replica/propose.rs` (`Timeliness`) |
//! | Castro's thesis: retransmission | `replica/tell.rs` |
//! | Castro's thesis: recovery, estimation | `replica/recover.rs`; what the others do for it, `replica/help.rs` |
//! | Castro's thesis: state transfer, over one tree of the contract's | `transfer.rs` |
//!
//! Not in the paper: restarts, `replica/start.rs`; evidence against whoever contradicts himself, `witness.rs` and `replica/blame.rs`;
//! the end of an epoch, `replica/seal.rs`.
//!
//! Effects are performed in order: an `Append` comes before the message that it justifies, and whoever performs effects
//! makes appended records durable before it sends anything. Signatures of inputs are verified before they enter.
//! The same inputs give the same effects, byte for byte: no clock, randomness, float, hash map, IO or async in here.
//! A replica lives for one epoch: the contract decides at which height it ends (`replica/seal.rs`), and the next one starts there.

mod batch;
mod change;
mod complete;
mod error;
pub mod mutants;
mod pool;
mod proposal;
mod replica;
mod slot;
mod transfer;
mod witness;

use schemas::block::{
    Batch, Block, CommitCertificate, Epoch, Header, TransactionBytes, ValidatorIndex, ValidatorSignature,
};
use schemas::evidence::Conflict;
use schemas::id::{ChainId, Digest, Height, Signature, TimeMs};
use schemas::pbft::{Answer, Attest, HandOver, Message, Record, Recovery, SignedVote, Status};
use schemas::view::Checkpoint;

pub use change::{ChangeError, VerifiedNewView, VerifiedViewChange, Verify};
pub use complete::Complete;
pub use error::{CoreError, Divergence};
pub use proposal::{Decided, Proposal, ProposalError, Request};
pub use replica::{Replica, Start};
pub use transfer::{Attests, Lie, Snapshot, Transfer, TransferEffect, TransferInput, TransferStart};

/// Signs with the validator's key. Must be deterministic (RFC 6979).
pub trait Sign {
    /// The signature over the bytes.
    fn sign(&self, bytes: &[u8]) -> Signature;
}

/// Who this replica is and in which epoch of which chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The chain.
    pub chain: ChainId,
    /// The epoch.
    pub epoch: Epoch,
    /// Validators of the epoch.
    pub validators: usize,
    /// This replica's index.
    pub me: ValidatorIndex,
    /// Where the epoch begins: the last height of the one before and its header's hash, known to whoever is in this one (zero to
    /// whoever copied the state of a later height). It needs no proof, as the genesis needs none.
    pub base: Checkpoint,
}

/// What a replica is told. Signatures in it are verified, and `from` is who the transport says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The time now; comes at the end of every turn. Proposals, forwards and statuses happen here.
    Tick(TimeMs),
    /// An admitted transaction that was not executed before, of a peer or of a client of this validator (`None`).
    Request(Option<ValidatorIndex>, Request),
    /// The primary's proposal, its transactions statelessly valid.
    Proposed(Proposal),
    /// A prepare or commit.
    Voted(SignedVote),
    /// A vote that another validator passed on because it does not fit what it accepted. It is only compared.
    Shown(SignedVote),
    /// An attestation, from its signer or from one who shows it.
    Attested(Attest),
    /// A peer says how far it is.
    Told(ValidatorIndex, Status),
    /// A peer that lost its votes asks how far this replica is, and says what it waits for.
    Asked(ValidatorIndex, u64, Recovery),
    /// A peer says so to this replica, which asked.
    Answered(ValidatorIndex, Answer),
    /// A peer would leave its view for one who asked.
    HandsOver(ValidatorIndex, HandOver),
    /// Blocks with q commits and q attestations each, in order of height.
    Final(Vec<Block>),
    /// The header that executing the last `Execute` made, at which height the epoch ends, once that is decided, and the ids of
    /// the transactions that it accepted: no other copy of these is ever executed.
    Executed(Header, Option<Height>, Vec<Digest>),
    /// Another validator leaves its view.
    ViewChanged(VerifiedViewChange),
    /// A view begins.
    Renewed(VerifiedNewView),
    /// A committed batch that another validator holds.
    Decided(Decided),
}

/// What has to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write to the vote log; durable before anything is sent.
    Append(Record),
    /// To every other validator.
    Broadcast(Message),
    /// To one validator.
    Send(ValidatorIndex, Message),
    /// Execute the next height, answer with `Input::Executed` before any other input; the last of its step. What it writes must not outlast
    /// a crash without the `Record::Prepared` of its height: that one is durable before.
    Execute(Box<Execution>),
    /// The height has q attestations: it is final for everyone outside. In order of height.
    Certify(Height, Vec<ValidatorSignature>),
    /// A stable checkpoint: records up to this height may be dropped once their blocks are durable (§4.3).
    Stable(Height),
    /// The epoch is over: its last height is final here. After the store is durable a replica of the next epoch continues, with
    /// `Replica::end`'s transactions; this one takes nothing more.
    Sealed(Height),
    /// A validator is faulty, and this proves it: once for each. Whoever performs it hands it in as a transaction.
    Blame(Box<Conflict>),
    /// Stop the process: this replica's execution contradicts the others'.
    Halt(Divergence),
}

/// A committed batch to execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// What was agreed.
    pub batch: Batch,
    /// Its transactions.
    pub transactions: Vec<TransactionBytes>,
    /// The proof that it was agreed.
    pub certificate: CommitCertificate,
}
