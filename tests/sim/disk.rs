//! One validator's disk: the vote log in the bytes of `ledger/node` (groups chained by hash, whole sectors, one sync per
//! turn) and the block store (written at once, synced rarely). A power cut loses or tears what was not synced; a disk may
//! alter or misplace what was.

use std::collections::{BTreeMap, VecDeque};

use schemas::block::{CommitCertificate, ValidatorSignature};
use schemas::id::{Digest, Height};
use schemas::pbft::Record;

use crate::count::Count;
use crate::dice::Dice;
use crate::group;

struct Group {
    bytes: Vec<u8>,
    highest: Height,
}

/// The vote log.
pub struct Log {
    groups: VecDeque<Group>,
    /// Number of the next group.
    next: u64,
    chain: Digest,
    pending: Vec<u8>,
    pending_height: Height,
    /// The last group waits for its sync.
    unsynced: bool,
    /// The disk altered something: the next start must refuse.
    pub altered: bool,
}

impl Default for Log {
    fn default() -> Self {
        let (groups, pending) = (VecDeque::new(), vec![]);
        Self { groups, next: 0, chain: Digest::ZERO, pending, pending_height: 0, unsynced: false, altered: false }
    }
}

impl Log {
    /// Adds a record, with its encoding, to the turn's group.
    pub fn append(&mut self, record: &Record, bytes: &[u8]) {
        self.pending_height = self.pending_height.max(record.height());
        group::push_record(&mut self.pending, bytes);
    }

    /// Whether the turn wrote anything.
    pub fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes the turn's group; not synced yet.
    pub fn write(&mut self) {
        let payload = std::mem::take(&mut self.pending);
        let (bytes, digest) = group::encode(self.next, &self.chain, &payload);
        self.chain = digest;
        self.next += 1;
        self.groups.push_back(Group { bytes, highest: std::mem::take(&mut self.pending_height) });
        self.unsynced = true;
    }

    /// The sync returned.
    pub fn synced(&mut self) {
        self.unsynced = false;
    }

    /// Lets groups go that hold nothing above a height; the newest stays.
    pub fn drop_up_to(&mut self, height: Height) {
        while self.groups.len() > 1 && self.groups[0].highest <= height {
            self.groups.pop_front();
        }
    }

    /// The process ends. A power cut may tear or lose the group that was being synced.
    pub fn crash(&mut self, power_cut: bool, dice: &mut Dice, count: &mut Count) {
        if self.is_pending() {
            count.fault("lost_tail");
        }
        self.pending.clear();
        self.pending_height = 0;
        if !std::mem::take(&mut self.unsynced) || !power_cut {
            return;
        }
        match dice.below(3) {
            0 => {
                self.groups.pop_back();
                count.fault("lost_tail");
            }
            1 => {
                let Some(last) = self.groups.back_mut() else { return };
                for sector in last.bytes.chunks_mut(group::SECTOR) {
                    if dice.percent(50) {
                        sector.fill(0);
                    }
                }
                count.fault("torn_write");
            }
            _ => {}
        }
    }

    /// Alters a synced group, or puts one in the place of another. `false` when there is nothing to alter.
    pub fn rot(&mut self, dice: &mut Dice, count: &mut Count) -> bool {
        let used = self.groups.len();
        if used < 3 {
            return false;
        }
        let (at, other) = (dice.index(used - 2), used - 2);
        if at != other && dice.percent(50) {
            self.groups[at].bytes = self.groups[other].bytes.clone();
            count.fault("misdirected_write");
        } else {
            let bytes = &mut self.groups[at].bytes;
            // padding is checked too, so any bit will do
            let bit = dice.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            count.fault("bit_rot");
        }
        self.altered = true;
        true
    }

