//! The Merkle tree against RFC 9162's own recursive definition, known roots, and everything that must not verify.

use proptest::prelude::*;
use schemas::cbor::sha256;
use schemas::id::{Digest, from_hex};
use schemas::merkle::{
    Frontier, consistency_from_nodes, empty_root, leaf_hash, node_hash, path, path_from_nodes, paths, range_root, root,
    verify_consistency, verify_inclusion,
};
use std::collections::BTreeMap;

/// RFC 9162 §2.1.1, written down again: MTH(D[n]).
fn mth(leaves: &[Digest]) -> Digest {
    match leaves.len() {
        0 => sha256(&[]),
        1 => leaves[0],
        n => {
            let mut k = 1;
            while k * 2 < n {
                k *= 2;
            }
            sha256(&[&[1], &mth(&leaves[..k]).0[..], &mth(&leaves[k..]).0[..]].concat())
        }
    }
}

/// RFC 9162 §2.1.3.1, written down again: PATH(m, D[n]).
fn audit_path(m: usize, leaves: &[Digest]) -> Vec<Digest> {
    let n = leaves.len();
    if n == 1 {
        return vec![];
    }
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    let (mut out, sibling) = if m < k {
        (audit_path(m, &leaves[..k]), mth(&leaves[k..]))
    } else {
        (audit_path(m - k, &leaves[k..]), mth(&leaves[..k]))
    };
    out.push(sibling);
    out
}

/// RFC 9162 §2.1.4.1, written down again: SUBPROOF(m, D[n], b).
fn subproof(m: usize, leaves: &[Digest], is_whole: bool) -> Vec<Digest> {
    let n = leaves.len();
    if m == n {
        return if is_whole { vec![] } else { vec![mth(leaves)] };
    }
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    let (mut out, sibling) = if m <= k {
        (subproof(m, &leaves[..k], is_whole), mth(&leaves[k..]))
    } else {
        (subproof(m - k, &leaves[k..], false), mth(&leaves[..k]))
    };
    out.push(sibling);
    out
}

