//! `chartseal dlq list|show|retry|discard|log`: messages that a running gateway refused, through its operators' listener. `show --raw`
//! prints a patient's message, since that is its purpose; the gateway writes down who asked before it answers.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::connector::at;
use super::run::runtime;
use crate::failure::{Exit, Failure, Outcome};
use crate::hands::Hands;
use crate::output::{Output, strong};

/// Looks at refused messages, sends them their way again, discards them.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  chartseal dlq list --config gateway.toml\n  \
chartseal dlq retry --code unsupported-message --config gateway.toml")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Counts them by connector and code, then lists the oldest.
    #[command(
        after_help = "Example: chartseal dlq list --connector ward-3 --since 2026-11-27T03:00:00Z --config gateway.toml"
    )]
    List {
        #[command(flatten)]
        which: Which,
        /// Most that are listed.
        #[arg(long, default_value_t = 20, value_name = "N")]
        max: usize,
    },
    /// Shows one: why it was refused, where, what to do; with --raw the message itself.
    #[command(after_help = "Example: chartseal dlq show 17 --raw --config gateway.toml | \
                      chartseal connector try ward-3 - --config gateway.toml")]
    Show {
        /// Its id.
        id: i64,
        /// The bytes as they came. Who looked is written down.
        #[arg(long)]
        raw: bool,
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Sends them their way again, oldest first: those that are refused again come back with one more attempt.
    #[command(after_help = "Prints how many there are first; without --id it asks for --yes.\n\n\
Example: chartseal dlq retry --code unsupported-message --yes --config gateway.toml")]
    Retry {
        #[command(flatten)]
        which: Which,
        /// Does it; without it only the count is printed.
        #[arg(long)]
        yes: bool,
    },
    /// Discards them for good: their bytes are gone, their keys stay known.
    #[command(after_help = "Prints how many there are first; without --id it asks for --yes.\n\n\
Example: chartseal dlq discard --id 17 --config gateway.toml")]
    Discard {
        #[command(flatten)]
        which: Which,
        /// Does it; without it only the count is printed.
        #[arg(long)]
        yes: bool,
    },
    /// What operators did: who looked, retried, discarded, paused, resumed, reloaded.
    #[command(after_help = "Example: chartseal dlq log --config gateway.toml")]
    Log {
        #[command(flatten)]
        gateway: Gateway,
    },
}

/// Which gateway.
#[derive(clap::Args)]
struct Gateway {
    /// The gateway's configuration.
    #[arg(long, value_name = "F", env = "CHARTSEAL_CONFIG")]
    config: PathBuf,
}

/// Which of them: all conditions that are given hold.
#[derive(clap::Args)]
struct Which {
    /// One of them.
    #[arg(long, value_name = "N")]
    id: Option<i64>,
    /// Who brought them.
    #[arg(long, value_name = "NAME")]
    connector: Option<String>,
    /// Why they were refused.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Received at this time or later.
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Received before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
    #[command(flatten)]
    gateway: Gateway,
}

impl Which {
    fn query(&self) -> Vec<(&'static str, String)> {
        let ms = |time: &Option<jiff::Timestamp>| time.map(|time| time.as_millisecond().to_string());
        let all = [
            ("id", self.id.map(|id| id.to_string())),
            ("connector", self.connector.clone()),
            ("code", self.code.clone()),
            ("since", ms(&self.since)),
            ("until", ms(&self.until)),
        ];
        all.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect()
    }
}

/// Runs the command.
pub fn run(args: Args, output: Output) -> Outcome {
    runtime()?.block_on(async {
        match args.command {
            Command::List { which, max } => list(&which, max, output).await,
            Command::Show { raw: true, .. } if output.json => Err(Failure::usage(
                "--raw: found --json too, expected one of them: a message is printed as it came, and is no JSON document",
            )),
            Command::Show { id, raw: true, gateway } => {
                let bytes = Hands::of(&gateway.config)?.bytes(&format!("/dead-letters/{id}/raw")).await?;
                output.bytes(&bytes)
            }
            Command::Show { id, raw: false, gateway } => show(id, &gateway, output).await,
            Command::Retry { which, yes } => change(&which, "retry", yes, output).await,
            Command::Discard { which, yes } => change(&which, "discard", yes, output).await,
            Command::Log { gateway } => log(&gateway, output).await,
        }
    })
}

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_default().to_owned()
}

async fn counted(hands: &Hands, which: &Which) -> Result<(Vec<Value>, u64), Failure> {
    let all: Vec<Value> = hands.get("/dead-letters/count", &which.query()).await?;
    let sum = all.iter().filter_map(|of| of["count"].as_u64()).sum();
    Ok((all, sum))
}