    /// Reads the log at the start, as `ledger/node/src/votelog/open.rs` does: only the last group may be torn.
    pub fn open(&mut self) -> Result<Vec<Record>, &'static str> {
        let (mut records, mut chain, mut next) = (vec![], None, 0);
        let last = self.groups.len().wrapping_sub(1);
        let mut torn = false;
        for (at, held) in self.groups.iter().enumerate() {
            let bytes = &held.bytes;
            let has_hole = bytes.chunks(group::SECTOR).any(|sector| sector.iter().all(|&b| b == 0));
            let Some(head) = group::read_head(bytes) else {
                torn = at == last && has_hole;
                if torn {
                    break;
                }
                return Err("a damaged head");
            };
            if chain.is_some_and(|chain| head.number != next || head.previous != chain) {
                return Err("a group that does not follow");
            }
            let payload = bytes.get(group::HEAD..group::HEAD + head.length).ok_or("a length outside")?;
            if group::digest_of(head.number, &head.previous, payload) != head.digest {
                torn = at == last && has_hole;
                if torn {
                    break;
                }
                return Err("another hash");
            }
            if bytes[group::HEAD + head.length..].iter().any(|&b| b != 0) {
                return Err("bytes behind a group");
            }
            records.extend(group::records(payload).ok_or("no records")?);
            (chain, next) = (Some(head.digest), head.number + 1);
        }
        if torn {
            self.groups.pop_back();
        }
        if let Some(chain) = chain {
            (self.chain, self.next) = (chain, next);
        } else {
            (self.chain, self.next) = (Digest::ZERO, 0);
        }
        Ok(records)
    }
}

enum Write {
    Executed,
    Attested(Height),
}

/// The block store. Bodies and headers are the chain's; here is how far this validator is, with its own proofs.
#[derive(Default)]
pub struct Store {
    /// Bodies up to this height are not here.
    first: Height,
    certificates: Vec<CommitCertificate>,
    attestations: BTreeMap<Height, Vec<ValidatorSignature>>,
    unsynced: Vec<Write>,
}

impl Store {
    /// Newest executed height.
    pub fn executed(&self) -> Height {
        self.first + self.certificates.len() as Height
    }

    /// The state at a height that others proved.
    pub fn at(height: Height, attestations: Vec<ValidatorSignature>) -> Self {
        let attestations = BTreeMap::from([(height, attestations)]);
        Self { first: height, attestations, ..Self::default() }
    }

    /// The height behind which its blocks begin.
    pub fn first(&self) -> Height {
        self.first
    }

    /// The attestations of a final height.
    pub fn attested(&self, height: Height) -> Option<&Vec<ValidatorSignature>> {
        self.attestations.get(&height)
    }

    /// The proof of its newest final height.
    pub fn proof(&self) -> Option<&Vec<ValidatorSignature>> {
        self.attestations.last_key_value().map(|(_, attestations)| attestations)
    }

    /// Newest height with q attestations.
    pub fn certified(&self) -> Height {
        self.attestations.last_key_value().map_or(0, |(&height, _)| height)
    }

    /// The proofs of a final height.
    pub fn proofs(&self, height: Height) -> Option<(&CommitCertificate, &Vec<ValidatorSignature>)> {
        let at = usize::try_from(height.checked_sub(self.first)?).ok()?.checked_sub(1)?;
        self.certificates.get(at).zip(self.attestations.get(&height))
    }

    /// A height was executed.
    pub fn execute(&mut self, certificate: CommitCertificate) {
        self.certificates.push(certificate);
        self.unsynced.push(Write::Executed);
    }

    /// A height has q attestations.
    pub fn attest(&mut self, height: Height, attestations: Vec<ValidatorSignature>) {
        self.attestations.insert(height, attestations);
        self.unsynced.push(Write::Attested(height));
    }

    /// Everything so far is durable.
    pub fn flush(&mut self) {
        self.unsynced.clear();
    }

    /// A power cut loses a tail of what was not flushed.
    pub fn power_cut(&mut self, dice: &mut Dice, count: &mut Count) {
        let keep = dice.index(self.unsynced.len() + 1);
        if keep < self.unsynced.len() {
            count.fault("store_behind");
        }
        for write in self.unsynced.drain(keep..).rev() {
            match write {
                Write::Executed => drop(self.certificates.pop()),
                Write::Attested(height) => drop(self.attestations.remove(&height)),
            }
        }
        self.unsynced.clear();
    }
}
