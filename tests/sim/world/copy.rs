//! State transfer: the real `ledger_core::Transfer` in a validator without a state, served by the others, of whom some lie. What it
//! comes to is compared with the chain, row by row.

use ledger_core::{Config, Transfer, TransferEffect, TransferInput, TransferStart};
use schemas::block::{self, Epoch, ValidatorIndex, ValidatorSignature, faults_tolerated};
use schemas::id::{Digest, Height};
use schemas::merkle::{self, Frontier};
use schemas::pbft::Message;
use schemas::transaction::LogEntry;
use schemas::transfer::{Asked, Content, LOG_PIECE, LogManifest, Manifest, Offer, Piece, Row, Told};
use schemas::tree::{Leaf, Place, Subtree, first_place};
use schemas::view::Checkpoint;

use super::{Event, World};
use crate::disk::Store;
use crate::frame::Frame;
use crate::keys::Keys;
use crate::verify::{self, Checked};

/// Between two looks at the clock.
const TICK_MS: u64 = 50;
/// The state is cut into four: enough that a liar gives only some of it.
const DEPTH: u8 = 2;

/// A copy under way.
pub struct Copying {
    transfer: Transfer,
    rows: Vec<Row>,
    entries: Vec<(u64, Vec<LogEntry>)>,
}

impl World {
    /// Begins to copy, in the newest epoch that this validator can know of.
    pub(super) fn copy(&mut self, seat: usize) {
        let epoch = self.newest_begun();
        if seat >= self.plan.members(epoch) && seat < self.plan.seats() {
            self.seats[seat].is_out = true;
            return;
        }
        let me = self.seats[seat].index;
        let config = Config { me, ..self.keys.config(epoch).expect("it has begun") };
        let at = &self.seats[seat];
        let (now, above) = (at.clock(self.now), at.store.certified());
        let start = TransferStart { config, nonce: self.dice.below(u64::MAX), now, above };
        let copying = Copying { transfer: Transfer::start(start), rows: vec![], entries: vec![] };
        self.seats[seat].copying = Some(Box::new(copying));
        let life = self.seats[seat].life;
        self.at(1, Event::Copy(seat, life));
    }

    fn newest_begun(&self) -> Epoch {
        (0..=self.keys.epoch_of(Height::MAX)).rev().find(|&epoch| self.keys.config(epoch).is_some()).unwrap_or(0)
    }

    /// Time passes. Its operator tells it when the others are in a later epoch.
    pub(super) fn copy_on(&mut self, seat: usize, life: u32) {
        let at = &self.seats[seat];
        let Some(copying) = at.copying.as_ref().filter(|_| at.life == life) else { return };
        if copying.transfer.epoch_ahead().is_some() {
            self.seats[seat].copying = None;
            self.seats[seat].life += 1;
            return self.copy(seat);
        }
        let now = at.clock(self.now);
        self.copy_step(seat, TransferInput::Tick(now));
        self.at(TICK_MS, Event::Copy(seat, life));
    }

    /// Something for one who copies.
    pub(super) fn copied(&mut self, seat: usize, frame: &Frame) {
        if let Some(Checked::Copied(input)) = verify::check(&self.keys, frame) {
            self.copy_step(seat, input.clone());
        }
    }

    fn copy_step(&mut self, seat: usize, input: TransferInput) {
        let Some(mut copying) = self.seats[seat].copying.take() else { return };
        let keys = &self.keys;
        let is_final = |height: Height, header: &Digest, by: &[ValidatorSignature]| is_final(keys, height, header, by);
        let effects = copying.transfer.step(input, &is_final);
        let mut done = None;
        for effect in effects {
            match effect {
                TransferEffect::Send(to, message) => self.send(seat, Some(to), message, 0),
                TransferEffect::Begin => (copying.rows, copying.entries) = (vec![], vec![]),
                TransferEffect::KeepRows(rows) => copying.rows.extend(rows),
                TransferEffect::KeepEntries(number, entries) => copying.entries.push((number, entries)),
                TransferEffect::Lied(peer, lie) => {
                    let is_attacker = self.plan.attackers.iter().any(|&(index, _)| index == peer);
                    assert!(is_attacker, "state transfer: validator {peer} is honest, and blamed: {lie}");
                    self.count.reach("lies_about_the_state");
                }
                TransferEffect::Done(snapshot) => done = Some(snapshot),
            }
        }
        let Some(snapshot) = done else {
            self.seats[seat].copying = Some(copying);
            return;
        };
        if let Some(snapshot) = snapshot {
            self.check_copy(snapshot.header.height, &snapshot.header, *copying);
            self.seats[seat].store = Store::at(snapshot.header.height, snapshot.attestations);
            self.count.reach("state_transfers");
        }
        self.seats[seat].lacks_state = false;
        self.start(seat);
    }

