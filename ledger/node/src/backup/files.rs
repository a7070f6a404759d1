//! Files of a backup: copied and synced one by one, named with size and hash. Notes and locks of RocksDB are none.

use std::fs::File;
use std::path::{Path, PathBuf};

use schemas::id::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::NodeError;
use crate::votelog::file_error;

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content.
    pub sha256: Digest,
}

/// The files of a folder that matter.
fn names(folder: &Path) -> Result<Vec<(PathBuf, String)>, NodeError> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(file_error(folder))? {
        let path = entry.map_err(file_error(folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_file() && name != "LOCK" && !name.starts_with("LOG") {
            out.push((path, name));
        }
    }
    out.sort_unstable();
    Ok(out)
}

/// Names, sizes and hashes.
pub(super) fn list(folder: &Path) -> Result<Vec<BackupFile>, NodeError> {
    let hashed = |(path, name): (PathBuf, String)| {
        let (mut file, mut hash) = (File::open(&path).map_err(file_error(&path))?, Sha256::new());
        let bytes = std::io::copy(&mut file, &mut Hashing(&mut hash)).map_err(file_error(&path))?;
        Ok(BackupFile { name, bytes, sha256: Digest(hash.finalize().into()) })
    };
    names(folder)?.into_iter().map(hashed).collect()
}

struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Copies a folder's files into a new folder, durable.
pub(super) fn copy_all(from: &Path, to: &Path) -> Result<(), NodeError> {
    std::fs::create_dir_all(to).map_err(file_error(to))?;
    names(from)?.into_iter().try_for_each(|(path, name)| copy(&path, &to.join(name)))?;
    sync(to)
}

/// Copies a file, durable. It keeps its mode.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), NodeError> {
    std::fs::copy(from, to).map_err(file_error(from))?;
    sync(to)
}

pub(super) fn sync(path: &Path) -> Result<(), NodeError> {
    Ok(File::open(path).and_then(|file| file.sync_all()).map_err(file_error(path))?)
}

/// Removes a folder, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), NodeError> {
    match std::fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(file_error(path)(cause).into()),
        _ => Ok(()),
    }
}

/// Moves a folder away, in place of what was moved there before.
pub(super) fn put_aside(path: &Path, to: &Path) -> Result<(), NodeError> {
    if path.exists() {
        remove(to)?;
        std::fs::rename(path, to).map_err(file_error(path))?;
    }
    Ok(())
}
