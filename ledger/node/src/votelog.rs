//! The vote log: what this validator said, durable before it said it. Groups of records (one per turn of the loop), numbered,
//! chained by hash, in zero-filled segments, one fdatasync per group. Only the last group can be unsynced; a torn one is
//! dropped, anything else that does not fit refuses the start: a validator that forgets its votes could contradict itself.

mod group;
mod mark;
mod open;
mod segment;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use schemas::ErrorClass;
use schemas::cbor;
use schemas::id::{ChainId, Digest, Height};
use schemas::pbft::Record;

pub(crate) use self::mark::Mark;

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
    #[error(
        "vote log {path}, byte {offset}: found {what}; bring nothing older back; `chartseal restore` makes the validator begin anew, in silence until it is safe"
    )]
    Corrupt {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// It holds votes of another chain.
    #[error(
        "vote log {path}: found votes of chain {found}, expected chain {expected}, the genesis file's; name the genesis file of this \
         data folder, or the data folder of this genesis: votes of one chain mean nothing in another"
    )]
    OtherChain {
        /// The file.
        path: String,
        /// The chain that it names.
        found: ChainId,
        /// The genesis'.
        expected: ChainId,
    },
    /// What a newer program wrote: whole, and unknown here.
    #[error(
        "vote log {path}, byte {offset}: found {what} of a newer version, whole but unknown here; start the version that wrote it, \
         or a newer one"
    )]
    Newer {
        /// The file.
        path: String,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: &'static str,
    },
    /// It ends before the mark beside the key.
    #[error(
        "vote log {path}: found an older copy that ends before group {found}, expected it to reach group {expected}, as the mark \
         beside the key says; without the newest votes this validator could contradict itself: `chartseal restore` makes it \
         begin anew, in silence until it is safe"
    )]
    Older {
        /// The folder.
        path: String,
        /// The next group here.
        found: u64,
        /// The next group when the mark was written.
        expected: u64,
    },
    /// The mark beside the key is damaged.
    #[error("mark {path}: found other bytes than were written; `chartseal restore` makes the validator begin anew")]
    Mark {
        /// The file.
        path: String,
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
            Self::Corrupt { .. } | Self::Older { .. } | Self::Mark { .. } | Self::Forgotten { .. } => {
                ErrorClass::Corrupt
            }
            Self::OtherChain { .. } | Self::Newer { .. } => ErrorClass::Caller,
            Self::TooLarge { .. } => ErrorClass::Bug,
        }
    }
}

pub(crate) fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> LogError {
    move |cause| LogError::File { path: path.display().to_string(), cause }
}

/// The open log.
pub(crate) struct VoteLog {
    folder: PathBuf,
    /// The chain whose votes it holds.
    of: ChainId,
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
    /// Where the high-water mark is, and the next group when it was written last.
    mark: Option<(PathBuf, u64)>,
    /// A mark on its way to the disk.
    marking: Option<JoinHandle<std::io::Result<()>>>,
}

impl VoteLog {
    /// Whether the folder holds a log.
    pub fn exists(folder: &Path) -> Result<bool, LogError> {
        Ok(!segment::list(folder)?.is_empty())
    }

    /// Whether the log has let its beginning go: what stood there is final in the store that lies beside it, and nowhere else.
    pub fn has_dropped(folder: &Path) -> Result<bool, LogError> {
        Ok(segment::list(folder)?.first().is_some_and(|&first| first > 1))
    }

    /// Opens or creates the log of a chain and reads every record. It must reach as far as the mark at `mark`.
    ///
    /// # Errors
    /// `LogError` for anything but a torn last group.
    pub fn open(folder: &Path, of: &ChainId, mark: &Path) -> Result<(Self, Vec<Record>), LogError> {
        let known = Mark::read(mark)?.unwrap_or_default();
        let (mut log, records) = open::open(folder, of, &known)?;
        log.mark = Some((mark.to_owned(), log.next));
        log.mark()?;
        Ok((log, records))
    }

