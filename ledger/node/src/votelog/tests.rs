//! What a power cut, a bit flip or a lost file does to the vote log.

use schemas::block::{CommitCertificate, Phase, Vote};
use schemas::id::{ChainId, Digest, RawSignature, Signature};
use schemas::pbft::{Committed, Prepared, Record};

use super::*;

const CHAIN: ChainId = ChainId([1; 32]);

fn record(height: Height) -> Record {
    if height.is_multiple_of(2) {
        let certificate = CommitCertificate { view: 0, commits: vec![] };
        return Record::Committed(Committed { height, digest: Digest([9; 32]), certificate });
    }
    let vote = Vote { chain: CHAIN, epoch: 0, view: 0, height, phase: Phase::Commit, digest: Digest([3; 32]) };
    let commit = Signature(RawSignature([5; 64]));
    let prepares =
        (0..20).map(|validator| schemas::block::ValidatorSignature { validator, signature: commit }).collect();
    Record::Prepared(Prepared { vote, prepares, commit })
}

/// Opened with a mark that stands beside it.
fn opened(folder: &Path) -> Result<(VoteLog, Vec<Record>), LogError> {
    VoteLog::open(&folder.join("votes"), &CHAIN, &folder.join("key.started"))
}

/// A log with one group per height; returns where each group starts.
fn written(folder: &Path, heights: Height) -> Vec<u64> {
    let (mut log, before) = opened(folder).unwrap();
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
    let path = segment::path(&folder.join("votes"), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
}

#[test]
fn what_was_synced_is_read_again_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 10);
    let (mut log, records) = opened(folder.path()).unwrap();
    assert_eq!(records, (1..=10).map(record).collect::<Vec<_>>());
    log.append(&record(11));
    log.sync().unwrap();
    drop(log);
    assert_eq!(opened(folder.path()).unwrap().1.len(), 11);
}

#[test]
fn votes_of_another_chain_and_of_a_newer_version_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3);
    let (votes, mark) = (folder.path().join("votes"), folder.path().join("key.started"));
    let other = ChainId([2; 32]);
    let refused = |of: &ChainId| VoteLog::open(&votes, of, &mark).map(|_| ()).unwrap_err();
    assert!(matches!(refused(&other), LogError::OtherChain { found: CHAIN, .. }), "the segment says it");
    // written before segments had a head: the records say it
    headless(folder.path());
    assert!(matches!(refused(&other), LogError::OtherChain { found: CHAIN, .. }), "the records say it");
    assert_eq!(opened(folder.path()).unwrap().1.len(), 3, "it is used where it belongs");

    // a kind of record that is not known here, in a group with the right hash
    let (mut log, _) = opened(folder.path()).unwrap();
    group::push_record(&mut log.pending, &[0x82, 0x18, 0x63, 0x80]);
    log.sync().unwrap();
    drop(log);
    let newer = refused(&CHAIN);
    assert!(matches!(newer, LogError::Newer { what: "a record", .. }), "{newer}");
    assert!(newer.to_string().contains("the version that wrote it"), "{newer}");
}

/// Turns the first segment into one of the time before segments had heads.
fn headless(folder: &Path) {
    alter(folder, |bytes| {
        bytes.drain(..group::SECTOR);
        bytes.resize(SEGMENT_BYTES as usize, 0);
    });
}

#[test]
fn a_log_without_heads_is_continued_and_its_next_segment_has_one() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 5);
    headless(folder.path());
    let (mut log, records) = opened(folder.path()).unwrap();
    assert_eq!(records.len(), 5);
    while log.segment < 2 {
        log.append(&record(6));
        log.sync().unwrap();
    }
    let last = log.next;
    drop(log);
    assert_eq!(opened(folder.path()).unwrap().1.len() as u64, last);
    let second = std::fs::read(segment::path(&folder.path().join("votes"), 2)).unwrap();
    assert_eq!(segment::read_head(&second), Some(segment::Head::Of { number: 2, chain: CHAIN }));
}

