//! Attackers: each hears what its validator hears, sees what the real replica behind it would say, and says something else.
//! Never more than f of them; each holds its own key only. One file each.

mod amnesia;
mod attesting;
mod borrowed;
mod censoring;
mod copying;
mod delayed;
mod equivocating;
mod flooding;
mod forged;
mod leaving;
mod lying;
mod replaying;
mod selective;
mod silent;
mod twins;
mod views;
mod wrong;

use ledger_core::{Input, Sign};
use schemas::block::{Batch, Epoch, Phase, TransactionBytes, ValidatorIndex, ValidatorSignature, View, Vote};
use schemas::cbor;
use schemas::id::{Digest, Height, Signature};
use schemas::pbft::{Attest, Message, PrePrepare, SignedVote};
use schemas::transaction::Transaction;
use schemas::view::{Checkpoint, NewView, PreparedCertificate, SignedViewChange, ViewChange};

use crate::chain::Chain;
use crate::client;
use crate::dice::Dice;
use crate::keys::Keys;
use crate::oracle;

/// Something an attacker sends. `to` none: to everyone.
pub struct Said {
    /// To whom.
    pub to: Option<ValidatorIndex>,
    /// After which delay.
    pub delay_ms: u64,
    /// What.
    pub message: Message,
}

/// What an attacker wants beyond sending.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    /// Its disk is emptied and its replica starts anew.
    Forget,
}

/// What an attacker can see and do.
pub struct Hand<'a> {
    /// Its index.
    pub me: ValidatorIndex,
    /// Epoch of its replica.
    pub epoch: Epoch,
    /// Validators of the epoch.
    pub n: usize,
    /// True time.
    pub now: u64,
    /// View of its replica.
    pub view: View,
    /// Certified height of its replica.
    pub certified: Height,
    /// All attackers.
    pub friends: &'a [ValidatorIndex],
    /// Transactions that clients made.
    pub known: &'a [TransactionBytes],
    /// What is agreed.
    pub chain: &'a Chain,
    /// Its luck.
    pub dice: &'a mut Dice,
    /// Keys: its own signer, and everyone's verification.
    pub keys: &'a Keys,
    /// What it sends.
    pub out: Vec<Said>,
    /// What else it wants.
    pub wants: Option<Wish>,
}

impl Hand<'_> {
    /// To one or to all, now.
    pub fn send(&mut self, to: Option<ValidatorIndex>, message: Message) {
        self.later(to, 0, message);
    }

    /// To one or to all, after a delay.
    pub fn later(&mut self, to: Option<ValidatorIndex>, delay_ms: u64, message: Message) {
        self.out.push(Said { to, delay_ms, message });
    }

    /// Everyone else.
    pub fn others(&self) -> Vec<ValidatorIndex> {
        (0..self.n as ValidatorIndex).filter(|&other| other != self.me).collect()
    }

    /// Where its epoch begins.
    pub fn base(&self) -> Checkpoint {
        self.keys.config(self.epoch).map_or_else(|| Checkpoint::genesis(&self.keys.chain), |config| config.base)
    }

    /// Its signature.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        self.keys.signer(self.epoch, self.me).sign(bytes)
    }

    /// A vote's content.
    pub const fn vote(&self, view: View, height: Height, phase: Phase, digest: Digest) -> Vote {
        Vote { chain: self.keys.chain, epoch: self.epoch, view, height, phase, digest }
    }

    /// Its signed vote.
    pub fn signed(&self, vote: Vote) -> Message {
        let by = ValidatorSignature { validator: self.me, signature: self.sign(&vote.to_sign()) };
        Message::Vote(SignedVote { vote, by })
    }

    /// A proposal of its own.
    pub fn proposal(&self, view: View, height: Height, time: u64, transactions: Vec<TransactionBytes>) -> PrePrepare {
        let transactions_root = schemas::block::transactions_root(&transactions);
        let batch = Batch { chain: self.keys.chain, epoch: self.epoch, height, transactions_root, time };
        let vote = self.vote(view, height, Phase::PrePrepare, batch.digest());
        PrePrepare { view, batch, transactions, signature: self.sign(&vote.to_sign()) }
    }

    /// Its view change.
    pub fn view_change(
        &self,
        view: View,
        checkpoint: Checkpoint,
        prepared: Vec<PreparedCertificate>,
    ) -> SignedViewChange {
        let change = ViewChange { chain: self.keys.chain, epoch: self.epoch, view, checkpoint, prepared };
        let by = ValidatorSignature { validator: self.me, signature: self.sign(&change.to_sign()) };
        SignedViewChange { change, by }
    }

    /// Its new view from these view changes, right or not.
    pub fn new_view(&self, view: View, mut changes: Vec<SignedViewChange>) -> NewView {
        changes.sort_by_key(|signed| signed.by.validator);
        let votes = oracle::assignment(self.keys.chain, &changes);
        let votes = votes.into_iter().map(|(height, digest)| self.vote(view, height, Phase::PrePrepare, digest));
        let pre_prepares = votes.map(|vote| self.sign(&vote.to_sign())).collect();
        self.sealed(NewView {
            chain: self.keys.chain,
            epoch: self.epoch,
            view,
            changes,
            pre_prepares,
            signature: self.sign(b""),
        })
    }

    /// A new view with its signature made again.
    pub fn sealed(&self, mut message: NewView) -> NewView {
        message.signature = self.sign(&message.to_sign());
        message
    }

    /// Its attestation of any header.
    pub fn attest(&self, height: Height, header: Digest) -> Message {
        let bytes = schemas::block::attestation_bytes(&self.keys.chain, self.epoch, height, &header);
        let by = ValidatorSignature { validator: self.me, signature: self.sign(&bytes) };
        Message::Attest(Attest { height, header, by })
    }

    /// A client's transaction, or one that no client signed.
    pub fn transaction(&mut self) -> TransactionBytes {
        if !self.known.is_empty() && self.dice.percent(70) {
            return self.known[self.dice.index(self.known.len())].clone();
        }
        let number = (1 << 40) + self.dice.below(1 << 20);
        let me = self.keys.signer(self.epoch, self.me);
        client::transaction(self.keys, number, self.dice.percent(20), |bytes| me.sign(bytes))
    }

    /// The same transaction under signatures of its own: the same id, and execution refuses it.
    pub fn copy(&mut self, bytes: &TransactionBytes) -> TransactionBytes {
        let Ok(mut copy) = cbor::decode::<Transaction>(bytes.as_ref()) else { return bytes.clone() };
        let salt = self.dice.below(u64::MAX).to_be_bytes();
        let junk = self.sign(&salt);
        copy.signatures.iter_mut().for_each(|signed| signed.signature = junk);
        TransactionBytes(cbor::encode(&copy).into())
    }

    /// Some digest that nobody proposed.
    pub fn digest(&mut self) -> Digest {
        let mut bytes = [0xee; 32];
        bytes[..8].copy_from_slice(&self.dice.below(u64::MAX).to_be_bytes());
        Digest(bytes)
    }

    /// A height close to where the replica is.
    pub fn height(&mut self) -> Height {
        self.certified + 1 + self.dice.below(4)
    }
}