    /// What was copied is the state of the chain, all of it.
    fn check_copy(&self, height: Height, header: &block::Header, mut copying: Copying) {
        let done = self.chain.at(height).expect("a proven height was executed");
        assert!(done.header == *header, "state transfer: another header at height {height}");
        copying.rows.sort_by_key(|row| Place::of(&row.key.0));
        assert!(copying.rows == self.chain.rows_at(height), "state transfer: another state at height {height}");
        copying.entries.sort_by_key(|(number, _)| *number);
        let entries: Vec<_> = copying.entries.into_iter().flat_map(|(_, entries)| entries).collect();
        assert!(entries == self.chain.entries_to(height), "state transfer: another log at height {height}");
    }

    /// How far this validator is, for one who copies.
    pub(super) fn offer_state(&mut self, seat: usize, to: ValidatorIndex, nonce: u64) {
        let at = &self.seats[seat];
        let height = at.published.certified;
        let checkpoint = match (self.chain.at(height), at.store.attested(height)) {
            (Some(done), Some(attestations)) => {
                Checkpoint { height, header: done.header.hash(), attestations: attestations.clone() }
            }
            _ if height == 0 => Checkpoint::genesis(&self.keys.chain),
            _ => return,
        };
        let epoch = at.epoch;
        self.say(seat, Some(to), Message::Offered(Offer { nonce, epoch, checkpoint }));
    }

    /// A piece of the state at a height that this validator has come to. Views are given up now and then.
    pub(super) fn give_piece(&mut self, seat: usize, to: ValidatorIndex, asked: Asked) {
        let (height, at) = (asked.height, &self.seats[seat]);
        if height > at.published.certified {
            return;
        }
        let is_gone = self.dice.percent(10);
        let content = at.store.attested(height).filter(|_| !is_gone).and_then(|attestations| {
            let header = self.chain.at(height)?.header.clone();
            self.piece(asked.piece, header, attestations.clone())
        });
        let content = content.unwrap_or(Content::Gone);
        self.say(seat, Some(to), Message::Piece(Told { asked, content }));
    }

    fn piece(&self, piece: Piece, header: block::Header, attestations: Vec<ValidatorSignature>) -> Option<Content> {
        let height = header.height;
        Some(match piece {
            Piece::Manifest => {
                let rows = self.chain.rows_at(height);
                let subtree = |index| Subtree::of(&leaves(&rows, DEPTH, index), usize::from(DEPTH));
                let state = (0..1 << DEPTH).map(subtree).collect();
                let entries = self.chain.entries_to(height);
                let root = |piece: &[LogEntry]| merkle::root(&piece.iter().map(LogEntry::leaf).collect::<Vec<_>>());
                let pieces = entries.chunks(usize::try_from(LOG_PIECE).ok()?).map(root).collect();
                let log = LogManifest { before: Frontier::default(), pieces };
                Content::Manifest(Box::new(Manifest { header, attestations, state, log }))
            }
            Piece::State { depth, index } => {
                let first = first_place(depth, index)?;
                let lies =
                    |row: &Row| Place::of(&row.key.0).is_some_and(|place| place.shares(&first, usize::from(depth)));
                Content::State(self.chain.rows_at(height).into_iter().filter(lies).collect())
            }
            Piece::Log(number) => {
                let entries = self.chain.entries_to(height);
                let size = usize::try_from(LOG_PIECE).ok()?;
                Content::Log(entries.chunks(size).nth(usize::try_from(number).ok()?)?.to_vec())
            }
        })
    }

    /// f + 1 who hold no blocks that follow are believed: the state is copied, votes are kept.
    pub(super) fn hear_blocks_from(&mut self, seat: usize, from: ValidatorIndex, height: Height) {
        let n = self.plan.members(self.seats[seat].epoch);
        let at = &mut self.seats[seat];
        let next = at.published.certified + 1;
        at.blocks_from.insert(from, height);
        let lacking = at.blocks_from.values().filter(|from| **from > next).count();
        if lacking > faults_tolerated(n) && at.is_honest() {
            self.count.reach("behind_all_blocks");
            self.seats[seat].lacks_state = true;
            self.crash(seat, false);
        }
    }
}

fn leaves(rows: &[Row], depth: u8, index: u32) -> Vec<Leaf> {
    let Some(first) = first_place(depth, index) else { return vec![] };
    let leaf = |row: &Row| Place::of(&row.key.0).map(|place| Leaf::of(place, &row.value.0));
    rows.iter().filter_map(leaf).filter(|leaf| leaf.place.shares(&first, usize::from(depth))).collect()
}

/// Whether q validators of the height's epoch attest its header.
fn is_final(keys: &Keys, height: Height, header: &Digest, by: &[ValidatorSignature]) -> bool {
    let epoch = keys.epoch_of(height);
    let bytes = block::attestation_bytes(&keys.chain, epoch, height, header);
    by.len() >= block::quorum(keys.validators(epoch))
        && by.is_sorted_by(|a, b| a.validator < b.validator)
        && by.iter().all(|by| keys.is_signed(epoch, by.validator, &bytes, &by.signature))
}
