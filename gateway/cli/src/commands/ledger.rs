//! `chartseal ledger submit|get|consistency|blocks|follow|status|validators|vote|join|confirm`: the smart contract from the command line.
//! Everything shown was verified against the genesis by `ledger-client`; it must never trust a single validator.

mod confirm;
mod follow;
mod members;
pub mod prove;
mod records;

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use ledger_client::{EntryProof, HttpLedger, Ledger, LedgerConfig, LedgerError, ValidatorSet, ValidatorStatus};
use schemas::block::{Block, faults_tolerated};
use schemas::cbor;
use schemas::id::{Digest, Height};
use schemas::transaction::{LogEntry, Outcome as Executed, Transaction, signed_hash};

use super::run::{load, runtime};
use super::verify::timestamp;
use crate::failure::{Exit, Failure, Outcome, read};
use crate::output::{Output, bad, good, strong};

/// Asks the ledger and hands it transactions.
#[derive(clap::Args)]
#[command(after_help = "Example: chartseal ledger status --config gateway.toml")]
pub struct Args {
    /// A gateway's configuration: its [ledger] section says where the validators are.
    #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG", global = true, default_value = "gateway.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Submits the signed bytes of a transaction and waits for its certificate.
    #[command(after_help = "Exit codes: 0 accepted, 1 refused, 75 not executed within the time.\n\n\
    Example: chartseal ledger submit grant.cbor")]
    Submit {
        /// CBOR of a signed transaction; `-` reads standard input.
        file: PathBuf,
        /// Longest wait for the certificate, in seconds.
        #[arg(long, default_value_t = 30)]
        wait_s: u64,
    },
    /// Shows the log entry of a transaction, or what a key of the state held at a height.
    #[command(after_help = "Exit codes: 0 accepted or present, 1 refused, absent or unknown, 75 not fresh.\n\n\
    Examples: chartseal ledger get 8c3f…64 hex digits --prove entry.json\n          \
    chartseal ledger get case/6791beabb97cbf7b73e3542b98897fc6 --height 12 --prove case.json")]
    Get {
        /// Transaction id (64 hex digits), or kind and id of a key: case, subj, cons, dead, inst, prac, gate, epoc, ball, conf, seat.
        what: String,
        /// Of a key: after the block at this height [default: the newest that is proved fresh].
        #[arg(long)]
        height: Option<Height>,
        /// Writes the proof, which `chartseal verify` checks offline.
        #[arg(long, value_name = "FILE")]
        prove: Option<PathBuf>,
        /// Of a transaction: writes COSE receipts (RFC 9942) of a quorum.
        #[arg(long, value_name = "FILE")]
        cose: Option<PathBuf>,
    },
    /// Proves that the log at one height continues the log at an earlier one.
    #[command(after_help = "Example: chartseal ledger consistency 10 250 --prove grown.json")]
    Consistency {
        /// The earlier height.
        from: Height,
        /// The later height.
        to: Height,
        /// Writes the proof, which `chartseal verify` checks offline.
        #[arg(long, value_name = "FILE")]
        prove: Option<PathBuf>,
    },
    /// Shows every block as it becomes final, and checks certificates, headers, log and state.
    #[command(
        after_help = "Exit codes: 0 all as it must be, 2 a block differs, 75 no validator gives blocks that verify.\n\n\
    Example: chartseal ledger follow --max 100"
    )]
    Follow {
        /// First height; 1 executes everything again.
        #[arg(long, default_value_t = 1)]
        from: Height,
        /// Ends after so many blocks.
        #[arg(long)]
        max: Option<u64>,
    },
    /// Shows the epoch: its validators, proof against them, votes for the next one, and what is decided.
    #[command(
        after_help = "Exit codes: 0 shown, 75 fewer than a quorum answer with a fresh head: what is shown is of the newest height\n\
    that anybody proves, and says how old it is.\n\n\
    Example: chartseal ledger validators --members members.json"
    )]
    Validators {
        /// Writes the list of now, to be changed and voted for.
        #[arg(long, value_name = "FILE")]
        members: Option<PathBuf>,
    },
    /// Votes for the members of the next epoch, as a validator of this one. A newer vote replaces the older; one for the list of now
    /// takes it back.
    #[command(
        after_help = "The file is a JSON list in order of index: what `ledger validators --members` wrote, less who leaves,\n\
    and for each newcomer what `ledger join` printed. Another key of a validator is a newcomer under the old name.\n\
    When a quorum votes for the same list and a quorum of that list is there (newcomers: `ledger confirm`), the epoch ends at the\n\
    next multiple of 256 that is 128 blocks away.\n\n\
    Exit codes: 0 counted, 1 refused, 75 not executed within the time, or the next epoch is decided already.\n\n\
    Example: chartseal ledger vote --key validator.key --members members.json"
    )]
    Vote {
        /// The validator's private key (PEM).
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Who the validators of the next epoch shall be.
        #[arg(long, value_name = "FILE")]
        members: PathBuf,
        /// Longest wait for the certificate, in seconds.
        #[arg(long, default_value_t = 30)]
        wait_s: u64,
    },
    /// Prints a newcomer's line for the members file: proof that its key is held and wants the seat.
    #[command(after_help = "Example: chartseal ledger join --key validator.key --name hospital-7")]
    Join {
        /// The newcomer's private key (PEM); made when there is none.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Its name: letters, digits, -.
        #[arg(long)]
        name: String,
        /// The epoch in which is voted [default: the current one, which the ledger is asked for].
        #[arg(long)]
        epoch: Option<schemas::block::Epoch>,
    },
    /// Says that a newcomer is there, once a quorum voted for a list with its key, waits until enough others are, and writes the proofs
    /// of epochs that its validator starts with beside the key.
    #[command(
        after_help = "Validators of now that stay say it by themselves, if they have an address of everybody in the list. It can be said\n\
    again: what is done is not done twice.\n\n\
    Exit codes: 0 decided, 1 refused, or the list that is voted for is without this key, 75 not decided within the time, or no list has\n\
    a quorum yet: ask again.\n\n\
    Example: chartseal ledger confirm --key new.key"
    )]
    Confirm {
        /// The newcomer's private key (PEM).
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// Longest wait for the certificate and for the others, in seconds.
        #[arg(long, default_value_t = 60)]
        wait_s: u64,
    },
    /// Lists final blocks.
    #[command(after_help = "Example: chartseal ledger blocks --from 1 --max 10")]
    Blocks {
        /// First height.
        #[arg(long, default_value_t = 1)]
        from: Height,
        /// Most blocks.
        #[arg(long, default_value_t = 20)]
        max: usize,
    },
    /// Shows every validator and whether the ledger is fresh.
    #[command(after_help = "Exit codes: 0 fresh, 75 fewer than a quorum answer with a fresh head.\n\n\
    Example: chartseal ledger status --json")]
    Status,
}

