//! `chartseal connector status|pause|resume|drain|reload`: the connectors of a running gateway, through its operators' listener.

use std::path::PathBuf;

use serde_json::Value;

use crate::commands::run::runtime;
use crate::failure::{Exit, Outcome};
use crate::hands::Hands;
use crate::output::{Output, bad, good, strong};

/// Which gateway.
#[derive(clap::Args)]
pub struct Gateway {
    /// The gateway's configuration.
    #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG")]
    pub config: PathBuf,
}

/// Which connector of which gateway.
#[derive(clap::Args)]
pub struct Args {
    /// The connector's name.
    name: String,
    #[command(flatten)]
    gateway: Gateway,
}

/// Prints every connector with what it does.
pub fn status(gateway: &Gateway, output: Output) -> Outcome {
    let hands = Hands::of(&gateway.config)?;
    let all: Vec<Value> = runtime()?.block_on(hands.get("/connectors", &[]))?;
    let text = |state: &Value, name: &str| state[name].as_str().unwrap_or_default().to_owned();
    let widest = |name: &str| all.iter().map(|state| text(state, name).len()).max().unwrap_or(0);
    let (width, kinds) = (widest("name"), widest("kind"));
    let wide = all.iter().map(|state| how(state).0.chars().count()).max().unwrap_or(0);
    for state in &all {
        let (how, colour) = how(state);
        // padded before it is coloured: escape codes have no width
        let how = colour(&format!("{how:wide$}"));
        let name = text(state, "name");
        let last = state["last_delivery"].as_i64().map_or_else(|| "none since it began".into(), at);
        let (unsettled, again) = (&state["unsettled"], &state["reconnects"]);
        let careful = match state["careful"].as_u64() {
            None | Some(0) => String::new(),
            Some(queues) => format!("  {queues} queues one message at a time"),
        };
        // last, for it may be long
        let why = state["fault"].as_str().or_else(|| state["why"].as_str());
        let why = why.map_or_else(String::new, |why| format!("  {why}"));
        output.line(format_args!(
            "{name:width$}  {:kinds$}  {how}  unsettled {unsettled}  reconnects {again}  last message {last}{careful}{why}",
            text(state, "kind")
        ));
    }
    output.document(&all)?;
    Ok(Exit::Done)
}

/// What a connector does, and its colour.
fn how(state: &Value) -> (&'static str, fn(&str) -> String) {
    match (state["fault"].as_str(), state["paused"].as_bool(), state["connected"].as_bool()) {
        (Some(_), _, _) => ("cannot start", |text| bad(text)),
        (None, Some(true), _) => ("paused", |text| strong(text)),
        (None, _, Some(true)) => ("connected", |text| good(text)),
        (None, _, _) => ("not connected", |text| bad(text)),
    }
}

/// Milliseconds since 1970 as a time, to the second.
pub fn at(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Pauses, resumes or drains one.
pub fn change(args: &Args, deed: &str, output: Output) -> Outcome {
    let hands = Hands::of(&args.gateway.config)?;
    let done: Value = runtime()?.block_on(hands.post(&format!("/connectors/{}/{deed}", args.name), &[]))?;
    let waits = deed == "drain" && done["drained"] != Value::Bool(true);
    let what = match deed {
        "resume" => "resumed",
        "drain" if waits => "paused; messages in hand are not settled yet",
        "drain" => "drained and paused",
        _ => "paused",
    };
    output.line(format_args!("{} {what}", args.name));
    output.document(&done)?;
    Ok(if waits { Exit::TryAgain } else { Exit::Done })
}

/// Makes a gateway read its connectors and tables again.
pub fn reload(gateway: &Gateway, output: Output) -> Outcome {
    let hands = Hands::of(&gateway.config)?;
    let done: Value = runtime()?.block_on(hands.post("/reload", &[]))?;
    let named = |what: &str| done[what].as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>();
    for what in ["started", "restarted", "stopped", "unchanged"] {
        let names = named(what);
        if !names.is_empty() {
            output.line(format_args!("{what:10} {}", names.join(" ")));
        }
    }
    if done["tables"] == Value::Bool(true) {
        output.line("what messages are mapped with is exchanged: tables, zone, authorities");
    }
    let waiting = named("restart");
    if !waiting.is_empty() {
        let what = waiting.join(", ");
        output.line(format_args!("{:10} {what}: changed, taken over when the gateway is started again", "restart"));
    }
    output.document(&done)?;
    Ok(Exit::Done)
}
