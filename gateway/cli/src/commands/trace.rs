//! `chartseal trace CASE`: the timeline of one case as the gateway's database and the ledger know it: received, sealed, anchored with
//! the receipt checked on the spot, consents in force, every read. Names nothing of the record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use gateway_server::config::LedgerSection;
use gateway_server::disclose::{decide, log};
use gateway_server::store::anchors;
use gateway_server::store::cases::{self, CaseRow};
use ledger_client::Ledger as _;
use ledger_proof::Verified;
use schemas::id::{CaseId, Height, TimeMs};
use serde_json::{Value, json};

use super::run::{load, runtime};
use super::verify::{check, read_genesis, timestamp};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{Output, bad, strong};
use crate::patient::Custody;

/// Entries of the access log read at once.
const ENTRIES_PER_READ: usize = 4_096;

/// Longest wait for the ledger's word about times, in milliseconds: the timeline is shown without it too.
const TIMES_MS_MAX: u64 = 5_000;

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
    /// None where only the height is known.
    time: Option<TimeMs>,
    /// Where it stands on the ledger.
    height: Option<Height>,
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
        events.extend(consents(&custody, &case, &config.ledger).await?);
        events.extend(reads(&custody, &case).await?);
        in_order(&mut events);
        output.line(format_args!("{} version {} of subject {}", strong(case.case), case.version, case.subject));
        for event in &events {
            let time = event.time.map_or_else(String::new, timestamp);
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
    json!({
        "time": event.time.map(timestamp), "height": event.height, "event": event.what, "detail": event.detail,
        "proof": event.proof,
    })
}

/// By time; what has a height alone stands before the first that the ledger knew at this height or later, else last.
fn in_order(events: &mut [Event]) {
    let known: Vec<(Height, TimeMs)> = events.iter().filter_map(|event| event.height.zip(event.time)).collect();
    let at = |event: &Event| {
        let height = event.height.unwrap_or(0);
        let behind = known.iter().filter(|(of, _)| *of >= height).map(|(_, time)| *time).min();
        (event.time.or(behind).unwrap_or(TimeMs::MAX), event.time.is_some(), height)
    };
    events.sort_by_cached_key(at);
}

fn way_in(case: &CaseRow, verified: Option<&Verified>) -> Vec<Event> {
    let ms = |time: i64| u64::try_from(time).ok();
    vec![
        Event {
            time: ms(case.received),
            height: None,
            what: "received",
            detail: format!("by connector {}", case.connector),
            proof: format!("inbox {}", case.inbox_id),
        },
        Event {
            time: ms(case.sealed),
            height: None,
            what: "sealed",
            detail: format!("object {}", case.object),
            proof: verified.map_or_else(String::new, |v| format!("header {}", v.statement.header)),
        },
        Event {
            time: ms(case.anchored_at),
            height: Some(case.height),
            what: "anchored",
            detail: format!("height {}", case.height),
            proof: "receipt, verified with the genesis alone".into(),
        },
    ]
}

/// Live consents of the case's subject. The ledger's state has their heights; when that was, a block says, where the ledger answers.
async fn consents(custody: &Custody, case: &CaseRow, ledger: &LedgerSection) -> Result<Vec<Event>, Failure> {
    let view = decide::view(&custody.store, &case.subject).await.map_err(|e| Failure::classed(e.class(), e))?;
    let times = times(ledger, view.set.live.iter().map(|live| live.height).collect()).await;
    let live = view.set.live.iter();
    Ok(live
        .map(|live| Event {
            time: times.get(&live.height).copied(),
            height: Some(live.height),
            what: "granted",
            detail: format!("consent {}", live.consent),
            proof: format!("height {}, commitment {}", live.height, live.commitment),
        })
        .collect())
}

/// When blocks were final; nothing of those that nobody gives now.
async fn times(config: &LedgerSection, heights: BTreeSet<Height>) -> BTreeMap<Height, TimeMs> {
    let mut times = BTreeMap::new();
    let Ok(ledger) = super::ledger::open(config) else { return times };
    let asked = async {
        for height in heights {
            let Ok(blocks) = ledger.blocks(height, 1, Duration::ZERO).await else { return };
            times.extend(blocks.iter().filter(|b| b.header.height == height).map(|b| (height, b.header.time)));
        }
    };
    // what came until then counts
    let _ = tokio::time::timeout(Duration::from_millis(TIMES_MS_MAX), asked).await;
    times
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
                    time: Some(entry.time),
                    height: Some(entry.height),
                    what: "read",
                    detail: format!("unit {} by {} under {}", unit.unit, entry.client, unit.consent),
                    proof: format!("access log {sequence}, decided at height {}", entry.height),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(what: &'static str, time: Option<TimeMs>, height: Option<Height>) -> Event {
        Event { time, height, what, detail: String::new(), proof: String::new() }
    }

    #[test]
    fn what_has_a_height_alone_stands_among_those_with_a_time() {
        let mut events = vec![
            event("granted late", None, Some(9)),
            event("granted early", None, Some(2)),
            event("granted between", None, Some(5)),
            event("read", Some(40), Some(7)),
            event("anchored", Some(30), Some(4)),
            event("received", Some(10), None),
            event("granted, known", Some(35), Some(6)),
        ];
        in_order(&mut events);
        let order: Vec<&str> = events.iter().map(|event| event.what).collect();
        let expected =
            ["received", "granted early", "anchored", "granted between", "granted, known", "read", "granted late"];
        assert_eq!(order, expected);
        assert_eq!(describe(&events[1])["time"], Value::Null);
        assert_eq!(describe(&events[0])["time"], "1970-01-01T00:00:00.01Z");
    }
}
