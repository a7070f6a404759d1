//! Folders that are not to be used: of another chain, another version, with damage of every kind. None is changed, none is taken
//! for empty, and what is said names what to do.

use std::path::{Path, PathBuf};

use ledger_contract::{Changes, State};
use schemas::id::CaseId;
use schemas::state::case_key;

use super::super::Store;
use super::*;

const CHAIN: ChainId = ChainId([7; 32]);
const KEYS: u64 = 4_000;

fn key(number: u64) -> Vec<u8> {
    let id = schemas::cbor::sha256(&number.to_be_bytes());
    case_key(&CaseId(id.0[..16].try_into().unwrap()))
}

/// A genesis that fills more than one block of a table.
fn genesis() -> Changes {
    Changes((0..KEYS).map(|number| (key(number), Some(number.to_be_bytes().to_vec()))).collect())
}

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, 8 << 20, &CHAIN, &genesis())
}

fn made(path: &Path) {
    let store = open(path).unwrap();
    store.flush().unwrap();
}

fn file(path: &Path, is: impl Fn(&str) -> bool) -> PathBuf {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| is(path.file_name().unwrap().to_str().unwrap())).collect();
    found.sort_by_key(|path| std::fs::metadata(path).unwrap().len());
    found.pop().expect("such a file")
}

#[test]
fn another_chain_or_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    let other = Store::open(folder.path(), 8 << 20, &ChainId([8; 32]), &genesis());
    assert!(matches!(other.map(|_| ()), Err(StoreError::OtherChain { found: CHAIN, .. })));
    for (version, what) in [(Some(3_u32), "a newer"), (Some(1), "an older"), (None, "an older")] {
        let store = super::open(folder.path(), 8 << 20).unwrap();
        let meta = store.cf_handle(META).unwrap();
        match version {
            Some(version) => store.put_cf(meta, VERSION_KEY, version.to_be_bytes()).unwrap(),
            None => store.delete_cf(meta, VERSION_KEY).unwrap(),
        }
        drop(store);
        let refused = open(folder.path()).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains(what), "{refused}");
        assert!(
            matches!(refused, StoreError::OtherVersion { found, expected: VERSION, .. } if found == version.unwrap_or(1))
        );
    }
}

#[test]
fn missing_files_are_damage_and_not_a_new_store() {
    for name in ["CURRENT", "MANIFEST", ".sst"] {
        let folder = tempfile::tempdir().unwrap();
        made(folder.path());
        std::fs::remove_file(file(folder.path(), |file| file.contains(name))).unwrap();
        for _ in 0..2 {
            let refused = open(folder.path()).map(|_| ()).unwrap_err();
            assert!(matches!(refused, StoreError::Damaged { .. }), "{name}: {refused}");
            assert!(refused.to_string().contains("move the folder `blocks` away"), "{refused}");
        }
    }
}

#[test]
fn a_creation_that_was_cut_short_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("LOCK"), []).unwrap();
    std::fs::write(folder.path().join("IDENTITY"), "x").unwrap();
    assert!(open(folder.path()).is_ok());
    // families without a word of whose they are
    let folder = tempfile::tempdir().unwrap();
    drop(super::open(folder.path(), 8 << 20).unwrap());
    assert_eq!(open(folder.path()).unwrap().get(&key(3)).unwrap(), Some(3_u64.to_be_bytes().to_vec()));
}

/// Whatever is read is what was written, or the damage is noticed.
#[test]
fn flipped_bytes_are_noticed_and_never_read() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    let mut noticed = 0;
    for name in ["MANIFEST", ".sst", "CURRENT"] {
        let path = file(folder.path(), |file| file.contains(name));
        let good = std::fs::read(&path).unwrap();
        for part in 1..24 {
            let at = good.len() * part / 24;
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            let copy = tempfile::tempdir().unwrap();
            for entry in std::fs::read_dir(folder.path()).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
            std::fs::write(copy.path().join(path.file_name().unwrap()), bad).unwrap();
            let read = open(copy.path()).and_then(|store| {
                store.tree(&store.tip()?)?;
                (0..KEYS).try_for_each(|number| {
                    assert_eq!(store.value(&key(number))?, Some(number.to_be_bytes().to_vec()), "{name}, byte {at}");
                    Ok(())
                })
            });
            if let Err(e) = read {
                let is_said =
                    matches!(e, StoreError::Damaged { .. } | StoreError::Corrupt { .. } | StoreError::Database(_));
                assert!(is_said, "{name}, byte {at}: {e}");
                noticed += 1;
            }
        }
    }
    assert!(noticed > 30, "{noticed} noticed");
}
