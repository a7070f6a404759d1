//! A store that was copied piece by piece goes on exactly like the one that it was copied from, knows what it does not hold, and is
//! none while anything is missing. What is pruned leaves every proof that was possible.

use std::collections::BTreeMap;
use std::path::Path;

use ledger_proof::EntryProof;
use schemas::block::{Batch, CommitCertificate, TransactionBytes, transactions_root};
use schemas::cbor::sha256;
use schemas::id::{CaseId, Digest, SubjectId};
use schemas::merkle::{verify_consistency, verify_inclusion};
use schemas::state::{case_key, subject_key, transaction_key};
use schemas::transaction::{Outcome, Refusal};
use schemas::transfer::{Manifest, Piece};

use super::super::{Executed, Shown, View};
use super::*;
use ledger_contract::State;

const CHAIN: ChainId = ChainId([7; 32]);
/// So that the first blocks have expired for good.
const EXPIRED: Height = 20;
const HEIGHT: Height = limits::VALID_UNTIL_AHEAD_MAX + EXPIRED;
const ENTRIES: u64 = 500;
const QUIET: u64 = 40;

fn open(folder: &Path) -> Store {
    Store::open(folder, 8 << 20, &CHAIN, &Changes::default()).unwrap()
}

fn key(number: u64) -> Vec<u8> {
    let mut id = [5; 16];
    id[..8].copy_from_slice(&sha256(&number.to_be_bytes()).0[..8]);
    if number.is_multiple_of(5) { subject_key(&SubjectId(id)) } else { case_key(&CaseId(id)) }
}

fn id(height: Height, index: u64) -> Digest {
    sha256(&[height.to_be_bytes(), index.to_be_bytes()].concat())
}

fn changes(height: Height) -> Changes {
    let keys = (0..20).map(|i| (height * 13 + i * 7) % 300);
    Changes(keys.map(|number| (key(number), Some(vec![height as u8; 60]))).collect())
}

/// Blocks behind the expired ones say only that nothing came.
fn count(height: Height) -> u64 {
    if (EXPIRED + 1..=EXPIRED + QUIET).contains(&height) { 0 } else { ENTRIES }
}

/// The next block, with its attestations: its header and the tree go on from whatever the store is.
fn write(store: &Store, tree: &mut StateTree, height: Height) -> Header {
    let tip = store.tip().unwrap();
    let transactions: Vec<_> =
        (0..count(height)).map(|i| TransactionBytes(id(height, i).0[..8].to_vec().into())).collect();
    let transactions_root = transactions_root(&transactions);
    let batch = Batch { chain: CHAIN, epoch: 0, height, transactions_root, time: height };
    let outcome = |i: u64| if i % 9 == 8 { Outcome::Refused(Refusal::Signature) } else { Outcome::Accepted };
    let entry = |i: u64| LogEntry {
        height,
        index: i as u32,
        transaction: id(height, i),
        signed: Digest([1; 32]),
        outcome: outcome(i),
    };
    let entries: Vec<_> = (0..count(height)).map(entry).collect();
    let (mut frontier, mut nodes) = (tip.frontier.clone(), vec![]);
    let first_leaf = frontier.size();
    entries.iter().for_each(|entry| frontier.append(entry.leaf(), |_, _, node| nodes.push(*node)));
    let changes = changes(height);
    let written = tree.update(store, height, &changes).unwrap();
    let header = Header {
        chain: CHAIN,
        epoch: 0,
        height,
        batch: batch.digest(),
        previous: tip.hash(&CHAIN),
        log_size: frontier.size(),
        log_root: frontier.root(),
        time: height,
        state_root: written.root,
    };
    let block = Executed {
        batch: &batch,
        transactions: &transactions,
        certificate: &CommitCertificate { view: 0, commits: vec![] },
        header: &header,
        entries: &entries,
        changes: &changes,
        written: &written,
        frontier: &frontier,
        first_leaf,
        nodes: &nodes,
    };
    store.write(&block).unwrap();
    store.attest(height, &[]).unwrap();
    header
}

/// The heights that are there: those between would only take time.
fn heights() -> impl Iterator<Item = Height> {
    (1..=EXPIRED + QUIET).chain(limits::VALID_UNTIL_AHEAD_MAX + 1..=HEIGHT)
}

fn filled(folder: &Path) -> (Store, StateTree) {
    let store = open(folder);
    let mut tree = store.tree(&store.tip().unwrap()).unwrap();
    for height in heights() {
        write(&store, &mut tree, height);
    }
    (store, tree)
}

