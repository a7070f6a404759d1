//! `chartseal consent grant|revoke|list|explain`. Granting and revoking go through the running gateway as any SMART client would, so
//! that one process alone writes; listing and explaining read what the gateway wrote, with the custodian's keys.

mod explain;

use std::path::PathBuf;

use gateway_consent::Reference;
use gateway_server::config::Config;
use gateway_server::consents::Consents;
use gateway_server::disclose::decide;
use serde_json::{Value, json};

use super::run::{load, runtime};
use super::verify::timestamp;
use crate::failure::{Exit, Failure, Outcome, read_text};
use crate::output::{Output, good, strong};
use crate::patient::Custody;
use crate::smart::{Answer, Client};

/// Patients' consents: grants, revokes, lists them, explains a decision.
#[derive(clap::Args)]
#[command(
    after_help = "Example: chartseal consent explain --patient 'urn:oid:2.999.1.1|N100201' --client clinic --type Observation"
)]
pub struct Args {
    /// A gateway's configuration.
    #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG", global = true, default_value = "gateway.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Grants a consent and waits until it is in force on the ledger.
    #[command(after_help = "Example: chartseal consent grant --patient 'urn:oid:2.999.1.1|N100201' \
    --to Organization/family-practice --as office --key office.key")]
    Grant {
        #[command(flatten)]
        caller: Caller,
        /// A FHIR Consent; else one is made from --patient and --to.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["patient", "to"])]
        file: Option<PathBuf>,
        /// The patient, `system|value`.
        #[arg(long, value_name = "IDENTIFIER", required_unless_present = "file")]
        patient: Option<String>,
        /// Who may read for treatment: `Organization/id`, as the client is registered.
        #[arg(long, value_name = "REFERENCE", required_unless_present = "file")]
        to: Option<String>,
    },
    /// Ends a consent for good.
    #[command(after_help = "Example: chartseal consent revoke 1f0c… --as office --key office.key")]
    Revoke {
        /// Logical id of the Consent, as `grant` and `list` print it.
        id: String,
        #[command(flatten)]
        caller: Caller,
    },
    /// Lists a patient's live consents on the ledger.
    #[command(after_help = "Example: chartseal consent list --patient 'urn:oid:2.999.1.1|N100201'")]
    List {
        /// The patient, `system|value`.
        #[arg(long, value_name = "IDENTIFIER")]
        patient: String,
    },
    /// Says which provision of which consent decides about each resource, and why.
    #[command(after_help = "Exit codes: 0 something is permitted, 1 nothing is.\n\n\
    Example: chartseal consent explain --patient 'urn:oid:2.999.1.1|N100201' --client clinic --type Observation")]
    Explain(explain::Args),
}

/// A registered client that may write consents.
#[derive(clap::Args)]
struct Caller {
    /// `client_id` of a client with the scope system/Consent.cu.
    #[arg(long = "as", value_name = "CLIENT", env = "CHARTSEAL_CLIENT")]
    client: String,
    /// Its private key, PEM (ES384).
    #[arg(long, value_name = "F", env = "CHARTSEAL_CLIENT_KEY")]
    key: PathBuf,
    /// Id of the key in the registered key set.
    #[arg(long, value_name = "KID", default_value = crate::cluster::CLIENT_KEY_ID)]
    kid: String,
}

impl Caller {
    fn client(&self, config: &Config) -> Result<Client, Failure> {
        Client::new(&base_url(config), &self.client, &self.kid, &self.key, "system/Consent.cruds")
    }
}

/// Where the gateway's clients find it.
pub fn base_url(config: &Config) -> String {
    let scheme = if config.gateway.tls_certificate.is_some() { "https" } else { "http" };
    config.gateway.base_url.clone().unwrap_or_else(|| format!("{scheme}://{}", config.gateway.listen))
}

/// Runs the command.
pub fn run(args: Args, output: Output) -> Outcome {
    let config = load(&args.config)?;
    runtime()?.block_on(async {
        match args.command {
            Command::Grant { caller, file, patient, to } => {
                let document = match (file, patient, to) {
                    (Some(file), _, _) => serde_json::from_str(&read_text(&file)?)
                        .map_err(|e| Failure::usage(format_args!("{}: {e}", file.display())))?,
                    (None, Some(patient), Some(to)) => {
                        receiver(&to)?;
                        let found = Custody::open(&config).await?.patient(&patient).await?;
                        permit(&found.logical_id.ok_or_else(no_patient)?, &to)
                    }
                    _ => return Err(Failure::usage("expected --file, or --patient and --to")),
                };
                grant(&caller.client(&config)?, &document, output).await
            }
            Command::Revoke { id, caller } => revoke(&caller.client(&config)?, logical(&id), output).await,
            Command::List { patient } => list(&config, &patient, output).await,
            Command::Explain(args) => explain::run(&config, &args, output).await,
        }
    })
}

/// Nobody to name in a Consent.
pub fn no_patient() -> Failure {
    Failure::new(Exit::Failed, "found no Patient resource of this person, expected one")
}

/// Who is named must be one that a client can be registered as: of all else the ledger would hold a consent that permits nobody anything.
///
/// # Errors
/// Usage.
pub fn receiver(to: &str) -> Result<(), Failure> {
    match Reference::parse(to) {
        Some(Reference::Resource { .. }) => Ok(()),
        _ => Err(Failure::usage(format_args!(
            "--to: found `{to}`, expected Type/id as the client's `references` in the gateway's file say it, such as \
             Organization/family-practice"
        ))),
    }
}

