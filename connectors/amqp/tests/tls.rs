//! TLS and EXTERNAL against the real broker of `compose/services`, which leaves its authority and a client's certificate in its folder.
//! Needs `CHARTSEAL_TEST_AMQP_DIR`; fails where services were promised.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use connectors_amqp::{AmqpConfig, AmqpSource, Auth, ConnectError, PublishError, Publisher, PublisherConfig};
use connectors_source::Source;

const PATIENCE: Duration = Duration::from_secs(30);

/// The folder `tls` of the broker.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var("CHARTSEAL_TEST_AMQP_DIR").ok();
    let promised = std::env::var("CHARTSEAL_SERVICES").is_ok();
    assert!(folder.is_some() || !promised, "CHARTSEAL_SERVICES is set; found no CHARTSEAL_TEST_AMQP_DIR");
    if folder.is_none() {
        println!("skipped: no services; run tests/run");
    }
    folder.map(|folder| Path::new(&folder).join("tls"))
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a file of the broker").trim().to_owned()
}

fn publisher(tls: &Path) -> PublisherConfig {
    PublisherConfig {
        url_file: Some(tls.join("url")),
        tls_roots: Some(tls.join("ca.pem")),
        exchange: "hospital.events".into(),
        routing_key: "tls.test".into(),
        ..PublisherConfig::default()
    }
}

/// The address without user and password.
fn nameless(tls: &Path) -> String {
    format!("amqps://127.0.0.1:{}/%2f", read(&tls.join("port")))
}

fn external(tls: &Path) -> PublisherConfig {
    PublisherConfig {
        url: Some(nameless(tls)),
        url_file: None,
        tls_certificate: Some(tls.join("client.pem")),
        tls_key: Some(tls.join("client.key")),
        auth: Auth::External,
        ..publisher(tls)
    }
}

async fn refused(config: &PublisherConfig) -> ConnectError {
    match Publisher::open(config, 0).await {
        Err(PublishError::Connect(error)) => error,
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("connected"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_tls_a_message_goes_out_and_comes_in() {
    let Some(tls) = folder() else { return };
    let key = format!("tls{}.test", std::process::id());
    let mut source = AmqpSource::start(AmqpConfig {
        name: "tls".into(),
        url_file: Some(tls.join("url")),
        tls_roots: Some(tls.join("ca.pem")),
        queue: Some(format!("chartseal.{key}")),
        bindings: vec![key.clone()],
        ..AmqpConfig::default()
    });
    let connected = tokio::time::timeout(PATIENCE, source.health().wait_for(|h| h.connected)).await.map(|r| r.is_ok());
    assert_eq!(connected, Ok(true), "connected");
    let mut publisher = Publisher::open(&publisher(&tls), 0).await.expect("connected");
    publisher.publish(&key, "text/plain", b"over TLS", None).await.expect("sent");
    publisher.settle().await.expect("confirmed");
    let delivery = tokio::time::timeout(PATIENCE, source.next()).await.expect("in time").expect("no error");
    let delivery = delivery.expect("a delivery");
    assert_eq!(&*delivery.body, b"over TLS");
    delivery.accept().await.expect("accepted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_nobody_vouches_for_is_refused() {
    let Some(tls) = folder() else { return };
    let other = tempfile::NamedTempFile::new().expect("a file");
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("a certificate");
    std::fs::write(other.path(), made.cert.pem()).expect("written");
    for tls_roots in [Some(other.path().to_owned()), None] {
        let error = refused(&PublisherConfig { tls_roots, ..publisher(&tls) }).await;
        assert!(matches!(error, ConnectError::Untrusted(_)), "{error}");
        assert!(!error.to_string().contains(read(&tls.join("url")).as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn external_logs_in_without_a_password() {
    let Some(tls) = folder() else { return };
    let mut publisher = Publisher::open(&external(&tls), 0).await.expect("let in by its certificate");
    let answer = publisher.publish("nobody.listens", "text/plain", b"", None).await;
    answer.expect("sent");
    assert_eq!(publisher.settle().await, Err(PublishError::Unroutable));
    // the same address without the certificate is a stranger's
    let stranger = PublisherConfig { tls_certificate: None, tls_key: None, auth: Auth::Password, ..external(&tls) };
    assert_eq!(refused(&stranger).await, ConnectError::Login);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_of_no_use_are_named() {
    let Some(tls) = folder() else { return };
    let loose = tempfile::NamedTempFile::new().expect("a file");
    std::fs::copy(tls.join("client.key"), loose.path()).expect("copied");
    std::fs::set_permissions(loose.path(), std::fs::Permissions::from_mode(0o640)).expect("changed");
    let error = refused(&PublisherConfig { tls_key: Some(loose.path().to_owned()), ..external(&tls) }).await;
    assert!(error.to_string().contains("mode 0640"), "{error}");
    let error = refused(&PublisherConfig { tls_roots: Some(tls.join("client.key")), ..external(&tls) }).await;
    assert!(error.to_string().contains("client.key"), "{error}");
}

#[test]
fn what_does_not_fit_together_is_refused_and_what_is_seldom_meant_is_said() {
    let amqp = |url: &str| AmqpConfig { name: "x".into(), url: Some(url.into()), ..AmqpConfig::default() };
    let roots = || Some(PathBuf::from("roots.pem"));
    for (config, expected) in [
        (AmqpConfig { tls_roots: roots(), ..amqp("amqp://host/%2f") }, "amqps://"),
        (AmqpConfig { auth: Auth::External, ..amqp("amqps://host/%2f") }, "tls_certificate"),
        (AmqpConfig { tls_key: roots(), ..amqp("amqps://host/%2f") }, "together"),
        (AmqpConfig { management_url: Some("http://host:15672".into()), ..amqp("amqp://host") }, "management_url"),
        (amqp("http://host"), "amqp:// or amqps://"),
    ] {
        let message = config.check().expect_err("must be refused");
        assert!(message.contains(expected), "{message}");
    }
    let plain = "without TLS";
    for (url, warned) in [
        ("amqp://u:CANARY@10.0.0.7:5672/%2f", true),
        ("amqp://127.0.0.1:5672 amqp://u:CANARY@broker.hospital/%2f", true),
        ("amqp://u:CANARY@127.0.0.1:5672/%2f", false),
        ("amqp://u:CANARY@localhost", false),
        ("amqp://u:CANARY@[::1]:5672/%2f", false),
        ("amqps://u:CANARY@10.0.0.7/%2f", false),
        ("amqp://10.0.0.7/%2f", false),
    ] {
        let config = amqp(url);
        assert_eq!(config.check(), Ok(()), "{url}");
        let warnings = config.warnings();
        assert_eq!(warnings.iter().any(|w| w.contains(plain)), warned, "{url}");
        assert!(!warnings.iter().any(|w| w.contains("CANARY")));
    }
    // also where the address stands in a file
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "amqp://u:CANARY@10.0.0.7/%2f\n").expect("written");
    let config = AmqpConfig { url: None, url_file: Some(file.path().to_owned()), ..amqp("") };
    assert_eq!(config.warnings().len(), 1);
}
