//! The state tree against a naive one that is built anew from the whole state, and its proofs under attack: whatever is in
//! memory, forgotten or read back, the root is the same, and no path proves what is not so.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use ledger_contract::{Changes, NodeName, Nodes, StateError, StateTree, Written, find, forget, subtrees};
use proptest::prelude::*;
use schemas::id::{CaseId, Digest, Height, SubjectId};
use schemas::state::{case_key, subject_key, transaction_key};
use schemas::tree::{DEPTH_MAX, EMPTY, Leaf, Place, Subtree, first_place, node_hash, verify};

/// The tree's definition, written down again: the root of all leaves whose places share `depth` bits.
fn naive(leaves: &[Leaf], depth: usize) -> Digest {
    match leaves {
        [] => EMPTY,
        [leaf] => leaf.hash(),
        _ => {
            let (right, left): (Vec<_>, Vec<_>) = leaves.iter().partition(|leaf| leaf.place.is_right(depth));
            node_hash(&naive(&left, depth + 1), &naive(&right, depth + 1))
        }
    }
}

/// Written rows, and the states that they stand for.
#[derive(Default)]
struct Kept {
    pieces: BTreeMap<(Height, u16), Vec<u8>>,
    roots: BTreeMap<Height, Written>,
    states: BTreeMap<Height, BTreeMap<Vec<u8>, Vec<u8>>>,
    reads: Cell<usize>,
}

impl Nodes for Kept {
    fn piece(&self, height: Height, piece: u16) -> Result<Option<Vec<u8>>, StateError> {
        self.reads.set(self.reads.get() + 1);
        Ok(self.pieces.get(&(height, piece)).cloned())
    }
}

impl Kept {
    fn state(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.states.last_key_value().map(|(_, state)| state.clone()).unwrap_or_default()
    }

    fn naive_root(&self) -> Digest {
        let leaves = self.state();
        let leaves = leaves.iter().filter_map(|(key, value)| Some(Leaf::of(Place::of(key)?, value)));
        naive(&leaves.collect::<Vec<_>>(), 0)
    }

    /// Executes a block on a tree and keeps what it wrote.
    fn block(&mut self, tree: &mut StateTree, changes: &Changes) {
        let height = self.roots.len() as Height;
        let written = tree.update(self, height, changes).unwrap();
        let mut state = self.state();
        let mut replaced: Vec<_> = changes.0.keys().filter(|key| state.contains_key(*key)).collect();
        replaced.sort_by_key(|key| Place::of(key));
        let replaced: Vec<_> = replaced.into_iter().filter_map(|key| Place::of(key)).collect();
        assert_eq!(written.replaced, replaced, "every value that was there before");
        for (key, value) in &changes.0 {
            match value {
                Some(value) => drop(state.insert(key.clone(), value.clone())),
                None => drop(state.remove(key)),
            }
        }
        self.states.insert(height, state);
        for (piece, bytes) in (0..).zip(&written.pieces) {
            self.pieces.insert((height, piece), bytes.clone());
        }
        self.roots.insert(height, written);
    }

    /// The proof of a key at a height checks against the state of then; `None` when it was forgotten.
    fn check(&self, height: Height, key: &[u8]) -> Option<()> {
        let (place, written) = (Place::of(key).unwrap(), &self.roots[&height]);
        let found = find(self, &written.root_row, &place).unwrap()?;
        let value = self.states[&height].get(key).map(Vec::as_slice);
        let other = found.leaf.filter(|leaf| leaf.place != place);
        assert_eq!(found.leaf.is_some_and(|leaf| leaf.place == place), value.is_some());
        assert!(verify(&place, value, other.as_ref(), &found.siblings, &written.root));
        assert!(!verify(&place, None, None, &found.siblings, &written.root) || (value.is_none() && other.is_none()));
        assert!(!verify(&place, Some(b"another value"), None, &found.siblings, &written.root));
        Some(())
    }
}

fn key(number: u16) -> Vec<u8> {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    match number % 3 {
        0 => subject_key(&SubjectId(id)),
        1 => case_key(&CaseId(id)),
        _ => transaction_key(&Digest([number as u8; 32])),
    }
}

fn changes(of: &[(u16, Option<u8>)]) -> Changes {
    Changes(of.iter().map(|&(number, value)| (key(number), value.map(|value| vec![value; 5]))).collect())
}

