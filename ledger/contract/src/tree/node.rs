//! Nodes of the state tree as they are written: per block the nodes that it made, children before parents, so that a store appends one run
//! of rows per block and reads a path in few. Upper nodes, which the next blocks replace, lie together in pieces of a few KiB; the lower end of
//! each path, which stays for long and is read when it is needed, is a piece of its own. A node is named by block, piece and number; a parent
//! holds its leaves themselves and the names and hashes of its nodes.

use std::collections::BTreeMap;

use schemas::id::{Digest, Height};
use schemas::tree::{EMPTY, Leaf, Place, node_hash};

use crate::state::StateError;

/// A piece is closed when it has grown to this, in bytes.
const PIECE_BYTES: usize = 4 << 10;
/// Each subtree at this depth has a piece of its own.
const LOWER_DEPTH: usize = 16;
/// Bytes that such a piece has room for at first.
const LOWER_BYTES: usize = 512;
/// From so many pieces on subtrees share theirs.
const PIECES_SHORT_MAX: usize = 1 << 15;
/// Stands in a piece where a node was forgotten.
const GONE: u8 = 0xff;
const DAMAGED: StateError = StateError::Corrupt { record: "state tree" };

/// The name of a written node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName {
    /// The block that made it, 0 for genesis.
    pub height: Height,
    /// Piece of the block's nodes, from 0.
    pub piece: u16,
    /// Number within the piece, from 0.
    pub number: u16,
}

/// Where written nodes are read.
pub trait Nodes {
    /// A piece of a block's nodes. `None` when it was forgotten.
    ///
    /// # Errors
    /// `StateError` when the store fails.
    fn piece(&self, height: Height, piece: u16) -> Result<Option<Vec<u8>>, StateError>;
}

/// Pieces in memory. Of a tree that is all in memory itself none is read: no pieces do for it.
impl Nodes for BTreeMap<(Height, u16), Vec<u8>> {
    fn piece(&self, height: Height, piece: u16) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.get(&(height, piece)).cloned())
    }
}

/// One side of a node, or the root.
#[derive(Clone, Debug, Default)]
pub(super) enum Child {
    #[default]
    Empty,
    Leaf(Leaf),
    Node(Node),
}

/// A node by name and hash, with its sides when they are in memory.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub hash: Digest,
    pub name: NodeName,
    pub sides: Option<Box<Sides>>,
}

/// Left and right.
#[derive(Clone, Debug)]
pub(super) struct Sides(pub Child, pub Child);

impl Child {
    pub(super) fn hash(&self) -> Digest {
        match self {
            Self::Empty => EMPTY,
            Self::Leaf(leaf) => leaf.hash(),
            Self::Node(node) => node.hash,
        }
    }

    const fn kind(&self) -> u8 {
        match self {
            Self::Empty => 0,
            Self::Leaf(_) => 1,
            Self::Node(_) => 2,
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Empty => {}
            Self::Leaf(leaf) => {
                out.extend_from_slice(&leaf.place.0.0);
                out.extend_from_slice(&leaf.value.0);
            }
            Self::Node(node) => {
                out.extend_from_slice(&node.hash.0);
                out.extend_from_slice(&node.name.height.to_be_bytes());
                out.extend_from_slice(&node.name.piece.to_be_bytes());
                out.extend_from_slice(&node.name.number.to_be_bytes());
            }
        }
    }

    fn read(kind: u8, from: &mut &[u8]) -> Result<Self, StateError> {
        Ok(match kind {
            0 => Self::Empty,
            1 => Self::Leaf(Leaf { place: Place(Digest(take(from)?)), value: Digest(take(from)?) }),
            2 => {
                let hash = Digest(take(from)?);
                let (height, piece) = (u64::from_be_bytes(take(from)?), u16::from_be_bytes(take(from)?));
                let name = NodeName { height, piece, number: u16::from_be_bytes(take(from)?) };
                Self::Node(Node { hash, name, sides: None })
            }
            _ => return Err(DAMAGED),
        })
    }

    /// A root on its own: its kind, then what it holds.
    pub(super) fn to_root(&self) -> Vec<u8> {
        let mut out = vec![self.kind()];
        self.write(&mut out);
        out
    }

