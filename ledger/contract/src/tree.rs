//! The state tree (formats.md §4): brought to the state after a block in one pass over the sorted changes, with the nodes that
//! the block makes and those that it replaces. The upper part stays in memory, the rest is read when it is needed. Pure: whoever
//! keeps the nodes gives them through `Nodes`. It must never give a root that does not follow from the whole state.
//!
//! The crate `jmt` does not fit: it pulls in sha2 0.10, borsh, ics23 and a second error style, and writes and reads one row per
//! node where a block's nodes shall be one run of rows.

mod node;

use schemas::id::{Digest, Height};
use schemas::tree::{DEPTH_MAX, Leaf, Place, Subtree};

use self::node::{Child, Reader, Sides, Writer};
pub use self::node::{NodeName, Nodes, forget};
use crate::state::{Changes, StateError};

/// Nodes kept in memory after a block: about 30 MB. Two thirds more take one level off the way down, and a validator was measured at 289 MB of
/// 300 with them.
const LOADED_MAX: usize = 3 << 16;

/// What a block did to the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The new root's hash.
    pub root: Digest,
    /// The new root for `StateTree::at` and `find`; to be kept under the height.
    pub root_row: Vec<u8>,
    /// New nodes, to be kept under height and index.
    pub pieces: Vec<Vec<u8>>,
    /// Nodes of cases that the trees from this height on do not need. Those of other keys are kept for good.
    pub stale: Vec<NodeName>,
    /// Places whose value was replaced or removed, sorted: the old values are to be kept under the height.
    pub replaced: Vec<Place>,
}

/// What stands at a place, and the path to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// From the root down.
    pub siblings: Vec<Digest>,
    /// The leaf at the end: of the place itself or the only one of the subtree around it.
    pub leaf: Option<Leaf>,
}

/// The tree at the newest height.
#[derive(Clone, Debug)]
pub struct StateTree {
    root: Child,
    loaded: usize,
    loaded_max: usize,
}

impl Default for StateTree {
    fn default() -> Self {
        Self { root: Child::Empty, loaded: 0, loaded_max: LOADED_MAX }
    }
}

/// A change of one leaf.
#[derive(Clone, Copy, Debug)]
struct Change {
    place: Place,
    value: Option<Leaf>,
}

impl StateTree {
    /// The tree whose root was written as `root_row`.
    ///
    /// # Errors
    /// `StateError::Corrupt` when it is no root.
    pub fn at(root_row: &[u8]) -> Result<Self, StateError> {
        Ok(Self { root: Child::from_root(root_row)?, ..Self::default() })
    }

    /// The same with another bound on the nodes kept in memory after a block.
    #[must_use]
    pub const fn keeping(mut self, loaded_max: usize) -> Self {
        self.loaded_max = loaded_max;
        self
    }

    /// The root's hash.
    pub fn root(&self) -> Digest {
        self.root.hash()
    }

    /// Brings the tree to the state after the block at `height`.
    ///
    /// # Errors
    /// `StateError` when nodes cannot be read; the tree is as before then.
    pub fn update(&mut self, nodes: &dyn Nodes, height: Height, changes: &Changes) -> Result<Written, StateError> {
        let mut sorted: Vec<Change> = changes
            .0
            .iter()
            .filter_map(|(key, value)| Place::of(key).map(|place| (place, value)))
            .map(|(place, value)| Change { place, value: value.as_ref().map(|value| Leaf::of(place, value)) })
            .collect();
        sorted.sort_unstable_by_key(|change| change.place);
        let (reader, writer) = (Reader::new(nodes), Writer::new(height));
        let mut pass = Pass { reader, writer, stale: vec![], replaced: vec![], loaded: self.loaded };
        // a failure leaves the root as it is written, without what was in memory
        let before = Child::from_root(&self.root.to_root())?;
        match pass.apply(std::mem::take(&mut self.root), &sorted, 0) {
            Ok(root) => (self.root, self.loaded) = (root, pass.loaded),
            Err(e) => {
                (self.root, self.loaded) = (before, 0);
                return Err(e);
            }
        }
        let Pass { writer, stale, replaced, .. } = pass;
        let (root, root_row, pieces) = (self.root(), self.root.to_root(), writer.pieces);
        let written = Written { root, root_row, pieces, stale, replaced };
        if self.loaded > self.loaded_max {
            self.shed();
        }
        Ok(written)
    }

    /// Drops the lower levels from memory until four fifths of what may stay are left: places are hashes, so every upper node is needed again
    /// sooner than any lower one, and what comes between two sheddings is seldom needed at all.
    fn shed(&mut self) {
        let mut of_depth = [0; DEPTH_MAX + 1];
        count(&self.root, 0, &mut of_depth);
        let mut kept = 0;
        let levels = of_depth.iter().take_while(|&&nodes| {
            kept += nodes;
            kept <= self.loaded_max / 5 * 4
        });
        cut(&mut self.root, levels.count());
        of_depth = [0; DEPTH_MAX + 1];
        count(&self.root, 0, &mut of_depth);
        self.loaded = of_depth.iter().sum();
    }
}

fn count(child: &Child, depth: usize, of_depth: &mut [usize]) {
    if let Child::Node(node) = child
        && let Some(sides) = &node.sides
    {
        of_depth[depth] += 1;
        count(&sides.0, depth + 1, of_depth);
        count(&sides.1, depth + 1, of_depth);
    }
}