/// The ledger of a gateway's configuration.
///
/// # Errors
/// Usage, when a file or name is wrong.
pub fn open(config: &gateway_server::config::LedgerSection) -> Result<HttpLedger, Failure> {
    let validators = config.validators.iter();
    let validators =
        validators.map(|v| ledger_client::ValidatorAddress { name: v.name.clone(), url: v.url.clone() }).collect();
    let (genesis, key) = (config.genesis.clone(), config.key.clone());
    HttpLedger::new(&LedgerConfig { genesis, validators, key, timeout_ms: config.timeout_ms }).map_err(Failure::usage)
}

/// A ledger's error with its exit code.
pub fn failed(error: LedgerError) -> Failure {
    Failure::classed(error.class(), error)
}

/// Runs the command.
pub fn run(args: Args, output: Output) -> Outcome {
    let config = load(&args.config)?;
    let genesis = super::verify::read_genesis(&config.ledger.genesis)?;
    let ledger = open(&config.ledger)?;
    runtime()?.block_on(async {
        match args.command {
            Command::Submit { file, wait_s } => submit(&ledger, &file, Duration::from_secs(wait_s), output).await,
            Command::Get { what, height, prove, cose } => {
                let files = prove::Files { prove: prove.as_deref(), cose: cose.as_deref() };
                match what.parse::<Digest>() {
                    Ok(id) => prove::transaction(&ledger, id, &files, output).await,
                    Err(_) => prove::key(&ledger, (&what, height), &files, output).await,
                }
            }
            Command::Consistency { from, to, prove } => {
                prove::consistency(&ledger, (from, to), prove.as_deref(), output).await
            }
            Command::Follow { from, max } => follow::follow(&ledger, &genesis, from, max, output).await,
            Command::Validators { members } => members::show(&ledger, &genesis, members.as_deref(), output).await,
            Command::Vote { key, members, wait_s } => {
                let wait = Duration::from_secs(wait_s);
                members::vote(&ledger, &genesis, (&key, &members, wait), output).await
            }
            Command::Join { key, name, epoch } => members::join(&ledger, &genesis, (&key, &name, epoch), output).await,
            Command::Confirm { key, wait_s } => {
                confirm::confirm(&ledger, &genesis, (&key, Duration::from_secs(wait_s)), output).await
            }
            Command::Blocks { from, max } => blocks(&ledger, from, max, output).await,
            Command::Status => status(&ledger, &genesis, output).await,
        }
    })
}