    pub(super) fn from_root(mut bytes: &[u8]) -> Result<Self, StateError> {
        let [kind] = take(&mut bytes)?;
        let child = Self::read(kind, &mut bytes)?;
        if bytes.is_empty() { Ok(child) } else { Err(DAMAGED) }
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], StateError> {
    let (head, rest) = from.split_first_chunk::<N>().ok_or(DAMAGED)?;
    *from = rest;
    Ok(*head)
}

/// The nodes that a block makes.
#[derive(Debug)]
pub(super) struct Writer {
    height: Height,
    pub pieces: Vec<Vec<u8>>,
    /// Pieces that are open, and the number of the next node in them.
    upper: Option<(u16, u16)>,
    lower: Option<(u16, u16)>,
}

impl Writer {
    pub(super) const fn new(height: Height) -> Self {
        Self { height, pieces: vec![], upper: None, lower: None }
    }

    /// Writes a node and gives it its name.
    pub(super) fn node(&mut self, left: Child, right: Child, depth: usize) -> Result<Node, StateError> {
        let is_lower = depth >= LOWER_DEPTH;
        let (open, room) = if is_lower { (&mut self.lower, LOWER_BYTES) } else { (&mut self.upper, PIECE_BYTES + 256) };
        let has_room = |(piece, _): &(u16, u16)| self.pieces[usize::from(*piece)].len() < PIECE_BYTES;
        let (piece, number) = match open.filter(has_room) {
            Some(open) => open,
            None => {
                // the last number stands for the root where pieces are kept
                let piece = u16::try_from(self.pieces.len()).ok().filter(|piece| *piece < u16::MAX);
                let piece = piece.ok_or(StateError::TooMany)?;
                self.pieces.push(Vec::with_capacity(room));
                (piece, 0)
            }
        };
        let out = &mut self.pieces[usize::from(piece)];
        out.push(left.kind() * 3 + right.kind());
        left.write(out);
        right.write(out);
        let is_whole = depth == LOWER_DEPTH && self.pieces.len() < PIECES_SHORT_MAX;
        *open = if is_whole { None } else { Some((piece, number + 1)) };
        let name = NodeName { height: self.height, piece, number };
        Ok(Node { hash: node_hash(&left.hash(), &right.hash()), name, sides: Some(Box::new(Sides(left, right))) })
    }
}

/// Reads nodes and keeps the newest piece: nodes of one path often lie side by side.
pub(super) struct Reader<'a> {
    nodes: &'a dyn Nodes,
    newest: Option<(Height, u16, Vec<u8>)>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(nodes: &'a dyn Nodes) -> Self {
        Self { nodes, newest: None }
    }

    /// The sides of a node; `None` when it was forgotten. What is read must have the hash that its parent named.
    pub(super) fn sides(&mut self, node: &Node) -> Result<Option<Sides>, StateError> {
        let name = node.name;
        if self.newest.as_ref().is_none_or(|(height, piece, _)| (*height, *piece) != (name.height, name.piece)) {
            let Some(bytes) = self.nodes.piece(name.height, name.piece)? else { return Ok(None) };
            self.newest = Some((name.height, name.piece, bytes));
        }
        let Some((.., bytes)) = &self.newest else { unreachable!("it was read") };
        let mut rest = &bytes[..];
        for _ in 0..name.number {
            skip(&mut rest)?;
        }
        let [kinds] = take(&mut rest)?;
        if kinds == GONE {
            return Ok(None);
        }
        let (left, right) = (Child::read(kinds / 3, &mut rest)?, Child::read(kinds % 3, &mut rest)?);
        if node_hash(&left.hash(), &right.hash()) == node.hash { Ok(Some(Sides(left, right))) } else { Err(DAMAGED) }
    }
}

/// Steps over one node of a piece.
fn skip(rest: &mut &[u8]) -> Result<(), StateError> {
    let [kinds] = take(rest)?;
    let bytes = |kind: u8| [0, 64, 44].get(usize::from(kind)).copied().ok_or(DAMAGED);
    let length = if kinds == GONE { 0 } else { bytes(kinds / 3)? + bytes(kinds % 3)? };
    *rest = rest.get(length..).ok_or(DAMAGED)?;
    Ok(())
}

/// A piece without some of its nodes; the others keep their numbers. `None` when none is left.
///
/// # Errors
/// `StateError::Corrupt` when the bytes are no piece.
pub fn forget(piece: &[u8], numbers: &[u16]) -> Result<Option<Vec<u8>>, StateError> {
    let (mut out, mut left, mut rest) = (Vec::with_capacity(piece.len()), 0, piece);
    let mut number = 0;
    while !rest.is_empty() {
        let before = rest;
        skip(&mut rest)?;
        if before[0] == GONE || numbers.contains(&number) {
            out.push(GONE);
        } else {
            out.extend_from_slice(&before[..before.len() - rest.len()]);
            left += 1;
        }
        number += 1;
    }
    Ok((left > 0).then_some(out))
}
