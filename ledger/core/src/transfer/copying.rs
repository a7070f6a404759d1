//! The pieces of one snapshot: which are left, which are on their way from whom, and whether one that comes is what the manifest
//! names.

use std::collections::{BTreeMap, VecDeque};

use schemas::block::ValidatorIndex;
use schemas::id::{Height, TimeMs};
use schemas::limits;
use schemas::transfer::{Asked, Content, Manifest, Piece};

use super::{Lie, Snapshot, TransferEffect};

/// A snapshot on its way.
#[derive(Debug)]
pub(super) struct Copying {
    manifest: Manifest,
    /// Who sent the manifest.
    pub author: ValidatorIndex,
    left: VecDeque<Piece>,
    under_way: BTreeMap<Piece, (ValidatorIndex, TimeMs)>,
    all: usize,
}

impl Copying {
    /// All pieces are left.
    pub fn begin(manifest: Manifest, author: ValidatorIndex) -> Result<Self, Lie> {
        // what stands in none of the pieces could not be looked at
        if manifest.log.pieces.is_empty() && manifest.log.before.size() > 0 {
            return Err(Lie::Late);
        }
        let left: VecDeque<_> = manifest.pieces().collect();
        let all = left.len();
        Ok(Self { manifest, author, left, under_way: BTreeMap::new(), all })
    }

    pub const fn height(&self) -> Height {
        self.manifest.header.height
    }

    pub fn is_whole(&self) -> bool {
        self.left.is_empty() && self.under_way.is_empty()
    }

    /// Pieces left, and all.
    pub fn progress(&self) -> (usize, usize) {
        (self.left.len() + self.under_way.len(), self.all)
    }

    pub fn snapshot(&self) -> Snapshot {
        let Manifest { header, attestations, log, .. } = &self.manifest;
        Snapshot { header: header.clone(), attestations: attestations.clone(), before: log.before.clone() }
    }

    /// Pieces to ask for now, each of whoever was silent least and has least to do.
    pub fn hand_out(&mut self, sources: &[(u32, ValidatorIndex)], now: TimeMs) -> Vec<(ValidatorIndex, Asked)> {
        let mut out = Vec::new();
        while self.under_way.len() < limits::TRANSFER_PIECES_MAX {
            let busy = |from: ValidatorIndex| self.under_way.values().filter(|(by, _)| *by == from).count();
            let free = sources.iter().map(|&(silences, from)| (silences, busy(from), from));
            let free = free.filter(|&(_, busy, _)| busy < limits::TRANSFER_PIECES_PER_PEER_MAX);
            let Some((.., from)) = free.min() else { break };
            let Some(piece) = self.left.pop_front() else { break };
            self.under_way.insert(piece, (from, now));
            out.push((from, Asked { height: self.height(), piece }));
        }
        out
    }

    /// Takes pieces back that did not come in time; from whom, each once.
    pub fn run_out(&mut self, now: TimeMs) -> Vec<ValidatorIndex> {
        let is_late = |at: TimeMs| now >= at.saturating_add(limits::TRANSFER_PIECE_MS_MAX);
        let late = self.under_way.values().filter(|(_, at)| is_late(*at)).map(|(from, _)| *from);
        let mut late: Vec<_> = late.collect();
        late.sort_unstable();
        late.dedup();
        late.iter().for_each(|&from| self.give_up(from));
        late
    }

    /// Takes back everything that was asked of one.
    pub fn give_up(&mut self, from: ValidatorIndex) {
        let asked = self.under_way.iter().filter(|(_, (by, _))| *by == from);
        for piece in asked.map(|(piece, _)| *piece).collect::<Vec<_>>() {
            self.under_way.remove(&piece);
            self.left.push_front(piece);
        }
    }

    /// Takes a piece that was asked of this peer; others are ignored. Whether the peer has the snapshot, where it says so.
    pub fn take(
        &mut self,
        from: ValidatorIndex,
        piece: Piece,
        content: Content,
        effects: &mut Vec<TransferEffect>,
    ) -> Result<Option<bool>, Lie> {
        if self.under_way.get(&piece).is_none_or(|(asked, _)| *asked != from) {
            return Ok(None);
        }
        let kept = match (piece, content) {
            (_, Content::Gone) => {
                self.give_up(from);
                return Ok(Some(false));
            }
            (Piece::State { index, .. }, Content::State(rows)) if self.manifest.holds_rows(index, &rows) => {
                TransferEffect::KeepRows(rows)
            }
            (Piece::Log(number), Content::Log(entries)) if self.manifest.holds_entries(number, &entries) => {
                if number == self.manifest.log.before.size() && !self.manifest.begins_early(&entries) {
                    return Err(Lie::Late);
                }
                TransferEffect::KeepEntries(number, entries)
            }
            _ => return Err(Lie::Piece),
        };
        self.under_way.remove(&piece);
        effects.push(kept);
        Ok(Some(true))
    }
}
