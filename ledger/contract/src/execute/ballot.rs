//! Ballot: a validator's vote for the whole list of members of the next epoch. The newest one of each voter counts. ConfirmSeat: a
//! member of the list that a quorum names is there. Once a quorum of the list is, that decides, and the epoch ends at its seal: a
//! list whose members do not run could never end its own epoch. A key that left never returns: what it once signed must not be
//! mixed up with what it signs again.

use schemas::ballot::{Ballot, ConfirmSeat, Member, list_hash, possession_to_sign};
use schemas::block::quorum;
use schemas::genesis::Validator;
use schemas::state::{self, CastBallot, EpochRecord, SeatConfirmation};
use schemas::transaction::{Refusal, Signer, Transaction};

use super::{Context, Stop};
use crate::epoch::{cast_ballot, confirmed, elected, epoch_at, seal, seat, write_epoch};
use crate::state::Changes;

/// By a validator of the current epoch, while nothing is decided, for a list that can be an epoch's (`admit` looked).
pub(super) fn ballot(context: &Context<'_>, tx: &Transaction, body: &Ballot) -> Result<Changes, Stop> {
    let current = epoch_at(context.state, context.height)?;
    if body.epoch != current.epoch {
        return Err(Refusal::OtherEpoch.into());
    }
    if usize::from(body.voter) >= current.members.len() {
        return Err(Refusal::UnknownValidator.into());
    }
    if seal(context.state, current.epoch)?.is_some() {
        return Err(Refusal::ChangeDecided.into());
    }
    let members = body.validators();
    let takes_back = members == current.members;
    match cast_ballot(context.state, body.epoch, body.voter)? {
        // one in a block: a faulty voter cannot fill it with newcomers' signatures to verify
        Some(cast) if cast.height >= context.height => return Err(Refusal::TooMany.into()),
        None if takes_back => return Err(Refusal::Unchanged.into()),
        _ => {}
    }
    check_seats(context, body, &current)?;
    context.authenticate(tx, &[Signer::Validator(body.voter)])?;
    // nor with signatures that do not verify
    let (looked_at, voter) = (context.looked_at.get(), 1 << body.voter);
    if looked_at & voter != 0 {
        return Err(Refusal::TooMany.into());
    }
    context.looked_at.set(looked_at | voter);
    check_possession(context, tx, body)?;
    let mut changes = Changes::default();
    if takes_back {
        changes.remove(state::ballot_key(body.epoch, body.voter));
        return Ok(changes);
    }
    changes.put(state::ballot_key(body.epoch, body.voter), &CastBallot { members, height: context.height });
    Ok(changes)
}

/// By the key of a member of the list that a quorum names, once for each list, while nothing is decided.
pub(super) fn confirm(context: &Context<'_>, tx: &Transaction, body: &ConfirmSeat) -> Result<Changes, Stop> {
    let current = epoch_at(context.state, context.height)?;
    if body.epoch != current.epoch {
        return Err(Refusal::OtherEpoch.into());
    }
    if seal(context.state, current.epoch)?.is_some() {
        return Err(Refusal::ChangeDecided.into());
    }
    let members = elected(context.state, &current)?
        .filter(|members| list_hash(members) == body.members && members.iter().any(|member| member.key == body.key));
    let members = members.ok_or(Refusal::NotElected)?;
    if confirmed(context.state, body.epoch, &body.key, context.height)? == Some(body.members) {
        return Err(Refusal::Unchanged.into());
    }
    context.authenticate(tx, &[Signer::NewKey])?;
    let mut changes = Changes::default();
    if count_others(context, &current, &members, body)? + 1 >= quorum(members.len()) {
        write_epoch(&mut changes, context.state, &current.next(members, context.height))?;
    }
    let confirmation = SeatConfirmation { members: body.members, height: context.height };
    changes.put(state::confirmation_key(body.epoch, &body.key), &confirmation);
    Ok(changes)
}

/// Other members of the list that are there.
fn count_others(
    context: &Context<'_>,
    current: &EpochRecord,
    members: &[Validator],
    body: &ConfirmSeat,
) -> Result<usize, Stop> {
    let mut count = 0;
    for member in members.iter().filter(|member| member.key != body.key) {
        count +=
            usize::from(confirmed(context.state, current.epoch, &member.key, context.height)? == Some(body.members));
    }
    Ok(count)
}

/// Whoever is a validator now needs no proof of possession; whoever is not needs one and was never one.
fn check_seats(context: &Context<'_>, body: &Ballot, current: &EpochRecord) -> Result<(), Stop> {
    for member in &body.members {
        let is_current = current.members.iter().any(|validator| validator.key == member.key);
        if is_current == member.possession.is_some() {
            return Err(Refusal::Possession.into());
        }
        if !is_current && seat(context.state, &member.key)?.is_some() {
            return Err(Refusal::KeyRetired.into());
        }
    }
    Ok(())
}

/// Newcomers hold their keys and want to come.
fn check_possession(context: &Context<'_>, tx: &Transaction, body: &Ballot) -> Result<(), Stop> {
    let is_held = |member: &Member| {
        member.possession.is_none_or(|signature| {
            let message = possession_to_sign(&tx.core.chain, body.epoch, &member.validator());
            context.verifier.verify(&member.key, &message, &signature)
        })
    };
    if body.members.iter().all(is_held) { Ok(()) } else { Err(Refusal::Possession.into()) }
}
