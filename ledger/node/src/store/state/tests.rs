//! The state tree in a real store against a model: every key at every height, before and after old cases are forgotten and the
//! store is opened again; damage is noticed at the start.

use schemas::block::{Batch, CommitCertificate, Header};
use schemas::id::{CaseId, ChainId, Digest, SubjectId};
use schemas::merkle::Frontier;
use schemas::state::{case_key, subject_key};
use schemas::tree::verify;

use super::super::Executed;
use super::*;

const CHAIN: ChainId = ChainId([7; 32]);
const BLOCKS: Height = 40;

fn open(folder: &std::path::Path) -> Store {
    Store::open(folder, 8 << 20, &CHAIN, &Changes::default()).unwrap()
}

/// Every block changes five keys of forty; every other key is a case. At every seventh height nothing happens.
fn changes(height: Height) -> Changes {
    let keys = (0..5).filter(|_| !height.is_multiple_of(7)).map(|i| key((height * 11 + i * 3) % 40));
    Changes(keys.map(|key| (key, Some(vec![height as u8; 40]))).collect())
}

fn key(number: u64) -> Vec<u8> {
    let id = [number as u8; 16];
    if number.is_multiple_of(2) { case_key(&CaseId(id)) } else { subject_key(&SubjectId(id)) }
}

/// The newest height up to `height` that changed the key.
fn model(number: u64, height: Height) -> Option<Vec<u8>> {
    (1..=height).rev().find_map(|at| changes(at).0.get(&key(number)).cloned().flatten())
}

fn write(store: &Store, tree: &mut StateTree, height: Height) {
    write_changes(store, tree, height, &changes(height));
}

fn write_changes(store: &Store, tree: &mut StateTree, height: Height, changes: &Changes) {
    let written = tree.update(store, height, changes).unwrap();
    let batch = Batch { chain: CHAIN, epoch: 0, height, transactions_root: Digest::ZERO, time: height };
    let frontier = Frontier::default();
    let header = Header {
        chain: CHAIN,
        epoch: 0,
        height,
        batch: batch.digest(),
        previous: Digest::ZERO,
        log_size: 0,
        log_root: frontier.root(),
        time: height,
        state_root: written.root,
    };
    let block = Executed {
        batch: &batch,
        transactions: &[],
        certificate: &CommitCertificate { view: 0, commits: vec![] },
        header: &header,
        entries: &[],
        changes,
        written: &written,
        frontier: &frontier,
        first_leaf: 0,
        nodes: &[],
    };
    store.write(&block).unwrap();
    store.attest(height, &[]).unwrap();
}

/// What is proved about a key at a height, which must be as the model says; none when it was forgotten.
fn check(store: &Store, number: u64, height: Height) -> Option<()> {
    match store.state_proof(&key(number), height).unwrap() {
        Shown::Proof(proof) => {
            let value = proof.value.as_ref().map(|value| value.0.clone());
            assert_eq!(value, model(number, height), "key {number} at {height}");
            let place = Place::of(&proof.key).unwrap();
            let (other, root) = (proof.other.as_ref(), &proof.header.state_root);
            assert!(verify(&place, value.as_deref(), other, &proof.siblings, root));
            Some(())
        }
        Shown::Forgotten => None,
        other => panic!("{other:?}"),
    }
}

fn filled(folder: &std::path::Path) -> Store {
    let store = open(folder);
    let mut tree = store.tree(&store.tip().unwrap()).unwrap().keeping(3);
    (1..=BLOCKS).for_each(|height| write(&store, &mut tree, height));
    store
}

#[test]
fn every_key_is_proved_at_every_height() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path());
    let all = || (1..=BLOCKS).flat_map(|height| (0..40).map(move |number| (number, height)));
    all().for_each(|(number, height)| check(&store, number, height).unwrap());
    assert!(matches!(store.state_proof(&key(1), BLOCKS + 1).unwrap(), Shown::NotFinal));
    assert!(matches!(store.state_proof(b"tx/1", 1).unwrap(), Shown::NoKey));
    drop(store);
    let store = open(folder.path());
    store.forget_cases(30).unwrap();
    let forgotten = all().filter(|&(number, height)| check(&store, number, height).is_none());
    let forgotten: Vec<_> = forgotten.collect();
    assert!(forgotten.len() > 100, "{} forgotten", forgotten.len());
    assert!(
        forgotten.iter().all(|(number, height)| number.is_multiple_of(2) && *height < 30),
        "cases only: {forgotten:?}"
    );
    store.forget_cases(30).unwrap();
    // the tree goes on from what is left
    let mut tree = store.tree(&store.tip().unwrap()).unwrap();
    write(&store, &mut tree, BLOCKS + 1);
    (0..40).for_each(|number| check(&store, number, BLOCKS + 1).unwrap());
}

#[test]
fn another_root_than_the_headers_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = filled(folder.path());
    let tip = store.tip().unwrap();
    let row = store.root_row(tip.height()).unwrap();
    for damaged in [store.root_row(3).unwrap(), row[1..].to_vec(), vec![]] {
        store.db.put_cf(store.family(STATE_NODES), node_key(BLOCKS, ROOT), damaged).unwrap();
        assert!(store.tree(&tip).is_err());
    }
    store.db.put_cf(store.family(STATE_NODES), node_key(BLOCKS, ROOT), row).unwrap();
    assert!(store.tree(&tip).is_ok());
}

/// A block's work on a tree that is mostly on disk, with everything that is written: well under 20 µs for each key on a quiet
/// machine. The bound is loose, since a busy one must not fail it.
#[test]
fn a_block_is_cheap_in_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), 32 << 20, &CHAIN, &Changes::default()).unwrap();
    let mut tree = store.tree(&store.tip().unwrap()).unwrap().keeping(1 << 13);
    let (blocks, keys) = (150_u64, 512_u64);
    let started = std::time::Instant::now();
    for height in 1..=blocks {
        let ids = (0..keys).map(|i| schemas::cbor::sha256(&(height * keys + i).to_be_bytes()).0);
        let changes = ids.map(|id| (case_key(&CaseId(id[..16].try_into().unwrap())), Some(vec![3; 120])));
        write_changes(&store, &mut tree, height, &Changes(changes.collect()));
    }
    let each = started.elapsed().as_nanos() / u128::from(blocks * keys);
    println!("{} keys: {each} ns each, rows written too", blocks * keys);
    assert!(each < 200_000, "{each} ns for one key");
}
