//! `chartseal verify FILE… [--genesis F]`: receipts and proofs checked offline, with nothing but the genesis. Exit 0 valid, 2 invalid,
//! 4 incomplete. It must never open a connection and never need a configuration.

use std::path::{Path, PathBuf};

use ledger_proof::{Verified, VerifiedFile, VerifyError};
use schemas::genesis::Genesis;
use schemas::id::TimeMs;
use schemas::transaction::{LogEntry, Outcome as Executed};

use crate::failure::{Exit, Failure, Outcome, read, read_text};
use crate::output::{Output, bad, good};

/// Checks receipts and proofs offline against the genesis, trusting nobody else.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 all valid, 2 one is invalid, 4 one lacks signatures, 64 a file cannot be read.\n\n\
Example: chartseal verify --genesis genesis.json receipts/*.json"
)]
pub struct Args {
    /// Receipts, proofs of log entries, keys of the state and consistency, COSE receipts.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The genesis file, got from somewhere you trust [default: genesis.json in the first file's folder or above it].
    #[arg(long, value_name = "F")]
    genesis: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let genesis = load_genesis(args)?;
    let mut exit = Exit::Done;
    let mut rows = Vec::with_capacity(args.files.len());
    for file in &args.files {
        let found = ledger_proof::verify_file(&read(file)?, &genesis);
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

/// Prints what was found about one file; the same for machines.
fn describe(
    file: &Path,
    found: &Result<VerifiedFile, VerifyError>,
    genesis: &Genesis,
    output: Output,
) -> serde_json::Value {
    let file = file.display().to_string();
    let (status, text, mut row) = match found {
        Ok(verified) => {
            let (text, row) = proved(verified, genesis);
            (good("valid     "), text, row)
        }
        Err(e) => {
            let status = if e.is_incomplete() { "incomplete" } else { "invalid" };
            let row = serde_json::json!({ "status": status, "reason": e.to_string() });
            (bad(format_args!("{status:10}")), e.to_string(), row)
        }
    };
    output.line(format_args!("{status}  {file}  {text}"));
    row["file"] = file.into();
    row
}

/// What a valid file proves, for people and for machines.
fn proved(verified: &VerifiedFile, genesis: &Genesis) -> (String, serde_json::Value) {
    match verified {
        VerifiedFile::Receipt(v) => {
            let institution = genesis.institutions.iter().find(|i| i.register.institution == v.institution);
            let name = institution.map_or_else(|| v.institution.to_string(), |i| i.name.clone());
            let (case, version, height, time) = (v.case, v.version, v.height, timestamp(v.time));
            (
                format!("case {case} version {version} by {name}, height {height}, {time}"),
                serde_json::json!({
                    "status": "valid", "kind": "receipt", "case": case, "version": version, "institution": name,
                    "height": height, "time": time, "transaction": v.transaction,
                }),
            )
        }
        VerifiedFile::Entry(proof) => entry(&proof.entry, "entry", Some(proof.header.time)),
        VerifiedFile::Cose(found) => entry(found, "cose", None),
        VerifiedFile::State(proof) => {
            let mut row = super::ledger::prove::row(proof);
            (row["status"], row["kind"]) = ("valid".into(), "state".into());
            (super::ledger::prove::describe(proof), row)
        }
        VerifiedFile::Consistency(proof) => {
            let (first, second) = (&proof.first.header, &proof.second.header);
            (
                format!(
                    "the log of height {} ({} entries, root {}) continues that of height {} ({} entries, root {})",
                    second.height, second.log_size, second.log_root, first.height, first.log_size, first.log_root
                ),
                serde_json::json!({
                    "status": "valid", "kind": "consistency", "from": first.height, "height": second.height,
                    "from_root": first.log_root, "root": second.log_root, "time": timestamp(second.time),
                }),
            )
        }
    }
}

fn entry(entry: &LogEntry, kind: &str, time: Option<TimeMs>) -> (String, serde_json::Value) {
    let refusal = match entry.outcome {
        Executed::Accepted => None,
        Executed::Refused(refusal) => Some(format!("{refusal:?}")),
    };
    let outcome = refusal.as_ref().map_or_else(|| "accepted".to_owned(), |refusal| format!("refused ({refusal})"));
    let (id, height) = (entry.transaction, entry.height);
    (
        format!("transaction {id} {outcome} at height {height}"),
        serde_json::json!({
            "status": "valid", "kind": kind, "transaction": id, "accepted": refusal.is_none(), "refusal": refusal,
            "height": height, "time": time.map(timestamp),
        }),
    )
}

/// A ledger time as RFC 3339.
pub fn timestamp(time: TimeMs) -> String {
    let ms = i64::try_from(time).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| time.to_string(), |t| t.to_string())
}
