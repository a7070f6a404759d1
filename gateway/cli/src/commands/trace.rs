//! `chartseal trace CASE`: the timeline of one case as the gateway's database and the ledger know it: received, sealed, anchored with
//! the receipt checked on the spot, consents in force, every read. Names nothing of the record.

use std::path::PathBuf;

use gateway_server::disclose::{decide, log};
use gateway_server::store::anchors;
use gateway_server::store::cases::{self, CaseRow};
use ledger_proof::Verified;
use schemas::id::{CaseId, TimeMs};
use serde_json::{Value, json};

use super::run::{load, runtime};
use super::verify::{check, read_genesis, timestamp};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, bad, strong};
use crate::patient::Custody;

/// Entries of the access log read at once.
const ENTRIES_PER_READ: usize = 4_096;

/// Shows the timeline of a case, each step with its proof.
#[derive(clap::Args)]
#[command(after_help = "Exit codes: 0 shown, 1 no such case, 2 its receipt does not verify.\n\n\
Example: chartseal trace 4f0a… --config gateway.toml")]
pub struct Args {
    /// The case's id, 32 hex digits.
    case: CaseId,
    /// The configuration of the gateway that holds it.
    #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG", default_value = "gateway.toml")]
    config: PathBuf,
}

/// One line of the timeline.
struct Event {
    time: TimeMs,
    what: &'static str,
    detail: String,
    proof: String,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let config = load(&args.config)?;
    let genesis = read_genesis(&config.ledger.genesis)?;
    runtime()?.block_on(async {
        let custody = Custody::open(&config).await?;
        let failed = |e: gateway_server::store::StoreError| Failure::classed(e.class(), e);
        let found = cases::get(&custody.store, &[args.case]).await.map_err(failed)?;
        let Some(case) = found.into_iter().next() else {
            return Err(Failure::new(
                Exit::Failed,
                format_args!("found no anchored case {} at this gateway", args.case),
            ));
        };
        let receipt = anchors::receipt(&custody.store, &case).await.map_err(failed)?;
        let verified = check(receipt.as_bytes(), &genesis);
        let mut events = way_in(&case, verified.as_ref().ok());
        events.extend(consents(&custody, &case).await?);
        events.extend(reads(&custody, &case).await?);
        events.sort_by_key(|e| e.time);
        output.line(format_args!("{} version {} of subject {}", strong(case.case), case.version, case.subject));
        for event in &events {
            let time = if event.time == 0 { String::new() } else { timestamp(event.time) };
            output.line(format_args!("{time:24}  {:9}  {:44}  {}", event.what, event.detail, event.proof));
        }
        if let Err(error) = &verified {
            output.line(bad(format_args!("the receipt does not verify: {error}")));
        }
        output.document(&json!({
            "case": case.case, "version": case.version, "subject": case.subject, "object": case.object,
            "height": case.height, "receipt_valid": verified.is_ok(),
            "events": events.iter().map(describe).collect::<Vec<_>>(),
        }))?;
        Ok(if verified.is_ok() { Exit::Done } else { Exit::Invalid })
    })
}

fn describe(event: &Event) -> Value {
    json!({ "time": timestamp(event.time), "event": event.what, "detail": event.detail, "proof": event.proof })
}

fn way_in(case: &CaseRow, verified: Option<&Verified>) -> Vec<Event> {
    let ms = |time: i64| time.max(0).unsigned_abs();
    vec![
        Event {
            time: ms(case.received),
            what: "received",
            detail: format!("by connector {}", case.connector),
            proof: format!("inbox {}", case.inbox_id),
        },
        Event {
            time: ms(case.sealed),
            what: "sealed",
            detail: format!("object {}", case.object),
            proof: verified.map_or_else(String::new, |v| format!("header {}", v.statement.header)),
        },
        Event {
            time: ms(case.anchored_at),
            what: "anchored",
            detail: format!("height {}", case.height),
            proof: "receipt, verified with the genesis alone".into(),
        },
    ]
}

/// Live consents of the case's subject. Their time is a height; the ledger's state keeps no clock.
async fn consents(custody: &Custody, case: &CaseRow) -> Result<Vec<Event>, Failure> {
    let view = decide::view(&custody.store, &case.subject).await.map_err(|e| Failure::classed(e.class(), e))?;
    let live = view.set.live.iter();
    Ok(live
        .map(|live| Event {
            time: 0,
            what: "granted",
            detail: format!("consent {}", live.consent),
            proof: format!("height {}, commitment {}", live.height, live.commitment),
        })
        .collect())
}

async fn reads(custody: &Custody, case: &CaseRow) -> Result<Vec<Event>, Failure> {
    let mut events = Vec::new();
    let mut first = 0;
    loop {
        let entries = log::read(&custody.store, &custody.vault, first, ENTRIES_PER_READ).await;
        let entries = entries.map_err(|e| Failure::classed(e.class(), e))?;
        let Some((last, _)) = entries.last() else { return Ok(events) };
        first = last + 1;
        for (sequence, entry) in &entries {
            for unit in entry.disclosed.iter().filter(|unit| unit.case == case.case) {
                events.push(Event {
                    time: entry.time,
                    what: "read",
                    detail: format!("unit {} by {} under {}", unit.unit, entry.client, unit.consent),
                    proof: format!("access log {sequence}, decided at height {}", entry.height),
                });
            }
        }
    }
}
