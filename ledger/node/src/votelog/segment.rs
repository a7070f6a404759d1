//! Segment files: `00000001.log` …, each filled with zeros and synced before it is used, so that appending overwrites blocks
//! that exist already.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{LogError, SEGMENT_BYTES, file_error};

/// The file of a segment.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.log"))
}

/// Opens for reading and overwriting.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    std::fs::OpenOptions::new().read(true).write(true).open(path)
}

/// Makes an empty segment: whole or not at all.
pub(super) fn create(folder: &Path, number: u64) -> std::io::Result<()> {
    let unfinished = folder.join(format!("{number:08}.new"));
    let mut file = File::create(&unfinished)?;
    let zeros = vec![0; 128 << 10];
    for _ in 0..SEGMENT_BYTES / zeros.len() as u64 {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    std::fs::rename(&unfinished, path(folder, number))?;
    File::open(folder)?.sync_all()
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
