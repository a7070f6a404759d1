//! One group as bytes: `magic ‖ number ‖ length ‖ previous ‖ digest ‖ check ‖ payload`, padded with zeros to whole sectors. The
//! payload is records, each behind its length. `digest` chains the groups, `check` covers the head alone, so that a torn
//! payload can be told from altered bytes.

use schemas::cbor::{self, sha256};
use schemas::id::Digest;
use schemas::pbft::Record;
use sha2::{Digest as _, Sha256};

/// What a disk writes as a whole.
pub(super) const SECTOR: usize = 512;
/// First bytes of a group.
const MAGIC: &[u8; 4] = b"CSV1";
/// Length of what stands before the payload.
pub(super) const HEAD: usize = 88;

/// The head of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub number: u64,
    pub length: usize,
    pub previous: Digest,
    pub digest: Digest,
}

/// Adds a record to a payload.
pub(super) fn push_record(payload: &mut Vec<u8>, record: &[u8]) {
    let Ok(length) = u32::try_from(record.len()) else { unreachable!("a record is smaller than a segment") };
    payload.extend_from_slice(&length.to_be_bytes());
    payload.extend_from_slice(record);
}

/// The records of a payload. `None` when it is not a list of records.
pub(super) fn records(mut payload: &[u8]) -> Option<Vec<Record>> {
    let mut out = Vec::new();
    while !payload.is_empty() {
        let (length, rest) = payload.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        out.push(cbor::decode(record).ok()?);
        payload = rest;
    }
    Some(out)
}

/// Chains a payload to the group before it.
pub(super) fn digest_of(number: u64, previous: &Digest, payload: &[u8]) -> Digest {
    let mut hash = Sha256::new();
    hash.update(b"cs1/votelog");
    hash.update(number.to_be_bytes());
    hash.update(previous.0);
    hash.update(payload);
    Digest(hash.finalize().into())
}

/// The group's bytes, whole sectors, and its digest.
pub(super) fn encode(number: u64, previous: &Digest, payload: &[u8]) -> (Vec<u8>, Digest) {
    let Ok(length) = u32::try_from(payload.len()) else { unreachable!("a group is smaller than a segment") };
    let mut out = Vec::with_capacity(payload.len() + HEAD + SECTOR);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&number.to_be_bytes());
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&previous.0);
    let digest = digest_of(number, previous, payload);
    out.extend_from_slice(&digest.0);
    let check = sha256(&out);
    out.extend_from_slice(&check.0[..8]);
    assert!(out.len() == HEAD, "the head has its length");
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(SECTOR), 0);
    (out, digest)
}

/// Reads a head. `None` when the bytes are none.
pub(super) fn read_head(bytes: &[u8]) -> Option<Head> {
    let head = bytes.get(..HEAD)?;
    let (covered, check) = head.split_at_checked(HEAD - 8)?;
    if !head.starts_with(MAGIC) || sha256(covered).0[..8] != *check {
        return None;
    }
    Some(Head {
        number: u64::from_be_bytes(head.get(4..12)?.try_into().ok()?),
        length: u32::from_be_bytes(head.get(12..16)?.try_into().ok()?) as usize,
        previous: Digest::from_slice(head.get(16..48)?)?,
        digest: Digest::from_slice(head.get(48..80)?)?,
    })
}