    /// Makes a new log in place of a lost one, with one record. Its numbers go on where the mark says that the lost one was.
    ///
    /// # Errors
    /// `LogError` when it cannot be made.
    pub fn begin(folder: &Path, of: &ChainId, lost: &Mark, record: &Record) -> Result<(), LogError> {
        let (mut log, records) = open::open(folder, of, &Mark::default())?;
        assert!(records.is_empty(), "the folder is new");
        log.next = lost.next;
        log.append(record);
        log.sync()
    }

    /// Adds a record to the group of this turn.
    pub fn append(&mut self, record: &Record) {
        let bytes = cbor::encode(record);
        self.pending_height = self.pending_height.max(record.height());
        group::push_record(&mut self.pending, &bytes);
    }

    /// Groups that are durable.
    pub fn groups(&self) -> u64 {
        self.next
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
        if length > SEGMENT_BYTES - segment::HEAD_BYTES {
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
        self.mark_beside(mark::GROUPS)
    }

    /// Writes the mark now: at the start, and at an orderly end.
    ///
    /// # Errors
    /// `LogError` when it cannot be made durable.
    pub fn mark(&mut self) -> Result<(), LogError> {
        self.marked()?;
        let Some((path, at)) = &mut self.mark else { return Ok(()) };
        *at = self.next;
        Mark { next: self.next, digest: self.chain }.write(path).map_err(file_error(path))
    }

    /// Nothing was said for a while: the mark comes up with the log, beside the loop.
    ///
    /// # Errors
    /// `LogError` when an earlier one could not be made durable.
    pub fn mark_quiet(&mut self) -> Result<(), LogError> {
        if self.pending.is_empty() { self.mark_beside(1) } else { Ok(()) }
    }

    /// Writes it beside the loop when the log has grown by so many groups since.
    fn mark_beside(&mut self, groups: u64) -> Result<(), LogError> {
        let Some((path, at)) = &mut self.mark else { return Ok(()) };
        if self.next < *at + groups || self.marking.as_ref().is_some_and(|marking| !marking.is_finished()) {
            return Ok(());
        }
        *at = self.next;
        let (path, mark) = (path.clone(), Mark { next: self.next, digest: self.chain });
        self.marked()?;
        self.marking = Some(std::thread::spawn(move || mark.write(&path)));
        Ok(())
    }

    /// A mark that failed ends the process like every sync.
    fn marked(&mut self) -> Result<(), LogError> {
        let Some((path, _)) = &self.mark else { return Ok(()) };
        match self.marking.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.map_err(file_error(path)),
            Some(Err(_)) => Err(file_error(path)(std::io::Error::other("the mark was not written"))),
            None => Ok(()),
        }
    }

    /// Number of segments that hold records.
    pub fn segments(&self) -> usize {
        self.heights.len()
    }

    /// Drops whole segments, oldest first, that hold nothing above `height`: their files are used again.
    ///
    /// # Errors
    /// `LogError` when a file cannot be removed.
    pub fn drop_up_to(&mut self, height: Height) -> Result<(), LogError> {
        while let Some((&oldest, &highest)) = self.heights.first_key_value() {
            if oldest == self.segment || highest > height {
                break;
            }
            segment::free(&self.folder, oldest).map_err(file_error(&segment::path(&self.folder, oldest)))?;
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
            Some(Err(_)) | None => segment::create(&self.folder, next, &self.of).map_err(file_error(&path))?,
        }
        self.file = segment::open(&path).map_err(file_error(&path))?;
        self.segment = next;
        self.offset = segment::HEAD_BYTES;
        Ok(())
    }

    /// Fills the next segment with zeros beside the loop, once half of this one is used.
    fn prepare_next(&mut self) {
        if self.preparing.is_some() || self.offset < SEGMENT_BYTES / 2 {
            return;
        }
        let (folder, next, of) = (self.folder.clone(), self.segment + 1, self.of);
        self.preparing = Some(std::thread::spawn(move || segment::create(&folder, next, &of)));
    }
}

impl Drop for VoteLog {
    fn drop(&mut self) {
        if let Some(preparing) = self.preparing.take() {
            // an unfinished file is a leftover that the next start removes
            drop(preparing.join());
        }
        if let Some(marking) = self.marking.take() {
            // the mark before is there still
            drop(marking.join());
        }
    }
}

#[cfg(test)]
mod tests;
