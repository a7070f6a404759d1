//! Segment files: `00000001.log` …, each filled with zeros and synced before it is used, so that appending overwrites blocks
//! that exist already. The first sector says which segment of which chain's log it is. Those that are dropped are used again: their blocks are there, so that a full disk cannot stop the log
//! and the file system has nothing to write down. They are zeroed like new ones, or a torn group could not be told from an
//! altered one.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use schemas::cbor::sha256;
use schemas::id::ChainId;

use super::group::SECTOR;
use super::{LogError, SEGMENT_BYTES, file_error};

/// Length of the head: a sector, so that groups begin at sectors.
pub(super) const HEAD_BYTES: u64 = SECTOR as u64;
/// First bytes of a head, without the version.
const MAGIC: &[u8; 3] = b"CSL";
const VERSION: u8 = b'1';
/// Magic, version, number and chain.
const COVERED: usize = 4 + 8 + 32;

/// What the first sector of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// It belongs to the log of a chain.
    Of { number: u64, chain: ChainId },
    /// It is whole, and of a version that is not known here.
    Newer,
}

/// The head of a segment, as long as a sector.
fn head(number: u64, chain: &ChainId) -> Vec<u8> {
    let mut out = [&MAGIC[..], &[VERSION], &number.to_be_bytes(), chain.as_bytes()].concat();
    assert!(out.len() == COVERED, "the head has its length");
    let check = sha256(&out);
    out.extend_from_slice(&check.0[..8]);
    out.resize(SECTOR, 0);
    out
}

/// Reads a segment's head. `None` when it has none: it was written before there were any, or is damaged.
pub(super) fn read_head(bytes: &[u8]) -> Option<Head> {
    let (covered, rest) = bytes.get(..SECTOR)?.split_at_checked(COVERED)?;
    let (check, rest) = rest.split_at_checked(8)?;
    if !covered.starts_with(MAGIC) || sha256(covered).0[..8] != *check {
        return None;
    }
    if covered.get(3) != Some(&VERSION) {
        return Some(Head::Newer);
    }
    if rest.iter().any(|&b| b != 0) {
        return None;
    }
    let number = u64::from_be_bytes(covered.get(4..12)?.try_into().ok()?);
    Some(Head::Of { number, chain: ChainId::from_slice(covered.get(12..)?)? })
}

/// The file of a segment.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.log"))
}

/// Opens for reading and overwriting.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    std::fs::OpenOptions::new().read(true).write(true).open(path)
}

/// Freed files that are kept.
const FREE_MAX: usize = 2;

/// Makes an empty segment, out of a freed one if there is one: whole or not at all.
pub(super) fn create(folder: &Path, number: u64, chain: &ChainId) -> std::io::Result<()> {
    let unfinished = folder.join(format!("{number:08}.new"));
    match freed(folder)?.first() {
        Some(free) => std::fs::rename(free, &unfinished)?,
        None => drop(File::create(&unfinished)?),
    }
    let mut file = open(&unfinished)?;
    let zeros = vec![0; 128 << 10];
    for _ in 0..SEGMENT_BYTES / zeros.len() as u64 {
        file.write_all(&zeros)?;
    }
    file.set_len(SEGMENT_BYTES)?;
    file.write_all_at(&head(number, chain), 0)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path(folder, number))?;
    File::open(folder)?.sync_all()
}

/// Takes a segment out of the log.
pub(super) fn free(folder: &Path, number: u64) -> std::io::Result<()> {
    if freed(folder)?.len() < FREE_MAX {
        std::fs::rename(path(folder, number), folder.join(format!("{number:08}.free")))?;
    } else {
        std::fs::remove_file(path(folder, number))?;
    }
    // before anything is written over it: else its zeros could come to the disk under the old name
    File::open(folder)?.sync_all()
}

fn freed(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        out.push(entry?.path());
    }
    out.retain(|path| path.extension().is_some_and(|end| end == "free"));
    out.sort_unstable();
    Ok(out)
}

/// Numbers of the segments in order; leftovers of an interrupted `create` are removed.
pub(super) fn list(folder: &Path) -> Result<Vec<u64>, LogError> {
    if !folder.exists() {
        return Ok(vec![]);
    }
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(file_error(folder))? {
        let path = entry.map_err(file_error(folder))?.path();
        let number = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
        match (path.extension().and_then(|e| e.to_str()), number) {
            (Some("log"), Some(number)) => out.push(number),
            (Some("new"), Some(_)) => std::fs::remove_file(&path).map_err(file_error(&path))?,
            _ => {}
        }
    }
    out.sort_unstable();
    Ok(out)
}
