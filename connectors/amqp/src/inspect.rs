//! What `chartseal doctor` asks of a broker: whether it is reached, whether exchanges, queues and bindings are as configured, and whether its
//! policies keep every message. It looks and changes nothing: what is missing is not made, no message is published. Policies and
//! bindings can be seen by the management API alone (`management_url`); without it they are said to be not checked.

mod policy;

use connectors_source::Finding;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ExchangeKind};
use serde_json::Value;

use crate::access::{Access, access};
use crate::config::{AmqpConfig, PublisherConfig};
use crate::connection::{self, ConnectError, HASHING, answered};
use crate::management::{Management, ManagementError};
use crate::topology::{self, by_header, hashing};

/// Why nothing more is said.
const NOBODY: &str = "no broker was reached";
/// What only the management API knows.
const MANAGED: [&str; 3] = ["bindings", "delivery limit", "dead letters"];
/// Most addresses of a cluster that are tried.
const BROKERS_MAX: usize = 16;

/// Everything that can be seen from outside, in the order in which it matters.
pub async fn inspect(config: &AmqpConfig) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut reached: Option<(Connection, AMQPUri)> = None;
    for attempt in 0..access!(config).addresses().len().clamp(1, BROKERS_MAX) {
        let (finding, connection) = reach(&access!(config), said(config, "broker"), attempt).await;
        findings.push(finding);
        reached = reached.or(connection);
    }
    let Some((connection, uri)) = reached else {
        let lanes = (config.lanes > 1).then_some("lanes");
        for about in ["exchange", "queue"].into_iter().chain(lanes).chain(MANAGED) {
            findings.push(Finding::not_checked(said(config, about), NOBODY, "see above"));
        }
        return findings;
    };
    let missing = "one: the connector makes it when it starts; messages that hospitals publish before are lost";
    findings.push(exchange(said(config, "exchange"), &config.exchange, &connection, missing).await);
    let (found, there) = queues(config, &connection).await;
    findings.extend(found);
    findings.extend(lanes(config, &connection).await);
    drop(answered("close", connection.close(200, "inspected".into())).await);
    findings.extend(managed(config, &uri, there).await);
    findings
}

/// The same for who publishes: the brokers and the exchange. `name` is who it is; `missing` what is expected where there is no exchange.
pub async fn inspect_publisher(name: &str, config: &PublisherConfig, missing: &str) -> Vec<Finding> {
    let (access, mut findings, mut reached) = (access!(config), Vec::new(), None);
    for attempt in 0..access.addresses().len().clamp(1, BROKERS_MAX) {
        let (finding, connection) = reach(&access, format!("{name}: broker"), attempt).await;
        findings.push(finding);
        reached = reached.or(connection);
    }
    let about = format!("{name}: exchange");
    findings.push(match reached {
        None => Finding::not_checked(about, NOBODY, "see above"),
        Some((connection, _)) => exchange(about, &config.exchange, &connection, missing).await,
    });
    findings
}

fn said(config: &AmqpConfig, about: &str) -> String {
    format!("{}: {about}", config.name)
}

/// Host and port, without user and password.
fn host(uri: &AMQPUri) -> String {
    format!("{}:{}", uri.authority.host, uri.authority.port)
}

async fn reach(access: &Access<'_>, about: String, attempt: usize) -> (Finding, Option<(Connection, AMQPUri)>) {
    let uri = match access.uri(attempt) {
        Ok(uri) => uri,
        Err(error) => return (Finding::bad(about, error.to_string(), "an address that can be used"), None),
    };
    match connection::connect(access, "doctor", attempt).await {
        Ok(connection) => {
            let by = if uri.scheme == AMQPScheme::AMQPS { "TLS" } else { "plain TCP" };
            (Finding::good(about, format!("{} answers over {by}", host(&uri))), Some((connection, uri)))
        }
        Err(error) => {
            let expected = match error {
                ConnectError::Away(_) => "a broker: look whether it runs, and at the way to it",
                ConnectError::Login => "a user that it lets in: see rabbitmqctl list_users and list_permissions",
                _ => "the configuration and the broker to agree",
            };
            (Finding::bad(about, format!("{}: {error}", host(&uri)), expected), None)
        }
    }
}