fn leaves(n: usize) -> Vec<Digest> {
    (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

#[test]
fn known_roots_of_certificate_transparency() {
    let inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let leaves: Vec<_> = inputs.iter().map(|hex| leaf_hash(&from_hex(hex).expect("hex"))).collect();
    for (n, expected) in (1..).zip(roots) {
        assert_eq!(root(&leaves[..n]).to_string(), expected, "{n} leaves");
    }
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(empty_root().to_string(), empty);
}

#[test]
fn roots_paths_frontier_and_stored_nodes_agree_with_the_definition() {
    let mut frontier = Frontier::default();
    let mut nodes = BTreeMap::new();
    assert_eq!(frontier.root(), mth(&[]));
    for n in 1..=130 {
        let leaves = leaves(n);
        frontier.append(leaves[n - 1], |level, at, hash| {
            assert_eq!(nodes.insert((level, at), *hash), None, "every node once");
        });
        let expected = mth(&leaves);
        assert_eq!((root(&leaves), frontier.root(), frontier.size()), (expected, expected, n as u64));
        assert!(frontier.is_consistent());
        let all = paths(&leaves);
        for m in 0..n {
            let by_definition = audit_path(m, &leaves);
            assert_eq!((path(&leaves, m).as_ref(), all.get(m)), (Some(&by_definition), Some(&by_definition)));
            let mut node = |level, at| nodes.get(&(level, at)).copied();
            assert_eq!(path_from_nodes(m as u64, n as u64, &mut node).as_ref(), Some(&by_definition));
            assert!(verify_inclusion(&leaves[m], m as u64, n as u64, &by_definition, &expected));
        }
        assert_eq!(path(&leaves, n), None);
    }
}

#[test]
fn a_path_is_for_one_leaf_at_one_place() {
    for n in 1..=33usize {
        let leaves = leaves(n);
        let top = root(&leaves);
        for m in 0..n {
            let good = path(&leaves, m).expect("in the tree");
            for other in (0..n + 2).filter(|other| *other != m) {
                assert!(!verify_inclusion(&leaves[m], other as u64, n as u64, &good, &top), "{m} of {n} as {other}");
            }
            let longer = [good.clone(), vec![Digest::ZERO]].concat();
            assert!(!verify_inclusion(&leaves[m], m as u64, n as u64, &longer, &top));
            if let Some((_, shorter)) = good.split_last() {
                assert!(!verify_inclusion(&leaves[m], m as u64, n as u64, shorter, &top));
            }
        }
    }
    assert!(!verify_inclusion(&Digest::ZERO, 0, 0, &[], &Digest::ZERO));
    assert!(!verify_inclusion(&Digest::ZERO, u64::MAX, u64::MAX, &[], &Digest::ZERO));
}

#[test]
fn a_later_log_continues_an_earlier_one_and_no_other() {
    let (mut frontier, mut nodes) = (Frontier::default(), BTreeMap::new());
    let all = leaves(70);
    all.iter().for_each(|leaf| {
        frontier.append(*leaf, |level, at, hash| {
            nodes.insert((level, at), *hash);
        })
    });
    let mut node = |level, at| nodes.get(&(level, at)).copied();
    for n in 0..=70usize {
        let new = mth(&all[..n]);
        for m in 0..=n {
            let old = mth(&all[..m]);
            let path = consistency_from_nodes(m as u64, n as u64, &mut node).expect("stored");
            assert_eq!(path, if m == 0 { vec![] } else { subproof(m, &all[..n], true) });
            let holds = |m: usize, old: &Digest, n: usize, new: &Digest, path: &[Digest]| {
                verify_consistency((m as u64, old), (n as u64, new), path)
            };
            assert!(holds(m, &old, n, &new, &path));
            let other = leaf_hash(b"other");
            assert!(!holds(m, &other, n, &new, &path));
            assert!(m == 0 || !holds(m, &old, n, &other, &path));
            assert!(!holds(m, &old, n, &new, &[&path[..], &[other]].concat()));
            assert!(m == n || !holds(n, &new, m, &old, &path), "backwards");
            for cut in 0..path.len() {
                assert!(!holds(m, &old, n, &new, &path[..cut]) && !holds(m, &old, n, &new, &path[cut + 1..]));
                let mut flipped = path.clone();
                flipped[cut].0[cut % 32] ^= 1;
                assert!(!holds(m, &old, n, &new, &flipped));
                flipped = path.clone();
                flipped.rotate_left(1);
                assert!(flipped == path || !holds(m, &old, n, &new, &flipped));
            }
        }
    }
    assert_eq!(consistency_from_nodes(3, 2, &mut node), None);
    assert_eq!(consistency_from_nodes(3, 71, &mut |_, _| None), None);
}

#[test]
fn a_node_is_no_leaf() {
    let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
    let inner = [a.0, b.0].concat();
    assert_ne!(leaf_hash(&inner), node_hash(&a, &b));
    assert!(!verify_inclusion(&leaf_hash(&inner), 0, 1, &[], &root(&[a, b])));
}

proptest! {
    #[test]
    fn any_flip_breaks_a_path(n in 2usize..200, m in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let leaves = leaves(n);
        let m = m.index(n);
        let mut path = path(&leaves, m).expect("in the tree");
        let at = at.index(path.len() * 32);
        path[at / 32].0[at % 32] ^= 1 << bit;
        prop_assert!(!verify_inclusion(&leaves[m], m as u64, n as u64, &path, &root(&leaves)));
    }
}

#[test]
fn a_log_in_pieces_has_the_root_of_its_leaves() {
    let leaves: Vec<_> = (0..200_u32).map(|n| leaf_hash(&n.to_be_bytes())).collect();
    for size in 0..=leaves.len() {
        let leaves = &leaves[..size];
        for level in 0..5 {
            let pieces: Vec<_> = leaves.chunks(1 << level).map(root).collect();
            let is_whole = size.is_multiple_of(1 << level);
            let (whole, rest) = pieces.split_at(pieces.len() - usize::from(!is_whole));
            let mut frontier = Frontier::default();
            whole.iter().for_each(|piece| frontier.append(*piece, |_, _, _| {}));
            let found = rest.first().map_or_else(|| frontier.root(), |rest| frontier.root_before(rest));
            assert_eq!(found, mth(leaves), "{size} leaves, pieces of 2^{level}");
            // over leaves it goes on like the one that saw them all
            let mut frontier = frontier.over_leaves(level).unwrap();
            leaves[whole.len() << level..].iter().for_each(|leaf| frontier.append(*leaf, |_, _, _| {}));
            assert_eq!((frontier.size(), frontier.root()), (size as u64, mth(leaves)));
        }
    }
    assert!(Frontier::default().over_leaves(64).is_none());
}

#[test]
fn a_frontier_is_made_of_nodes_and_gives_its_peaks() {
    let mut nodes = BTreeMap::new();
    let mut grown = Frontier::default();
    for size in 0..100_u64 {
        let mut node = |level, index| nodes.get(&(level, index)).copied();
        assert_eq!(Frontier::from_nodes(size, &mut node), Some(grown.clone()));
        for level in 0..8 {
            for index in 0..=size {
                let is_peak = size >> level & 1 == 1 && index == (size >> level) - 1;
                let expected = is_peak.then(|| nodes[&(level, index)]);
                assert_eq!(grown.peak(level, index), expected, "{size} leaves, node {index} at {level}");
            }
        }
        assert_eq!((grown.peak(64, 0), grown.peak(u32::MAX, 0)), (None, None));
        if size > 0 {
            let all: Vec<_> = (0..size).map(|leaf| nodes[&(0, leaf)]).collect();
            assert_eq!(range_root(0, size, &mut |level, index| nodes.get(&(level, index)).copied()), Some(mth(&all)));
            assert!(Frontier::from_nodes(size, |_, _| None).is_none());
        }
        grown.append(leaf_hash(&size.to_be_bytes()), |level, index, hash| {
            nodes.insert((level, index), *hash);
        });
    }
}
