//! Consents by the patient's own signature. The exact transaction is made here from what she grants, so that nobody can have her
//! sign something else; the gateway only keeps the document and carries the bytes. When another change came first it is made and
//! signed anew.

use std::path::PathBuf;

use gateway_consent::Policy;
use schemas::id::ConsentId;
use schemas::json;
use schemas::transaction::{Basis, Body, GrantConsent, RevokeConsent, Signer};
use schemas::wallet::{self, Ask, KnownConsent, Status, Written, consent_commitment};

use super::Own;
use super::hospital::Wallet;
use crate::commands::consent::{no_patient, permit, receiver};
use crate::failure::{Exit, Failure, Outcome, read};
use crate::home;
use crate::output::{Output, good};

/// Times that something is signed anew because another change came first.
const ATTEMPTS_MAX: usize = 8;

#[derive(clap::Args)]
pub struct Grant {
    /// A FHIR Consent; else one is made from --to.
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    file: Option<PathBuf>,
    /// Who may read for treatment: `Organization/id`, as the hospital knows it.
    #[arg(long, value_name = "REFERENCE", required_unless_present = "file")]
    to: Option<String>,
    /// Logical id of a consent that it takes the place of.
    #[arg(long, value_name = "ID")]
    replaces: Option<String>,
    #[command(flatten)]
    own: Own,
}

/// Grants a consent.
pub async fn grant(args: &Grant, output: Output) -> Outcome {
    args.to.as_deref().map_or(Ok(()), receiver)?;
    let wallet = args.own.open()?;
    let status = status(&wallet).await?;
    let document = document(args, &status)?;
    let policy = Policy::parse(&document).map_err(|e| Failure::usage(format_args!("the consent: {e}")))?;
    if let Some(path) = policy.not_understood().next() {
        let found = "found an element that is not enforced; the consent would permit nothing";
        return Err(Failure::usage(format_args!("{path}: {found}")));
    }
    let (salt, consent) = (home::random::<32>()?, ConsentId(home::random()?));
    let canonical = document.canonical();
    let (from, until) = policy.window();
    let mut status = status;
    for _ in 0..ATTEMPTS_MAX {
        let supersedes = args.replaces.as_deref().map(|id| known(&status, id).map(|known| known.head)).transpose()?;
        let set_version = status.set.version + 1;
        let body = Body::GrantConsent(GrantConsent {
            consent,
            subject: wallet.subject(),
            set_version,
            commitment: consent_commitment(&salt, &canonical),
            basis: Basis::Signed,
            custodian: wallet.institution(),
            from,
            until,
            supersedes,
        });
        let transaction = wallet.sign(body, status.height, Signer::Subject(wallet.subject()));
        let (document, replaces) = (canonical.clone(), args.replaces.clone());
        let request = wallet::Grant { transaction, document, salt, replaces };
        let answer = wallet.post("grant", &request).await?;
        if answer.status == 409 {
            let before = status.set.version;
            status = self::status(&wallet).await?;
            if status.set.version != before {
                continue;
            }
        }
        return said(output, "granted", &wallet.decode(&answer, "granting")?);
    }
    Err(Failure::new(Exit::TryAgain, "granting: other changes of the consents came first each time; try again"))
}

fn document(args: &Grant, status: &Status) -> Result<json::Value, Failure> {
    let text = match (&args.file, &args.to) {
        (Some(file), _) => read(file)?,
        (None, Some(to)) => {
            let patient = status.patient.as_deref().ok_or_else(no_patient)?;
            permit(patient, to).to_string().into_bytes()
        }
        (None, None) => return Err(Failure::usage("expected --file or --to")),
    };
    json::parse(&text).map_err(|e| Failure::usage(format_args!("the consent: {e}")))
}

/// Ends a consent for good, every version of it.
pub async fn revoke(id: &str, own: &Own, output: Output) -> Outcome {
    let wallet = own.open()?;
    for _ in 0..ATTEMPTS_MAX {
        let status = status(&wallet).await?;
        let KnownConsent { head, open, .. } = known(&status, id)?;
        let mut all = vec![*head];
        all.extend(open.iter().filter(|version| *version != head));
        let subject = wallet.subject();
        let sign = |consent: ConsentId| {
            let body = Body::RevokeConsent(RevokeConsent { consent, subject });
            wallet.sign(body, status.height, Signer::Subject(subject)).into()
        };
        let transactions = all.into_iter().map(sign).collect();
        let answer = wallet.post("revoke", &wallet::Revoke { logical_id: id.to_owned(), transactions }).await?;
        if answer.status != 409 {
            return said(output, "revoked", &wallet.decode(&answer, "revoking")?);
        }
    }
    Err(Failure::new(Exit::TryAgain, "revoking: other changes of the consent came first each time; try again"))
}

async fn status(wallet: &Wallet) -> Result<Status, Failure> {
    let status: Status = wallet.ask(Ask::Status).await?;
    if status.subject != wallet.subject() {
        let found = "found the consents of another subject than the key was bound to";
        return Err(Failure::new(Exit::Failed, found));
    }
    Ok(status)
}

fn known<'a>(status: &'a Status, id: &str) -> Result<&'a KnownConsent, Failure> {
    let found = status.consents.iter().find(|known| known.logical_id == id);
    found.ok_or_else(|| Failure::usage("found no consent with this id, expected one that chartseal wallet inbox lists"))
}

fn said(output: Output, what: &str, written: &Written) -> Outcome {
    let Written { logical_id, consent, height } = written;
    output.line(format_args!("{} Consent/{logical_id} at height {height}", good(what)));
    output.document(&serde_json::json!({ "id": logical_id, "version": consent, "height": height }))?;
    Ok(Exit::Done)
}
