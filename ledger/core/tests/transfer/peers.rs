//! Peers of a transfer, honest ones and liars of every kind, and the network between.

use std::collections::VecDeque;

use ledger_core::{Config, Lie, Snapshot, Transfer, TransferEffect, TransferInput, TransferStart};
use schemas::block::{ValidatorIndex, ValidatorSignature};
use schemas::id::{Digest, Height, TimeMs};
use schemas::limits;
use schemas::merkle::Frontier;
use schemas::pbft::Message;
use schemas::proof::Value;
use schemas::transaction::{LogEntry, Outcome};
use schemas::transfer::{Asked, Content, LOG_PIECE, Manifest, Offer, Piece, Row, Told};
use schemas::tree::Subtree;
use schemas::view::Checkpoint;

use crate::source::{CHAIN, Source, attested, is_final};

/// Milliseconds of a tick; every message takes one.
pub const TICK_MS: TimeMs = 50;

/// How a peer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Honest,
    Silent,
    /// Answers offers and manifests only.
    Stingy,
    /// Says that it has nothing left when asked for a piece.
    Forgetful,
    /// Is gone after so many pieces.
    Dies(u32),
    /// Each piece of so many is lost on its way.
    Lossy(u32),
    OfferUnproven,
    OfferOld,
    ManifestShort,
    ManifestOtherState,
    ManifestOtherLog,
    ManifestLate,
    ManifestBeyond,
    ManifestCoarse,
    RowChanged,
    RowMissing,
    RowAdded,
    RowsSwapped,
    RowNoPlace,
    EntryChanged,
    EntryMissing,
    AnotherPiece,
    Unasked,
}

impl Kind {
    pub const LIARS: [Self; 16] = [
        Self::OfferUnproven,
        Self::ManifestShort,
        Self::ManifestOtherState,
        Self::ManifestOtherLog,
        Self::ManifestLate,
        Self::ManifestBeyond,
        Self::RowChanged,
        Self::RowMissing,
        Self::RowAdded,
        Self::RowsSwapped,
        Self::RowNoPlace,
        Self::EntryChanged,
        Self::EntryMissing,
        Self::AnotherPiece,
        Self::AnotherPiece,
        Self::RowChanged,
    ];
}

/// What the copy has kept.
#[derive(Default)]
pub struct Kept {
    pub rows: Vec<Row>,
    pub entries: Vec<(u64, Vec<LogEntry>)>,
    pub lies: Vec<(ValidatorIndex, Lie)>,
    pub done: Option<Option<Box<Snapshot>>>,
    /// Messages sent to each peer.
    pub asked: Vec<usize>,
    pub begun: usize,
}

pub struct World {
    pub source: Source,
    pub kinds: Vec<Kind>,
    /// The chain makes a block each so many ticks; the height of the source is one of them.
    pub pace: Option<u64>,
    pub now: TimeMs,
    pub kept: Kept,
    transfer: Transfer,
    mail: VecDeque<(ValidatorIndex, Message)>,
    told: Vec<u32>,
    waiting: Vec<bool>,
    height: Height,
    at_genesis: bool,
}

impl World {
    /// `kinds[0]` is the one that copies.
    pub fn new(source: Source, kinds: Vec<Kind>) -> Self {
        Self::above(source, kinds, 0)
    }

    /// The same for one that has a store up to a height.
    pub fn above(source: Source, kinds: Vec<Kind>, above: Height) -> Self {
        let config =
            Config { chain: CHAIN, epoch: 0, validators: kinds.len(), me: 0, base: Checkpoint::genesis(&CHAIN) };
        Self::starting(source, kinds, TransferStart { config, nonce: 77, now: 0, above })
    }

    /// The same for a newcomer of an epoch that begins behind a height.
    pub fn newcomer(source: Source, kinds: Vec<Kind>, seal: Height) -> Self {
        let base = Checkpoint { height: seal, header: Digest::ZERO, attestations: vec![] };
        let config = Config { chain: CHAIN, epoch: 0, validators: kinds.len(), me: 0, base };
        Self::starting(source, kinds, TransferStart { config, nonce: 77, now: 0, above: 0 })
    }

    fn starting(source: Source, kinds: Vec<Kind>, start: TransferStart) -> Self {
        let (n, transfer) = (kinds.len(), Transfer::start(start));
        let kept = Kept { asked: vec![0; n], ..Kept::default() };
        let (height, mail) = (source.header.height, VecDeque::new());
        Self {
            source,
            kinds,
            pace: None,
            now: 0,
            kept,
            transfer,
            mail,
            told: vec![0; n],
            waiting: vec![false; n],
            height,
            at_genesis: false,
        }
    }