#[test]
fn a_lost_head_before_the_only_group_refuses() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 1);
    std::fs::remove_file(folder.path().join("key.started")).unwrap();
    alter(folder.path(), |bytes| bytes[..group::SECTOR].fill(0));
    assert!(matches!(opened(folder.path()).map(|_| ()), Err(LogError::Corrupt { .. })), "it is not torn");
}

#[test]
fn a_torn_last_group_is_dropped_whichever_sectors_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let starts = written(folder.path(), 7);
    let last = *starts.last().unwrap() as usize;
    let full = std::fs::read(segment::path(&folder.path().join("votes"), 1)).unwrap();
    let sectors = full[last..].chunks(512).take_while(|s| s.iter().any(|&b| b != 0)).count();
    assert!(sectors >= 3, "the group spans sectors");
    for missing in 0..sectors {
        std::fs::write(segment::path(&folder.path().join("votes"), 1), &full).unwrap();
        // the mark of the turn before says that more was durable
        std::fs::remove_file(folder.path().join("key.started")).unwrap();
        alter(folder.path(), |bytes| bytes[last + missing * 512..last + (missing + 1) * 512].fill(0));
        let (mut log, records) = opened(folder.path()).unwrap();
        assert_eq!(records.len(), 6, "sector {missing} is missing");
        log.append(&record(8));
        log.sync().unwrap();
        drop(log);
        assert_eq!(opened(folder.path()).unwrap().1.len(), 7);
    }
}

#[test]
fn a_missing_sector_before_a_good_group_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let starts = written(folder.path(), 9);
    for at in [starts[0], starts[2] + 512, starts[4]] {
        let path = segment::path(&folder.path().join("votes"), 1);
        let full = std::fs::read(&path).unwrap();
        alter(folder.path(), |bytes| bytes[at as usize..at as usize + 512].fill(0));
        assert!(matches!(opened(folder.path()), Err(LogError::Corrupt { .. })), "at {at}");
        std::fs::write(&path, full).unwrap();
    }
}

#[test]
fn every_flipped_bit_refuses_the_last_group_included() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3);
    let path = segment::path(&folder.path().join("votes"), 1);
    let full = std::fs::read(&path).unwrap();
    let used = full.iter().rposition(|&b| b != 0).unwrap() + 1;
    for at in (0..used).step_by(7) {
        alter(folder.path(), |bytes| bytes[at] ^= 1 << (at % 8));
        assert!(matches!(opened(folder.path()), Err(LogError::Corrupt { .. })), "byte {at}");
        std::fs::write(&path, &full).unwrap();
    }
}

#[test]
fn segments_turn_over_and_old_ones_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = opened(folder.path()).unwrap();
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
    let (log, records) = opened(folder.path()).unwrap();
    assert!(records.iter().any(|r| r.height() == kept), "what is above stays");
    assert!(records.iter().all(|r| r.height() > 1), "what is below went with its segment");
    drop(log);
    let middle = segment::list(&folder.path().join("votes")).unwrap()[1];
    std::fs::remove_file(segment::path(&folder.path().join("votes"), middle)).unwrap();
    assert!(matches!(opened(folder.path()), Err(LogError::Corrupt { .. })), "a lost segment");
}

/// The log's folder as it is now, elsewhere.
fn copied(folder: &Path, to: &str) {
    std::fs::create_dir(folder.join(to)).unwrap();
    for entry in std::fs::read_dir(folder.join("votes")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.join(to).join(entry.file_name())).unwrap();
    }
}

fn brought_back(folder: &Path, from: &str) {
    std::fs::remove_dir_all(folder.join("votes")).unwrap();
    std::fs::rename(folder.join(from), folder.join("votes")).unwrap();
}

