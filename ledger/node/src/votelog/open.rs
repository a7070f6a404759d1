//! Reading the log at the start. Each group is synced before the next is written, so only the last one can be torn, and a
//! torn one lacks sectors: they still hold the segment's zeros. Whatever else does not fit was altered, of another chain or of a
//! newer version: nothing of it is used.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use schemas::id::{ChainId, Digest, Height};
use schemas::pbft::Record;

use super::group::{self, HEAD, Head, SECTOR};
use super::{LogError, Mark, SEGMENT_BYTES, VoteLog, file_error, segment};

/// The reader's place in the chain.
struct Reader {
    records: Vec<Record>,
    heights: BTreeMap<u64, Height>,
    next: u64,
    chain: Option<Digest>,
    mark: Mark,
    /// Whose votes these must be.
    of: ChainId,
}

/// What does not fit.
enum Fault {
    Damage(&'static str),
    Newer(&'static str),
    OtherChain(ChainId),
}

impl From<&'static str> for Fault {
    fn from(what: &'static str) -> Self {
        Self::Damage(what)
    }
}

pub(super) fn open(folder: &Path, of: &ChainId, mark: &Mark) -> Result<(VoteLog, Vec<Record>), LogError> {
    std::fs::create_dir_all(folder).map_err(file_error(folder))?;
    let mut numbers = segment::list(folder)?;
    if numbers.is_empty() {
        segment::create(folder, 1, of).map_err(file_error(folder))?;
        // the folder itself must outlast a power cut that a store made later does
        if let Some(parent) = folder.parent() {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(file_error(parent))?;
        }
        numbers.push(1);
    }
    let mut reader = Reader { records: vec![], heights: BTreeMap::new(), next: 0, chain: None, mark: *mark, of: *of };
    let mut end = (numbers[0], 0);
    for (at, &number) in numbers.iter().enumerate() {
        let path = segment::path(folder, number);
        let corrupt = |offset, what| LogError::Corrupt { path: path.display().to_string(), offset, what };
        if number != numbers[0] + at as u64 {
            return Err(corrupt(0, "a gap before this segment"));
        }
        let bytes = std::fs::read(&path).map_err(file_error(&path))?;
        if bytes.len() as u64 != SEGMENT_BYTES {
            return Err(corrupt(bytes.len() as u64, "a segment of another size"));
        }
        let first = reader.next;
        let stop = reader.read(number, &bytes).map_err(|(offset, fault)| match fault {
            Fault::Damage(what) => corrupt(offset as u64, what),
            Fault::Newer(what) => LogError::Newer { path: path.display().to_string(), offset: offset as u64, what },
            Fault::OtherChain(found) => LogError::OtherChain { path: path.display().to_string(), found, expected: *of },
        })?;
        let is_used = reader.next > first || at == 0;
        if let Stop::Torn(offset) = stop {
            if follows(folder, &numbers[at + 1..], &bytes[offset..], reader.next)? {
                return Err(corrupt(offset as u64, "a damaged group before a good one"));
            }
            clear(folder, number, offset as u64)?;
        }
        if is_used || matches!(stop, Stop::Torn(_)) {
            let (Stop::End(offset) | Stop::Torn(offset)) = stop;
            end = (number, offset as u64);
        }
    }
    if reader.next < mark.next {
        let (path, found, expected) = (folder.display().to_string(), reader.next, mark.next);
        return Err(LogError::Older { path, found, expected });
    }
    let path = segment::path(folder, end.0);
    let file = segment::open(&path).map_err(file_error(&path))?;
    reader.heights.entry(end.0).or_default();
    // segments after the end are empty and durable: used again in their turn
    let log = VoteLog {
        folder: folder.to_owned(),
        of: *of,
        heights: reader.heights,
        segment: end.0,
        file,
        offset: end.1,
        next: reader.next,
        chain: reader.chain.unwrap_or(Digest::ZERO),
        pending: vec![],
        pending_height: 0,
        preparing: None,
        mark: None,
        marking: None,
    };
    Ok((log, reader.records))
}

/// Where reading a segment stopped.
enum Stop {
    /// Nothing more was written.
    End(usize),
    /// A group that was not written whole.
    Torn(usize),
}

impl Reader {
    /// Reads the groups of one segment.
    fn read(&mut self, segment: u64, bytes: &[u8]) -> Result<Stop, (usize, Fault)> {
        let mut offset = self.read_head(segment, bytes).map_err(|fault| (0, fault))?;
        while let Some(sector) = bytes.get(offset..offset + SECTOR) {
            if is_zero(sector) {
                let is_end = bytes[offset..].chunks(SECTOR).all(is_zero);
                return Ok(if is_end { Stop::End(offset) } else { Stop::Torn(offset) });
            }
            let damage = |what: &'static str| (offset, Fault::Damage(what));
            let head = group::read_head(sector).ok_or(damage("a damaged head of a group"))?;
            self.check_chain(&head).map_err(damage)?;
            let end = offset + HEAD + head.length;
            let payload = bytes.get(offset + HEAD..end).ok_or(damage("a group longer than its segment"))?;
            let whole = &bytes[offset..end.next_multiple_of(SECTOR).min(bytes.len())];
            if group::digest_of(head.number, &head.previous, payload) != head.digest {
                if whole.chunks(SECTOR).any(is_zero) {
                    return Ok(Stop::Torn(offset));
                }
                return Err(damage("a group with another hash than it was written with"));
            }
            if whole[HEAD + head.length..].iter().any(|&b| b != 0) {
                return Err(damage("bytes behind a group"));
            }
            if head.number + 1 == self.mark.next && head.digest != self.mark.digest {
                return Err(damage("another group than the mark beside the key names"));
            }
            // the hash says that this is what was written
            let records = group::records(payload).ok_or((offset, Fault::Newer("a record")))?;
            if let Some(other) = records.iter().filter_map(Record::chain).find(|chain| *chain != self.of) {
                return Err((offset, Fault::OtherChain(other)));
            }
            let highest = self.heights.entry(segment).or_default();
            *highest = records.iter().map(Record::height).max().unwrap_or(0).max(*highest);
            self.records.extend(records);
            self.next = head.number + 1;
            self.chain = Some(head.digest);
            offset += whole.len();
        }
        Ok(Stop::End(offset))
    }

