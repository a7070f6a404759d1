//! Cases: AnchorCases brings new ones, SupersedeCase the successor of a head. Counts, roots, versions and institutions of
//! the statements were checked by `admit`.

use schemas::cbor;
use schemas::cose;
use schemas::envelope::Statement;
use schemas::id::{InstitutionId, PublicKey};
use schemas::state::{self, CaseHead};
use schemas::transaction::{AnchorCases, Authored, Refusal, Signer, SupersedeCase, Transaction};

use super::{Context, SignatureCheck, Stop};
use crate::state::{Changes, case_head, institution, practitioner};

/// New cases: every id unused, the institution registered, its signature over the root.
pub(super) fn anchor(context: &Context<'_>, tx: &Transaction, body: &AnchorCases) -> Result<Changes, Stop> {
    institution(context.state, &body.institution)?.ok_or(Refusal::UnknownInstitution)?;
    for statement in &tx.statements {
        if case_head(context.state, &statement.case)?.is_some() {
            return Err(Refusal::IdUsed.into());
        }
    }
    check_authors(context, tx, &body.institution)?;
    context.authenticate(tx, &[Signer::Institution(body.institution)])?;
    Ok(heads(context, tx))
}

/// A new version: `previous` is the head's header, the version its successor, the institution the same.
pub(super) fn supersede(context: &Context<'_>, tx: &Transaction, body: &SupersedeCase) -> Result<Changes, Stop> {
    institution(context.state, &body.institution)?.ok_or(Refusal::UnknownInstitution)?;
    let statement = tx.statements.first().ok_or(Refusal::Malformed)?;
    let head = case_head(context.state, &statement.case)?.ok_or(Refusal::NotHead)?;
    if head.institution != body.institution {
        return Err(Refusal::NotCustodian.into());
    }
    if statement.previous != Some(head.header) || head.version.checked_add(1) != Some(statement.version) {
        return Err(Refusal::NotHead.into());
    }
    check_authors(context, tx, &body.institution)?;
    context.authenticate(tx, &[Signer::Institution(body.institution)])?;
    Ok(heads(context, tx))
}

fn heads(context: &Context<'_>, tx: &Transaction) -> Changes {
    let mut changes = Changes::default();
    for statement in &tx.statements {
        changes.put(state::case_key(&statement.case), &head_of(statement, context.height));
    }
    changes
}

fn head_of(statement: &Statement, height: u64) -> CaseHead {
    CaseHead {
        version: statement.version,
        header: statement.header,
        statement: statement.leaf(),
        institution: statement.institution,
        height,
    }
}

/// Every author is registered, of this institution, not expired at the block's time, and signed the statement.
fn check_authors(context: &Context<'_>, tx: &Transaction, institution: &InstitutionId) -> Result<(), Stop> {
    for authored in &tx.authored {
        let author = practitioner(context.state, &authored.practitioner)?
            .filter(|author| author.institution == *institution)
            .filter(|author| author.expires.is_none_or(|expires| context.time < expires))
            .ok_or(Refusal::UnknownPractitioner)?;
        let check = authored_check(tx, authored, author.key).ok_or(Refusal::Malformed)?;
        if !context.verifier.verify(&check.key, &check.message, &check.signature) {
            return Err(Refusal::Signature.into());
        }
    }
    Ok(())
}

/// What an author's signature must verify under; `None` when there is no such statement.
pub(super) fn authored_check(tx: &Transaction, authored: &Authored, key: PublicKey) -> Option<SignatureCheck> {
    let statement = tx.statements.get(usize::try_from(authored.statement).ok()?)?;
    let message = cose::authored_to_sign(&tx.core.chain, &cbor::encode(statement));
    Some(SignatureCheck { key, message, signature: authored.signature })
}
