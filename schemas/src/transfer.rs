//! State transfer (frozen by `schemas/wire/pbft.md`): the snapshot of one height, cut into pieces each of which is checked alone
//! against a header with q attestations. The state is cut by the bits of the places in its tree, the log into perfect subtrees;
//! the manifest names them all and folds to the header's two roots, so whoever lies is known by his first lie. No decision is
//! taken here.

use minicbor::{Decode, Encode};

use crate::block::{Epoch, Header, ValidatorSignature};
use crate::cbor::list;
use crate::id::{Digest, Height};
use crate::limits;
use crate::merkle::{self, Frontier};
use crate::proof::Value;
use crate::transaction::LogEntry;
use crate::tree::{Leaf, Place, Subtree, first_place};
use crate::view::Checkpoint;

/// Log entries of a piece.
pub const LOG_PIECE: u64 = 1 << limits::TRANSFER_LOG_LEVEL;

/// How far a validator is: the answer to `AskOffer`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Offer {
    /// The number of the question.
    #[n(0)]
    pub nonce: u64,
    /// The epoch that it is in.
    #[n(1)]
    pub epoch: Epoch,
    /// The newest height that it can prove final.
    #[n(2)]
    pub checkpoint: Checkpoint,
}

/// A part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Piece {
    /// What it is cut into.
    #[n(0)]
    Manifest,
    /// All rows of subtree `index` of the state at `depth`.
    #[n(1)]
    State {
        /// Bits of the places that its rows share.
        #[n(0)]
        depth: u8,
        /// These bits.
        #[n(1)]
        index: u32,
    },
    /// Entries of the log from 4096 times this number on: 4096, or what is left.
    #[n(2)]
    Log(#[n(0)] u64),
}

/// A question for a piece of the snapshot of a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Asked {
    /// The height.
    #[n(0)]
    pub height: Height,
    /// Which piece.
    #[n(1)]
    pub piece: Piece,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Told {
    /// What was asked.
    #[n(0)]
    pub asked: Asked,
    /// The piece.
    #[n(1)]
    pub content: Content,
}

/// A piece itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Content {
    /// The sender has no snapshot of this height, or no longer.
    #[n(0)]
    Gone,
    /// What the snapshot is cut into.
    #[n(1)]
    Manifest(#[n(0)] Box<Manifest>),
    /// Rows of the state, sorted by place.
    #[n(2)]
    State(
        #[n(0)]
        #[cbor(decode_with = "list::<_, _, { limits::TRANSFER_ROWS_MAX }>")]
        Vec<Row>,
    ),
    /// Entries of the log in order.
    #[n(3)]
    Log(
        #[n(0)]
        #[cbor(decode_with = "list::<_, _, { 1 << limits::TRANSFER_LOG_LEVEL }>")]
        Vec<LogEntry>,
    ),
}

/// A row of the state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Row {
    /// The key (`schemas::state`).
    #[n(0)]
    pub key: Value,
    /// Its value.
    #[n(1)]
    pub value: Value,
}

/// What a snapshot is cut into.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Manifest {
    /// The header with both roots.
    #[n(0)]
    pub header: Header,
    /// At least q signatures over it, sorted by validator.
    #[n(1)]
    #[cbor(decode_with = "list::<_, _, { limits::VALIDATORS_MAX }>")]
    pub attestations: Vec<ValidatorSignature>,
    /// All subtrees of the state at one depth, from left to right.
    #[n(2)]
    #[cbor(decode_with = "list::<_, _, { 1 << limits::TRANSFER_DEPTH_MAX }>")]
    pub state: Vec<Subtree>,
    /// Of the log as much as execution still asks for.
    #[n(3)]
    pub log: LogManifest,
}

/// The end of the log in pieces of 4096 entries.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LogManifest {
    /// The pieces before: their number and the peaks over their roots.
    #[n(0)]
    pub before: Frontier,
    /// Roots of the pieces after these. The last may be of fewer entries.
    #[n(1)]
    #[cbor(decode_with = "list::<_, _, { limits::TRANSFER_LOG_PIECES_MAX }>")]
    pub pieces: Vec<Digest>,
}

