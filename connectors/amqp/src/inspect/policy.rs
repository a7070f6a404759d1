//! Whether the policy of a queue keeps every message: a limit of deliveries, dead letters that are handed over safely, and a queue that
//! takes them. Reads the management API's documents; an argument of the queue counts where it has one.

use connectors_source::Finding;
use schemas::limits;
use serde_json::Value;

use crate::management::{Management, ManagementError};

/// What holds for a queue.
pub(super) struct Policy {
    effective: Value,
    arguments: Value,
    /// RabbitMQ 4 gives every quorum queue a delivery limit of 20.
    limited_by_default: bool,
}

impl Policy {
    /// `None` while the broker has not said which policy holds.
    pub fn read(queue: &Value, overview: &Value) -> Option<Self> {
        let effective = queue.get("effective_policy_definition")?.clone();
        let arguments = queue.get("arguments").cloned().unwrap_or_default();
        let version = overview.get("rabbitmq_version").and_then(Value::as_str).unwrap_or_default();
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        Some(Self { effective, arguments, limited_by_default: major.is_some_and(|major| major >= 4) })
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.arguments.get(format!("x-{name}")).or_else(|| self.effective.get(name))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.as_str()
    }

    pub fn delivery_limit(&self, about: String) -> Finding {
        let expected = "a policy with delivery-limit (20), or a message that stops the gateway comes again without end";
        match self.value("delivery-limit").and_then(Value::as_i64) {
            // messages that were in hand of a process that another one killed have half of that before they are read one by one
            Some(limit @ 1..) if limit < i64::from(2 * limits::DELIVERIES_SUSPECT) => {
                let expected = format!(
                    "{} at least: a message that kills the gateway has others put aside that were in hand with it",
                    2 * limits::DELIVERIES_SUSPECT
                );
                Finding::warning(about, format!("{limit} deliveries"), expected)
            }
            Some(limit) if limit > 0 => Finding::good(about, format!("{limit} deliveries")),
            Some(_) => Finding::bad(about, "no limit, by a negative or empty delivery-limit", expected),
            None if self.limited_by_default => Finding::good(about, "the broker's own, 20"),
            None => Finding::bad(about, "no limit", expected),
        }
    }

    /// Where dead letters go, whether they are handed over safely, and whether a queue takes them all.
    pub async fn dead_letters(
        &self,
        about: &str,
        ours: &[&str],
        management: &Management,
    ) -> Result<Vec<Finding>, ManagementError> {
        let Some(exchange) = self.text("dead-letter-exchange") else {
            let expected = "a policy with dead-letter-exchange: what is refused is thrown away without it";
            return Ok(vec![Finding::bad(about, "no dead-letter exchange", expected)]);
        };
        let mut findings = vec![self.handed_over(about)];
        if exchange.is_empty() {
            // the default exchange: its routing key is a queue's name
            let target = self.text("dead-letter-routing-key").unwrap_or_default();
            let there = management.get(&["queues", "{}", target]).await?.is_some();
            let expected = "the queue that dead-letter-routing-key names";
            findings.push(match there && !target.is_empty() {
                true => Finding::good(about, format!("go to the queue {target}")),
                false => Finding::bad(about, "the default exchange and no such queue", expected),
            });
            return Ok(findings);
        }
        let Some(document) = management.get(&["exchanges", "{}", exchange]).await? else {
            let expected = "it: with at-least-once, dead letters stay in the queue until it is there";
            findings.push(Finding::bad(about, format!("no exchange {exchange}"), expected));
            return Ok(findings);
        };
        let bound = management.get(&["exchanges", "{}", exchange, "bindings", "source"]).await?.unwrap_or_default();
        findings.push(self.taken(about, (exchange, &document), ours, &bound));
        Ok(findings)
    }

    fn handed_over(&self, about: &str) -> Finding {
        let strategy = self.text("dead-letter-strategy").unwrap_or("at-most-once");
        let overflow = self.text("overflow").unwrap_or("drop-head");
        let found = format!("dead-letter-strategy {strategy}, overflow {overflow}");
        if strategy == "at-least-once" && overflow == "reject-publish" {
            Finding::good(about, found)
        } else {
            Finding::bad(
                about,
                found,
                "at-least-once and reject-publish, both: else dead letters can be lost on the way",
            )
        }
    }

    /// The exchange's bindings: to a queue, for every routing key, and not back to where they come from.
    fn taken(&self, about: &str, (exchange, document): (&str, &Value), ours: &[&str], bound: &Value) -> Finding {
        let field = |one: &Value, name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let bound: Vec<(String, String)> = (bound.as_array().into_iter().flatten())
            .filter(|one| matches!(field(one, "destination_type").as_str(), "queue" | "exchange"))
            .map(|one| (field(one, "destination"), field(one, "routing_key")))
            .collect();
        if bound.is_empty() {
            let expected = "one for every routing key: dead letters pile up in front of an exchange that leads nowhere";
            return Finding::bad(about, format!("no binding of {exchange} to a queue"), expected);
        }
        if let Some((to, _)) = bound.iter().find(|(to, _)| ours.contains(&to.as_str())) {
            let expected = "another queue: what is refused would come back, and is never cleared away";
            return Finding::bad(about, format!("{exchange} leads back into {to}"), expected);
        }
        let kind = field(document, "type");
        let every = bound.iter().find(|(_, key)| kind == "fanout" || (kind == "topic" && key == "#"));
        let fixed = self.text("dead-letter-routing-key").and_then(|key| bound.iter().find(|(_, own)| own == key));
        match every.or(fixed) {
            Some((to, _)) => Finding::good(about, format!("go by {exchange} to {to}")),
            None => Finding::warning(
                about,
                format!("{exchange} is bound for some routing keys only"),
                "a topic exchange with a binding `#`: a dead letter that nothing takes stays in the queue",
            ),
        }
    }
}