    /// The chain is at another height than that of the snapshot.
    pub fn start_at(&mut self, height: Height) {
        self.height = height;
    }

    /// Nobody has made a block.
    pub fn genesis(&mut self) {
        self.height = 0;
        self.at_genesis = true;
    }

    /// Steps until it is done, or so many ticks are over.
    pub fn run(&mut self, ticks: u64) -> &Kept {
        for tick in 0..ticks {
            if self.kept.done.is_some() {
                break;
            }
            self.now += TICK_MS;
            self.step(TransferInput::Tick(self.now));
            if self.pace.is_some_and(|pace| tick % pace == 0) {
                self.height += 1;
            }
            for peer in 0..self.kinds.len() {
                if self.height == self.source.header.height && std::mem::take(&mut self.waiting[peer]) {
                    let asked = Asked { height: self.height, piece: Piece::Manifest };
                    let content = self.content(peer, asked.piece);
                    self.mail.push_back((peer as ValidatorIndex, Message::Piece(Told { asked, content })));
                }
            }
            for (from, message) in std::mem::take(&mut self.mail) {
                let input = match message {
                    Message::Offered(offer) => TransferInput::Offered(from, offer),
                    Message::Piece(told) => TransferInput::Told(from, told),
                    _ => continue,
                };
                self.step(input);
            }
        }
        &self.kept
    }

    pub fn step(&mut self, input: TransferInput) {
        let n = self.kinds.len();
        let is_final = |height: Height, header: &Digest, by: &[ValidatorSignature]| is_final(n, height, header, by);
        for effect in self.transfer.step(input, &is_final) {
            assert!(self.kept.done.is_none(), "nothing follows the end");
            match effect {
                TransferEffect::Send(to, message) => {
                    assert!(to != 0, "nobody asks himself");
                    self.kept.asked[usize::from(to)] += 1;
                    self.hear(usize::from(to), message);
                }
                TransferEffect::Begin => {
                    self.kept.begun += 1;
                    (self.kept.rows, self.kept.entries) = (vec![], vec![]);
                }
                TransferEffect::KeepRows(rows) => self.kept.rows.extend(rows),
                TransferEffect::KeepEntries(number, entries) => self.kept.entries.push((number, entries)),
                TransferEffect::Lied(peer, lie) => self.kept.lies.push((peer, lie)),
                TransferEffect::Done(snapshot) => self.kept.done = Some(snapshot),
            }
        }
    }

    fn hear(&mut self, peer: usize, message: Message) {
        let from = peer as ValidatorIndex;
        if self.kinds[peer] == Kind::Silent {
            return;
        }
        let answer = match message {
            Message::AskOffer(nonce) => Message::Offered(self.offer(peer, nonce)),
            Message::AskPiece(asked) if asked.piece == Piece::Manifest => {
                if asked.height > self.height {
                    self.waiting[peer] = true;
                    return;
                }
                let has = asked.height == self.source.header.height && asked.height == self.height;
                let content = if has { self.content(peer, asked.piece) } else { Content::Gone };
                Message::Piece(Told { asked, content })
            }
            Message::AskPiece(asked) => {
                assert_eq!(asked.height, self.source.header.height);
                self.told[peer] += 1;
                match self.kinds[peer] {
                    Kind::Stingy => return,
                    Kind::Dies(after) if self.told[peer] > after => return,
                    Kind::Lossy(nth) if self.told[peer].is_multiple_of(nth) => return,
                    _ => {}
                }
                let content = self.content(peer, asked.piece);
                if self.kinds[peer] == Kind::Unasked {
                    // what nobody asked for
                    let depth = self.source.depth + 1;
                    let states = (0..1 << depth).map(|index| Piece::State { depth, index });
                    for piece in states.chain([Piece::Log(99), Piece::Log(u64::MAX)]) {
                        let asked = Asked { height: asked.height, piece };
                        self.mail.push_back((from, Message::Piece(Told { asked, content: Content::State(vec![]) })));
                    }
                }
                Message::Piece(Told { asked, content })
            }
            _ => panic!("{message:?} is no question"),
        };
        self.mail.push_back((from, answer));
    }