async fn submit(ledger: &HttpLedger, file: &std::path::Path, wait: Duration, output: Output) -> Outcome {
    let bytes = if file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        let most = schemas::limits::TRANSACTION_BYTES_MAX as u64 + 1;
        std::io::stdin().take(most).read_to_end(&mut bytes).map_err(Failure::usage)?;
        bytes
    } else {
        read(file)?
    };
    let transaction: Transaction = cbor::decode(&bytes)
        .map_err(|e| Failure::usage(format_args!("{}: {e}; expected the CBOR of a transaction", file.display())))?;
    hand_in(ledger, bytes, &transaction, wait, output).await
}

/// The same, shown.
async fn hand_in(
    ledger: &HttpLedger,
    bytes: Vec<u8>,
    transaction: &Transaction,
    wait: Duration,
    output: Output,
) -> Outcome {
    let proof = decided(ledger, bytes, transaction, wait, output).await?;
    show_entry(&proof.entry, proof.header.time, proof.attestations.len(), output)
}

/// Submits signed bytes and waits for the proof of what the ledger decides about exactly these.
async fn decided(
    ledger: &HttpLedger,
    bytes: Vec<u8>,
    transaction: &Transaction,
    wait: Duration,
    output: Output,
) -> Result<EntryProof, Failure> {
    let (id, signed) = (transaction.id(), signed_hash(&bytes));
    ledger.submit(bytes).await.map_err(failed)?;
    output.note(format_args!("submitted {} {id}", transaction.core.body.name()));
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if let Some(proof) = ledger.verdict(&id, &signed, left.min(Duration::from_secs(10))).await.map_err(failed)? {
            return Ok(proof);
        }
        if left.is_zero() {
            let found = format!("{id}: no log entry after {} s; ask again with: chartseal ledger get", wait.as_secs());
            return Err(Failure::new(Exit::TryAgain, found));
        }
    }
}

fn show_entry(entry: &LogEntry, time: u64, attestations: usize, output: Output) -> Outcome {
    let (text, exit) = match entry.outcome {
        Executed::Accepted => (good("accepted"), Exit::Done),
        Executed::Refused(refusal) => (bad(format_args!("refused: {refusal:?}")), Exit::Failed),
    };
    let time = timestamp(time);
    let (height, index, id) = (entry.height, entry.index, entry.transaction);
    output.line(format_args!("{text}  {id}  height {height}, index {index}, {time}, {attestations} attestations"));
    let refusal = match entry.outcome {
        Executed::Accepted => None,
        Executed::Refused(refusal) => Some(format!("{refusal:?}")),
    };
    output.document(&serde_json::json!({
        "transaction": id, "accepted": refusal.is_none(), "refusal": refusal, "height": height, "index": index,
        "time": time, "attestations": attestations,
    }))?;
    Ok(exit)
}

async fn blocks(ledger: &HttpLedger, from: Height, max: usize, output: Output) -> Outcome {
    let mut rows = Vec::new();
    let mut next = from.max(1);
    while rows.len() < max {
        let found = ledger.blocks(next, max - rows.len(), Duration::ZERO).await.map_err(failed)?;
        if found.is_empty() {
            break;
        }
        next += found.len() as u64;
        rows.extend(found.iter().map(|block| describe(block, output)));
    }
    output.document(&serde_json::json!({ "blocks": rows }))?;
    Ok(Exit::Done)
}