    /// Where the groups of a segment begin: behind its head, if it was written since there are any.
    fn read_head(&self, segment: u64, bytes: &[u8]) -> Result<usize, Fault> {
        match segment::read_head(bytes) {
            Some(segment::Head::Of { chain, .. }) if chain != self.of => Err(Fault::OtherChain(chain)),
            Some(segment::Head::Of { number, .. }) if number != segment => Err("another segment".into()),
            Some(segment::Head::Of { .. }) => Ok(SECTOR),
            Some(segment::Head::Newer) => Err(Fault::Newer("a segment")),
            // without one a torn group may stand at the beginning, but never a sector further
            None if group::read_head(bytes).is_none() && bytes.get(SECTOR..).and_then(group::read_head).is_some() => {
                Err("a damaged head of a segment".into())
            }
            None => Ok(0),
        }
    }

    /// The first group that is kept may follow dropped ones.
    fn check_chain(&self, head: &Head) -> Result<(), &'static str> {
        match self.chain {
            None => Ok(()),
            Some(chain) if head.number == self.next && head.previous == chain => Ok(()),
            Some(_) => Err("a group that does not follow the one before"),
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&b| b == 0)
}

/// Whether a whole head of a later group stands anywhere behind the torn one.
fn follows(folder: &Path, later: &[u64], rest: &[u8], next: u64) -> Result<bool, LogError> {
    let has_later = |bytes: &[u8]| {
        bytes.chunks(SECTOR).any(|sector| group::read_head(sector).is_some_and(|head| head.number > next))
    };
    if has_later(rest) {
        return Ok(true);
    }
    for &number in later {
        let path = segment::path(folder, number);
        if has_later(&std::fs::read(&path).map_err(file_error(&path))?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Overwrites from the torn group to the segment's end with zeros.
fn clear(folder: &Path, number: u64, from: u64) -> Result<(), LogError> {
    let path = segment::path(folder, number);
    let file = segment::open(&path).map_err(file_error(&path))?;
    let zeros = vec![0; usize::try_from(SEGMENT_BYTES - from).unwrap_or(0)];
    file.write_all_at(&zeros, from).and_then(|()| file.sync_all()).map_err(file_error(&path))
}
