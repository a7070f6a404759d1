//! What becomes of copies of a transaction with other signatures: one id, several entries.

use schemas::block::{Batch, CommitCertificate};
use schemas::transaction::{Outcome, Refusal};

use super::*;

const CHAIN: ChainId = ChainId([7; 32]);
const ID: Digest = Digest([1; 32]);
const OURS: Digest = Digest([2; 32]);
const COPY: Digest = Digest([3; 32]);
const OTHER_COPY: Digest = Digest([4; 32]);
const REFUSED: Outcome = Outcome::Refused(Refusal::Signature);

fn store(folder: &Path) -> Store {
    Store::open(folder, 8 << 20, &CHAIN, &Changes::default()).unwrap()
}

/// Writes a block whose entries are all of one transaction.
fn write(store: &Store, height: Height, entries: &[(Digest, Outcome)]) {
    let batch = Batch { chain: CHAIN, epoch: 0, height, transactions_root: Digest::ZERO, time: height };
    let mut frontier = store.tip().unwrap().frontier;
    let first_leaf = frontier.size();
    let entries: Vec<_> = (0..)
        .zip(entries)
        .map(|(index, &(signed, outcome))| LogEntry { height, index, transaction: ID, signed, outcome })
        .collect();
    let mut nodes = vec![];
    entries.iter().for_each(|entry| frontier.append(entry.leaf(), |_, _, node| nodes.push(*node)));
    let header = Header {
        chain: CHAIN,
        epoch: 0,
        height,
        batch: batch.digest(),
        previous: Digest::ZERO,
        log_size: frontier.size(),
        log_root: frontier.root(),
        time: height,
        state_root: Digest::ZERO,
    };
    let block = Executed {
        batch: &batch,
        transactions: &[],
        certificate: &CommitCertificate { view: 0, commits: vec![] },
        header: &header,
        entries: &entries,
        changes: &Changes::default(),
        written: &StateTree::default().update(store, height, &Changes::default()).unwrap(),
        frontier: &frontier,
        first_leaf,
        nodes: &nodes,
    };
    store.write(&block).unwrap();
}

fn outcomes(store: &Store) -> [Option<Outcome>; 3] {
    [OURS, COPY, OTHER_COPY].map(|signed| store.verdict(&ID, &signed).unwrap().map(|place| place.outcome))
}

#[test]
fn an_acceptance_is_never_hidden_by_a_copy_of_the_same_block() {
    for entries in [
        vec![(OURS, Outcome::Accepted), (COPY, Outcome::Refused(Refusal::Duplicate))],
        vec![(COPY, REFUSED), (OURS, Outcome::Accepted)],
        vec![(COPY, REFUSED), (OURS, Outcome::Accepted), (OTHER_COPY, Outcome::Refused(Refusal::Duplicate))],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        write(&store, 1, &entries);
        let place = store.place(&ID).unwrap().unwrap();
        assert_eq!((place.outcome, place.signed), (Outcome::Accepted, OURS), "{entries:?}");
        assert_eq!(outcomes(&store), [Some(Outcome::Accepted); 3]);
        write(&store, 2, &[(OTHER_COPY, Outcome::Refused(Refusal::Duplicate))]);
        assert_eq!(store.place(&ID).unwrap(), Some(place), "nor by one of a later block");
    }
}

#[test]
fn a_refusal_is_of_its_own_bytes_only() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    write(&store, 1, &[(COPY, REFUSED)]);
    assert_eq!(outcomes(&store), [None, Some(REFUSED), None]);
    let ours = Outcome::Refused(Refusal::NotCustodian);
    write(&store, 2, &[(OURS, ours)]);
    write(&store, 3, &[(OTHER_COPY, REFUSED), (OURS, Outcome::Refused(Refusal::Expired))]);
    write(&store, 4, &[(COPY, REFUSED)]);
    assert_eq!(outcomes(&store), [Some(ours), Some(REFUSED), Some(REFUSED)], "the first refusal stays");
}

#[test]
fn flushes_leave_no_files_of_their_own_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for height in 1..=120 {
        write(&store, height, &[(OURS, REFUSED)]);
        store.flush().unwrap();
    }
    store.db.wait_for_compact(&rocksdb::WaitForCompactOptions::default()).unwrap();
    let entries = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|end| end == "sst")).count();
    // a file for each family and flush were seven hundred
    assert!(files < 300, "{files} files");
}

#[test]
fn a_store_exists_once_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blocks");
    assert!(!Store::exists(&path));
    drop(store(&path));
    assert!(Store::exists(&path));
}