fn cut(child: &mut Child, levels: usize) {
    let Child::Node(node) = child else { return };
    if levels == 0 {
        node.sides = None;
    } else if let Some(sides) = &mut node.sides {
        cut(&mut sides.0, levels - 1);
        cut(&mut sides.1, levels - 1);
    }
}

/// One pass over the tree.
struct Pass<'a> {
    reader: Reader<'a>,
    writer: Writer,
    stale: Vec<NodeName>,
    replaced: Vec<Place>,
    loaded: usize,
}

impl Pass<'_> {
    /// A subtree after the changes that lie in it.
    fn apply(&mut self, child: Child, changes: &[Change], depth: usize) -> Result<Child, StateError> {
        let Some(first) = changes.first() else { return Ok(child) };
        let node = match child {
            Child::Empty => return self.grow(&leaves(changes, None), depth),
            Child::Leaf(leaf) => {
                self.replaced.extend(changes.iter().map(|change| change.place).find(|place| *place == leaf.place));
                return self.grow(&leaves(changes, Some(leaf)), depth);
            }
            Child::Node(node) => node,
        };
        if depth > 0 && !first.place.is_right(0) {
            self.stale.push(node.name);
        }
        let Sides(left, right) = match node.sides {
            Some(sides) => {
                self.loaded -= 1;
                *sides
            }
            None => self.reader.sides(&node)?.ok_or(StateError::Corrupt { record: "state tree" })?,
        };
        let (to_left, to_right) = changes.split_at(changes.partition_point(|change| !change.place.is_right(depth)));
        let left = self.apply(left, to_left, depth + 1)?;
        let right = self.apply(right, to_right, depth + 1)?;
        self.join(left, right, depth)
    }

    /// A new subtree of sorted leaves.
    fn grow(&mut self, leaves: &[Leaf], depth: usize) -> Result<Child, StateError> {
        match leaves {
            [] => Ok(Child::Empty),
            [leaf] => Ok(Child::Leaf(*leaf)),
            _ => {
                let (left, right) = leaves.split_at(leaves.partition_point(|leaf| !leaf.place.is_right(depth)));
                let (left, right) = (self.grow(left, depth + 1)?, self.grow(right, depth + 1)?);
                self.join(left, right, depth)
            }
        }
    }

    fn join(&mut self, left: Child, right: Child, depth: usize) -> Result<Child, StateError> {
        Ok(match (left, right) {
            (Child::Empty, Child::Empty) => Child::Empty,
            (Child::Leaf(leaf), Child::Empty) | (Child::Empty, Child::Leaf(leaf)) => Child::Leaf(leaf),
            (left, right) => {
                self.loaded += 1;
                Child::Node(self.writer.node(left, right, depth)?)
            }
        })
    }
}

/// The leaves after the changes, where one or none stood before.
fn leaves(changes: &[Change], before: Option<Leaf>) -> Vec<Leaf> {
    let kept = before.filter(|leaf| changes.iter().all(|change| change.place != leaf.place));
    let mut out: Vec<Leaf> = changes.iter().filter_map(|change| change.value).chain(kept).collect();
    out.sort_unstable_by_key(|leaf| leaf.place);
    out
}

/// What stands at a place in the tree whose root was written as `root_row`. `None` when a node on the way was forgotten.
///
/// # Errors
/// `StateError` when nodes cannot be read.
pub fn find(nodes: &dyn Nodes, root_row: &[u8], place: &Place) -> Result<Option<Found>, StateError> {
    let (mut reader, mut siblings) = (Reader::new(nodes), vec![]);
    let mut child = Child::from_root(root_row)?;
    loop {
        let node = match child {
            Child::Empty => return Ok(Some(Found { siblings, leaf: None })),
            Child::Leaf(leaf) => return Ok(Some(Found { siblings, leaf: Some(leaf) })),
            Child::Node(node) => node,
        };
        let Some(Sides(left, right)) = reader.sides(&node)? else { return Ok(None) };
        let (next, sibling) = if place.is_right(siblings.len()) { (right, left) } else { (left, right) };
        siblings.push(sibling.hash());
        child = next;
    }
}

/// All subtrees of the tree at `depth` (at most 32), from left to right. `None` when a node above was forgotten.
///
/// # Errors
/// `StateError` when nodes cannot be read.
pub fn subtrees(nodes: &dyn Nodes, root_row: &[u8], depth: u8) -> Result<Option<Vec<Subtree>>, StateError> {
    let mut out = Vec::with_capacity(1 << depth);
    let is_whole = cut_at(&mut Reader::new(nodes), Child::from_root(root_row)?, 0, usize::from(depth), &mut out)?;
    Ok(is_whole.then_some(out))
}

fn cut_at(
    reader: &mut Reader<'_>,
    child: Child,
    at: usize,
    depth: usize,
    out: &mut Vec<Subtree>,
) -> Result<bool, StateError> {
    let (start, width) = (out.len(), 1 << (depth - at));
    match child {
        Child::Empty => out.resize(start + width, Subtree::Empty),
        Child::Leaf(leaf) => {
            out.resize(start + width, Subtree::Empty);
            let below = (at..depth).fold(0, |index, depth| index << 1 | usize::from(leaf.place.is_right(depth)));
            out[start + below] = Subtree::Leaf(leaf.hash());
        }
        Child::Node(node) if at == depth => out.push(Subtree::Node(node.hash)),
        Child::Node(node) => {
            let Some(Sides(left, right)) = reader.sides(&node)? else { return Ok(false) };
            return Ok(cut_at(reader, left, at + 1, depth, out)? && cut_at(reader, right, at + 1, depth, out)?);
        }
    }
    Ok(true)
}
