//! State transfer: how a validator without a disk, or too far behind for blocks, gets the state of a proven height from peers of
//! whom f may lie. Pure, like the replica: `Transfer::step(TransferInput) -> Vec<TransferEffect>`.
//!
//! ```text
//! Asking (f + 1 offers) -> Choosing (a height, its manifest) -> Copying (pieces) -> Done
//! ```
//!
//! An offer is believed for its checkpoint's attestations, a manifest for its header's and because it folds to the header's roots,
//! a piece because it folds to what the manifest names. Whoever sends something else is never asked again. All peers cut the
//! state of the same height, so pieces come from any of them. While blocks are made nobody knows which height the others
//! have not passed yet: it is tried at the newest one, then further ahead.
//!
//! f + 1 offers are enough: one of them is of an honest validator, and what is copied is proven whoever sent it. It keeps nothing but
//! names of pieces, and knows nothing of votes: what a validator may have said before its loss is `replica/recover.rs`. It
//! must never ask itself, and never call a copy whole of which a piece was not checked.

mod copying;

use std::collections::BTreeMap;

use schemas::block::{Epoch, ValidatorIndex, ValidatorSignature, faults_tolerated};
use schemas::id::{Digest, Height, TimeMs};
use schemas::limits;
use schemas::merkle::Frontier;
use schemas::pbft::Message;
use schemas::transaction::LogEntry;
use schemas::transfer::{Asked, Content, Manifest, Offer, Piece, Row, Told};

use schemas::view::Checkpoint;

use crate::Config;

use self::copying::Copying;

/// Heights above the newest one that are tried in turn: for a chain that rests, one that walks, one that runs.
const AHEAD: [Height; 3] = [0, limits::TRANSFER_HEIGHTS_AHEAD / 8, limits::TRANSFER_HEIGHTS_AHEAD];

/// Knows the validators of every epoch up to the one of the transfer.
pub trait Attests {
    /// Whether a quorum of the validators of the height's epoch signed this header.
    fn is_final(&self, height: Height, header: &Digest, attestations: &[ValidatorSignature]) -> bool;
}

impl<F: Fn(Height, &Digest, &[ValidatorSignature]) -> bool> Attests for F {
    fn is_final(&self, height: Height, header: &Digest, attestations: &[ValidatorSignature]) -> bool {
        self(height, header, attestations)
    }
}

/// What a transfer starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferStart {
    /// Who it is among whom, in the epoch of the others.
    pub config: Config,
    /// A number that nobody can guess.
    pub nonce: u64,
    /// The time now.
    pub now: TimeMs,
    /// What lies here already is final up to this height: nothing older is taken, whoever offers it, nor from before the epoch.
    pub above: Height,
}

/// What a transfer is told. `from` is who the transport says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferInput {
    /// The time now.
    Tick(TimeMs),
    /// A peer's offer.
    Offered(ValidatorIndex, Offer),
    /// A peer's piece.
    Told(ValidatorIndex, Told),
}

/// What has to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferEffect {
    /// To one validator.
    Send(ValidatorIndex, Message),
    /// Throw away all that was kept.
    Begin,
    /// Keep rows of the state. They were checked.
    KeepRows(Vec<Row>),
    /// Keep the entries of a piece of the log, by its number. They were checked.
    KeepEntries(u64, Vec<LogEntry>),
    /// This peer lied and is asked for nothing any more.
    Lied(ValidatorIndex, Lie),
    /// The end: what makes the kept pieces whole, or nothing, when others have nothing but the genesis either.
    Done(Option<Box<Snapshot>>),
}

/// What a lie was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// A checkpoint without its proof.
    #[error("found an offer that is not proven")]
    Offer,
    /// A manifest of another height, without proof, or that does not fold to its header.
    #[error("found a manifest that does not fit its header")]
    Manifest,
    /// A log that begins too late.
    #[error("found a log without the entries that execution asks for")]
    Late,
    /// Rows or entries that are not those of the manifest.
    #[error("found a piece that does not fit its manifest")]
    Piece,
}

