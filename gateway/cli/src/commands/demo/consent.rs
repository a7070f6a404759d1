//! The demo's way out: nobody reads without a consent; a consent opens exactly what it names to whom it names; revoked, it is as if
//! nothing had ever been there.

use serde_json::{Value, json};

use super::Tally;
use crate::cluster::{CLIENT_KEY_ID, Cluster};
use crate::commands::consent::{expect_status, permit};
use crate::commands::verify;
use crate::failure::{Exit, Failure};
use crate::home::Hospital;
use crate::output::{Output, bad, good};
use crate::patient::Custody;
use crate::smart::{Answer, Client};

/// The patient whose record is read: sent by HL7 v2 and by FHIR, one subject.
const PATIENT: &str = "urn:oid:2.999.1.1|N100201";

/// Shows denial, grant, disclosure, another client's denial, revocation.
pub async fn show(cluster: &Cluster, tally: &mut Tally, output: Output) -> Result<(), Failure> {
    let Some(hospital) = cluster.hospitals.first() else { return Ok(()) };
    let config = crate::commands::run::load(&hospital.config())?;
    let patient = Custody::open(&config).await?.patient(PATIENT).await?;
    let id = patient.logical_id.ok_or_else(|| Failure::new(Exit::Failed, "found no Patient resource"))?;
    let (office, clinic, insurer) =
        (client(hospital, "office")?, client(hospital, "clinic")?, client(hospital, "insurer")?);
    let search = format!("Observation?patient=Patient/{id}");
    output.line(format_args!("\nThe record of one patient at {}, read by SMART clients:", hospital.name));

    expect_nothing(&clinic.get(&search).await?, "Family practice, before any consent", tally, output)?;

    let consent = permit(&id, "Organization/family-practice");
    let created = office.send(reqwest::Method::POST, "Consent", &consent).await?;
    let granted = expect_status(&created, 201, "Consent office grants a consent to Family practice")?;
    let consent_id = granted["id"].as_str().unwrap_or("").to_owned();
    say(output, &good("granted  "), "Consent for Family practice, treatment only", "on the ledger");

    let found = clinic.get(&search).await?;
    let bundle = expect_status(&found, 200, "Family practice reads under the consent")?;
    let entries = bundle["entry"].as_array().map_or(&[][..], Vec::as_slice);
    if entries.is_empty() {
        return Err(Failure::new(
            Exit::Failed,
            "Family practice: found no Observation, expected some under the consent",
        ));
    }
    tally.disclosed += entries.len() as u64;
    say(output, &good("disclosed"), "Family practice", &format!("{} Observations", entries.len()));

    let first = entries[0]["resource"]["id"].as_str().unwrap_or("").to_owned();
    let receipt = clinic.get(&format!("Observation/{first}/$verify")).await?;
    let answer = expect_status(&receipt, 200, "Family practice asks for the proof")?;
    let receipt =
        find_receipt(&answer).ok_or_else(|| Failure::new(Exit::Failed, "$verify: found no receipt in the answer"))?;
    verify::check(receipt.as_bytes(), &cluster.genesis).map_err(|e| Failure::new(Exit::Invalid, e))?;
    say(output, &good("verified "), "Family practice", "the receipt of the first, with nothing but the genesis");

    let read = format!("Observation/{first}");
    expect_nothing(&insurer.get(&read).await?, "Insurer, whom no consent names", tally, output)?;

    let mut ended = granted;
    ended["status"] = json!("inactive");
    let revoked = office.send(reqwest::Method::PUT, &format!("Consent/{consent_id}"), &ended).await?;
    expect_status(&revoked, 200, "Consent office revokes")?;
    say(output, &good("revoked  "), "Consent for Family practice", "on the ledger");
    expect_nothing(&clinic.get(&read).await?, "Family practice, after the revocation", tally, output)
}

fn client(hospital: &Hospital, id: &str) -> Result<Client, Failure> {
    Client::new(&hospital.base(), id, CLIENT_KEY_ID, &Cluster::client_key(hospital, id), "system/*.cruds")
}

/// A denial looks like absence: an empty search, or a resource that is not there.
fn expect_nothing(answer: &Answer, who: &str, tally: &mut Tally, output: Output) -> Result<(), Failure> {
    let is_empty_search = answer.status == 200 && answer.json()["entry"].as_array().is_none_or(Vec::is_empty);
    if answer.status != 404 && !is_empty_search {
        let found = format!("{who}: found status {} with content, expected nothing", answer.status);
        return Err(Failure::new(Exit::Failed, found));
    }
    tally.denied += 1;
    let what =
        if is_empty_search { "an empty result, as if nothing were there" } else { "404, as if it were not there" };
    say(output, &bad("denied   "), who, what);
    Ok(())
}

/// The receipt travels as a string in the answer, wherever it stands.
fn find_receipt(answer: &Value) -> Option<String> {
    match answer {
        Value::String(text) if text.contains(schemas::receipt::FORMAT) => Some(text.clone()),
        Value::Array(items) => items.iter().find_map(find_receipt),
        Value::Object(members) => members.values().find_map(find_receipt),
        _ => None,
    }
}

fn say(output: Output, what: &str, who: &str, result: &str) {
    output.line(format_args!("  {what}  {who}: {result}"));
}