/// A faulty validator.
pub trait Attacker {
    /// Its replica would say this; to everyone when `to` is none.
    fn say(&mut self, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
        hand.send(to, message);
    }

    /// It hears something.
    fn hear(&mut self, _from: ValidatorIndex, _message: &Message, _hand: &mut Hand) {}

    /// A turn of its replica ends.
    fn tick(&mut self, _hand: &mut Hand) {}

    /// Whether its replica is told.
    fn admits(&mut self, _input: &Input) -> bool {
        true
    }
}

/// What an attacker says instead of this. Those who copy the state are few: any kind may lie to them.
pub fn say(attacker: &mut dyn Attacker, to: Option<ValidatorIndex>, message: Message, hand: &mut Hand) {
    if matches!(message, Message::Offered(_) | Message::Piece(_)) && hand.dice.percent(80) {
        lying::Lying.say(to, message, hand);
    } else {
        attacker.say(to, message, hand);
    }
}

macro_rules! kinds {
    ($($kind:ident, $name:literal, $make:expr;)*) => {
        /// The ways to be faulty.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is named by its file")]
        pub enum Kind { $($kind),* }

        impl Kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// For people and figures.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }
        }

        /// A new attacker of a kind.
        pub fn make(kind: Kind) -> Box<dyn Attacker> {
            match kind { $(Kind::$kind => Box::new($make)),* }
        }
    };
}

kinds! {
    Silent, "silent", silent::Silent::default();
    Delayed, "delayed", delayed::Delayed;
    Equivocating, "equivocating", equivocating::Equivocating::default();
    Selective, "selective", selective::Selective::default();
    Replaying, "replaying", replaying::Replaying::default();
    Views, "stale_and_future_views", views::Views;
    Forged, "forged_certificates", forged::Forged::default();
    Borrowed, "borrowed_signatures", borrowed::Borrowed::default();
    Lying, "lying_state_transfer", lying::Lying;
    Wrong, "wrong_type_inside", wrong::Wrong::default();
    Amnesia, "amnesia", amnesia::Amnesia;
    Twins, "twins", twins::Twins;
    Censoring, "censoring", censoring::Censoring;
    Flooding, "flooding", flooding::Flooding::default();
    Copying, "copies_of_transactions", copying::Copying;
    Attesting, "two_headers", attesting::Attesting;
    Leaving, "two_view_changes", leaving::Leaving::default();
}