/// The height whose state was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its header.
    pub header: schemas::block::Header,
    /// At least q signatures over it.
    pub attestations: Vec<ValidatorSignature>,
    /// The log before the first kept piece, over pieces.
    pub before: Frontier,
}

/// What is known of a peer.
#[derive(Debug, Default)]
struct Peer {
    lied: bool,
    /// Its answer to the newest question.
    offer: Option<Offer>,
    /// What it said about the snapshot of the chosen height: whether it has it.
    has: Option<bool>,
    /// Pieces that it let run out.
    silences: u32,
    /// Snapshots that could not be finished after its manifest.
    failed: u32,
}

#[derive(Debug)]
enum Stage {
    Asking,
    Choosing { height: Height, since: TimeMs },
    Copying(Box<Copying>),
    Done,
}

/// One transfer.
#[derive(Debug)]
pub struct Transfer {
    config: Config,
    nonce: u64,
    now: TimeMs,
    above: Height,
    /// When everyone was asked last.
    asked_at: Option<TimeMs>,
    /// Heights that were tried.
    tries: usize,
    peers: BTreeMap<ValidatorIndex, Peer>,
    /// Who is in an epoch that is not known here.
    ahead: BTreeMap<ValidatorIndex, Epoch>,
    stage: Stage,
}

impl Transfer {
    /// Nothing is asked before the first tick.
    pub fn start(start: TransferStart) -> Self {
        let TransferStart { config, nonce, now, above } = start;
        // nothing from before its epoch: a newcomer has no seat there
        let above = above.max(config.base.height);
        let others = (0..).take(config.validators).filter(|&validator| validator != config.me);
        let peers = others.map(|validator| (validator, Peer::default())).collect();
        Self {
            config,
            nonce,
            now,
            above,
            asked_at: None,
            tries: 0,
            peers,
            ahead: BTreeMap::new(),
            stage: Stage::Asking,
        }
    }

    /// Takes one input and says what has to be done.
    pub fn step(&mut self, input: TransferInput, verify: &dyn Attests) -> Vec<TransferEffect> {
        let mut effects = Vec::new();
        match input {
            TransferInput::Tick(now) => self.tick(now, &mut effects),
            TransferInput::Offered(from, offer) if self.may_speak(from) => {
                self.hear_offer(from, offer, verify, &mut effects)
            }
            TransferInput::Told(from, told) if self.may_speak(from) => {
                self.hear_piece(from, told, verify, &mut effects)
            }
            TransferInput::Offered(..) | TransferInput::Told(..) => {}
        }
        self.ask_pieces(&mut effects);
        self.end(&mut effects);
        assert!(!self.peers.contains_key(&self.config.me), "nobody asks himself");
        effects
    }

    /// Offers heard, pieces left and pieces in all.
    pub fn progress(&self) -> (usize, usize, usize) {
        let offers = self.peers.values().filter(|peer| peer.offer.is_some()).count();
        let (left, all) = if let Stage::Copying(copying) = &self.stage { copying.progress() } else { (0, 0) };
        (offers, left, all)
    }

    /// The latest epoch that f + 1 peers, so an honest one, say they have come to, if it is not known here.
    pub fn epoch_ahead(&self) -> Option<Epoch> {
        let mut ahead: Vec<Epoch> = self.ahead.values().copied().collect();
        ahead.sort_unstable();
        let honest = ahead.len().checked_sub(faults_tolerated(self.config.validators) + 1)?;
        ahead.get(honest).copied()
    }

    fn may_speak(&self, from: ValidatorIndex) -> bool {
        self.peers.get(&from).is_some_and(|peer| !peer.lied)
    }

    fn tick(&mut self, now: TimeMs, effects: &mut Vec<TransferEffect>) {
        self.now = self.now.max(now);
        match &mut self.stage {
            Stage::Choosing { since, .. } if self.now >= since.saturating_add(limits::TRANSFER_HEIGHT_MS_MAX) => {
                self.ask_anew();
            }
            Stage::Copying(copying) => {
                for late in copying.run_out(self.now) {
                    let Some(peer) = self.peers.get_mut(&late) else { continue };
                    peer.silences += 1;
                    if peer.silences >= limits::TRANSFER_SILENCES_MAX {
                        peer.has = Some(false);
                    }
                }
            }
            _ => {}
        }
        self.ask(effects);
    }

