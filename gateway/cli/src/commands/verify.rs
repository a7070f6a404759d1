//! `chartseal verify FILE… [--genesis F]`: receipts checked offline, with nothing but the genesis. Exit 0 valid, 2 invalid,
//! 4 incomplete. It must never open a connection and never need a configuration.

use std::path::{Path, PathBuf};

use ledger_proof::{Verified, VerifyError};
use schemas::genesis::Genesis;
use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome, read, read_text};
use crate::output::{Output, bad, good};

/// Checks receipts offline against the genesis, trusting nobody else.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 all valid, 2 one is invalid, 4 one lacks signatures, 64 a file cannot be read.\n\n\
Example: chartseal verify --genesis genesis.json receipts/*.json"
)]
pub struct Args {
    /// Receipt files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The genesis file, got from somewhere you trust [default: genesis.json in the first file's folder or above it].
    #[arg(long, value_name = "F")]
    genesis: Option<PathBuf>,
}

/// What was found about one file.
#[derive(Serialize)]
struct Row {
    file: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    case: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    institution: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let genesis = load_genesis(args)?;
    let mut exit = Exit::Done;
    let mut rows = Vec::with_capacity(args.files.len());
    for file in &args.files {
        let found = check(&read(file)?, &genesis);
        exit = match &found {
            Ok(_) => exit,
            Err(e) if e.is_incomplete() && exit != Exit::Invalid => Exit::Incomplete,
            Err(e) if e.is_incomplete() => exit,
            Err(_) => Exit::Invalid,
        };
        rows.push(describe(file, &found, &genesis, output));
    }
    output.document(&serde_json::json!({ "chain": genesis.chain_id(), "files": rows }))?;
    Ok(exit)
}

/// Verifies one receipt as this command does. The genesis was checked when it was read.
///
/// # Errors
/// Why it is not accepted.
pub fn check(bytes: &[u8], genesis: &Genesis) -> Result<Verified, VerifyError> {
    ledger_proof::verify_receipt(bytes, genesis)
}

/// Reads and checks a genesis file.
///
/// # Errors
/// Usage, when it cannot be read or contradicts itself.
pub fn read_genesis(path: &Path) -> Result<Genesis, Failure> {
    let at = |e: &dyn std::fmt::Display| Failure::usage(format_args!("{}: {e}", path.display()));
    let genesis = Genesis::parse(&read_text(path)?).map_err(|e| at(&e))?;
    ledger_proof::verify_genesis(&genesis).map_err(|e| at(&e))?;
    Ok(genesis)
}

fn load_genesis(args: &Args) -> Result<Genesis, Failure> {
    if let Some(path) = &args.genesis {
        return read_genesis(path);
    }
    let first = args.files.first().map_or(Path::new("."), PathBuf::as_path);
    let folder = first.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = folder.join("genesis.json");
    let above = folder.join("..").join("genesis.json");
    match [beside, above].iter().find(|p| p.is_file()) {
        Some(path) => read_genesis(path),
        None => Err(Failure::usage(format_args!(
            "found no genesis.json in {} or above it; expected the genesis of the chain: give it with --genesis",
            folder.display()
        ))),
    }
}

fn describe(file: &Path, found: &Result<Verified, VerifyError>, genesis: &Genesis, output: Output) -> Row {
    let file = file.display().to_string();
    match found {
        Ok(v) => {
            let institution = genesis.institutions.iter().find(|i| i.register.institution == v.institution);
            let name = institution.map_or_else(|| v.institution.to_string(), |i| i.name.clone());
            let time = timestamp(v.time);
            let (case, version, height) = (v.case, v.version, v.height);
            output.line(format_args!(
                "{}  {file}  case {case} version {version} by {name}, height {height}, {time}",
                good("valid     ")
            ));
            Row {
                file,
                status: "valid",
                case: Some(case.to_string()),
                version: Some(version),
                institution: Some(name),
                height: Some(height),
                time: Some(time),
                transaction: Some(v.transaction.to_string()),
                reason: None,
            }
        }
        Err(e) => {
            let status = if e.is_incomplete() { "incomplete" } else { "invalid" };
            output.line(format_args!("{}  {file}  {e}", bad(format_args!("{status:10}"))));
            let reason = Some(e.to_string());
            let (case, version, institution, height, time, transaction) = (None, None, None, None, None, None);
            Row { file, status, case, version, institution, height, time, transaction, reason }
        }
    }
}

/// A ledger time as RFC 3339.
pub fn timestamp(time: schemas::id::TimeMs) -> String {
    let ms = i64::try_from(time).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| time.to_string(), |t| t.to_string())
}