#[test]
fn a_quiet_log_is_marked_as_far_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let marked = || Mark::read(&folder.path().join("key.started")).unwrap().unwrap().next;
    let (mut log, _) = opened(folder.path()).unwrap();
    for height in 1..=3 {
        log.append(&record(height));
        log.sync().unwrap();
    }
    assert_eq!(marked(), 0, "so few groups are no reason while more come");
    log.append(&record(4));
    log.mark_quiet().unwrap();
    log.sync().unwrap();
    log.marked().unwrap();
    assert_eq!(marked(), 0, "what waits is not durable");
    log.mark_quiet().unwrap();
    log.marked().unwrap();
    assert_eq!(marked(), 4);
    assert!(log.marking.is_none() && log.mark_quiet().is_ok() && log.marking.is_none(), "and not again");
}

#[test]
fn an_older_copy_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3);
    copied(folder.path(), "old");
    let (mut log, _) = opened(folder.path()).unwrap();
    for height in 4..=3 + 3 * mark::GROUPS {
        log.append(&record(height));
        log.sync().unwrap();
    }
    // as after a crash: what is marked beside the loop, not at its end
    drop(log);
    copied(folder.path(), "new");
    brought_back(folder.path(), "old");
    for _ in 0..2 {
        let refused = opened(folder.path()).map(|(_, records)| records.len());
        assert!(matches!(refused, Err(LogError::Older { found: 3, .. })), "{refused:?}");
    }
    brought_back(folder.path(), "new");
    let (log, records) = opened(folder.path()).unwrap();
    assert_eq!(records.len() as u64, 3 + 3 * mark::GROUPS);
    drop(log);
    // what was written after an older copy was brought back, and then the mark of the true one
    let mark = std::fs::read(folder.path().join("key.started")).unwrap();
    std::fs::remove_dir_all(folder.path().join("votes")).unwrap();
    std::fs::remove_file(folder.path().join("key.started")).unwrap();
    let (mut log, _) = opened(folder.path()).unwrap();
    for height in 1..=3 + 3 * mark::GROUPS {
        log.append(&record(height + 2));
        log.sync().unwrap();
    }
    drop(log);
    std::fs::write(folder.path().join("key.started"), mark).unwrap();
    assert!(
        matches!(opened(folder.path()).map(|_| ()), Err(LogError::Corrupt { .. })),
        "another log of the same length"
    );
}

#[test]
fn a_damaged_mark_is_refused_and_an_empty_one_says_only_that_the_key_has_voted() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3);
    let path = folder.path().join("key.started");
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 4;
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(opened(folder.path()).map(|_| ()), Err(LogError::Mark { .. })), "byte {at}");
    }
    std::fs::write(&path, []).unwrap();
    assert_eq!(opened(folder.path()).unwrap().1.len(), 3);
}

#[test]
fn a_log_that_begins_anew_goes_on_behind_the_lost_one() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 20);
    drop(opened(folder.path()).unwrap());
    copied(folder.path(), "old");
    std::fs::remove_dir_all(folder.path().join("votes")).unwrap();
    let mark = Mark::read(&folder.path().join("key.started")).unwrap().unwrap();
    assert_eq!(mark.next, 20);
    VoteLog::begin(&folder.path().join("votes"), &CHAIN, &mark, &record(7)).unwrap();
    assert_eq!(opened(folder.path()).unwrap().1, [record(7)]);
    brought_back(folder.path(), "old");
    assert!(matches!(opened(folder.path()).map(|_| ()), Err(LogError::Older { .. })), "the lost one is older now");
}

#[test]
fn dropped_segments_are_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = opened(folder.path()).unwrap();
    let (mut height, mut reused) = (0, 0);
    let frees = |folder: &Path| {
        let entries = std::fs::read_dir(folder.join("votes")).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "free")).count()
    };
    while log.segment < 12 {
        height += 1;
        (0..10).for_each(|_| log.append(&record(height)));
        log.sync().unwrap();
        if log.segments() > 3 {
            log.drop_up_to(height - 1).unwrap();
            reused += usize::from(frees(folder.path()) > 0);
        }
    }
    assert!(reused > 2);
    drop(log);
    assert!(frees(folder.path()) <= 2);
    let (_, records) = opened(folder.path()).unwrap();
    assert_eq!(records.last(), Some(&record(height)), "what stood in a file before is gone");
    assert!(records.windows(2).all(|two| two[0].height() <= two[1].height()));
}