fn print_counts(all: &[Value], output: Output) {
    let width = |name: &str| all.iter().map(|of| text(of, name).len()).max().unwrap_or(0);
    let (of_connector, of_code) = (width("connector"), width("code"));
    for of in all {
        let (connector, code) = (text(of, "connector"), text(of, "code"));
        output.line(format_args!(
            "{connector:of_connector$}  {:>6}  {code:of_code$}  {}",
            of["count"].to_string(),
            text(of, "hint")
        ));
    }
}

async fn list(which: &Which, max: usize, output: Output) -> Outcome {
    let hands = Hands::of(&which.gateway.config)?;
    let (counts, sum) = counted(&hands, which).await?;
    let mut query = which.query();
    query.push(("max", max.to_string()));
    let letters: Vec<Value> = hands.get("/dead-letters", &query).await?;
    output.line(format_args!("{} dead letters", strong(sum)));
    print_counts(&counts, output);
    for letter in &letters {
        let received = letter["received"].as_i64().map_or_else(String::new, at);
        output.line(format_args!(
            "{:>8}  {received}  {}  {} at {}  attempts {}",
            letter["id"].to_string(),
            text(letter, "connector"),
            text(letter, "code"),
            text(letter, "path"),
            letter["attempts"]
        ));
    }
    output.document(&json!({ "total": sum, "counts": counts, "letters": letters }))?;
    Ok(Exit::Done)
}

fn none_of(id: i64) -> Failure {
    Failure::usage(format_args!("found no dead letter {id}; chartseal dlq list shows what there is"))
}

async fn show(id: i64, gateway: &Gateway, output: Output) -> Outcome {
    let hands = Hands::of(&gateway.config)?;
    let letters: Vec<Value> = hands.get("/dead-letters", &[("id", id.to_string())]).await?;
    let Some(letter) = letters.first() else { return Err(none_of(id)) };
    for name in ["connector", "content_type", "code", "path", "class"] {
        output.line(format_args!("{name:13} {}", text(letter, name)));
    }
    output.line(format_args!("{:13} {}", "received", letter["received"].as_i64().map_or_else(String::new, at)));
    output.line(format_args!("{:13} {}", "attempts", letter["attempts"]));
    output.line(format_args!("{:13} {}", "retriable", letter["retriable"]));
    output.line(format_args!("{:13} {}", "hint", text(letter, "hint")));
    output.document(letter)?;
    Ok(Exit::Done)
}

async fn change(which: &Which, deed: &str, yes: bool, output: Output) -> Outcome {
    let hands = Hands::of(&which.gateway.config)?;
    let (counts, sum) = counted(&hands, which).await?;
    print_counts(&counts, output);
    if let (0, Some(id)) = (sum, which.id) {
        return Err(none_of(id));
    }
    if sum == 0 {
        output.line("found none");
        output.document(&json!({ "total": 0 }))?;
        return Ok(Exit::Done);
    }
    if !yes && which.id.is_none() {
        output.line(format_args!("{sum} to {deed}: nothing is done without --yes"));
        output.document(&json!({ "total": sum }))?;
        return Ok(Exit::Done);
    }
    let done: Value = hands.post(&format!("/dead-letters/{deed}"), &which.query()).await?;
    match deed {
        "retry" => output.line(retried(&done)),
        _ => output.line(format_args!("{} discarded", done["discarded"])),
    }
    output.document(&done)?;
    Ok(Exit::Done)
}

fn retried(done: &Value) -> String {
    match done["left"].as_u64() {
        None | Some(0) => format!("{} retried", done["retried"]),
        Some(left) => format!("{} retried, {left} left: they can only be discarded", done["retried"]),
    }
}

async fn log(gateway: &Gateway, output: Output) -> Outcome {
    let deeds: Vec<Value> = Hands::of(&gateway.config)?.get("/deeds", &[]).await?;
    for deed in &deeds {
        let when = deed["at"].as_i64().map_or_else(String::new, at);
        output.line(format_args!(
            "{when}  {:12}  {:8}  {}",
            text(deed, "operator"),
            text(deed, "deed"),
            text(deed, "about")
        ));
    }
    output.document(&deeds)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::retried;

    #[test]
    fn those_left_are_named_where_there_are_any() {
        assert_eq!(retried(&json!({ "retried": 3, "left": 0 })), "3 retried");
        assert_eq!(retried(&json!({ "retried": 0, "left": 2 })), "0 retried, 2 left: they can only be discarded");
    }
}
