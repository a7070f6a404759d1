//! The high-water mark: a file beside the key, away from the log, that says how far the log was durable at some time. A log that
//! ends below it is an older copy. It is written beside the loop, each so many groups, when nothing was said for a while, and at the end, so
//! that it costs no vote a second sync: what it proves is that nothing older than that was brought back, not that nothing is missing
//! since. Nobody brings a vote log back (`chartseal restore`); the mark catches who does it all the same.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use schemas::cbor::sha256;
use schemas::id::Digest;

use super::{LogError, file_error};

/// Groups between two marks.
pub(super) const GROUPS: u64 = if cfg!(test) { 8 } else { 1_024 };
const MAGIC: &[u8; 4] = b"CSM1";
const BYTES: usize = 4 + 8 + 32 + 8;

/// How far a log was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Number of the next group.
    pub next: u64,
    /// Digest of the one before it; zero before the first.
    pub digest: Digest,
}

impl Default for Mark {
    fn default() -> Self {
        Self { next: 0, digest: Digest::ZERO }
    }
}

impl Mark {
    /// Reads the mark of a key. One without content says only that the key has voted.
    ///
    /// # Errors
    /// `LogError` when it is damaged.
    pub fn read(path: &Path) -> Result<Option<Self>, LogError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) if bytes.is_empty() => return Ok(Some(Self::default())),
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(file_error(path)(cause)),
        };
        let damaged = || LogError::Mark { path: path.display().to_string() };
        let (content, check) = bytes.split_at_checked(BYTES - 8).ok_or_else(damaged)?;
        let (Some(next), Some(digest)) = (content.get(4..12), content.get(12..).and_then(Digest::from_slice)) else {
            return Err(damaged());
        };
        if !content.starts_with(MAGIC) || sha256(content).0[..8] != *check {
            return Err(damaged());
        }
        let next = next.try_into().map(u64::from_be_bytes).map_err(|_| damaged())?;
        Ok(Some(Self { next, digest }))
    }

    /// Writes it: the old one or the new one is there, never a part.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut content = [&MAGIC[..], &self.next.to_be_bytes(), &self.digest.0].concat();
        let check = sha256(&content);
        content.extend_from_slice(&check.0[..8]);
        let unfinished = path.with_extension("started.new");
        let mut file = File::create(&unfinished)?;
        file.write_all(&content)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    }
}
