//! `chartseal connector status|tap|pause|resume|drain|reload`: the connectors of a running gateway, through its operators' listener.

use std::path::PathBuf;

use serde_json::Value;

use crate::commands::run::runtime;
use crate::failure::{Exit, Outcome};
use crate::hands::Hands;
use crate::output::{Output, bad, good, strong};

/// A tap that follows looks this often, in milliseconds.
const FOLLOW_MS: u64 = 500;

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
    for state in &all {
        let how = match (state["fault"].as_str(), state["paused"].as_bool(), state["connected"].as_bool()) {
            (Some(fault), _, _) => bad(fault),
            (None, Some(true), _) => strong("paused"),
            (None, _, Some(true)) => good("connected"),
            (None, _, _) => bad("not connected"),
        };
        let name = text(state, "name");
        let last = state["last_delivery"].as_i64().map_or_else(|| "never".into(), at);
        let (unsettled, again) = (&state["unsettled"], &state["reconnects"]);
        let careful = match state["careful"].as_u64() {
            None | Some(0) => String::new(),
            Some(queues) => format!("  {queues} queues one message at a time"),
        };
        output.line(format_args!(
            "{name:width$}  {:kinds$}  {how}  unsettled {unsettled}  reconnects {again}  last message {last}{careful}",
            text(state, "kind")
        ));
    }
    output.document(&all)?;
    Ok(Exit::Done)
}

/// Milliseconds since 1970 as a time.
pub fn at(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
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
    for what in ["started", "restarted", "stopped", "unchanged"] {
        let names: Vec<&str> = done[what].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !names.is_empty() {
            output.line(format_args!("{what:10} {}", names.join(" ")));
        }
    }
    output.line("mapping tables are those of now");
    output.document(&done)?;
    Ok(Exit::Done)
}

/// Arguments of `connector tap`.
#[derive(clap::Args)]
pub struct Tap {
    /// The connector's name.
    name: String,
    /// Goes on with what comes, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Most that are shown at first.
    #[arg(long, default_value_t = 20, value_name = "N")]
    max: usize,
    #[command(flatten)]
    gateway: Gateway,
}

/// Prints what a connector brought and how far it is: never a byte of a message.
pub fn tap(args: &Tap, output: Output) -> Outcome {
    let hands = Hands::of(&args.gateway.config)?;
    let path = format!("/connectors/{}/messages", args.name);
    runtime()?.block_on(async {
        let mut all: Vec<Value> = hands.get(&path, &[("max", args.max.to_string())]).await?;
        let mut after = 0;
        loop {
            for one in &all {
                let (received, state) = (one["received"].as_i64().map_or_else(String::new, at), &one["state"]);
                let state = state.as_str().unwrap_or_default();
                output.line(format_args!("{:>8}  {received}  {state:9}  attempts {}", one["id"], one["attempts"]));
                after = after.max(one["id"].as_i64().unwrap_or(0));
            }
            if !args.follow {
                output.document(&all)?;
                return Ok(Exit::Done);
            }
            tokio::time::sleep(std::time::Duration::from_millis(FOLLOW_MS)).await;
            all = hands.get(&path, &[("after", after.to_string())]).await?;
        }
    })
}
