//! The sparse Merkle tree over the contract's state (formats.md §4; Jellyfish: a subtree with one leaf is that leaf). Its shape
//! follows from the set of keys alone, so that one root stands for one state, and absence is proved as well as presence. Here
//! are places, hashes and the check of a path; `ledger-contract` keeps the tree.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::cbor::{self, Parts};
use crate::id::Digest;

/// The root of a subtree without leaves.
pub const EMPTY: Digest = Digest::ZERO;
/// Bits of a place, so the most siblings of a path.
pub const DEPTH_MAX: usize = 256;

/// Where a key stands: its hash, read from the highest bit, 0 to the left. The first bit is the kind's: 0 cases, 1 all other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[cbor(transparent)]
#[serde(transparent)]
pub struct Place(#[n(0)] pub Digest);

impl Place {
    /// The place of a key of the state. `None` for `tx/` rows: they follow from the log, whose root stands in the header too,
    /// so that most transactions change one leaf.
    pub fn of(key: &[u8]) -> Option<Self> {
        if key.starts_with(b"tx/") {
            return None;
        }
        let mut place = Parts::new("cs1/state").bytes(key).hash();
        place.0[0] = place.0[0] & 0x7f | if key.starts_with(b"case/") { 0 } else { 0x80 };
        Some(Self(place))
    }

    /// Whether it lies to the right at this depth, from 0 at the root.
    pub const fn is_right(&self, depth: usize) -> bool {
        self.0.0[depth / 8] >> (7 - depth % 8) & 1 == 1
    }

    /// Whether both lie in one subtree of this depth.
    pub fn shares(&self, other: &Self, depth: usize) -> bool {
        (0..depth).all(|at| self.is_right(at) == other.is_right(at))
    }
}

/// A leaf: its place and the hash of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// Where it stands.
    #[n(0)]
    pub place: Place,
    /// SHA-256 of its value.
    #[n(1)]
    pub value: Digest,
}

impl Leaf {
    /// The leaf of a value.
    pub fn of(place: Place, value: &[u8]) -> Self {
        Self { place, value: cbor::sha256(value) }
    }

    /// 0x02 in front: no leaf passes for a node, nor for anything of the log.
    pub fn hash(&self) -> Digest {
        let hash = Sha256::new().chain_update([2]).chain_update(self.place.0.0).chain_update(self.value.0);
        Digest(hash.finalize().into())
    }
}

/// Hash of two subtrees, 0x03 in front.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([3]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root that a path leads to: `end` stands below the siblings, which are given from the root down.
pub fn root_of(place: &Place, end: &Digest, siblings: &[Digest]) -> Digest {
    siblings.iter().enumerate().rev().fold(*end, |hash, (depth, sibling)| {
        if place.is_right(depth) { node_hash(sibling, &hash) } else { node_hash(&hash, sibling) }
    })
}

/// Whether the path proves that `value` stands at the place (`Some`) or nothing does (`None`): the place is empty, or another
/// leaf holds the whole subtree around it.
pub fn verify(place: &Place, value: Option<&[u8]>, other: Option<&Leaf>, siblings: &[Digest], root: &Digest) -> bool {
    if siblings.len() > DEPTH_MAX {
        return false;
    }
    let end = match (value, other) {
        (Some(value), None) => Leaf::of(*place, value).hash(),
        (None, Some(other)) if other.place != *place && other.place.shares(place, siblings.len()) => other.hash(),
        (None, None) => EMPTY,
        _ => return false,
    };
    root_of(place, &end, siblings) == *root
}

/// What stands at the top of a subtree. One with a single leaf is that leaf, so a leaf passes up through empty siblings: its
/// hash alone would not say whether it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Subtree {
    /// No leaf.
    #[n(0)]
    Empty,
    /// One leaf, by its hash.
    #[n(1)]
    Leaf(#[n(0)] Digest),
    /// More than one, by the hash of the node.
    #[n(2)]
    Node(#[n(0)] Digest),
}

impl Subtree {
    /// Its hash.
    pub const fn hash(&self) -> Digest {
        match self {
            Self::Empty => EMPTY,
            Self::Leaf(hash) | Self::Node(hash) => *hash,
        }
    }

    /// Two halves as one.
    pub fn join(left: Self, right: Self) -> Self {
        match (left, right) {
            (Self::Empty, Self::Empty) => Self::Empty,
            (leaf @ Self::Leaf(_), Self::Empty) | (Self::Empty, leaf @ Self::Leaf(_)) => leaf,
            (left, right) => Self::Node(node_hash(&left.hash(), &right.hash())),
        }
    }

    /// The subtree at `depth` of leaves that all lie in it, sorted by place, each place once.
    pub fn of(leaves: &[Leaf], depth: usize) -> Self {
        match leaves {
            [] => Self::Empty,
            [leaf] => Self::Leaf(leaf.hash()),
            _ => {
                let (left, right) = leaves.split_at(leaves.partition_point(|leaf| !leaf.place.is_right(depth)));
                Self::join(Self::of(left, depth + 1), Self::of(right, depth + 1))
            }
        }
    }

    /// The whole tree of its subtrees at one depth, from left to right. `None` when they are not a power of two.
    pub fn fold(subtrees: &[Self]) -> Option<Self> {
        match subtrees {
            [one] => Some(*one),
            many if many.len().is_power_of_two() => {
                let (left, right) = many.split_at(many.len() / 2);
                Some(Self::join(Self::fold(left)?, Self::fold(right)?))
            }
            _ => None,
        }
    }
}

/// The first place of subtree `index` at `depth`, counted from the left. `None` when there is no such subtree.
pub fn first_place(depth: u8, index: u32) -> Option<Place> {
    if depth > 32 || u64::from(index) >> depth != 0 {
        return None;
    }
    let mut place = [0; 32];
    let bits = (u64::from(index) << (64 - u32::from(depth))).to_be_bytes();
    if depth > 0 {
        place[..8].copy_from_slice(&bits);
    }
    Some(Place(Digest(place)))
}