/// Passively first, so that nothing is made; then as the connector declares it, which changes nothing where it is there.
async fn exchange(about: String, name: &str, connection: &Connection, missing: &str) -> Finding {
    let declare = async |passive| {
        let channel = answered("open a channel", connection.create_channel()).await?;
        let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
        let declare = channel.exchange_declare(name.into(), ExchangeKind::Topic, options, FieldTable::default());
        answered("declare the exchange", declare).await
    };
    match declare(true).await {
        Ok(()) => match declare(false).await {
            Ok(()) => Finding::good(about, format!("{name} is a durable topic exchange")),
            Err(error) => Finding::bad(
                about,
                format!("{name}: {error}"),
                "a durable topic exchange without arguments, and permission to configure it",
            ),
        },
        Err(ConnectError::Refused(_)) => Finding::warning(about, format!("no exchange {name}"), missing),
        Err(error) => Finding::not_checked(about, error.to_string(), "an answer"),
    }
}

/// Each queue that is read, and those that nobody reads any more; whether all are there.
async fn queues(config: &AmqpConfig, connection: &Connection) -> (Vec<Finding>, bool) {
    let (names, mut findings, mut there) = (config.queues(), Vec::new(), true);
    let (mut waiting, mut consumers) = (0, 0);
    for name in &names {
        match queue(config, connection, name).await {
            Ok(queue) => (waiting, consumers) = (waiting + queue.message_count(), consumers + queue.consumer_count()),
            Err((finding, is_there)) => {
                findings.push(finding);
                there &= is_there;
            }
        }
    }
    if findings.is_empty() {
        let what = match &names[..] {
            [one] => format!("{one} is a quorum queue"),
            all => format!(
                "{} of {} lanes are quorum queues with a single active consumer",
                config.queue_name(),
                all.len()
            ),
        };
        let found = format!("{what}; {waiting} messages wait, {consumers} consumers");
        findings.push(Finding::good(said(config, "queue"), found));
    }
    for other in config.others() {
        if let Ok(Some(waiting)) = topology::waiting(connection, &other).await {
            let expected = "none: nobody reads a queue of another number of lanes, and when it is full nothing is taken from publishers; \
                            empty it with the former `lanes`, then delete it";
            let found = format!("also a queue {other}; {waiting} messages wait");
            findings.push(Finding::bad(said(config, "queue"), found, expected));
        }
    }
    (findings, there)
}

async fn queue(config: &AmqpConfig, connection: &Connection, name: &str) -> Result<lapin::Queue, (Finding, bool)> {
    let about = said(config, "queue");
    let declare = async |passive| {
        let channel = answered("open a channel", connection.create_channel()).await?;
        let options = QueueDeclareOptions { passive, durable: true, ..Default::default() };
        answered("declare the queue", channel.queue_declare(name.into(), options, config.arguments())).await
    };
    match declare(true).await {
        Ok(_) => declare(false).await.map_err(|error| {
            let expected = match config.lanes {
                1 => "a durable quorum queue without other arguments, and permission to configure it; limits belong into a policy",
                _ => "a durable quorum queue with x-single-active-consumer alone, and permission to configure it; limits belong into a \
                      policy",
            };
            (Finding::bad(about, format!("{name}: {error}"), expected), true)
        }),
        Err(ConnectError::Refused(_)) => {
            let expected = "one: the connector makes it when it starts; messages that are published before are lost";
            Err((Finding::warning(about, format!("no queue {name}"), expected), false))
        }
        Err(error) => Err((Finding::not_checked(about, error.to_string(), "an answer"), false)),
    }
}