/// Copies everything but what `skip` says.
fn copied(view: &View<'_>, manifest: &Manifest, to: &Path, skip: impl Fn(usize) -> bool) -> Result<(), StoreError> {
    let copy = Store::begin_copy(to, 8 << 20)?;
    // an attempt before, at another height
    copy.copy_rows(&[Row { key: schemas::proof::Value(key(1_000)), value: schemas::proof::Value(vec![1]) }])?;
    copy.copy_entries(0, &view.entries(manifest.log.before.size())?.expect("entries"))?;
    copy.clear_copy()?;
    for (at, piece) in manifest.pieces().enumerate() {
        if skip(at) {
            continue;
        }
        match piece {
            Piece::State { depth, index } => {
                let rows = view.rows(depth, index)?.expect("it fits");
                assert!(manifest.holds_rows(index, &rows));
                copy.copy_rows(&rows)?;
            }
            Piece::Log(number) => {
                let entries = view.entries(number)?.expect("they are kept");
                assert!(manifest.holds_entries(number, &entries));
                copy.copy_entries(number, &entries)?;
            }
            Piece::Manifest => unreachable!("it is no part of itself"),
        }
    }
    let (header, attestations) = (manifest.header.clone(), manifest.attestations.clone());
    copy.finish_copy(&CHAIN, &Copy { header, attestations, before: manifest.log.before.clone() })
}

fn proven(store: &Store, transaction: &Digest) -> EntryProof {
    let proof = store.entry_proof(transaction, None, Height::MAX).unwrap().expect("final");
    let EntryProof { entry, log_index, path, header, .. } = &proof;
    assert!(verify_inclusion(&entry.leaf(), *log_index, header.log_size, path, &header.log_root));
    proof
}

#[test]
fn a_copy_goes_on_like_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut tree) = filled(&folder.path().join("source"));
    let view = View::take(&store).unwrap().unwrap();
    let manifest = view.manifest(vec![], 4 << 10).unwrap();
    assert!(manifest.depth() >= 4 && manifest.log.before.size() == 2 && manifest.pieces().count() > 20);
    let first = view.entries(2).unwrap().unwrap();
    assert!(manifest.begins_early(&first), "height {}", first[0].height);
    copied(&view, &manifest, &folder.path().join("copy"), |_| false).unwrap();
    drop(view);

    let copy = open(&folder.path().join("copy"));
    assert_eq!(copy.tip().unwrap(), store.tip().unwrap());
    assert_eq!((copy.begins(), copy.blocks_from()), (HEIGHT, HEIGHT + 1));
    assert!(copy.unattested(HEIGHT).unwrap().is_empty());
    assert_eq!(copy.checkpoint(HEIGHT, &CHAIN).unwrap(), store.checkpoint(HEIGHT, &CHAIN).unwrap());
    (0..300).for_each(|number| assert_eq!(copy.value(&key(number)).unwrap(), store.value(&key(number)).unwrap()));
    // transactions that could come again are known, and of the first block that is here every proof is
    for height in limits::VALID_UNTIL_AHEAD_MAX + 1..=HEIGHT {
        for index in [0, 8, ENTRIES - 1] {
            assert_eq!(copy.place(&id(height, index)).unwrap(), store.place(&id(height, index)).unwrap());
            let row = transaction_key(&id(height, index));
            assert_eq!(copy.get(&row).unwrap(), store.get(&row).unwrap());
            assert_eq!(copy.get(&row).unwrap().is_none(), index == 8, "refused ones leave none");
        }
    }
    assert_eq!(proven(&copy, &id(HEIGHT, 3)), proven(&store, &id(HEIGHT, 3)));
    let mut copied_tree = copy.tree(&copy.tip().unwrap()).unwrap();
    for height in HEIGHT + 1..=HEIGHT + 30 {
        assert_eq!(write(&copy, &mut copied_tree, height), write(&store, &mut tree, height), "height {height}");
    }
    assert_eq!(proven(&copy, &id(HEIGHT + 9, 3)), proven(&store, &id(HEIGHT + 9, 3)));
    let grown = copy.consistency_proof(HEIGHT, HEIGHT + 20).unwrap().unwrap();
    let (old, new) = (&grown.first.header, &grown.second.header);
    assert!(verify_consistency((old.log_size, &old.log_root), (new.log_size, &new.log_root), &grown.path));
    for number in 0..300 {
        let Shown::Proof(proof) = copy.state_proof(&key(number), HEIGHT + 11).unwrap() else { panic!("a proof") };
        let Shown::Proof(expected) = store.state_proof(&key(number), HEIGHT + 11).unwrap() else { panic!("a proof") };
        assert_eq!(proof, expected);
    }
    // the copy of a copy
    let view = View::take(&copy).unwrap().unwrap();
    let manifest = view.manifest(vec![], 4 << 10).unwrap();
    copied(&view, &manifest, &folder.path().join("second"), |_| false).unwrap();
    let second = open(&folder.path().join("second"));
    assert_eq!(second.tip().unwrap(), store.tip().unwrap());
    assert_eq!(proven(&second, &id(HEIGHT + 30, 1)), proven(&store, &id(HEIGHT + 30, 1)));
}

