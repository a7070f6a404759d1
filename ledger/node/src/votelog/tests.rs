//! What a power cut, a bit flip or a lost file does to the vote log.

use schemas::block::{CommitCertificate, Phase, Vote};
use schemas::id::{ChainId, Digest, RawSignature, Signature};
use schemas::pbft::{Committed, Prepared, Record};

use super::*;

fn record(height: Height) -> Record {
    if height.is_multiple_of(2) {
        let certificate = CommitCertificate { view: 0, commits: vec![] };
        return Record::Committed(Committed { height, digest: Digest([9; 32]), certificate });
    }
    let vote =
        Vote { chain: ChainId([1; 32]), epoch: 0, view: 0, height, phase: Phase::Commit, digest: Digest([3; 32]) };
    let commit = Signature(RawSignature([5; 64]));
    let prepares =
        (0..20).map(|validator| schemas::block::ValidatorSignature { validator, signature: commit }).collect();
    Record::Prepared(Prepared { vote, prepares, commit })
}

/// A log with one group per height; returns where each group starts.
fn written(folder: &Path, heights: Height) -> Vec<u64> {
    let (mut log, before) = VoteLog::open(folder).unwrap();
    assert!(before.is_empty());
    (1..=heights)
        .map(|height| {
            let at = log.offset;
            log.append(&record(height));
            log.sync().unwrap();
            at
        })
        .collect()
}

fn alter(folder: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let path = segment::path(folder, 1);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn what_was_synced_is_read_again_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 10);
    let (mut log, records) = VoteLog::open(folder.path()).unwrap();
    assert_eq!(records, (1..=10).map(record).collect::<Vec<_>>());
    log.append(&record(11));
    log.sync().unwrap();
    drop(log);
    assert_eq!(VoteLog::open(folder.path()).unwrap().1.len(), 11);
}

#[test]
fn a_torn_last_group_is_dropped_whichever_sectors_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let starts = written(folder.path(), 7);
    let last = *starts.last().unwrap() as usize;
    let full = std::fs::read(segment::path(folder.path(), 1)).unwrap();
    let sectors = full[last..].chunks(512).take_while(|s| s.iter().any(|&b| b != 0)).count();
    assert!(sectors >= 3, "the group spans sectors");
    for missing in 0..sectors {
        std::fs::write(segment::path(folder.path(), 1), &full).unwrap();
        alter(folder.path(), |bytes| bytes[last + missing * 512..last + (missing + 1) * 512].fill(0));
        let (mut log, records) = VoteLog::open(folder.path()).unwrap();
        assert_eq!(records.len(), 6, "sector {missing} is missing");
        log.append(&record(8));
        log.sync().unwrap();
        drop(log);
        assert_eq!(VoteLog::open(folder.path()).unwrap().1.len(), 7);
    }
}

#[test]
fn a_missing_sector_before_a_good_group_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let starts = written(folder.path(), 9);
    for at in [starts[0], starts[2] + 512, starts[4]] {
        let path = segment::path(folder.path(), 1);
        let full = std::fs::read(&path).unwrap();
        alter(folder.path(), |bytes| bytes[at as usize..at as usize + 512].fill(0));
        assert!(matches!(VoteLog::open(folder.path()), Err(LogError::Corrupt { .. })), "at {at}");
        std::fs::write(&path, full).unwrap();
    }
}

#[test]
fn every_flipped_bit_refuses_the_last_group_included() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3);
    let path = segment::path(folder.path(), 1);
    let full = std::fs::read(&path).unwrap();
    let used = full.iter().rposition(|&b| b != 0).unwrap() + 1;
    for at in (0..used).step_by(7) {
        alter(folder.path(), |bytes| bytes[at] ^= 1 << (at % 8));
        assert!(matches!(VoteLog::open(folder.path()), Err(LogError::Corrupt { .. })), "byte {at}");
        std::fs::write(&path, &full).unwrap();
    }
}

#[test]
fn segments_turn_over_and_old_ones_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = VoteLog::open(folder.path()).unwrap();
    let mut height = 0;
    while log.segments() < 4 {
        height += 1;
        for _ in 0..10 {
            log.append(&record(height));
        }
        log.sync().unwrap();
    }
    let kept = height - 1;
    log.drop_up_to(height / 2).unwrap();
    assert!(log.segments() < 4, "whole segments below are gone");
    drop(log);
    let (log, records) = VoteLog::open(folder.path()).unwrap();
    assert!(records.iter().any(|r| r.height() == kept), "what is above stays");
    assert!(records.iter().all(|r| r.height() > 1), "what is below went with its segment");
    drop(log);
    let middle = segment::list(folder.path()).unwrap()[1];
    std::fs::remove_file(segment::path(folder.path(), middle)).unwrap();
    assert!(matches!(VoteLog::open(folder.path()), Err(LogError::Corrupt { .. })), "a lost segment");
}