fn blocks() -> impl Strategy<Value = Vec<Vec<(u16, Option<u8>)>>> {
    let one = (0u16..90, proptest::option::weighted(0.7, any::<u8>()));
    proptest::collection::vec(proptest::collection::vec(one, 0..20), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_root_follows_from_the_state_alone(blocks in blocks(), keeping in 0usize..40) {
        let (mut kept, mut tree) = (Kept::default(), StateTree::default().keeping(keeping));
        for block in &blocks {
            kept.block(&mut tree, &changes(block));
            prop_assert_eq!(tree.root(), kept.naive_root());
            // opened again from what was written, and a tree that never knew another order
            let row = &kept.roots.last_key_value().unwrap().1.root_row;
            prop_assert_eq!(StateTree::at(row).unwrap().root(), tree.root());
            let whole = Changes(kept.state().into_iter().map(|(key, value)| (key, Some(value))).collect());
            prop_assert_eq!(StateTree::default().update(&Kept::default(), 0, &whole).unwrap().root, tree.root());
        }
        for height in kept.states.keys() {
            (0u16..90).filter(|number| number % 3 != 2).for_each(|number| kept.check(*height, &key(number)).unwrap());
        }
    }

    #[test]
    fn forgetting_takes_only_old_cases(blocks in blocks(), horizon in 0u64..12) {
        let (mut kept, mut tree) = (Kept::default(), StateTree::default().keeping(0));
        blocks.iter().for_each(|block| kept.block(&mut tree, &changes(block)));
        let mut by_piece: BTreeMap<_, Vec<u16>> = BTreeMap::new();
        for NodeName { height, piece, number } in kept.roots.range(..=horizon).flat_map(|(_, w)| w.stale.clone()) {
            by_piece.entry((height, piece)).or_default().push(number);
        }
        for (at, numbers) in by_piece {
            match forget(&kept.pieces[&at], &numbers).unwrap() {
                Some(less) => kept.pieces.insert(at, less),
                None => kept.pieces.remove(&at),
            };
        }
        for height in kept.states.keys() {
            for number in (0u16..90).filter(|number| number % 3 != 2) {
                let found = kept.check(*height, &key(number));
                prop_assert!(found.is_some() || (*height < horizon && number % 3 == 1), "{height} {number}");
            }
        }
        // and the newest tree goes on
        kept.block(&mut tree, &changes(&(0..90).map(|number| (number, Some(9))).collect::<Vec<_>>()));
        prop_assert_eq!(tree.root(), kept.naive_root());
    }
}

/// Cases whose places begin with the same sixteen bits, and what lies elsewhere.
fn crowd() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let case =
        |number: u64| case_key(&CaseId([number.to_be_bytes(), number.to_be_bytes()].concat().try_into().unwrap()));
    let place = |key: &Vec<u8>| Place::of(key).unwrap();
    let first = place(&case(0));
    let (near, far): (Vec<_>, Vec<_>) = (0..600_000).map(case).partition(|key| place(key).shares(&first, 16));
    (near.into_iter().take(16).collect(), far.into_iter().take(200).collect())
}

#[test]
fn the_lower_end_of_a_path_is_a_piece_of_its_own() {
    let (near, far) = crowd();
    assert_eq!(near.len(), 16);
    let (mut kept, mut tree) = (Kept::default(), StateTree::default().keeping(0));
    let all = near.iter().chain(&far);
    kept.block(&mut tree, &Changes(all.clone().map(|key| (key.clone(), Some(vec![0]))).collect()));
    for (number, key) in (1u8..).zip(&near) {
        kept.reads.set(0);
        kept.block(&mut tree, &Changes([(key.clone(), Some(vec![number]))].into()));
        assert_eq!(tree.root(), kept.naive_root());
        let written = &kept.roots.last_key_value().unwrap().1;
        let sizes: Vec<usize> = written.pieces.iter().map(Vec::len).collect();
        // the lower end comes first: children before parents
        assert!(sizes.len() == 2 && sizes[0] < sizes[1], "{sizes:?}");
        assert!(kept.reads.get() < 16, "{} pieces read for one path", kept.reads.get());
    }
    for height in kept.states.keys() {
        all.clone().for_each(|key| kept.check(*height, key).unwrap());
    }
    // once all cases were changed, of the first block's pieces of this subtree nothing is left
    let mut by_piece: BTreeMap<_, Vec<u16>> = BTreeMap::new();
    for NodeName { height, piece, number } in kept.roots.values().flat_map(|written| written.stale.clone()) {
        by_piece.entry((height, piece)).or_default().push(number);
    }
    let mut gone = Vec::new();
    for (at, numbers) in by_piece {
        match forget(&kept.pieces[&at], &numbers).unwrap() {
            Some(less) => drop(kept.pieces.insert(at, less)),
            None => {
                gone.push(at);
                kept.pieces.remove(&at);
            }
        }
    }
    assert!(gone.iter().any(|(height, _)| *height == 0), "{gone:?}");
    kept.block(&mut tree, &Changes(all.map(|key| (key.clone(), Some(vec![99]))).collect()));
    assert_eq!(tree.root(), kept.naive_root());
}