    /// Asks everyone for what the stage needs, again and again.
    fn ask(&mut self, effects: &mut Vec<TransferEffect>) {
        let is_due = |at: TimeMs| self.now >= at.saturating_add(limits::TRANSFER_ASK_AGAIN_MS);
        if !self.asked_at.is_none_or(is_due) {
            return;
        }
        let all = self.peers.iter().filter(|(_, peer)| !peer.lied);
        let asked: Vec<_> = match self.stage {
            Stage::Asking => {
                let silent = all.filter(|(_, peer)| peer.offer.is_none());
                silent.map(|(&to, _)| (to, Message::AskOffer(self.nonce))).collect()
            }
            Stage::Choosing { height, .. } => {
                let asked = Asked { height, piece: Piece::Manifest };
                let silent = all.filter(|(_, peer)| peer.has.is_none());
                silent.map(|(&to, _)| (to, Message::AskPiece(asked))).collect()
            }
            Stage::Copying(_) | Stage::Done => return,
        };
        self.asked_at = Some(self.now);
        effects.extend(asked.into_iter().map(|(to, message)| TransferEffect::Send(to, message)));
    }

    /// Back to the first question, under another number: heights have moved on.
    fn ask_anew(&mut self) {
        self.nonce = self.nonce.wrapping_add(1);
        self.asked_at = None;
        self.stage = Stage::Asking;
        for peer in self.peers.values_mut() {
            (peer.offer, peer.has, peer.silences) = (None, None, 0);
        }
    }