#[test]
fn what_a_copy_does_not_hold_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = filled(&folder.path().join("source"));
    let view = View::take(&store).unwrap().unwrap();
    copied(&view, &view.manifest(vec![], 64 << 10).unwrap(), &folder.path().join("copy"), |_| false).unwrap();
    let copy = open(&folder.path().join("copy"));
    let not_held = |e: StoreError| matches!(e, StoreError::NotHeld { from } if from == HEIGHT || from == HEIGHT + 1);
    assert!(not_held(copy.block(HEIGHT).unwrap_err()));
    assert!(not_held(copy.blocks(5..=9, 1 << 20).unwrap_err()));
    assert!(not_held(copy.state_proof(&key(1), HEIGHT - 1).unwrap_err()));
    assert!(not_held(copy.consistency_proof(3, HEIGHT).unwrap_err()));
    assert!(not_held(copy.entry_proof(&id(HEIGHT - 1, 3), None, HEIGHT).unwrap_err()));
    assert!(copy.block(HEIGHT + 1).unwrap().is_none(), "not final yet is something else");
    assert!(copy.entry_proof(&id(3, 3), None, HEIGHT).unwrap().is_none());
}

#[test]
fn nothing_is_a_store_while_a_piece_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = filled(&folder.path().join("source"));
    let view = View::take(&store).unwrap().unwrap();
    let manifest = view.manifest(vec![], 64 << 10).unwrap();
    let path = folder.path().join("copy");
    for missing in 0..manifest.pieces().count() {
        let made = copied(&view, &manifest, &path, |at| at == missing);
        assert!(matches!(made, Err(StoreError::Corrupt { .. })), "piece {missing}: {made:?}");
    }
    // as after a crash: a folder without what makes it a store, in which nothing of another chain or version is found
    let fresh = open(&path);
    assert_eq!(fresh.tip().unwrap().height(), 0);
}

#[test]
fn a_snapshot_stays_while_the_store_goes_on_and_forgets() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut tree) = filled(&folder.path().join("source"));
    let view = View::take(&store).unwrap().unwrap();
    let before = view.manifest(vec![], 4 << 10).unwrap();
    for height in HEIGHT + 1..=HEIGHT + 10 {
        write(&store, &mut tree, height);
    }
    store.forget_cases(HEIGHT + 10).unwrap();
    store.forget_entries(HEIGHT + 10).unwrap();
    store.forget_bodies(HEIGHT + 5).unwrap();
    store.flush().unwrap();
    copied(&view, &before, &folder.path().join("copy"), |_| false).unwrap();
    assert_eq!(open(&folder.path().join("copy")).tip().unwrap().height(), HEIGHT);
    // and a new one has what it needs
    let view = View::take(&store).unwrap().unwrap();
    copied(&view, &view.manifest(vec![], 4 << 10).unwrap(), &folder.path().join("next"), |_| false).unwrap();
}

#[test]
fn entries_that_no_snapshot_needs_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = filled(&folder.path().join("source"));
    let rows = || store.db.iterator_cf(store.family(LOG_ENTRIES), IteratorMode::Start).count();
    let before = rows();
    store.forget_entries(HEIGHT).unwrap();
    // 10,000 have expired, 8,192 in whole pieces; the row across stays
    assert_eq!(before - rows(), 16);
    let view = View::take(&store).unwrap().unwrap();
    assert!(view.entries(1).unwrap().is_none() && view.entries(2).unwrap().is_some());
    store.forget_entries(HEIGHT).unwrap();
    assert_eq!(before - rows(), 16, "twice is once");
}

#[test]
fn pruned_bodies_leave_every_proof() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = filled(folder.path());
    let all = || heights().filter(|height| count(*height) > 0).map(|height| id(height, 7));
    let before: BTreeMap<_, _> = all().map(|id| (id, proven(&store, &id))).collect();
    store.forget_bodies(HEIGHT - 3).unwrap();
    store.forget_bodies(5).unwrap();
    let check = |store: &Store| {
        assert_eq!(store.blocks_from(), HEIGHT - 3);
        assert!(matches!(store.block(3), Err(StoreError::NotHeld { from }) if from == HEIGHT - 3));
        assert!(matches!(store.blocks(3..=9, 1 << 20), Err(StoreError::NotHeld { .. })));
        assert_eq!(store.blocks(HEIGHT - 3..=HEIGHT, 1 << 30).unwrap().len(), 4);
        all().for_each(|id| assert_eq!(proven(store, &id), before[&id]));
        assert!(store.consistency_proof(2, HEIGHT).unwrap().is_some());
        assert!(matches!(store.state_proof(&key(1), 4).unwrap(), Shown::Proof(_)));
    };
    check(&store);
    store.flush().unwrap();
    drop(store);
    check(&open(folder.path()));
}
