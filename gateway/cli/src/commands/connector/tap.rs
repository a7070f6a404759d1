//! `chartseal connector tap`: what a connector brought and how far each message is, through a running gateway's operators' listener;
//! with --follow every change of it. Ids, times and codes only, never a byte of a message.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::control::{Gateway, at};
use crate::commands::run::runtime;
use crate::failure::{Exit, Failure, Outcome};
use crate::hands::Hands;
use crate::output::Output;

/// It looks this often, in milliseconds.
const FOLLOW_MS: u64 = 500;
/// Messages whose changes are followed at once; of more the oldest are let go.
const FOLLOWED_MAX: usize = 1_000;

/// Arguments of `connector tap`.
#[derive(clap::Args)]
pub struct Args {
    /// The connector's name.
    name: String,
    /// Goes on with what comes and with what becomes of it, a line for each change, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Most that are shown at first.
    #[arg(long, default_value_t = 20, value_name = "N")]
    max: usize,
    #[command(flatten)]
    gateway: Gateway,
}

/// Runs the command.
pub fn run(args: &Args, output: Output) -> Outcome {
    let hands = Hands::of(&args.gateway.config)?;
    let path = format!("/connectors/{}/messages", args.name);
    runtime()?.block_on(async {
        let all: Vec<Value> = hands.get(&path, &[("max", args.max.to_string())]).await?;
        if !args.follow {
            all.iter().for_each(|one| output.line(line(one)));
            output.document(&all)?;
            return Ok(Exit::Done);
        }
        let mut followed = Followed::default();
        show(followed.changes(all), output)?;
        while !output.is_gone() {
            tokio::time::sleep(Duration::from_millis(FOLLOW_MS)).await;
            if let Some(ids) = followed.unfinished() {
                show(followed.changes(hands.get(&path, &[("ids", ids)]).await?), output)?;
            }
            show(followed.changes(hands.get(&path, &[("after", followed.newest.to_string())]).await?), output)?;
        }
        Ok(Exit::Done)
    })
}

fn show(changes: Vec<Value>, output: Output) -> Result<(), Failure> {
    changes.iter().try_for_each(|one| {
        output.line(line(one));
        output.document(one)
    })
}

fn line(one: &Value) -> String {
    let (received, state) = (one["received"].as_i64().map_or_else(String::new, at), one["state"].as_str());
    let code = one["code"].as_str().map_or_else(String::new, |code| format!("  {code}"));
    // a JSON value takes no width
    let id = one["id"].to_string();
    format!("{id:>8}  {received}  {:9}  attempts {}{code}", state.unwrap_or_default(), one["attempts"])
}

/// What was shown of messages that may still change. A refused one may be sent its way again.
#[derive(Default)]
struct Followed {
    shown: BTreeMap<i64, (Value, Value)>,
    newest: i64,
}

impl Followed {
    /// Those that are new or not as they were shown.
    fn changes(&mut self, all: Vec<Value>) -> Vec<Value> {
        let mut changed = Vec::new();
        for one in all {
            let id = one["id"].as_i64().unwrap_or(0);
            self.newest = self.newest.max(id);
            let now = (one["state"].clone(), one["attempts"].clone());
            if self.shown.get(&id) == Some(&now) {
                continue;
            }
            if matches!(one["state"].as_str(), Some("anchored" | "empty")) {
                self.shown.remove(&id);
            } else {
                self.shown.insert(id, now);
            }
            changed.push(one);
        }
        while self.shown.len() > FOLLOWED_MAX {
            self.shown.pop_first();
        }
        changed
    }

    /// Their ids, with commas between them.
    fn unfinished(&self) -> Option<String> {
        let ids: Vec<String> = self.shown.keys().map(i64::to_string).collect();
        (!ids.is_empty()).then(|| ids.join(","))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(id: i64, state: &str, attempts: u64) -> Value {
        json!({ "id": id, "received": 1_767_225_600_000_i64, "state": state, "attempts": attempts })
    }

    fn states(changes: Vec<Value>) -> Vec<(i64, String)> {
        changes
            .iter()
            .map(|one| (one["id"].as_i64().unwrap_or(0), one["state"].as_str().unwrap_or("").into()))
            .collect()
    }

    #[test]
    fn each_change_is_shown_once_and_what_is_done_is_asked_for_no_more() {
        let mut followed = Followed::default();
        let first = vec![message(1, "anchored", 1), message(2, "sealed", 1), message(3, "refused", 1)];
        assert_eq!(followed.changes(first).len(), 3);
        assert_eq!(followed.unfinished().as_deref(), Some("2,3"));
        assert_eq!(states(followed.changes(vec![message(2, "sealed", 1), message(3, "refused", 1)])), []);
        let now = vec![message(2, "anchored", 1), message(3, "received", 2)];
        assert_eq!(states(followed.changes(now)), [(2, "anchored".into()), (3, "received".into())]);
        assert_eq!(states(followed.changes(vec![message(3, "refused", 2)])), [(3, "refused".into())], "refused again");
        assert_eq!((followed.unfinished().as_deref(), followed.newest), (Some("3"), 3));
        followed.changes((4..3_000).map(|id| message(id, "received", 1)).collect());
        assert_eq!(followed.shown.len(), FOLLOWED_MAX);
    }

    #[test]
    fn a_line_has_the_code_of_what_was_refused() {
        assert_eq!(line(&message(7, "sealed", 1)), "       7  2026-01-01T00:00:00Z  sealed     attempts 1");
        let mut refused = message(8, "refused", 2);
        refused["code"] = "unsupported-message".into();
        assert!(line(&refused).ends_with("refused    attempts 2  unsupported-message"));
    }
}
