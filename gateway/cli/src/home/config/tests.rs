//! What is written must load where it is read.

use std::path::Path;

use gateway_server::config::Config;
use ledger_node::NodeConfig;

use super::{AmqpPlan, ClientPlan, GatewayPlan, gateway, node};
use crate::home::{ValidatorHome, create_hospital, create_validators};

#[test]
fn texts_load_where_they_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let validators = create_validators(folder.path(), &[7001, 7002, 7003, 7004]).expect("validators");
    let hospital = folder.path().join("hospital");
    let hospital =
        create_hospital(&hospital, "A \"quoted\" \\ name", "127.0.0.1:8080", "127.0.0.1:8081").expect("a hospital");
    let clients = [ClientPlan {
        id: "clinic",
        name: "Clinic",
        jwks_file: "clinic.jwks.json",
        scopes: &["system/*.rs"],
        references: &["Organization/clinic"],
        purposes: &["http://terminology.hl7.org/CodeSystem/v3-ActReason|TREAT"],
    }];
    let amqp = AmqpPlan { url_file: "amqp.url", name: "ehr", bindings: vec!["a.#", "b.#"] };
    let plans = [
        GatewayPlan { genesis: "genesis.json", ..GatewayPlan::default() },
        GatewayPlan {
            genesis: "../genesis.json",
            amqp: Some(amqp),
            authorities: &[("A", "urn:oid:1.2")],
            clients: &clients,
        },
    ];
    for plan in plans {
        let text = gateway(&hospital, &validators, &plan);
        let config = Config::parse(&text, Path::new("/etc/gateway.toml")).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(config.gateway.institution, "A \"quoted\" \\ name");
        assert_eq!(config.connectors.len(), usize::from(plan.amqp.is_some()));
        assert_eq!(config.clients.len(), plan.clients.len());
    }
    let text = node(&validators[0], &validators, "../genesis.json");
    let config =
        NodeConfig::parse(&text, "node.toml", Path::new("/etc/node")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(config.peers.len(), 1);
    assert!(config.development && config.operators.is_none());
    let operators = Some("127.0.0.1:9464".to_owned());
    let watched = ValidatorHome { operators: operators.clone(), ..validators.into_iter().next().expect("one") };
    let text = node(&watched, &[], "../genesis.json");
    let config =
        NodeConfig::parse(&text, "node.toml", Path::new("/etc/node")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(config.operators, operators);
}
