//! One process for one data folder: two with one key and one vote log would contradict each other.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::NodeError;
use crate::votelog::file_error;

/// Held as long as the folder is used; the system lets go when the process ends.
pub(crate) struct DataLock(#[expect(dead_code, reason = "it is held, never read")] File);

impl DataLock {
    /// Takes the folder, which is made if it is not there.
    ///
    /// # Errors
    /// `NodeError::InUse` when another one has it.
    pub fn take(data: &Path) -> Result<Self, NodeError> {
        std::fs::create_dir_all(data).map_err(file_error(data))?;
        let path = data.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(file_error(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(NodeError::InUse { path: data.display().to_string() }),
            Err(TryLockError::Error(cause)) => Err(file_error(&path)(cause).into()),
        }
    }
}
