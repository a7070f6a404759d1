//! A small state with its tree, for tests: rows are few, so every root and path is computed from all of them.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;

use schemas::id::Digest;
use schemas::proof::{AttestedHeader, StateProof, Value};
use schemas::tree::{Leaf, Place, node_hash};

#[derive(Clone, Default)]
pub struct Tree {
    pub rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Tree {
    pub fn leaves(&self) -> Vec<Leaf> {
        self.rows.iter().map(|(key, value)| Leaf::of(Place::of(key).expect("in the tree"), value)).collect()
    }

    /// Root of the leaves that share their first `depth` bits.
    fn subtree(leaves: &[Leaf], depth: usize) -> Digest {
        match leaves {
            [] => Digest::ZERO,
            [leaf] => leaf.hash(),
            _ => {
                let (right, left): (Vec<Leaf>, Vec<Leaf>) = leaves.iter().partition(|leaf| leaf.place.is_right(depth));
                node_hash(&Self::subtree(&left, depth + 1), &Self::subtree(&right, depth + 1))
            }
        }
    }

    pub fn root(&self) -> Digest {
        Self::subtree(&self.leaves(), 0)
    }

    /// What the key holds, under a header that is said to have this root.
    pub fn prove(&self, key: Vec<u8>, attested: &AttestedHeader) -> StateProof {
        let place = Place::of(&key).expect("in the tree");
        let (mut siblings, mut within) = (vec![], self.leaves());
        while within.len() > 1 {
            let depth = siblings.len();
            let (same, other): (Vec<_>, Vec<_>) =
                within.iter().partition(|leaf| leaf.place.is_right(depth) == place.is_right(depth));
            siblings.push(Self::subtree(&other, depth + 1));
            within = same;
        }
        let AttestedHeader { header, attestations } = attested.clone();
        StateProof {
            value: self.rows.get(&key).cloned().map(Value),
            other: within.first().copied().filter(|leaf| leaf.place != place),
            key,
            siblings,
            header,
            attestations,
        }
    }
}
