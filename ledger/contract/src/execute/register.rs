//! Who takes part, and the batches of their access logs: RegisterPractitioner, RegisterSubject, RecordAccess.

use schemas::state::{self, AccessCursor, Subject};
use schemas::transaction::{RecordAccess, Refusal, RegisterPractitioner, RegisterSubject, Signer, Transaction};

use super::{Context, Stop};
use crate::state::{self as rows, Changes, access_cursor, institution};

/// A practitioner: a new id, a registered institution, a key that is held and not expired.
pub(super) fn practitioner(
    context: &Context<'_>,
    tx: &Transaction,
    body: &RegisterPractitioner,
) -> Result<Changes, Stop> {
    institution(context.state, &body.institution)?.ok_or(Refusal::UnknownInstitution)?;
    if rows::practitioner(context.state, &body.practitioner)?.is_some() {
        return Err(Refusal::IdUsed.into());
    }
    if body.expires.is_some_and(|expires| expires <= context.time) {
        return Err(Refusal::UnknownPractitioner.into());
    }
    context.authenticate(tx, &[Signer::Institution(body.institution), Signer::NewKey])?;
    let mut changes = Changes::default();
    changes.put(state::practitioner_key(&body.practitioner), body);
    Ok(changes)
}

/// A subject: a new id, or one without a key that now gets one from the same custodian. A key proves that it is held.
pub(super) fn subject(context: &Context<'_>, tx: &Transaction, body: &RegisterSubject) -> Result<Changes, Stop> {
    institution(context.state, &body.institution)?.ok_or(Refusal::UnknownInstitution)?;
    if let Some(known) = rows::subject(context.state, &body.subject)? {
        if known.institution != body.institution {
            return Err(Refusal::NotCustodian.into());
        }
        if known.key.is_some() || body.key.is_none() {
            return Err(Refusal::IdUsed.into());
        }
    }
    let by_institution = Signer::Institution(body.institution);
    if body.key.is_some() {
        context.authenticate(tx, &[by_institution, Signer::NewKey])?;
    } else {
        context.authenticate(tx, &[by_institution])?;
    }
    let record = Subject {
        institution: body.institution,
        key: body.key,
        guardians: body.guardians.clone(),
        height: context.height,
    };
    let mut changes = Changes::default();
    changes.put(state::subject_key(&body.subject), &record);
    Ok(changes)
}

/// A batch of a gateway's access log: by a gateway of the institution, right behind the previous batch, decided before now.
pub(super) fn access(context: &Context<'_>, tx: &Transaction, body: &RecordAccess) -> Result<Changes, Stop> {
    let owner = institution(context.state, &body.institution)?.ok_or(Refusal::UnknownInstitution)?;
    if !owner.gateways.contains(&body.gateway) {
        return Err(Refusal::NotCustodian.into());
    }
    let cursor = access_cursor(context.state, &body.gateway)?;
    if body.first != cursor.next || body.previous != cursor.root {
        return Err(Refusal::NotContiguous.into());
    }
    if body.height_max >= context.height {
        return Err(Refusal::Malformed.into());
    }
    context.authenticate(tx, &[Signer::Gateway(body.gateway)])?;
    let next = body.first.checked_add(u64::from(body.count)).ok_or(Refusal::Malformed)?;
    let mut changes = Changes::default();
    let moved = AccessCursor { next, root: body.root, height: context.height };
    changes.put(state::access_cursor_key(&body.gateway), &moved);
    Ok(changes)
}
