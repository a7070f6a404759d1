//! `chartseal wallet new|invite|bind|inbox|accept|open|grant|revoke`: the patient's own key. The desk invites; everything else runs
//! where the patient is, needs her key file and the genesis, and trusts no gateway: cases are checked as Algorithm 2 does,
//! transactions are made here and signed here. It must never send or print the private key.

mod cases;
mod consents;
mod hospital;

use std::io::Read;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use gateway_vault::PersonalKey;
use schemas::cbor;
use schemas::id::CaseId;
use schemas::wallet::{Ask, Invitation};

use super::consent::{base_url, expect_status, logical};
use super::run::{load, runtime};
use super::verify::{read_genesis, timestamp};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, good, strong};
use crate::patient::Custody;
use crate::smart::Client;
use hospital::Wallet;

/// The patient's own key: binds it, opens sealed cases with it, signs consents with it.
#[derive(clap::Args)]
#[command(
    after_help = "The way: new, invite (by the hospital's desk), bind; then inbox, accept, open, grant, revoke.\n\n\
Example: chartseal wallet new --key patient.key"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Makes a key file (mode 0600) and prints its public key.
    #[command(after_help = "One key for each hospital: the same key at two would show that both treat one person.\n\n\
    Example: chartseal wallet new --key patient.key")]
    New {
        /// The key file to make.
        #[arg(long, value_name = "F")]
        key: PathBuf,
    },
    /// At the hospital's desk: invites a patient to bind a key of her own. Hand the line over in person.
    #[command(after_help = "Example: chartseal wallet invite --patient 'urn:oid:2.999.1.1|N100201' --as office \
    --client-key office.key")]
    Invite(Invite),
    /// Binds the key: from then on each new case has a wrap for it, and only it signs consents.
    #[command(after_help = "Example: chartseal wallet bind INVITATION --key patient.key --genesis genesis.json")]
    Bind {
        /// The line that the desk handed over; `-` reads standard input.
        invitation: String,
        #[command(flatten)]
        own: Own,
    },
    /// Lists sealed cases and consents.
    #[command(after_help = "Example: chartseal wallet inbox --key patient.key")]
    Inbox {
        #[command(flatten)]
        own: Own,
    },
    /// Gets sealed cases, checks each as Algorithm 2 does and keeps it, or abandons it.
    #[command(after_help = "Exit codes: 0 all accepted, 1 one was abandoned.\n\n\
    Example: chartseal wallet accept --key patient.key --to cases")]
    Accept {
        /// Cases [default: all that are not in the folder yet].
        #[arg(value_name = "CASE")]
        cases: Vec<CaseId>,
        /// Folder for them; each becomes CASE.case.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        #[command(flatten)]
        own: Own,
    },
    /// Checks a kept case and prints what is in it as a FHIR Bundle.
    #[command(after_help = "Exit codes: 0 opened, 1 abandoned.\n\n\
    Example: chartseal wallet open cases/8c3f….case --key patient.key")]
    Open {
        /// A file that `accept` kept.
        file: PathBuf,
        /// Prints the raw message instead.
        #[arg(long)]
        raw: bool,
        #[command(flatten)]
        own: Own,
    },
    /// Grants a consent, signed by the key, and waits until it is in force on the ledger.
    #[command(after_help = "Example: chartseal wallet grant --to Organization/family-practice --key patient.key")]
    Grant(consents::Grant),
    /// Ends a consent for good, signed by the key.
    #[command(after_help = "Example: chartseal wallet revoke 1f0c… --key patient.key")]
    Revoke {
        /// Logical id of the Consent.
        id: String,
        #[command(flatten)]
        own: Own,
    },
}

/// The patient's side.
#[derive(clap::Args)]
struct Own {
    /// The key file; what it is bound to is kept beside it.
    #[arg(long, value_name = "F", env = "CHARTSEAL_WALLET")]
    key: PathBuf,
    /// The genesis file, got from somewhere you trust.
    #[arg(long, value_name = "F", default_value = "genesis.json")]
    genesis: PathBuf,
}

impl Own {
    fn open(&self) -> Result<Wallet, Failure> {
        Wallet::open(&self.key, read_genesis(&self.genesis)?)
    }
}

#[derive(clap::Args)]
struct Invite {
    /// The gateway's configuration.
    #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG", default_value = "gateway.toml")]
    config: PathBuf,
    /// The patient, `system|value`.
    #[arg(long, value_name = "IDENTIFIER")]
    patient: String,
    /// `client_id` of a client with the scope system/PatientKey.c.
    #[arg(long = "as", value_name = "CLIENT", env = "CHARTSEAL_CLIENT")]
    client: String,
    /// Its private key, PEM (ES384).
    #[arg(long, value_name = "F", env = "CHARTSEAL_CLIENT_KEY")]
    client_key: PathBuf,
    /// Id of the key in the registered key set.
    #[arg(long, value_name = "KID", default_value = crate::cluster::CLIENT_KEY_ID)]
    kid: String,
}

