//! `chartseal connector replay`: what a connector received in some time, mapped again by the running gateway with its tables of now; this
//! command asks for it and shows how far it is. No message passes through here.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::control::Gateway;
use crate::commands::run::runtime;
use crate::failure::{Exit, Outcome};
use crate::hands::Hands;
use crate::output::{Output, bad, good};

/// It looks this often, in milliseconds.
const LOOK_MS: u64 = 500;

/// Arguments of `connector replay`.
#[derive(clap::Args)]
pub struct Args {
    /// The connector's name.
    name: String,
    /// Received at this time or later.
    #[arg(long, value_name = "TIME", required_unless_present = "stop")]
    from: Option<jiff::Timestamp>,
    /// Received before this time.
    #[arg(long, value_name = "TIME", required_unless_present = "stop")]
    to: Option<jiff::Timestamp>,
    /// Only shows what would change. It opens messages, and so is written down.
    #[arg(long)]
    dry_run: bool,
    /// Does it; without this they are only counted.
    #[arg(long)]
    yes: bool,
    /// Stops the replay that runs; what was replayed stays.
    #[arg(long, conflicts_with_all = ["from", "to", "dry_run", "yes"])]
    stop: bool,
    #[command(flatten)]
    gateway: Gateway,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let hands = Hands::of(&args.gateway.config)?;
    let path = format!("/connectors/{}/replay", args.name);
    let ms = |time: Option<jiff::Timestamp>| time.unwrap_or_default().as_millisecond().to_string();
    let query = [("from", ms(args.from)), ("to", ms(args.to)), ("dry_run", args.dry_run.to_string())];
    runtime()?.block_on(async {
        let mut state: Value = if args.stop {
            hands.post(&format!("{path}/stop"), &[]).await?
        } else {
            let counted: Value = hands.get(&format!("{path}/count"), &query).await?;
            let messages = counted["messages"].as_u64().unwrap_or(0);
            output.line(format_args!("{messages} messages of {}", args.name));
            if messages == 0 || !(args.yes || args.dry_run) {
                if messages > 0 {
                    output.line("to replay: nothing is done without --yes; --dry-run shows what would change");
                }
                output.document(&json!({ "messages": messages }))?;
                return Ok(Exit::Done);
            }
            hands.post(&path, &query).await?
        };
        let bar = bar(output);
        while matches!(state["phase"].as_str(), Some("waiting" | "running")) {
            bar.set_prefix(state["phase"].as_str().unwrap_or_default().to_owned());
            bar.set_length(state["messages"].as_u64().unwrap_or(0));
            bar.set_position(state["looked"].as_u64().unwrap_or(0));
            bar.set_message(format!("{} changed, {} replayed", state["changed"], state["replayed"]));
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            state = hands.get(&path, &[]).await?;
        }
        bar.finish_and_clear();
        finish(&state, output)
    })
}

fn bar(output: Output) -> ProgressBar {
    if !output.is_interactive() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {prefix:8} {pos}/{len} messages  {msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Names with their counts.
fn counts(of: &Value) -> String {
    let all = of.as_object().into_iter().flatten().map(|(name, count)| format!("{name} {count}"));
    all.collect::<Vec<_>>().join(", ")
}

fn finish(state: &Value, output: Output) -> Outcome {
    let phase = state["phase"].as_str().unwrap_or_default();
    let is_done = phase == "done";
    let what = if state["dry_run"] == Value::Bool(true) { "looked at" } else { "replayed" };
    output.line(format_args!(
        "{}  {} of {} looked at, {} changed, {} replayed, {} cannot be opened",
        if is_done { good(what) } else { bad(phase) },
        state["looked"],
        state["messages"],
        state["changed"],
        state["replayed"],
        state["unopened"]
    ));
    for (resource_type, elements) in state["elements"].as_object().into_iter().flatten() {
        output.line(format_args!("changed  {resource_type}: {}", counts(elements)));
    }
    for (name, about) in [
        ("new", "resources that were not made before"),
        ("gone", "resources that the tables make no more: they stay as they were"),
        ("refused", "messages that the tables refuse now: they stay as they were"),
    ] {
        let counted = counts(&state[name]);
        if !counted.is_empty() {
            output.line(format_args!("{name:8} {counted}  ({about})"));
        }
    }
    if let Some(fault) = state["fault"].as_str() {
        output.note(format_args!("{} {fault}; run it again: what is done is recognised", bad("error")));
    }
    output.document(state)?;
    Ok(if is_done || phase == "stopped" { Exit::Done } else { Exit::Failed })
}
