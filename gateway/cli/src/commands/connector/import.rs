//! `chartseal connector import`: a FHIR server's bulk export, taken by the running gateway; this command asks for it and shows how far it
//! is. No resource passes through here.

use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use serde_json::Value;

use super::control::Gateway;
use crate::commands::run::runtime;
use crate::failure::{Exit, Outcome};
use crate::hands::Hands;
use crate::output::{Output, bad, good};

/// It looks this often, in milliseconds.
const LOOK_MS: u64 = 500;

/// Arguments of `connector import`.
#[derive(clap::Args)]
pub struct Args {
    /// The connector's name, of kind `fhir`.
    name: String,
    /// Only what was updated since, as a FHIR instant.
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Resource types, with commas between them; those of the connector unless said otherwise.
    #[arg(long, value_name = "TYPES")]
    types: Option<String>,
    /// `system`, `patient` or `group/ID`.
    #[arg(long, value_name = "LEVEL", default_value = "system")]
    level: String,
    /// Stops the import that runs; what was taken stays.
    #[arg(long, conflicts_with_all = ["since", "types"])]
    stop: bool,
    #[command(flatten)]
    gateway: Gateway,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let hands = Hands::of(&args.gateway.config)?;
    let path = format!("/connectors/{}/import", args.name);
    let mut query = vec![("level", args.level.clone())];
    query.extend(args.since.map(|since| ("since", since.to_string())));
    query.extend(args.types.clone().map(|types| ("types", types)));
    runtime()?.block_on(async {
        let mut state: Value =
            if args.stop { hands.post(&format!("{path}/stop"), &[]).await? } else { hands.post(&path, &query).await? };
        let bar = bar(output);
        while matches!(state["phase"].as_str(), Some("asking" | "waiting" | "reading")) {
            show(&bar, &state);
            tokio::time::sleep(Duration::from_millis(LOOK_MS)).await;
            state = hands.get(&path, &[]).await?;
        }
        bar.finish_and_clear();
        finish(args, &state, output)
    })
}

fn bar(output: Output) -> ProgressBar {
    if !output.is_interactive() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {prefix:8} {pos}/{len} files  {msg}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, state: &Value) {
    let number = |name: &str| state[name].as_u64().unwrap_or(0);
    bar.set_prefix(state["phase"].as_str().unwrap_or_default().to_owned());
    bar.set_length(number("files"));
    bar.set_position(number("files_done"));
    bar.set_message(match state["percent"].as_u64() {
        Some(percent) => format!("the server's export: {percent} %"),
        None => format!("{} resources, {}", number("resources"), HumanBytes(number("bytes"))),
    });
}

fn finish(args: &Args, state: &Value, output: Output) -> Outcome {
    let number = |name: &str| state[name].as_u64().unwrap_or(0);
    let phase = state["phase"].as_str().unwrap_or_default();
    let is_done = phase == "done";
    output.line(format_args!(
        "{} {}  {} resources ({}) of {} files: {} new, {} known, {} refused",
        if is_done { good("imported") } else { bad(phase) },
        args.name,
        number("resources"),
        HumanBytes(number("bytes")),
        number("files_done"),
        number("received"),
        number("duplicates"),
        number("refused")
    ));
    if number("error_files") > 0 {
        output.line(format_args!("the server added {} files of errors, which are not read", number("error_files")));
    }
    if let Some(fault) = state["fault"].as_str() {
        output.note(format_args!("{} {fault}; run it again: what is there is recognised", bad("error")));
    }
    if let (true, Some(time)) = (is_done, state["transaction_time"].as_str()) {
        output.line(format_args!("polling can begin there: since = \"{time}\""));
    }
    output.document(state)?;
    Ok(if is_done { Exit::Done } else { Exit::Failed })
}