fn describe(block: &Block, output: Output) -> serde_json::Value {
    let decoded = block.transactions.iter().map(|t| cbor::decode::<Transaction>(t.as_ref()).ok());
    let named: Vec<_> = decoded
        .map(|t| match t {
            Some(t) => serde_json::json!({
                "id": t.id(), "type": t.core.body.name(), "statements": t.statements.len(),
            }),
            None => serde_json::json!({ "type": "malformed" }),
        })
        .collect();
    let header = &block.header;
    let time = timestamp(header.time);
    let what: Vec<_> = named
        .iter()
        .map(|t| match t["statements"].as_u64() {
            Some(n) if n > 0 => format!("{} ({n})", t["type"].as_str().unwrap_or("")),
            _ => t["type"].as_str().unwrap_or("").to_owned(),
        })
        .collect();
    output.line(format_args!(
        "{:>8}  {time:24}  {} attestations  {}",
        strong(header.height),
        block.attestations.len(),
        what.join(", ")
    ));
    serde_json::json!({
        "height": header.height, "time": time, "header": header.hash(), "log_size": header.log_size,
        "log_root": header.log_root, "state_root": header.state_root, "view": block.certificate.view,
        "attestations": block.attestations.len(), "transactions": named,
    })
}

/// Validators against which more others than can be faulty say that the ledger holds proof, and of which kind it is.
fn faulty<'g>(all: &'g [ValidatorStatus], set: &'g ValidatorSet) -> Vec<(&'g str, &'g str)> {
    let kind = |status: &'g ValidatorStatus, name: &str| {
        let held = status.status.as_ref()?["evidence"].as_array()?;
        held.iter().find(|one| one["validator"] == name).map(|one| one["kind"].as_str().unwrap_or("other"))
    };
    let tolerated = faults_tolerated(set.names().len());
    let names = set.names().iter().map(String::as_str);
    let proven = names.map(|name| (name, all.iter().filter_map(|status| kind(status, name)).collect::<Vec<_>>()));
    proven.filter(|(_, kinds)| kinds.len() > tolerated).map(|(name, kinds)| (name, kinds[0])).collect()
}

async fn status(ledger: &HttpLedger, genesis: &schemas::genesis::Genesis, output: Output) -> Outcome {
    let (all, heads) = tokio::join!(ledger.status(), ledger.heads());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let epochs = ledger.validators();
    let fresh = epochs.proved_fresh(0, &heads, now).map(|fresh| fresh.height);
    let set = epochs.at(fresh.unwrap_or(0).saturating_add(1));
    for validator in &all {
        let text = match &validator.status {
            Some(status) => {
                let number = |name: &str| status[name].as_u64().map_or("?".into(), |n| n.to_string());
                // alone it still follows and attests; all of them together: the next view is about to begin
                let waits = match (&status["silent"], &status["changing"]) {
                    (silent, _) if silent == true => ", lost its votes and is silent",
                    (_, changing) if changing == true => ", waits for it to begin",
                    _ => "",
                };
                format!("{}  height {}, view {}{waits}", good("up  "), number("height"), number("view"))
            }
            None => bad("down"),
        };
        output.line(format_args!("{:20}  {text}", validator.name));
    }
    match fresh {
        Some(height) => output.line(format_args!("{} at height {height}", good("fresh"))),
        None => output.line(bad("not fresh: fewer than a quorum of validators show a head younger than 5 s")),
    }
    let faulty = faulty(&all, set);
    for (name, kind) in &faulty {
        output.line(format_args!(
            "{} {name}: the ledger holds two signatures of it that contradict each other ({kind})",
            bad("faulty")
        ));
    }
    let faulty: Vec<_> = faulty.into_iter().map(|(name, _)| name).collect();
    output.document(&serde_json::json!({
        "chain": genesis.chain_id(), "epoch": set.epoch(), "fresh_height": fresh, "faulty": faulty, "validators": all,
    }))?;
    Ok(if fresh.is_some() { Exit::Done } else { Exit::TryAgain })
}