impl Manifest {
    /// At which depth the state is cut.
    pub fn depth(&self) -> u8 {
        u8::try_from(self.state.len().trailing_zeros()).unwrap_or(u8::MAX)
    }

    /// Whether its pieces fold to the roots of its header, within all bounds. Signatures are not looked at.
    pub fn fits(&self) -> bool {
        self.state.len() <= 1 << limits::TRANSFER_DEPTH_MAX
            && Subtree::fold(&self.state).is_some_and(|root| root.hash() == self.header.state_root)
            && self.log.root(self.header.log_size) == Some(self.header.log_root)
    }

    /// Every piece that has something in it: first the log, then the state.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let (depth, first) = (self.depth(), self.log.before.size());
        let state = (0..).zip(&self.state).filter(|(_, subtree)| **subtree != Subtree::Empty);
        let log = (first..).zip(&self.log.pieces).map(|(number, _)| Piece::Log(number));
        log.chain(state.map(move |(index, _)| Piece::State { depth, index }))
    }

    /// Whether rows are exactly those of a subtree.
    pub fn holds_rows(&self, index: u32, rows: &[Row]) -> bool {
        let Some(subtree) = self.state.get(index as usize) else { return false };
        let depth = self.depth();
        let Some(first) = first_place(depth, index) else { return false };
        let leaf = |row: &Row| Place::of(&row.key.0).map(|place| Leaf::of(place, &row.value.0));
        let Some(leaves) = rows.iter().map(leaf).collect::<Option<Vec<_>>>() else { return false };
        leaves.is_sorted_by(|a, b| a.place < b.place)
            && leaves.iter().all(|leaf| leaf.place.shares(&first, usize::from(depth)))
            && Subtree::of(&leaves, usize::from(depth)) == *subtree
    }

    /// Whether entries are exactly those of a piece of the log.
    pub fn holds_entries(&self, number: u64, entries: &[LogEntry]) -> bool {
        let at = number.checked_sub(self.log.before.size()).and_then(|at| usize::try_from(at).ok());
        let Some(root) = at.and_then(|at| self.log.pieces.get(at)) else { return false };
        let left = self.header.log_size.saturating_sub(number.saturating_mul(LOG_PIECE));
        let leaves: Vec<_> = entries.iter().map(LogEntry::leaf).collect();
        entries.len() as u64 == left.min(LOG_PIECE) && merkle::root(&leaves) == *root
    }

    /// Whether the first piece of the log, which was checked, begins early enough: every transaction that could be executed again
    /// (its `valid_until` has not passed) is in this piece or later.
    pub fn begins_early(&self, first: &[LogEntry]) -> bool {
        let is_old =
            |entry: &LogEntry| entry.height.saturating_add(limits::VALID_UNTIL_AHEAD_MAX) <= self.header.height;
        self.log.before.size() == 0 || first.first().is_some_and(is_old)
    }
}

impl LogManifest {
    /// The root of a log of `size` entries. `None` when it is cut into another number of pieces, or into more than can be needed.
    pub fn root(&self, size: u64) -> Option<Digest> {
        let count = size.div_ceil(LOG_PIECE).checked_sub(self.before.size())?;
        if !self.before.is_consistent()
            || count > limits::TRANSFER_LOG_PIECES_MAX as u64
            || count != self.pieces.len() as u64
        {
            return None;
        }
        let (mut frontier, is_whole) = (self.before.clone(), size.is_multiple_of(LOG_PIECE));
        let (rest, whole) = match self.pieces.split_last() {
            Some((rest, whole)) if !is_whole => (Some(rest), whole),
            // an unfinished piece is never among those before
            None if !is_whole => return None,
            _ => (None, &self.pieces[..]),
        };
        whole.iter().for_each(|root| frontier.append(*root, |_, _, _| {}));
        Some(rest.map_or_else(|| frontier.root(), |rest| frontier.root_before(rest)))
    }
}
