//! Consents: GrantConsent and RevokeConsent over the one row that holds all live consents of a subject. Who may speak: the
//! subject, an unexpired guardian, and the custodian only while no subject key is bound.

use schemas::id::SubjectId;
use schemas::limits;
use schemas::state::{self, ConsentSet, LiveConsent, Subject};
use schemas::transaction::{Basis, GrantConsent, Refusal, RevokeConsent, Signer, Transaction};

use super::{Context, Stop};
use crate::state::{Changes, consent_set, is_revoked, subject};

/// A consent comes into force: the next version of the set, an id that is new, a replaced one that is live.
pub(super) fn grant(context: &Context<'_>, tx: &Transaction, body: &GrantConsent) -> Result<Changes, Stop> {
    let owner = subject(context.state, &body.subject)?.ok_or(Refusal::UnknownSubject)?;
    if owner.institution != body.custodian {
        return Err(Refusal::NotCustodian.into());
    }
    if is_revoked(context.state, &body.subject, &body.consent)? {
        return Err(Refusal::Revoked.into());
    }
    let mut set = consent_set(context.state, &body.subject)?;
    if set.live.iter().any(|live| live.consent == body.consent) {
        return Err(Refusal::IdUsed.into());
    }
    if set.version.checked_add(1) != Some(body.set_version) {
        return Err(Refusal::SetVersion.into());
    }
    let mut changes = Changes::default();
    if let Some(old) = body.supersedes {
        let Some(at) = set.live.iter().position(|live| live.consent == old) else {
            let ended = is_revoked(context.state, &body.subject, &old)?;
            return Err(if ended { Refusal::Revoked } else { Refusal::NotHead }.into());
        };
        set.live.remove(at);
        changes.put(state::tombstone_key(&body.subject, &old), &context.height);
    }
    if set.live.len() >= limits::CONSENTS_LIVE_MAX {
        return Err(Refusal::TooMany.into());
    }
    let basis = speak(context, tx, &body.subject, &owner)?;
    if basis != body.basis {
        return Err(Refusal::Signature.into());
    }
    set.live.push(LiveConsent {
        consent: body.consent,
        commitment: body.commitment,
        custodian: body.custodian,
        from: body.from,
        until: body.until,
        height: context.height,
        basis: body.basis,
    });
    let set = ConsentSet { version: body.set_version, live: set.live };
    changes.put(state::consent_set_key(&body.subject), &set);
    Ok(changes)
}

/// A consent ends for good. Of an id that was never granted a tombstone stays, so that a grant that is still under way
/// cannot overtake its own revocation. Ending it again changes nothing and is accepted.
pub(super) fn revoke(context: &Context<'_>, tx: &Transaction, body: &RevokeConsent) -> Result<Changes, Stop> {
    let owner = subject(context.state, &body.subject)?.ok_or(Refusal::UnknownSubject)?;
    speak(context, tx, &body.subject, &owner)?;
    let mut changes = Changes::default();
    if is_revoked(context.state, &body.subject, &body.consent)? {
        return Ok(changes);
    }
    changes.put(state::tombstone_key(&body.subject, &body.consent), &context.height);
    let mut set = consent_set(context.state, &body.subject)?;
    let before = set.live.len();
    set.live.retain(|live| live.consent != body.consent);
    if set.live.len() < before {
        set.version = set.version.checked_add(1).ok_or(Refusal::SetVersion)?;
        changes.put(state::consent_set_key(&body.subject), &set);
    }
    Ok(changes)
}

/// Exactly one signature, by someone who may speak for the subject: on whose word the transaction stands.
fn speak(context: &Context<'_>, tx: &Transaction, id: &SubjectId, owner: &Subject) -> Result<Basis, Stop> {
    let [signed] = tx.signatures.as_slice() else { return Err(Refusal::Signature.into()) };
    let basis = match &signed.signer {
        Signer::Subject(by) if by == id && owner.key.is_some() => Basis::Signed,
        Signer::Guardian(key) if is_guardian(context, owner, key) => Basis::Signed,
        Signer::Institution(by) if *by == owner.institution && owner.key.is_none() => Basis::Attested,
        _ => return Err(Refusal::Signature.into()),
    };
    context.authenticate(tx, &[signed.signer])?;
    Ok(basis)
}

fn is_guardian(context: &Context<'_>, owner: &Subject, key: &schemas::id::PublicKey) -> bool {
    owner.guardians.iter().any(|guardian| guardian.key == *key && context.time < guardian.expires)
}
