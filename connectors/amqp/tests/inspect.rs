//! What `doctor` says about a real broker: good where everything is as it should be, the fault where it is not, and never good where
//! nobody looked. Needs `CHARTSEAL_TEST_AMQP` and `CHARTSEAL_TEST_AMQP_DIR`; fails where services were promised.

use std::path::Path;
use std::time::Duration;

use connectors_amqp::{AmqpConfig, AmqpSource, inspect::inspect};
use connectors_source::{Finding, Level, Source as _};
use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// A queue of its own for a test, with or without a policy; everything goes when it ends well.
struct Bench {
    url: String,
    management: String,
    password: String,
    name: String,
    _connection: Connection,
    channel: Channel,
}

impl Bench {
    async fn start(name: &str) -> Option<Self> {
        let promised = std::env::var("CHARTSEAL_SERVICES").is_ok();
        let of = |name: &str| std::env::var(name).ok();
        let found = of("CHARTSEAL_TEST_AMQP").zip(of("CHARTSEAL_TEST_AMQP_DIR"));
        assert!(found.is_some() || !promised, "CHARTSEAL_SERVICES is set; found no CHARTSEAL_TEST_AMQP or …_DIR");
        let Some((url, folder)) = found else {
            println!("skipped: no services; run tests/run");
            return None;
        };
        let read = |file: &str| std::fs::read_to_string(Path::new(&folder).join(file)).expect(file).trim().to_owned();
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("the broker answers");
        let channel = connection.create_channel().await.expect("a channel");
        let name = format!("{name}-{}", std::process::id());
        let (management, password) = (read("management"), read("password"));
        Some(Self { url, management, password, name, _connection: connection, channel })
    }

    fn config(&self, queue: &str) -> AmqpConfig {
        AmqpConfig {
            name: "ehr".into(),
            url: Some(self.url.clone()),
            queue: Some(queue.into()),
            bindings: vec![format!("{}.#", self.name)],
            management_url: Some(self.management.clone()),
            ..AmqpConfig::default()
        }
    }

    async fn declare(&self, queue: &str, kind: &str, bound: bool) {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        self.channel.queue_declare(queue.into(), durable, arguments).await.expect("declared");
        if bound {
            self.bind("hospital.events", queue, &format!("{}.#", self.name)).await;
        }
    }

    async fn bind(&self, exchange: &str, queue: &str, key: &str) {
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        self.channel.queue_bind(queue.into(), exchange.into(), key.into(), options, none).await.expect("bound");
    }

    async fn exchange(&self, name: &str, kind: ExchangeKind) {
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let declare = self.channel.exchange_declare(name.into(), kind, durable, FieldTable::default());
        declare.await.expect("declared");
    }

    async fn gone(&self, queues: &[&str], exchanges: &[&str]) {
        for queue in queues {
            self.channel.queue_delete((*queue).into(), QueueDeleteOptions::default()).await.expect("deleted");
        }
        for exchange in exchanges {
            self.channel.exchange_delete((*exchange).into(), ExchangeDeleteOptions::default()).await.expect("deleted");
        }
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        client.request(method, format!("{}/api/{path}", self.management)).basic_auth("chartseal", Some(&self.password))
    }

    /// Another policy for the queues of this test alone.
    async fn policy(&self, pattern: &str, definition: Value) {
        let policy = json!({"pattern": pattern, "definition": definition, "apply-to": "queues", "priority": 100});
        let put = self.request(reqwest::Method::PUT, &format!("policies/%2F/{}", self.name)).json(&policy).send();
        assert!(put.await.expect("an answer").status().is_success());
    }

