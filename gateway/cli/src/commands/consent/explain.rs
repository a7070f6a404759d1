//! `consent explain`: the very engine of the way out, asked beside it. Names resources by logical id and provisions by path; it
//! prints nothing of a record, and it decides nothing for anyone.

use gateway_consent::{Action, Decision, DefaultRule, Document, LiveConsent, Policy, Session};
use gateway_server::config::Config;
use gateway_server::consents::{Consents, commitment};
use gateway_server::disclose::decide::{self, View};
use gateway_server::disclose::query::{self, Place};
use gateway_server::smart::Clients;
use gateway_server::store::summaries::Reader;
use gateway_server::store::{StoreError, subjects};
use gateway_vault::SubjectKey;
use schemas::id::SubjectId;
use serde_json::json;

use super::base_url;
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, bad, good};
use crate::patient::Custody;
use crate::watch::now_ms;

/// Arguments of `consent explain`.
#[derive(clap::Args)]
pub struct Args {
    /// The patient, `system|value`.
    #[arg(long, value_name = "IDENTIFIER")]
    patient: String,
    /// The registered client that would ask.
    #[arg(long, value_name = "CLIENT")]
    client: String,
    /// FHIR type of the resources.
    #[arg(long = "type", value_name = "TYPE", default_value = "Observation")]
    resource_type: String,
    /// Only the resource with this logical id.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

/// Runs the command.
pub async fn run(config: &Config, args: &Args, output: Output) -> Outcome {
    let failed = |e: StoreError| Failure::classed(e.class(), e);
    let base = format!("{}/fhir", base_url(config));
    let clients = Clients::load(&config.clients, &base).map_err(Failure::usage)?;
    let Some(client) = clients.get(&args.client) else {
        let found = format!("--client: found `{}`, expected a client of the configuration", args.client);
        return Err(Failure::usage(found));
    };
    let custody = Custody::open(config).await?;
    let subject = custody.patient(&args.patient).await?.subject;
    let key = subject_key(&custody, &subject).await?;
    let view = decide::view(&custody.store, &subject).await.map_err(failed)?;
    let height = view.height;
    let live = documents(&custody, &subject, &key, view, &base).await.map_err(failed)?;
    let now = now_ms().unsigned_abs();
    let request = decide::request(client, Action::Access);
    let session = Session::new(&request, live, DefaultRule::Deny, height, now);
    let mut rows = query::heads(&custody.store, &subject, &args.resource_type).await.map_err(failed)?;
    rows.retain(|row| args.id.as_ref().is_none_or(|id| *id == row.logical_id));
    let (mut permitted, mut reader) = (0, Reader::new(&key));
    let mut shown = Vec::new();
    output.line(format_args!("decided at height {height}, default deny"));
    for row in &rows {
        let facts = decide::known_of(row, &key, &mut reader).map_err(failed)?.facts;
        let decision = session.decide(decide::unit_of(row), &facts);
        let is_permit = matches!(decision, Decision::Permit(_));
        permitted += usize::from(is_permit);
        let (reason, each) = (decision.explain(), session.explain(&facts));
        let word = if is_permit { good("permit") } else { bad("deny  ") };
        output.line(format_args!("{word}  {}/{}  {reason}", row.resource_type, row.logical_id));
        each.iter().for_each(|line| output.line(format_args!("          {line}")));
        let id = &row.logical_id;
        shown.push(json!({ "id": id, "permitted": is_permit, "reason": reason, "consents": each }));
    }
    output.document(&json!({ "height": height, "type": args.resource_type, "resources": shown }))?;
    Ok(if permitted > 0 { Exit::Done } else { Exit::Failed })
}

async fn subject_key(custody: &Custody, subject: &SubjectId) -> Result<SubjectKey, Failure> {
    let row = subjects::get(&custody.store, subject).await.map_err(|e| Failure::classed(e.class(), e))?;
    let Some(row) = row else { return Err(Failure::new(Exit::Failed, "found no key of this patient")) };
    custody.vault.open_subject(subject, &row.wrapped_key).map_err(|e| Failure::classed(e.class(), e))
}

/// The documents of the live set; one that is not there or does not open its commitment is `Missing` and denies everything.
async fn documents(
    custody: &Custody,
    subject: &SubjectId,
    key: &SubjectKey,
    view: View,
    base: &str,
) -> Result<Vec<LiveConsent>, StoreError> {
    let rows = query::heads(&custody.store, subject, "Consent").await?;
    let mut out = Vec::with_capacity(view.set.live.len());
    for live in view.set.live {
        let row =
            rows.iter().find(|row| matches!(&row.place, Place::Document { consent, .. } if *consent == live.consent));
        let salt = Consents::salt(&custody.store, &live.consent).await?;
        let document = match (row, salt) {
            (Some(row), Some(salt)) => {
                let document = decide::known_of(row, key, &mut Reader::new(key))?.matched;
                if commitment(&salt, &document) == live.commitment {
                    Document::from(Policy::parse_under(&document, base))
                } else {
                    Document::Missing
                }
            }
            _ => Document::Missing,
        };
        let (id, height, from, until) = (live.consent, live.height, live.from, live.until);
        out.push(LiveConsent { id, document, height, from, until });
    }
    Ok(out)
}