/// A consent that denies everything but what one organisation reads for treatment.
pub fn permit(patient: &str, to: &str) -> Value {
    let coding = |system: &str, code: &str| json!({ "system": system, "code": code });
    let hl7 = "http://terminology.hl7.org/CodeSystem";
    json!({
        "resourceType": "Consent",
        "status": "active",
        "scope": { "coding": [coding(&format!("{hl7}/consentscope"), "patient-privacy")] },
        "category": [{ "coding": [coding("http://loinc.org", "59284-0")] }],
        "patient": { "reference": format!("Patient/{patient}") },
        "policyRule": { "coding": [coding(&format!("{hl7}/v3-ActCode"), "OPTOUT")] },
        "provision": {
            "type": "deny",
            "provision": [{
                "type": "permit",
                "actor": [{
                    "role": { "coding": [coding(&format!("{hl7}/v3-ParticipationType"), "IRCP")] },
                    "reference": { "reference": to },
                }],
                "purpose": [coding(&format!("{hl7}/v3-ActReason"), "TREAT")],
            }],
        },
    })
}

/// The resource of an answer with the expected status.
///
/// # Errors
/// Status and reason of any other answer.
pub fn expect_status(answer: &Answer, expected: u16, doing: &str) -> Result<Value, Failure> {
    if answer.status == expected {
        return Ok(answer.json());
    }
    let exit = if answer.status == 503 { Exit::TryAgain } else { Exit::Failed };
    let found = format!("{doing}: found status {}, expected {expected}: {}", answer.status, answer.reason());
    Err(Failure::new(exit, found))
}

/// The logical id of what is printed as `Consent/ID`.
pub fn logical(id: &str) -> &str {
    id.strip_prefix("Consent/").unwrap_or(id)
}

async fn grant(client: &Client, document: &Value, output: Output) -> Outcome {
    let answer = client.send(reqwest::Method::POST, "Consent", document).await?;
    let consent = expect_status(&answer, 201, "granting")?;
    let id = consent["id"].as_str().unwrap_or("");
    output.line(format_args!("{} Consent/{id}", good("granted")));
    output.document(&consent)?;
    Ok(Exit::Done)
}

async fn revoke(client: &Client, id: &str, output: Output) -> Outcome {
    let path = format!("Consent/{}", crate::smart::encode(id));
    let mut consent = expect_status(&client.get(&path).await?, 200, "reading the consent")?;
    consent["status"] = json!("inactive");
    let answer = client.send(reqwest::Method::PUT, &path, &consent).await?;
    let consent = expect_status(&answer, 200, "revoking")?;
    output.line(format_args!("{} Consent/{id}", good("revoked")));
    output.document(&consent)?;
    Ok(Exit::Done)
}

async fn list(config: &Config, patient: &str, output: Output) -> Outcome {
    let custody = Custody::open(config).await?;
    let subject = custody.patient(patient).await?.subject;
    let view = decide::view(&custody.store, &subject).await.map_err(|e| Failure::classed(e.class(), e))?;
    output.line(format_args!("subject {subject}, {} live consents at height {}", view.set.live.len(), view.height));
    let mut rows = Vec::new();
    for live in &view.set.live {
        let id = Consents::logical_id(&custody.store, &live.consent).await;
        let id = id.map_err(|e| Failure::classed(e.class(), e))?;
        let (from, until) = (live.from.map(timestamp), live.until.map(timestamp));
        let named = id.as_deref().map_or_else(|| "no document here".to_owned(), |id| format!("Consent/{id}"));
        output.line(format_args!(
            "{}  granted at height {}, {}; on the ledger {}",
            strong(named),
            live.height,
            window(from.as_deref(), until.as_deref()),
            live.consent
        ));
        rows.push(json!({
            "id": id, "consent": live.consent, "commitment": live.commitment, "height": live.height, "from": from,
            "until": until,
        }));
    }
    output.document(&json!({
        "subject": subject, "height": view.height, "set_version": view.set.version, "consents": rows,
    }))?;
    Ok(Exit::Done)
}

/// When a consent applies.
fn window(from: Option<&str>, until: Option<&str>) -> String {
    match (from, until) {
        (None, None) => "without end".to_owned(),
        (Some(from), None) => format!("from {from} on"),
        (None, Some(until)) => format!("until {until}"),
        (Some(from), Some(until)) => format!("from {from} until {until}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consent_is_made_for_whom_a_client_can_be_registered_as() {
        for to in ["Organization/family-practice", "PractitionerRole/7", "https://other.example/fhir/Organization/1"] {
            receiver(to).expect(to);
        }
        for to in ["family-practice", "organization/a", "Organization/", "Organization/a b", "urn:uuid:1", ""] {
            assert_eq!(receiver(to).expect_err(to).exit, Exit::Usage);
        }
    }

    #[test]
    fn a_window_is_said_in_words() {
        assert_eq!(window(None, None), "without end");
        assert_eq!(window(Some("a"), None), "from a on");
        assert_eq!(window(Some("a"), Some("b")), "from a until b");
    }
}