/// A key file's error: what to do stands in it.
fn key_failed(error: gateway_vault::VaultError) -> Failure {
    Failure::usage(error)
}

/// Runs the command.
pub fn run(args: Args, output: Output) -> Outcome {
    match args.command {
        Command::New { key } => new(&key, output),
        Command::Open { file, raw, own } => cases::open(&file, raw, &own, output),
        Command::Invite(args) => runtime()?.block_on(invite(&args, output)),
        Command::Bind { invitation, own } => runtime()?.block_on(bind(&invitation, &own, output)),
        Command::Inbox { own } => runtime()?.block_on(inbox(&own, output)),
        Command::Accept { cases, to, own } => runtime()?.block_on(cases::accept(&cases, &to, &own, output)),
        Command::Grant(args) => runtime()?.block_on(consents::grant(&args, output)),
        Command::Revoke { id, own } => runtime()?.block_on(consents::revoke(logical(&id), &own, output)),
    }
}

fn new(path: &std::path::Path, output: Output) -> Outcome {
    let public = PersonalKey::create(path).map_err(key_failed)?.public();
    output.line(format_args!("{} {}", good("made"), path.display()));
    output.line(format_args!("{} es256:{public}", strong("public key")));
    output.document(&serde_json::json!({ "key": path, "public_key": public }))?;
    Ok(Exit::Done)
}

async fn invite(args: &Invite, output: Output) -> Outcome {
    let config = load(&args.config)?;
    let found = Custody::open(&config).await?.patient(&args.patient).await?;
    let patient = found.logical_id.ok_or_else(super::consent::no_patient)?;
    let (base, scope) = (base_url(&config), "system/PatientKey.c");
    let client = Client::new(&base, &args.client, &args.kid, &args.client_key, scope)?;
    let path = format!("Patient/{}/$invite", crate::smart::encode(&patient));
    let answer = client.send(reqwest::Method::POST, &path, &serde_json::json!({})).await?;
    let answer = expect_status(&answer, 200, "inviting")?;
    let named = |name: &str, kind: &str| {
        let parameters = answer["parameter"].as_array().into_iter().flatten();
        parameters.filter(|p| p["name"] == name).find_map(|p| p[kind].as_str()).unwrap_or("").to_owned()
    };
    let (invitation, expires) = (named("invitation", "valueString"), named("expires", "valueInstant"));
    output.note(format_args!("until {expires}, once; give it to nobody but the patient"));
    output.line(&invitation);
    output.document(&serde_json::json!({ "invitation": invitation, "expires": expires }))?;
    Ok(Exit::Done)
}

async fn bind(text: &str, own: &Own, output: Output) -> Outcome {
    let invitation = read_invitation(text)?;
    let wallet = Wallet::bind(&own.key, read_genesis(&own.genesis)?, &invitation).await?;
    let (name, subject) = (wallet.institution_name(), invitation.subject);
    output.line(format_args!("{} at {name}, subject {subject}, height {}", good("bound"), wallet.bound_at));
    output.document(&serde_json::json!({
        "institution": invitation.institution, "subject": subject, "public_key": wallet.key.public(), "height": wallet.bound_at,
    }))?;
    Ok(Exit::Done)
}

fn read_invitation(text: &str) -> Result<Invitation, Failure> {
    let mut line = text.to_owned();
    if text == "-" {
        line.clear();
        std::io::stdin().take(64 << 10).read_to_string(&mut line).map_err(Failure::usage)?;
    }
    let bytes = BASE64.decode(line.trim()).ok().and_then(|bytes| cbor::decode(&bytes).ok());
    bytes.ok_or_else(|| Failure::usage("found no invitation, expected the line that chartseal wallet invite printed"))
}

async fn inbox(own: &Own, output: Output) -> Outcome {
    let wallet = own.open()?;
    let status: schemas::wallet::Status = wallet.ask(Ask::Status).await?;
    output.line(format_args!("{} cases at {}:", status.cases.len(), wallet.institution_name()));
    for case in &status.cases {
        let time = timestamp(case.time);
        output.line(format_args!("{}  version {}, height {}, {time}", strong(case.case), case.version, case.height));
    }
    output.line(format_args!("{} consents, {} live:", status.consents.len(), status.set.live.len()));
    for consent in &status.consents {
        let state = if consent.revoked { "ended" } else { "in force" };
        output.line(format_args!("{}  {state}", strong(&consent.logical_id)));
    }
    let cases: Vec<_> = status
        .cases
        .iter()
        .map(|c| {
            serde_json::json!({
                "case": c.case, "version": c.version, "height": c.height, "time": timestamp(c.time),
            })
        })
        .collect();
    let consents: Vec<_> = status
        .consents
        .iter()
        .map(|c| serde_json::json!({ "id": c.logical_id, "version": c.head, "in_force": !c.revoked }))
        .collect();
    output.document(&serde_json::json!({
        "subject": status.subject, "patient": status.patient, "height": status.height, "cases": cases,
        "consents": consents, "live": status.set.live.len(),
    }))?;
    Ok(Exit::Done)
}
