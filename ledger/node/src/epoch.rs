//! Which epoch a validator is in, and as whom: from its store, where it has one, else from the genesis and the proofs of epochs that
//! lie beside its key. Each epoch is a life of its own of the node: other peers, other keys, views from 0.

use std::path::{Path, PathBuf};

use ledger_contract::{epoch_at, epoch_record, seal};
use ledger_proof::{Epochs, ValidatorSet};
use schemas::block::{Epoch, ValidatorIndex};
use schemas::genesis::{Genesis, Validator};
use schemas::id::{ChainId, Digest, Height, PublicKey};
use schemas::proof::EpochProof;
use schemas::view::Checkpoint;
use tracing::warn;

use crate::store::Store;
use crate::votelog::file_error;
use crate::{NodeConfig, NodeError, StoreError};

/// A validator's place in an epoch.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub epoch: Epoch,
    /// All validators in order of index.
    pub members: Vec<Validator>,
    pub me: ValidatorIndex,
    /// Who left with the epoch before: they may still lack its last blocks, and get nothing else.
    pub guests: Vec<Validator>,
    /// Where the epoch begins.
    pub base: Checkpoint,
    /// Where it ends, once that is decided.
    pub seal: Option<Height>,
}

impl Seat {
    /// The place after the store's newest final height.
    ///
    /// # Errors
    /// `NodeError::NoSeat` when the key is no validator's then.
    pub fn of_store(store: &Store, chain: &ChainId, certified: Height, key: &PublicKey) -> Result<Self, NodeError> {
        let state = |e| NodeError::Store(StoreError::State(e));
        let record = epoch_at(store, certified + 1).map_err(state)?;
        let height = record.previous_seal();
        let base = match store.attested(height) {
            _ if height == 0 => Checkpoint::genesis(chain),
            Ok(Some(attested)) => Checkpoint { height, header: attested.header.hash(), attestations: vec![] },
            // a copied store begins above: whoever still stands there is not believed, and catches up
            Ok(None) | Err(StoreError::NotHeld { .. }) => {
                Checkpoint { height, header: Digest::ZERO, attestations: vec![] }
            }
            Err(e) => return Err(e.into()),
        };
        let seal = seal(store, record.epoch).map_err(state)?.map(|seal| seal.at);
        let me =
            index_of(&record.members, key).ok_or(NodeError::NoSeat { epoch: record.epoch, first: record.first })?;
        let before = match record.epoch.checked_sub(1) {
            Some(before) => epoch_record(store, before).map_err(state)?,
            None => None,
        };
        let before = before.map_or(vec![], |before| before.members);
        let has_left = |one: &Validator| index_of(&record.members, &one.key).is_none();
        let guests = before.into_iter().filter(has_left).collect();
        Ok(Self { epoch: record.epoch, members: record.members, me, guests, base, seal })
    }

    /// Keys in order of index, those of guests behind them.
    pub fn keys(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.members.iter().chain(&self.guests).map(|member| member.key)
    }

    /// Addresses of the others in order of index. In epoch 0 every one must be known; later ones are added as they come.
    ///
    /// # Errors
    /// `NodeError::Config` when one of the genesis is missing, or one is there twice.
    pub fn addresses(&self, config: &NodeConfig) -> Result<Vec<(ValidatorIndex, String)>, NodeError> {
        let wrong = |message: String| NodeError::Config { place: "peers".to_owned(), message };
        let mut out = Vec::new();
        for (index, validator) in (0..).zip(&self.members).filter(|&(index, _)| index != self.me) {
            let mut found = config.peers.iter().filter(|peer| peer.name == validator.name);
            match (found.next(), found.next()) {
                (Some(peer), None) => out.push((index, peer.address.clone())),
                (None, _) if self.epoch > 0 => {
                    warn!(validator = validator.name, "no address of a validator: add it to `peers` and start again");
                }
                (None, _) => return Err(wrong(format!("found no address of validator {}", validator.name))),
                (Some(_), Some(_)) => return Err(wrong(format!("found validator {} twice", validator.name))),
            }
        }
        for (index, guest) in (0..).zip(&self.guests) {
            let peer = config.peers.iter().find(|peer| peer.name == guest.name);
            let index =
                ValidatorIndex::try_from(self.members.len()).unwrap_or(ValidatorIndex::MAX).saturating_add(index);
            out.extend(peer.map(|peer| (index, peer.address.clone())));
        }
        Ok(out)
    }
}

