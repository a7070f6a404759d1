//! A ledger in memory and the snapshot that an honest validator gives of it.

use schemas::block::{
    Batch, Header, ValidatorIndex, ValidatorSignature, attestation_bytes, attestation_to_sign, quorum,
};
use schemas::cbor::sha256;
use schemas::id::{ChainId, Digest, Height, RawSignature, Signature};
use schemas::merkle::{self, Frontier};
use schemas::proof::Value;
use schemas::state::{case_key, subject_key};
use schemas::transaction::{LogEntry, Outcome};
use schemas::transfer::{Content, LOG_PIECE, LogManifest, Manifest, Piece, Row};
use schemas::tree::{Leaf, Place, Subtree, first_place};
use schemas::view::Checkpoint;

pub const CHAIN: ChainId = ChainId([7; 32]);

/// A stand-in for a signature: nobody else makes the same.
pub fn sign(by: ValidatorIndex, bytes: &[u8]) -> Signature {
    let half = sha256(&[&by.to_be_bytes(), bytes].concat());
    Signature(RawSignature([half.0, half.0].concat().try_into().expect("64 bytes")))
}

/// Whether q different ones of n validators signed the header.
pub fn is_final(n: usize, height: Height, header: &Digest, by: &[ValidatorSignature]) -> bool {
    let bytes = attestation_bytes(&CHAIN, 0, height, header);
    by.len() >= quorum(n)
        && by.is_sorted_by(|a, b| a.validator < b.validator)
        && by.iter().all(|by| usize::from(by.validator) < n && sign(by.validator, &bytes) == by.signature)
}

/// The ledger after one height.
#[derive(Clone)]
pub struct Source {
    pub header: Header,
    pub attestations: Vec<ValidatorSignature>,
    pub rows: Vec<Row>,
    pub entries: Vec<LogEntry>,
    pub depth: u8,
}

impl Source {
    /// `rows` rows of two kinds and `entries` entries, of which a third is too old to be asked for.
    pub fn new(validators: usize, height: Height, rows: u64, entries: u64) -> Self {
        let id = |number: u64| {
            let mut id = [9; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            id
        };
        let key = |number: u64| match number % 7 {
            0 => subject_key(&schemas::id::SubjectId(id(number))),
            _ => case_key(&schemas::id::CaseId(id(number))),
        };
        let row = |number| Row { key: Value(key(number)), value: Value(vec![number as u8; 40]) };
        let mut rows: Vec<_> = (0..rows).map(row).collect();
        rows.sort_by_key(|row| Place::of(&row.key.0));
        let entry = |index: u64| LogEntry {
            height: if index < entries / 3 { 1 } else { height },
            index: index as u32,
            transaction: sha256(&index.to_be_bytes()),
            signed: Digest([1; 32]),
            outcome: Outcome::Accepted,
        };
        let entries: Vec<_> = (0..entries).map(entry).collect();
        let leaves: Vec<_> = entries.iter().map(LogEntry::leaf).collect();
        let header = Header {
            chain: CHAIN,
            epoch: 0,
            height,
            batch: Batch::null(CHAIN, 0, height).digest(),
            previous: Digest([2; 32]),
            log_size: leaves.len() as u64,
            log_root: merkle::root(&leaves),
            time: 5,
            state_root: Subtree::of(&leaves_of(&rows), 0).hash(),
        };
        let attestations = attested(&header, quorum(validators));
        Self { header, attestations, rows, entries, depth: 4 }
    }

    pub fn checkpoint(&self) -> Checkpoint {
        let Header { height, .. } = self.header;
        Checkpoint { height, header: self.header.hash(), attestations: self.attestations.clone() }
    }

    pub fn manifest(&self) -> Manifest {
        let state = (0..1 << self.depth).map(|index| {
            let rows = self.subtree(self.depth, index);
            Subtree::of(&leaves_of(&rows), usize::from(self.depth))
        });
        let expired = |entry: &&LogEntry| entry.height + schemas::limits::VALID_UNTIL_AHEAD_MAX <= self.header.height;
        let old = self.entries.iter().take_while(expired).count() as u64;
        let first = old.saturating_sub(1) / LOG_PIECE;
        let roots: Vec<_> = self.entries.chunks(LOG_PIECE as usize).map(root).collect();
        let mut before = Frontier::default();
        roots[..first as usize].iter().for_each(|root| before.append(*root, |_, _, _| {}));
        let log = LogManifest { before, pieces: roots[first as usize..].to_vec() };
        let (header, attestations) = (self.header.clone(), self.attestations.clone());
        Manifest { header, attestations, state: state.collect(), log }
    }

    pub fn content(&self, piece: Piece) -> Content {
        match piece {
            Piece::Manifest => Content::Manifest(Box::new(self.manifest())),
            Piece::State { depth, index } => Content::State(self.subtree(depth, index)),
            Piece::Log(number) => {
                let from = (number * LOG_PIECE) as usize;
                Content::Log(self.entries[from..].iter().take(LOG_PIECE as usize).cloned().collect())
            }
        }
    }

    fn subtree(&self, depth: u8, index: u32) -> Vec<Row> {
        let first = first_place(depth, index).expect("a subtree");
        let lies = |row: &&Row| Place::of(&row.key.0).expect("a place").shares(&first, usize::from(depth));
        self.rows.iter().filter(lies).cloned().collect()
    }
}

pub fn attested(header: &Header, count: usize) -> Vec<ValidatorSignature> {
    let bytes = attestation_to_sign(header);
    let by = (0..).take(count).map(|validator| ValidatorSignature { validator, signature: sign(validator, &bytes) });
    by.collect()
}

pub fn leaves_of(rows: &[Row]) -> Vec<Leaf> {
    rows.iter().map(|row| Leaf::of(Place::of(&row.key.0).expect("a place"), &row.value.0)).collect()
}

fn root(entries: &[LogEntry]) -> Digest {
    merkle::root(&entries.iter().map(LogEntry::leaf).collect::<Vec<_>>())
}