/// A tree of 40 cases and one place in it.
fn forty() -> (Kept, BTreeSet<usize>) {
    let (mut kept, mut tree) = (Kept::default(), StateTree::default());
    kept.block(&mut tree, &changes(&(0..60).map(|number| (number, Some(1))).collect::<Vec<_>>()));
    let depths = (0..60).filter_map(|number| Place::of(&key(number)));
    let depths = depths.map(|place| find(&kept, &kept.roots[&0].root_row, &place).unwrap().unwrap().siblings.len());
    let depths = depths.collect();
    (kept, depths)
}

#[test]
fn no_path_proves_what_is_not_so() {
    let (kept, depths) = forty();
    assert!(depths.len() > 3, "leaves at several depths: {depths:?}");
    let root = &kept.roots[&0].root;
    for number in (0u16..120).filter(|number| number % 3 != 2) {
        let key = key(number);
        let (place, value) = (Place::of(&key).unwrap(), kept.states[&0].get(&key).map(Vec::as_slice));
        let found = find(&kept, &kept.roots[&0].root_row, &place).unwrap().unwrap();
        let other = found.leaf.filter(|leaf| leaf.place != place);
        assert_eq!(value.is_some(), number < 60);
        let holds =
            |value, other: Option<Leaf>, siblings: &[Digest]| verify(&place, value, other.as_ref(), siblings, root);
        assert!(holds(value, other, &found.siblings));
        // present and absent are never both proved, whatever is said about the end
        let flipped = if value.is_some() { None } else { Some(&[1; 5][..]) };
        let ends = [None, other, found.leaf, Some(Leaf { place, value: Digest([1; 32]) })];
        for end in ends {
            for length in 0..=found.siblings.len() {
                assert!(!holds(flipped, end, &found.siblings[..length]));
            }
        }
        // siblings shortened, longer, swapped, flipped
        for length in 0..found.siblings.len() {
            assert!(!holds(value, other, &found.siblings[..length]));
            assert!(!holds(value, other, &found.siblings[length + 1..]));
            let mut swapped = found.siblings.clone();
            swapped.rotate_left(1);
            assert!(swapped == found.siblings || !holds(value, other, &swapped));
            for bit in 0..256 {
                let mut flipped = found.siblings.clone();
                flipped[length].0[bit / 8] ^= 1 << (bit % 8);
                assert!(!holds(value, other, &flipped));
            }
        }
        for extra in [EMPTY, *root] {
            assert!(!holds(value, other, &[&found.siblings[..], &[extra]].concat()));
            assert!(!holds(value, other, &[&[extra], &found.siblings[..]].concat()));
        }
        // a leaf from elsewhere is no proof of absence here
        if let Some(other) = other {
            for bit in 0..found.siblings.len() {
                let mut far = other;
                far.place.0.0[bit / 8] ^= 0x80 >> (bit % 8);
                assert!(!holds(None, Some(far), &found.siblings));
            }
        }
        assert!(!holds(value, other, &vec![EMPTY; DEPTH_MAX + 1]), "a path longer than a place");
    }
}

#[test]
fn inner_nodes_and_leaves_do_not_pass_for_each_other() {
    let (kept, _) = forty();
    let written = &kept.roots[&0];
    let place = Place::of(&key(0)).unwrap();
    let found = find(&kept, &written.root_row, &place).unwrap().unwrap();
    // the hashes of an inner node's sides, shown as place and value of a leaf of its own
    let leaf = found.leaf.unwrap();
    let [.., last] = found.siblings[..] else { panic!("a deep leaf") };
    let (left, right) =
        if place.is_right(found.siblings.len() - 1) { (last, leaf.hash()) } else { (leaf.hash(), last) };
    let posing = Leaf { place: Place(left), value: right };
    assert_ne!(posing.hash(), node_hash(&left, &right));
    assert!(!verify(&place, None, Some(&posing), &found.siblings[..found.siblings.len() - 1], &written.root));
}