    fn offer(&self, peer: usize, nonce: u64) -> Offer {
        // while blocks are made the newest height lies below or above that of the snapshot
        let mut header = self.source.header.clone();
        header.height = self.height;
        let attestations = attested(&header, self.source.attestations.len());
        let mut checkpoint = Checkpoint { height: self.height, header: header.hash(), attestations };
        if self.height == self.source.header.height {
            checkpoint = self.source.checkpoint();
        }
        if self.at_genesis {
            checkpoint = Checkpoint::genesis(&CHAIN);
        }
        match self.kinds[peer] {
            Kind::OfferUnproven => checkpoint.height += 1_000,
            Kind::OfferOld => return Offer { nonce: nonce - 1, epoch: 0, checkpoint },
            _ => {}
        }
        Offer { nonce, epoch: 0, checkpoint }
    }

    fn content(&self, peer: usize, piece: Piece) -> Content {
        let (kind, depth) = (self.kinds[peer], self.source.depth);
        let mut content = self.source.content(piece);
        match (kind, &mut content) {
            (Kind::Forgetful, Content::State(_) | Content::Log(_)) => return Content::Gone,
            (Kind::ManifestCoarse, Content::Manifest(manifest)) => {
                // one piece, which nobody can send
                manifest.state = vec![Subtree::fold(&manifest.state).expect("a power of two")];
            }
            (_, Content::State(_)) if !matches!(piece, Piece::State { depth: asked, .. } if asked == depth) => {
                return Content::Gone;
            }
            (_, Content::Manifest(manifest)) => bend(kind, manifest),
            (Kind::RowChanged, Content::State(rows)) => rows[0].value.0[0] ^= 1,
            (Kind::RowMissing, Content::State(rows)) => drop(rows.pop()),
            (Kind::RowAdded, Content::State(rows)) => rows.push(rows[0].clone()),
            (Kind::RowsSwapped, Content::State(rows)) => rows.reverse(),
            (Kind::RowNoPlace, Content::State(rows)) => rows[0].key = Value(b"tx/0".to_vec()),
            (Kind::EntryChanged, Content::Log(entries)) => {
                entries[0].outcome = Outcome::Refused(schemas::transaction::Refusal::Expired);
            }
            (Kind::EntryMissing, Content::Log(entries)) => drop(entries.pop()),
            (Kind::AnotherPiece, Content::Log(_)) => return Content::State(vec![]),
            (Kind::AnotherPiece, Content::State(_)) => return Content::Log(vec![]),
            _ => {}
        }
        content
    }
}

/// A manifest that does not hold.
fn bend(kind: Kind, manifest: &mut Manifest) {
    let last = manifest.state.len() - 1;
    match kind {
        Kind::ManifestShort => drop(manifest.attestations.pop()),
        Kind::ManifestOtherState => manifest.state.swap(0, last),
        Kind::ManifestOtherLog => manifest.log.pieces[0] = Digest([3; 32]),
        Kind::ManifestLate => {
            // as if nothing before the last piece could be executed again
            let mut before = manifest.log.before.clone();
            while manifest.log.pieces.len() > 1 {
                before.append(manifest.log.pieces.remove(0), |_, _, _| {});
            }
            manifest.log.before = before;
        }
        Kind::ManifestBeyond => {
            manifest.log.before = Frontier::default();
            manifest.log.pieces.insert(0, Digest([4; 32]));
        }
        _ => {}
    }
}

/// Ticks after which nothing that happens at all has not happened.
pub const ENOUGH: u64 = 40 * limits::TRANSFER_PIECE_MS_MAX / TICK_MS;

/// Whether what was kept is the whole state, and the log from where the snapshot says.
pub fn check(source: &Source, kept: &Kept) {
    let snapshot = kept.done.as_ref().expect("an end").as_ref().expect("a snapshot");
    assert_eq!(snapshot.header, source.header);
    let mut rows = kept.rows.clone();
    rows.sort_by_key(|row| schemas::tree::Place::of(&row.key.0));
    assert_eq!(rows, source.rows);
    let mut entries = kept.entries.clone();
    entries.sort_by_key(|(number, _)| *number);
    let first = snapshot.before.size();
    assert_eq!(entries.first().map_or(first, |(number, _)| *number), first);
    let entries: Vec<_> = entries.into_iter().flat_map(|(_, entries)| entries).collect();
    assert_eq!(entries, source.entries[(first * LOG_PIECE) as usize..]);
    let needed = source.entries.iter().position(|entry| entry.height > 1).unwrap_or(0);
    assert!(first * LOG_PIECE <= needed as u64, "every entry that is asked for is there");
}