    /// The broker says only after a while which policy holds.
    async fn until(&self, queue: &str, wanted: &Value) {
        let path = format!("queues/%2F/{queue}");
        let said = async {
            loop {
                let answer = self.request(reqwest::Method::GET, &path).send().await.expect("an answer");
                let text = answer.text().await.expect("a text");
                let queue: Value = serde_json::from_str(&text).expect("a queue");
                if queue.get("effective_policy_definition") == Some(wanted) {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, said).await.expect("the broker says it in time");
    }
}

/// That of `compose/rabbitmq.json`.
fn policy() -> Value {
    json!({"dead-letter-exchange": "hospital.dead", "dead-letter-strategy": "at-least-once", "delivery-limit": 20,
        "max-length": 200_000, "overflow": "reject-publish"})
}

fn of<'f>(findings: &'f [Finding], about: &str) -> Vec<(Level, &'f str)> {
    let about = format!("ehr: {about}");
    findings.iter().filter(|f| f.about == about).map(|f| (f.level, f.found.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_as_it_should_be_is_good() {
    let Some(bench) = Bench::start("good").await else { return };
    let queue = format!("chartseal.{}", bench.name);
    bench.declare(&queue, "quorum", true).await;
    bench.until(&queue, &policy()).await;
    let config = bench.config(&queue);
    let findings = inspect(&config).await;
    assert!(findings.iter().all(|f| f.level == Level::Good), "{findings:#?}");
    assert_eq!(findings.len(), 7, "{findings:#?}");
    // nobody looks where no management API is configured, and nothing is called good then
    let findings = inspect(&AmqpConfig { management_url: None, ..config.clone() }).await;
    for about in ["bindings", "delivery limit", "dead letters"] {
        assert!(of(&findings, about).iter().all(|(level, _)| *level == Level::NotChecked), "{findings:#?}");
    }
    // a binding that was taken out of the configuration, and one that is not bound yet
    let findings = inspect(&AmqpConfig { bindings: vec!["other.#".into()], ..config }).await;
    assert_eq!(of(&findings, "bindings").len(), 2, "{findings:#?}");
    bench.gone(&[&queue], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_are_looked_at_and_what_another_number_left_behind() {
    let Some(bench) = Bench::start("lanes").await else { return };
    let queue = format!("chartseal.{}", bench.name);
    let config = AmqpConfig { lanes: 3, ..bench.config(&queue) };
    let findings = inspect(&config).await;
    assert_eq!(of(&findings, "queue").len(), 3, "{findings:#?}");
    for about in ["queue", "lanes"] {
        assert!(of(&findings, about).iter().all(|(level, _)| *level == Level::Warning), "{findings:#?}");
    }
    let source = AmqpSource::start(config.clone());
    let connected = tokio::time::timeout(PATIENCE, source.health().wait_for(|h| h.connected)).await.map(|r| r.is_ok());
    assert_eq!(connected, Ok(true), "connected");
    for queue in config.queues() {
        bench.until(&queue, &policy()).await;
    }
    let findings = inspect(&config).await;
    assert!(findings.iter().all(|f| f.level == Level::Good), "{findings:#?}");
    assert_eq!(of(&findings, "lanes").len(), 1, "{findings:#?}");
    // what is bound to the plain queue fills it, and the third lane is nobody's with two
    bench.declare(&queue, "quorum", true).await;
    let findings = inspect(&AmqpConfig { lanes: 2, ..config.clone() }).await;
    let bad: Vec<_> = of(&findings, "queue").into_iter().filter(|(level, _)| *level == Level::Bad).collect();
    assert_eq!(bad.len(), 2, "{findings:#?}");
    assert!(bad[0].1.contains(&format!("{queue};")) && bad[1].1.contains(&format!("{queue}.3;")), "{findings:#?}");
    drop(source);
    let queues = config.queues();
    let queues: Vec<&str> = queues.iter().map(String::as_str).chain([queue.as_str()]).collect();
    bench.gone(&queues, &[&format!("{queue}.lanes")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_without_policy_is_a_fault() {
    let Some(bench) = Bench::start("bare").await else { return };
    bench.declare(&bench.name, "quorum", true).await;
    bench.until(&bench.name, &json!({})).await;
    let findings = inspect(&bench.config(&bench.name)).await;
    assert_eq!(of(&findings, "delivery limit"), [(Level::Bad, "no limit")], "{findings:#?}");
    assert_eq!(of(&findings, "dead letters"), [(Level::Bad, "no dead-letter exchange")], "{findings:#?}");
    bench.gone(&[&bench.name], &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_can_be_lost_or_lead_nowhere_are_faults() {
    let Some(bench) = Bench::start("dead").await else { return };
    let (queue, dead) = (bench.name.clone(), format!("{}.dead", bench.name));
    bench.declare(&queue, "quorum", true).await;
    let loose = json!({"delivery-limit": 3, "dead-letter-exchange": dead, "dead-letter-strategy": "at-least-once"});
    bench.policy(&format!("^{queue}$"), loose.clone()).await;
    bench.until(&queue, &loose).await;
    let config = bench.config(&queue);
    let dead_letters = async || inspect(&config).await;
    let has = |findings: &[Finding], level, text: &str| {
        let found = of(findings, "dead letters");
        assert!(found.iter().any(|(l, f)| *l == level && f.contains(text)), "{text}: {findings:#?}");
    };
    let findings = dead_letters().await;
    assert_eq!(of(&findings, "delivery limit"), [(Level::Warning, "3 deliveries")], "{findings:#?}");
    has(&findings, Level::Bad, "overflow drop-head");
    has(&findings, Level::Bad, "no exchange");
    bench.exchange(&dead, ExchangeKind::Topic).await;
    has(&dead_letters().await, Level::Bad, "no binding");
    bench.declare(&dead, "quorum", false).await;
    bench.bind(&dead, &dead, "some.*").await;
    has(&dead_letters().await, Level::Warning, "some routing keys only");
    bench.bind(&dead, &dead, "#").await;
    has(&dead_letters().await, Level::Good, "go by");
    bench.bind(&dead, &queue, "#").await;
    has(&dead_letters().await, Level::Bad, "leads back");
    bench.gone(&[&queue, &dead], &[&dead]).await;
    let put = bench.request(reqwest::Method::DELETE, &format!("policies/%2F/{queue}")).send().await;
    assert!(put.expect("an answer").status().is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_of_another_type_or_missing_is_said_and_not_made() {
    let Some(bench) = Bench::start("type").await else { return };
    bench.declare(&bench.name, "classic", false).await;
    bench.exchange(&bench.name, ExchangeKind::Direct).await;
    let config = AmqpConfig { exchange: bench.name.clone(), ..bench.config(&bench.name) };
    let findings = inspect(&config).await;
    for about in ["exchange", "queue"] {
        assert!(of(&findings, about).iter().all(|(level, _)| *level == Level::Bad), "{findings:#?}");
    }
    bench.gone(&[&bench.name], &[&bench.name]).await;
    for _ in 0..2 {
        // twice: what was missing the first time is not there the second
        let findings = inspect(&config).await;
        for about in ["exchange", "queue"] {
            assert!(of(&findings, about).iter().all(|(level, _)| *level == Level::Warning), "{findings:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_or_refuses_is_bad_and_its_password_does_not_show() {
    let config = AmqpConfig {
        name: "ehr".into(),
        url: Some("amqp://user:CANARY@127.0.0.1:1/%2f".into()),
        ..AmqpConfig::default()
    };
    let findings = inspect(&config).await;
    assert_eq!(of(&findings, "broker").len(), 1);
    assert!(findings.iter().all(|f| f.level > Level::Good && !format!("{f:?}").contains("CANARY")), "{findings:#?}");
    let Some(bench) = Bench::start("login").await else { return };
    let wrong = bench.url.replace(&bench.password, "CANARY");
    // the second broker of the list answers: both are said
    let findings = inspect(&AmqpConfig { url: Some(format!("{wrong} {}", bench.url)), ..config.clone() }).await;
    let brokers: Vec<Level> = of(&findings, "broker").iter().map(|(level, _)| *level).collect();
    assert_eq!(brokers, [Level::Bad, Level::Good], "{findings:#?}");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "nobody:CANARY").expect("written");
    bench.declare(&bench.name, "quorum", true).await;
    let stranger = AmqpConfig { management_file: Some(file.path().to_owned()), ..bench.config(&bench.name) };
    let findings = inspect(&stranger).await;
    assert!(of(&findings, "dead letters")[0].1.contains("refuses the user"), "{findings:#?}");
    bench.gone(&[&bench.name], &[]).await;
}
