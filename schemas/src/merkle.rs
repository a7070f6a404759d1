//! The Merkle tree of RFC 9162 §2.1: roots, inclusion paths, consistency, and the frontier of a growing log. Leaves are
//! hashed with 0x00 in front, nodes with 0x01, so that no leaf can pass for a node.

use sha2::{Digest as _, Sha256};

use crate::cbor::list;
use crate::id::Digest;

/// MTH of the empty tree.
pub fn empty_root() -> Digest {
    Digest(Sha256::digest([]).into())
}

/// Hash of a leaf's bytes.
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update([0]).chain_update(bytes).finalize().into())
}

/// Hash of two subtrees.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
}

/// Root over leaf hashes.
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(split(many.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// Inclusion path of leaf `index`, from the leaf up. `None` when there is no such leaf.
pub fn path(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= leaves.len() {
        return None;
    }
    let mut out = Vec::new();
    let (mut leaves, mut index) = (leaves, index);
    while leaves.len() > 1 {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if index < left.len() {
            out.push(root(right));
            leaves = left;
        } else {
            out.push(root(left));
            index -= left.len();
            leaves = right;
        }
    }
    out.reverse();
    Some(out)
}

/// Inclusion paths of all leaves: what `path` gives for each, at the price of one root.
pub fn paths(leaves: &[Digest]) -> Vec<Vec<Digest>> {
    fn climb(leaves: &[Digest], paths: &mut [Vec<Digest>]) -> Digest {
        let ([_, _, ..], at) = (leaves, split(leaves.len())) else { return root(leaves) };
        let (mine, others) = paths.split_at_mut(at);
        let (left, right) = (climb(&leaves[..at], mine), climb(&leaves[at..], others));
        mine.iter_mut().for_each(|path| path.push(right));
        others.iter_mut().for_each(|path| path.push(left));
        node_hash(&left, &right)
    }
    let mut paths = vec![Vec::new(); leaves.len()];
    climb(leaves, &mut paths);
    paths
}

/// RFC 9162 §2.1.3.2: whether `path` proves that `leaf` is at `index` in the tree of `size` leaves with `root`.
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, path: &[Digest], root: &Digest) -> bool {
    root_of_path(leaf, index, size, path).is_some_and(|found| found == *root)
}

/// The root to which `path` leads from `leaf` at `index` of `size`. `None` when it is no path of such a leaf.
pub fn root_of_path(leaf: &Digest, index: u64, size: u64, path: &[Digest]) -> Option<Digest> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// RFC 9162 §2.1.4.2: whether `path` proves that the second tree (leaves, root) continues the first. Every tree continues the
/// empty one. Numbers of leaves are taken from who vouches for the roots: the path alone does not fix them.
pub fn verify_consistency(first: (u64, &Digest), second: (u64, &Digest), path: &[Digest]) -> bool {
    let ((old_size, old_root), (size, root)) = (first, second);
    if old_size == 0 || old_size == size {
        return path.is_empty() && if size == old_size { old_root == root } else { *old_root == empty_root() };
    }
    if old_size > size {
        return false;
    }
    let (mut at, mut last) = (old_size - 1, size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    // a perfect old tree is its own start
    let start = if old_size.is_power_of_two() { Some(old_root) } else { None };
    let mut steps = start.into_iter().chain(path);
    let Some(&begun) = steps.next() else { return false };
    let (mut old, mut new) = (begun, begun);
    for sibling in steps {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old == *old_root && new == *root
}

/// The frontier of a growing tree: the roots of its perfect subtrees, largest first. Appending is O(log n).
#[derive(Clone, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(map)]
pub struct Frontier {
    #[n(0)]
    size: u64,
    #[n(1)]
    #[cbor(decode_with = "list::<_, _, { u64::BITS as usize }>")]
    peaks: Vec<Digest>,
}

impl Frontier {
    /// Number of leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Whether the peaks can belong to the size: to be asked of a frontier that was read from a disk.
    pub fn is_consistent(&self) -> bool {
        self.peaks.len() == self.size.count_ones() as usize
    }

    /// Appends a leaf hash. `store` hears every perfect node (level, index on that level, hash), leaves included: enough
    /// to build any inclusion path later (`path_from_nodes`).
    pub fn append(&mut self, leaf: Digest, mut store: impl FnMut(u32, u64, &Digest)) {
        assert!(self.is_consistent(), "one peak for each bit of the size");
        store(0, self.size, &leaf);
        let (mut hash, mut level, mut at) = (leaf, 0, self.size);
        while at & 1 == 1 {
            let Some(left) = self.peaks.pop() else { unreachable!("a set bit has its peak") };
            hash = node_hash(&left, &hash);
            level += 1;
            at >>= 1;
            store(level, at, &hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root over all leaves so far.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(&last) = peaks.next() else { return empty_root() };
        peaks.fold(last, |right, left| node_hash(left, &right))
    }

    /// The root with a last part of fewer leaves than any peak has, by its own root.
    pub fn root_before(&self, rest: &Digest) -> Digest {
        self.peaks.iter().rev().fold(*rest, |right, left| node_hash(left, &right))
    }

    /// The frontier of a size out of stored perfect nodes. `None` when a node is missing.
    pub fn from_nodes(size: u64, mut node: impl FnMut(u32, u64) -> Option<Digest>) -> Option<Self> {
        let levels = (0..u64::BITS).rev().filter(|level| size >> level & 1 == 1);
        let peaks = levels.map(|level| node(level, (size >> level) - 1)).collect::<Option<_>>()?;
        Some(Self { size, peaks })
    }

    /// A perfect node that is a peak.
    pub fn peak(&self, level: u32, index: u64) -> Option<Digest> {
        let is_peak = level < u64::BITS && self.size >> level & 1 == 1 && (self.size >> level) - 1 == index;
        let before = (self.size.checked_shr(level + 1).unwrap_or(0)).count_ones() as usize;
        if is_peak { self.peaks.get(before).copied() } else { None }
    }

    /// The same over leaves, when what was appended so far were perfect subtrees of 2^`level` leaves each.
    pub fn over_leaves(self, level: u32) -> Option<Self> {
        let size = self.size.checked_mul(1_u64.checked_shl(level)?)?;
        Some(Self { size, peaks: self.peaks })
    }
}

/// Inclusion path of `index` in the tree of `size` leaves, from stored perfect nodes. `None` when a node is missing.
pub fn path_from_nodes(
    index: u64,
    size: u64,
    node: &mut (impl FnMut(u32, u64) -> Option<Digest> + ?Sized),
) -> Option<Vec<Digest>> {
    if index >= size {
        return None;
    }
    let mut out = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + split_u64(to - from);
        if index < middle {
            out.push(range_root(middle, to, node)?);
            to = middle;
        } else {
            out.push(range_root(from, middle, node)?);
            from = middle;
        }
    }
    out.reverse();
    Some(out)
}

/// RFC 9162 §2.1.4.1: the proof that the tree of `size` leaves continues the tree of `old` leaves, from stored perfect nodes.
/// `None` when a node is missing, or the old tree is the larger one.
pub fn consistency_from_nodes(
    old: u64,
    size: u64,
    node: &mut (impl FnMut(u32, u64) -> Option<Digest> + ?Sized),
) -> Option<Vec<Digest>> {
    if old == 0 || old >= size {
        return (old == 0 || old == size).then(Vec::new);
    }
    let mut out = Vec::new();
    // the old tree ends at `old`; all of `from..to` below is within or across its end
    let (mut from, mut to) = (0, size);
    while old < to {
        let middle = from + split_u64(to - from);
        if old <= middle {
            out.push(range_root(middle, to, node)?);
            to = middle;
        } else {
            out.push(range_root(from, middle, node)?);
            from = middle;
        }
    }
    if from > 0 {
        out.push(range_root(from, to, node)?);
    }
    out.reverse();
    Some(out)
}

/// Root of the leaves `from..to`, where `from` is a multiple of the largest power of two below the range's length, from stored
/// perfect nodes. `None` when a node is missing.
pub fn range_root(from: u64, to: u64, node: &mut (impl FnMut(u32, u64) -> Option<Digest> + ?Sized)) -> Option<Digest> {
    let length = to - from;
    if length.is_power_of_two() {
        let level = length.trailing_zeros();
        return node(level, from >> level);
    }
    let middle = from + split_u64(length);
    Some(node_hash(&range_root(from, middle, node)?, &range_root(middle, to, node)?))
}

fn split(length: usize) -> usize {
    length.next_power_of_two() / 2
}

fn split_u64(length: u64) -> u64 {
    length.next_power_of_two() / 2
}