#[test]
fn damaged_rows_are_noticed() {
    let (kept, _) = forty();
    let row = kept.roots[&0].root_row.clone();
    for at in 0..kept.pieces[&(0, 0)].len() {
        let mut damaged = Kept { pieces: kept.pieces.clone(), ..Kept::default() };
        damaged.pieces.get_mut(&(0, 0)).unwrap()[at] ^= 4;
        let read = (0u16..60).filter_map(|number| Place::of(&key(number))).map(|place| find(&damaged, &row, &place));
        let noticed = read.filter(|found| !matches!(found, Ok(Some(_)))).count();
        assert!(noticed > 0, "byte {at}");
    }
    for length in 0..row.len() {
        assert!(StateTree::at(&row[..length]).is_err());
    }
    assert!(StateTree::at(&[&row[..], &[0]].concat()).is_err());
    // a failed update leaves the tree as it was
    let mut tree = StateTree::at(&row).unwrap();
    let before = tree.root();
    assert!(tree.update(&Kept::default(), 1, &changes(&[(0, Some(7))])).is_err());
    assert_eq!(tree.root(), before);
    let changed = tree.update(&kept, 1, &changes(&[(0, Some(7))])).unwrap().root;
    assert_ne!(changed, before);
}

/// One state key costs well under 20 µs, most of it hashes, also when little of the tree is in memory. The bound is loose: a
/// busy machine must not fail it.
#[test]
fn an_update_is_cheap() {
    let (mut kept, mut tree) = (Kept::default(), StateTree::default().keeping(1 << 15));
    let batch = |block: u64| {
        let ids = (0..512_u64).map(|i| {
            let id = schemas::cbor::sha256(&(block * 512 + i).to_be_bytes()).0;
            (case_key(&CaseId(id[..16].try_into().unwrap())), Some(vec![3; 120]))
        });
        Changes(ids.collect())
    };
    let (mut spent, mut keys, mut bytes) = (std::time::Duration::ZERO, 0, 0);
    for block in 0..200 {
        let changes = batch(block);
        let started = std::time::Instant::now();
        let written = tree.update(&kept, block, &changes).unwrap();
        spent += started.elapsed();
        keys += changes.0.len();
        for (piece, row) in (0..).zip(written.pieces) {
            bytes += row.len();
            kept.pieces.insert((block, piece), row);
        }
    }
    let each = spent.as_nanos() / keys as u128;
    println!("{keys} keys: {each} ns, {} B and {} reads of 1000 each", bytes / keys, kept.reads.get() * 1000 / keys);
    assert!(each < 60_000, "{each} ns for one key");
}

#[test]
fn subtrees_fold_to_the_root_and_are_those_of_their_leaves() {
    for keys in [0, 1, 2, 3, 7, 60, 900] {
        let changes = Changes((0..keys).map(|number| (key(number), Some(vec![number as u8; 3]))).collect());
        let (mut kept, mut tree) = (Kept::default(), StateTree::default().keeping(4));
        kept.block(&mut tree, &changes);
        let state = kept.state();
        let leaf = |(key, value): (&Vec<u8>, &Vec<u8>)| Some(Leaf::of(Place::of(key)?, value));
        let mut leaves: Vec<_> = state.iter().filter_map(leaf).collect();
        leaves.sort_by_key(|leaf| leaf.place);
        assert_eq!(Subtree::of(&leaves, 0).hash(), tree.root());
        for depth in 0..9_u8 {
            let cut = subtrees(&kept, &kept.roots[&0].root_row, depth).unwrap().unwrap();
            assert_eq!(cut.len(), 1 << depth);
            assert_eq!(Subtree::fold(&cut).unwrap().hash(), tree.root(), "{keys} keys at {depth}");
            for (index, subtree) in (0..).zip(&cut) {
                let first = first_place(depth, index).unwrap();
                let inside: Vec<_> =
                    leaves.iter().filter(|leaf| leaf.place.shares(&first, usize::from(depth))).copied().collect();
                assert_eq!(Subtree::of(&inside, usize::from(depth)), *subtree, "{keys} keys, {index} at {depth}");
            }
            assert_eq!(first_place(depth, 1 << depth), None);
        }
        assert!(Subtree::fold(&[]).is_none() && Subtree::fold(&[Subtree::Empty; 3]).is_none());
    }
}