/// Whether the broker can sort into lanes, and the exchange that does. Last on its connection, which ends where the plugin is missing.
async fn lanes(config: &AmqpConfig, connection: &Connection) -> Option<Finding> {
    let (about, lanes) = (said(config, "lanes"), config.lanes_exchange()?);
    let declare = async |name: &str, passive| {
        let channel = answered("open a channel", connection.create_channel()).await?;
        let options = ExchangeDeclareOptions { passive, durable: true, ..Default::default() };
        answered(HASHING, channel.exchange_declare(name.into(), hashing(), options, by_header())).await
    };
    // one that every broker has, as what it is not: refused for its type where that is unknown, else for not being of it
    if let Err(error @ ConnectError::Plugin) = declare("amq.topic", false).await {
        let expected = "the plugin enabled on every node of the broker: the connector starts by itself then";
        return Some(Finding::bad(about, error.to_string(), expected));
    }
    Some(match declare(&lanes, true).await {
        Ok(()) => match declare(&lanes, false).await {
            Ok(()) => Finding::good(about, format!("{lanes} sorts by the header {}", topology::LANE_HEADER)),
            Err(error) => {
                let expected =
                    "a durable x-consistent-hash exchange with the hash-header, and permission to configure it";
                Finding::bad(about, format!("{lanes}: {error}"), expected)
            }
        },
        Err(ConnectError::Refused(_)) => {
            Finding::warning(about, format!("no exchange {lanes}"), "one: the connector makes it when it starts")
        }
        Err(error) => Finding::not_checked(about, error.to_string(), "an answer"),
    })
}

async fn managed(config: &AmqpConfig, uri: &AMQPUri, queue_is_there: bool) -> Vec<Finding> {
    let none = |why: &str, expected: &str| {
        MANAGED.iter().map(|about| Finding::not_checked(said(config, about), why, expected)).collect()
    };
    if !queue_is_there {
        return none("there is no queue yet", "start the connector once, then ask again");
    }
    match Management::open(config, uri) {
        Ok(None) => none("no management API is configured", "`management_url` in the connector's file"),
        Ok(Some(management)) => match through(config, &management).await {
            Ok(findings) => findings,
            Err(error) => none(&error.to_string(), "the broker's plugin rabbitmq_management, reachable from here"),
        },
        Err(error) => none(&error.to_string(), "a management API that can be used"),
    }
}

async fn through(config: &AmqpConfig, management: &Management) -> Result<Vec<Finding>, ManagementError> {
    let (queues, lanes) = (config.queues(), config.lanes_exchange());
    let overview = management.get(&["overview"]).await?.unwrap_or_default();
    let queue = config.queue_name();
    let to = lanes.as_deref().map_or(["q", &queue], |lanes| ["e", lanes]);
    let bound = management.get(&["bindings", "{}", "e", &config.exchange, to[0], to[1]]).await?.unwrap_or_default();
    let mut findings = bindings(config, &bound);
    for queue in &queues {
        let document = management.get(&["queues", "{}", queue]).await?.unwrap_or_default();
        let Some(policy) = policy::Policy::read(&document, &overview) else {
            let (why, expected) =
                ("the broker has not said yet which policy holds for the queue", "ask again in a minute");
            let about = ["delivery limit", "dead letters"];
            findings.extend(about.map(|about| Finding::not_checked(said(config, about), why, expected)));
            continue;
        };
        findings.push(policy.delivery_limit(said(config, "delivery limit")));
        let ours: Vec<&str> = lanes.iter().chain([queue]).map(String::as_str).collect();
        findings.extend(policy.dead_letters(&said(config, "dead letters"), &ours, management).await?);
    }
    // what holds for every lane is said once
    let mut once: Vec<Finding> = Vec::new();
    for finding in findings {
        if !once.contains(&finding) {
            once.push(finding);
        }
    }
    Ok(once)
}

/// Each binding is there, and no other: one that was taken out of the configuration stays at the broker.
fn bindings(config: &AmqpConfig, bound: &Value) -> Vec<Finding> {
    let found: Vec<&str> =
        bound.as_array().into_iter().flatten().filter_map(|one| one.get("routing_key")?.as_str()).collect();
    let about = || said(config, "bindings");
    let missing = config.bindings.iter().filter(|key| !found.contains(&key.as_str())).map(|key| {
        let expected = "it, or its messages do not come: the connector binds it when it starts";
        Finding::warning(about(), format!("no binding {key} from {}", config.exchange), expected)
    });
    let more = found.iter().filter(|key| !config.bindings.iter().any(|one| one == *key)).map(|key| {
        let expected = "only what is configured: unbind it where its messages are not wanted";
        Finding::warning(about(), format!("also a binding {key} from {}", config.exchange), expected)
    });
    let mut all: Vec<Finding> = missing.chain(more).collect();
    if all.is_empty() {
        all.push(Finding::good(about(), format!("{} from {}", config.bindings.join(" "), config.exchange)));
    }
    all
}