    fn hear_offer(
        &mut self,
        from: ValidatorIndex,
        offer: Offer,
        verify: &dyn Attests,
        effects: &mut Vec<TransferEffect>,
    ) {
        if !matches!(self.stage, Stage::Asking) || offer.nonce != self.nonce {
            return;
        }
        // of a later epoch nothing can be judged here
        if offer.epoch > self.config.epoch {
            self.ahead.insert(from, offer.epoch);
            return;
        }
        let Checkpoint { height, header, attestations } = &offer.checkpoint;
        let is_genesis = offer.checkpoint == Checkpoint::genesis(&self.config.chain);
        if !is_genesis && (*height == 0 || !verify.is_final(*height, header, attestations)) {
            return self.caught(from, Lie::Offer, effects);
        }
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.offer = Some(offer);
        }
        let heights = self.peers.values().filter_map(|peer| peer.offer.as_ref()).map(|offer| offer.checkpoint.height);
        if heights.clone().count() <= faults_tolerated(self.config.validators) {
            return;
        }
        let newest = heights.max().unwrap_or(0);
        if newest < self.above {
            return self.ask_anew();
        }
        if newest == 0 {
            self.stage = Stage::Done;
            return effects.push(TransferEffect::Done(None));
        }
        let height = newest.saturating_add(AHEAD[self.tries % AHEAD.len()]);
        self.tries += 1;
        self.stage = Stage::Choosing { height, since: self.now };
        self.asked_at = None;
        self.ask(effects);
    }

    fn hear_piece(
        &mut self,
        from: ValidatorIndex,
        told: Told,
        verify: &dyn Attests,
        effects: &mut Vec<TransferEffect>,
    ) {
        let Told { asked, content } = told;
        match &mut self.stage {
            Stage::Choosing { height, .. } if *height == asked.height && asked.piece == Piece::Manifest => {
                match content {
                    Content::Manifest(manifest) => self.choose(from, *manifest, asked.height, verify, effects),
                    Content::Gone => {
                        self.says(from, false);
                        if self.peers.values().all(|peer| peer.lied || peer.has == Some(false)) {
                            self.ask_anew();
                            self.ask(effects);
                        }
                    }
                    _ => self.caught(from, Lie::Manifest, effects),
                }
            }
            // later ones are no better, but whoever has the snapshot may be asked
            Stage::Copying(copying) if copying.height() == asked.height && asked.piece == Piece::Manifest => {
                self.says(from, matches!(content, Content::Manifest(_)));
            }
            Stage::Copying(copying) if copying.height() == asked.height => {
                let author = copying.author;
                match copying.take(from, asked.piece, content, effects) {
                    Ok(None) => {}
                    Ok(Some(is_here)) => {
                        self.says(from, is_here);
                        // whoever gives a piece is not silent any more
                        if let Some(peer) = self.peers.get_mut(&from).filter(|_| is_here) {
                            peer.silences = 0;
                        }
                    }
                    Err(Lie::Late) => {
                        self.caught(author, Lie::Late, effects);
                        self.ask_anew();
                    }
                    Err(lie) => self.caught(from, lie, effects),
                }
            }
            _ => {}
        }
    }

    /// Takes the first manifest that holds.
    fn choose(
        &mut self,
        from: ValidatorIndex,
        manifest: Manifest,
        height: Height,
        verify: &dyn Attests,
        effects: &mut Vec<TransferEffect>,
    ) {
        let header = &manifest.header;
        let is_place = header.chain == self.config.chain && header.height == height;
        if is_place && header.epoch > self.config.epoch {
            return self.says(from, false);
        }
        // it may be cut so that no piece fits a frame: others go first, for a while
        let has_failed = self.peers.get(&from).is_some_and(|peer| peer.failed > 0);
        if has_failed && self.is_early() {
            return;
        }
        let is_proven = verify.is_final(height, &header.hash(), &manifest.attestations);
        if !is_place || !is_proven || !manifest.fits() {
            return self.caught(from, Lie::Manifest, effects);
        }
        match Copying::begin(manifest, from) {
            Ok(copying) => {
                self.says(from, true);
                self.stage = Stage::Copying(Box::new(copying));
                effects.push(TransferEffect::Begin);
            }
            Err(lie) => self.caught(from, lie, effects),
        }
    }

    fn is_early(&self) -> bool {
        let half = limits::TRANSFER_HEIGHT_MS_MAX / 2;
        matches!(self.stage, Stage::Choosing { since, .. } if self.now < since.saturating_add(half))
    }

    fn says(&mut self, from: ValidatorIndex, has: bool) {
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.has = Some(has);
        }
    }

    fn caught(&mut self, liar: ValidatorIndex, lie: Lie, effects: &mut Vec<TransferEffect>) {
        if let Some(peer) = self.peers.get_mut(&liar) {
            *peer = Peer { lied: true, ..Peer::default() };
            effects.push(TransferEffect::Lied(liar, lie));
        }
        if let Stage::Copying(copying) = &mut self.stage {
            copying.give_up(liar);
        }
    }

    /// Hands out pieces to whoever has the snapshot; without anyone it begins anew.
    fn ask_pieces(&mut self, effects: &mut Vec<TransferEffect>) {
        let Stage::Copying(copying) = &mut self.stage else { return };
        let sources: Vec<_> = self.peers.iter().filter(|(_, peer)| !peer.lied && peer.has == Some(true)).collect();
        let sources: Vec<_> = sources.into_iter().map(|(&from, peer)| (peer.silences, from)).collect();
        if sources.is_empty() && !copying.is_whole() {
            let author = copying.author;
            if let Some(peer) = self.peers.get_mut(&author) {
                peer.failed += 1;
            }
            self.ask_anew();
            return self.ask(effects);
        }
        let asked = copying.hand_out(&sources, self.now);
        effects.extend(asked.into_iter().map(|(to, asked)| TransferEffect::Send(to, Message::AskPiece(asked))));
    }

    fn end(&mut self, effects: &mut Vec<TransferEffect>) {
        let Stage::Copying(copying) = &self.stage else { return };
        if copying.is_whole() {
            let snapshot = Some(Box::new(copying.snapshot()));
            self.stage = Stage::Done;
            effects.push(TransferEffect::Done(snapshot));
        }
    }
}
