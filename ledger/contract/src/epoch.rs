//! Who the validators are, read from the state: the record of each epoch, the current one at a height, the votes for the next, who of
//! the next is there. What decides is `execute/ballot.rs`. Nothing here knows a clock or the network: the state says which epoch a height is of.

use schemas::ballot;
use schemas::block::{Epoch, ValidatorIndex};
use schemas::genesis::{Genesis, Validator};
use schemas::id::{Digest, Height, PublicKey};
use schemas::state::{self, CastBallot, EpochRecord, SeatConfirmation};

use crate::state::{Changes, State, StateError, read};

/// The decided end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The last height of the epoch.
    pub at: Height,
    /// What follows.
    pub next: EpochRecord,
}

/// The record of an epoch; none while nothing about it is decided.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn epoch_record(from: &dyn State, epoch: Epoch) -> Result<Option<EpochRecord>, StateError> {
    read(from, &state::epoch_key(epoch), "epoch")
}

/// The highest epoch that has a record: the current one, or the next once it is decided.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged or missing: a genesis writes it.
pub fn newest_epoch(from: &dyn State) -> Result<Epoch, StateError> {
    read(from, &state::newest_epoch_key(), "newest epoch")?.ok_or(StateError::Corrupt { record: "newest epoch" })
}

/// The epoch of a height that is not above the next one: the highest whose first height is not above it. Found in three reads
/// for heights of the current epoch.
///
/// # Errors
/// `StateError` when the store fails or a row is damaged or missing.
pub fn epoch_at(from: &dyn State, height: Height) -> Result<EpochRecord, StateError> {
    let mut epoch = newest_epoch(from)?;
    loop {
        let record = epoch_record(from, epoch)?.ok_or(StateError::Corrupt { record: "epoch" })?;
        // the genesis, at height 0, belongs to epoch 0
        if record.first <= height || epoch == 0 {
            return Ok(record);
        }
        epoch -= 1;
    }
}

/// Where an epoch ends and what follows, once that is decided.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn seal(from: &dyn State, epoch: Epoch) -> Result<Option<Seal>, StateError> {
    let Some(following) = epoch.checked_add(1) else { return Ok(None) };
    Ok(epoch_record(from, following)?.map(|next| Seal { at: next.previous_seal(), next }))
}

/// The vote of a validator of an epoch for the next one's members.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn cast_ballot(from: &dyn State, epoch: Epoch, voter: ValidatorIndex) -> Result<Option<CastBallot>, StateError> {
    read(from, &state::ballot_key(epoch, voter), "ballot")
}

/// The list that a quorum of an epoch's validators names now; none while there is none.
///
/// # Errors
/// `StateError` when the store fails or a row is damaged.
pub fn elected(from: &dyn State, current: &EpochRecord) -> Result<Option<Vec<Validator>>, StateError> {
    let mut cast = Vec::with_capacity(current.members.len());
    for (voter, _) in (0..).zip(&current.members) {
        cast.extend(cast_ballot(from, current.epoch, voter)?.map(|cast| cast.members));
    }
    Ok(ballot::elected(cast, current.members.len()))
}

/// The list in which a member of the next epoch is there, as of a height: it said so no longer than `CONFIRMATION_HEIGHTS` ago.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn confirmed(
    from: &dyn State,
    epoch: Epoch,
    member: &PublicKey,
    height: Height,
) -> Result<Option<Digest>, StateError> {
    let found: Option<SeatConfirmation> = read(from, &state::confirmation_key(epoch, member), "seat confirmation")?;
    Ok(found.filter(|found| found.counts_at(height)).map(|found| found.members))
}

/// The first epoch that a key has been a validator's in.
///
/// # Errors
/// `StateError` when the store fails or the row is damaged.
pub fn seat(from: &dyn State, key: &PublicKey) -> Result<Option<Epoch>, StateError> {
    read(from, &state::seat_key(key), "seat")
}

/// The rows of an epoch that is decided: its record, its validators' keys for evidence, a seat for each new one.
///
/// # Errors
/// `StateError` when the store fails or a row is damaged.
pub(crate) fn write_epoch(changes: &mut Changes, from: &dyn State, record: &EpochRecord) -> Result<(), StateError> {
    changes.put(state::epoch_key(record.epoch), record);
    changes.put(state::newest_epoch_key(), &record.epoch);
    for (index, member) in (0..).zip(&record.members) {
        changes.put(state::validator_key(record.epoch, index), &member.key);
        if seat(from, &member.key)?.is_none() {
            changes.put(state::seat_key(&member.key), &record.epoch);
        }
    }
    Ok(())
}

/// Epoch 0.
pub(crate) fn write_genesis(changes: &mut Changes, genesis: &Genesis) {
    let record = EpochRecord::genesis(genesis.validators.clone());
    let written = write_epoch(changes, &Changes::default(), &record);
    assert!(written.is_ok(), "nothing is read that could fail");
}