/// The index of a key among validators.
pub(crate) fn index_of(members: &[Validator], key: &PublicKey) -> Option<ValidatorIndex> {
    let index = members.iter().position(|member| member.key == *key)?;
    ValidatorIndex::try_from(index).ok()
}

/// The epochs that are known without a store: the genesis, and what the proofs beside the key prove.
///
/// # Errors
/// `NodeError::Config` when the file is damaged or proves nothing.
pub(crate) fn known(config: &NodeConfig, genesis: &Genesis) -> Result<(Epochs, Vec<EpochProof>), NodeError> {
    let (path, epochs) = (path_beside(&config.key), Epochs::of(genesis));
    if !path.exists() {
        return Ok((epochs, vec![]));
    }
    let wrong = |message: String| NodeError::Config { place: path.display().to_string(), message };
    let text = std::fs::read_to_string(&path).map_err(file_error(&path))?;
    let proofs: Vec<EpochProof> =
        serde_json::from_str(&text).map_err(|e| wrong(format!("found no proofs of epochs: {e}")))?;
    let epochs = epochs.extended(&proofs).map_err(|e| wrong(format!("found a proof that does not hold: {e}")))?;
    Ok((epochs, proofs))
}

/// Writes the proofs of all epochs up to one beside the key: with them and the genesis alone a validator that lost its disk, or a
/// new one to whom somebody gives the file, knows whom to ask.
///
/// # Errors
/// `NodeError` when a file cannot be written or a row not be read.
pub(crate) fn keep(config: &NodeConfig, store: &Store, epoch: Epoch, certified: Height) -> Result<(), NodeError> {
    if epoch == 0 {
        return Ok(());
    }
    let proofs = (1..=epoch).map_while(|epoch| store.epoch_proof(epoch, certified).transpose());
    let proofs: Vec<EpochProof> = proofs.collect::<Result<_, _>>()?;
    keep_proofs(&config.key, &proofs)?;
    Ok(())
}

/// Writes proofs of epochs beside a validator's key, whole or not at all, and says where.
///
/// # Errors
/// `NodeError` when the file cannot be written.
pub fn keep_proofs(key: &Path, proofs: &[EpochProof]) -> Result<PathBuf, NodeError> {
    let (path, text) = (path_beside(key), serde_json::to_string(&proofs).unwrap_or_default());
    let unfinished = path.with_extension("new");
    write(&unfinished, &text).and_then(|()| std::fs::rename(&unfinished, &path)).map_err(file_error(&path))?;
    Ok(path)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    std::fs::write(path, text)?;
    std::fs::File::open(path)?.sync_all()
}

fn path_beside(key: &Path) -> PathBuf {
    key.with_extension("epochs.json")
}

/// The place in the newest epoch that is known without a store.
///
/// # Errors
/// `NodeError::NoSeat` when the key is no validator's there.
pub(crate) fn newest_seat(epochs: &Epochs, key: &PublicKey) -> Result<Seat, NodeError> {
    let set: &ValidatorSet = epochs.newest();
    let pairs = set.names().iter().zip(set.keys());
    let members: Vec<_> = pairs.map(|(name, key)| Validator { name: name.clone(), key: *key }).collect();
    let (epoch, first) = (set.epoch(), set.first());
    let me = index_of(&members, key).ok_or(NodeError::NoSeat { epoch, first })?;
    let base = match epoch {
        0 => Checkpoint::genesis(epochs.chain()),
        _ => Checkpoint { height: first - 1, header: Digest::ZERO, attestations: vec![] },
    };
    Ok(Seat { epoch, members, me, guests: vec![], base, seal: None })
}
