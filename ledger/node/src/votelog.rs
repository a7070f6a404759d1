//! The vote log: what this validator said, durable before it said it. Groups of records (one per turn of the loop), numbered,
//! chained by hash, in zero-filled segments, one fdatasync per group. Only the last group can be unsynced; a torn one is
//! dropped, anything else that does not fit refuses the start: a validator that forgets its votes could contradict itself.

mod group;
mod open;
mod segment;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use schemas::ErrorClass;
use schemas::cbor;
use schemas::id::{Digest, Height};
use schemas::pbft::Record;

/// Size of a segment file; small in unit tests, which write hundreds of them.
pub(crate) const SEGMENT_BYTES: u64 = if cfg!(test) { 128 << 10 } else { 16 << 20 };
/// Records waiting for one sync; a turn ends before it grows past this.
pub(crate) const PENDING_BYTES_SOFT: usize = 2 << 20;

/// A vote log that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system failed. After a failed sync nothing more may be said.
    #[error("vote log {path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Bytes that were synced are not what was written.
    #[error("vote log {path}, byte {offset}: found {what}; bring nothing older back; `chartseal restore` makes the validator begin anew, in silence until it is safe")]
    Corrupt {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// The key has voted before, and what it voted is gone.
    #[error(
        "vote log {path}: found none, but {mark} or a block store says that this key has voted, and with so few validators \
         nobody can say when it may vote again; bring the folder back as it was last, never an older copy"
    )]
    Forgotten {
        /// The folder.
        path: String,
        /// The mark beside the key.
        mark: String,
    },
    /// More in one turn than a segment holds.
    #[error("vote log: found {bytes} bytes in one turn, expected less than a segment")]
    TooLarge {
        /// Bytes.
        bytes: usize,
    },
}

impl LogError {
    /// The class that decides about exit codes.
    pub const fn class(&self) -> ErrorClass {
        match self {
            Self::File { .. } => ErrorClass::Transient,
            Self::Corrupt { .. } | Self::Forgotten { .. } => ErrorClass::Corrupt,
            Self::TooLarge { .. } => ErrorClass::Bug,
        }
    }
}

pub(crate) fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> LogError {
    let path = path.display().to_string();
    move |cause| LogError::File { path, cause }
}

/// The open log.
pub(crate) struct VoteLog {
    folder: PathBuf,
    /// Highest height of the records in each segment.
    heights: BTreeMap<u64, Height>,
    segment: u64,
    file: File,
    offset: u64,
    /// Number of the next group.
    next: u64,
    /// Digest of the last group.
    chain: Digest,
    pending: Vec<u8>,
    pending_height: Height,
    /// The next segment, being filled with zeros.
    preparing: Option<JoinHandle<std::io::Result<()>>>,
}

impl VoteLog {
    /// Whether the folder holds a log.
    pub fn exists(folder: &Path) -> Result<bool, LogError> {
        Ok(!segment::list(folder)?.is_empty())
    }

    /// Opens or creates the log and reads every record.
    ///
    /// # Errors
    /// `LogError` for anything but a torn last group.
    pub fn open(folder: &Path) -> Result<(Self, Vec<Record>), LogError> {
        open::open(folder)
    }

    /// Adds a record to the group of this turn.
    pub fn append(&mut self, record: &Record) {
        let bytes = cbor::encode(record);
        self.pending_height = self.pending_height.max(record.height());
        group::push_record(&mut self.pending, &bytes);
    }

    /// Bytes that wait for `sync`.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Makes the group durable. After an error the process must end: what reached the disk is unknown.
    ///
    /// # Errors
    /// `LogError` when writing or syncing fails.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (bytes, digest) = group::encode(self.next, &self.chain, &self.pending);
        let length = bytes.len() as u64;
        if length > SEGMENT_BYTES {
            return Err(LogError::TooLarge { bytes: bytes.len() });
        }
        if self.offset + length > SEGMENT_BYTES {
            self.turn_over()?;
        }
        let path = segment::path(&self.folder, self.segment);
        self.file.write_all_at(&bytes, self.offset).map_err(file_error(&path))?;
        self.file.sync_data().map_err(file_error(&path))?;
        self.chain = digest;
        self.next += 1;
        self.offset += length;
        let height = self.heights.entry(self.segment).or_default();
        *height = self.pending_height.max(*height);
        self.pending.clear();
        self.prepare_next();
        Ok(())
    }

    /// Number of segments that hold records.
    pub fn segments(&self) -> usize {
        self.heights.len()
    }

    /// Drops whole segments, oldest first, that hold nothing above `height`.
    ///
    /// # Errors
    /// `LogError` when a file cannot be removed.
    pub fn drop_up_to(&mut self, height: Height) -> Result<(), LogError> {
        while let Some((&oldest, &highest)) = self.heights.first_key_value() {
            if oldest == self.segment || highest > height {
                break;
            }
            let path = segment::path(&self.folder, oldest);
            std::fs::remove_file(&path).map_err(file_error(&path))?;
            self.heights.remove(&oldest);
        }
        assert!(self.heights.last_key_value().is_none_or(|(&last, _)| last <= self.segment), "the current one stays");
        Ok(())
    }

    /// Continues in the next segment, which must be durable as an empty file first.
    fn turn_over(&mut self) -> Result<(), LogError> {
        let next = self.segment + 1;
        let path = segment::path(&self.folder, next);
        match self.preparing.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.map_err(file_error(&path))?,
            Some(Err(_)) | None => segment::create(&self.folder, next).map_err(file_error(&path))?,
        }
        self.file = segment::open(&path).map_err(file_error(&path))?;
        self.segment = next;
        self.offset = 0;
        Ok(())
    }

    /// Fills the next segment with zeros beside the loop, once half of this one is used.
    fn prepare_next(&mut self) {
        if self.preparing.is_some() || self.offset < SEGMENT_BYTES / 2 {
            return;
        }
        let (folder, next) = (self.folder.clone(), self.segment + 1);
        self.preparing = Some(std::thread::spawn(move || segment::create(&folder, next)));
    }
}

impl Drop for VoteLog {
    fn drop(&mut self) {
        if let Some(preparing) = self.preparing.take() {
            // an unfinished file is a leftover that the next start removes
            drop(preparing.join());
        }
    }
}

#[cfg(test)]
mod tests;
