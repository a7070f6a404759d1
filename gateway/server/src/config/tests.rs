//! A bad configuration names file, line, column, found and expected.

use std::path::Path;

use super::Config;

pub(super) const GOOD: &str = r#"
[gateway]
institution = "Hospital North"
institution_id = "000102030405060708090a0b0c0d0e0f"
home = "."
listen = "127.0.0.1:8443"
operators = "127.0.0.1:9443"
authorities = { "HOSP" = "urn:oid:1.2.3" }

[vault]
dir = "keys"

[database]
url = "sqlite:gateway.db"

[objects]
url = "objects"

[ledger]
genesis = "genesis.json"
key = "transport.pem"
validators = [{ name = "a", url = "https://127.0.0.1:7001" }]

[[connector]]
kind = "amqp"
name = "ehr"
url = "amqp://127.0.0.1:5672/%2f"
queue = "chartseal.ehr"
"#;

fn fault(from: &str, to: &str) -> String {
    let text = GOOD.replace(from, to);
    assert_ne!(text, GOOD, "the replacement must hit");
    Config::parse(&text, Path::new("/etc/gateway.toml")).expect_err("must be refused").to_string()
}

#[test]
fn paths_are_taken_from_the_folder_of_the_file() {
    let config = Config::parse(GOOD, Path::new("/etc/chartseal/gateway.toml")).expect("good");
    assert_eq!(config.vault.dir, Path::new("/etc/chartseal/keys"));
    assert_eq!(config.database.url.as_deref(), Some("sqlite:/etc/chartseal/gateway.db"));
    assert_eq!(config.objects.url, "/etc/chartseal/objects");
    assert_eq!(config.connectors[0].name(), "ehr");
}

#[test]
fn faults_name_place_found_and_expected() {
    let cases = [
        ("listen =", "lissten =", "/etc/gateway.toml:6:1: found unknown key `lissten`", "did you mean `listen`?"),
        ("000102", "00010", "/etc/gateway.toml:4:18: ", "lower-case hex of 16 bytes"),
        ("\"127.0.0.1:8443\"", "8443", "/etc/gateway.toml:6:10: ", "expected a string"),
        ("127.0.0.1:8443", "127.0.0.1", "/etc/gateway.toml:6:1: ", "expected `host:port`"),
        ("queue = ", "que = ", "/etc/gateway.toml:", "unknown"),
        ("[vault]\ndir = \"keys\"", "", "/etc/gateway.toml:", "missing field `vault`"),
        ("url = \"sqlite:gateway.db\"", "", "/etc/gateway.toml:13:1: ", "exactly one of `url` and `url_file`"),
        ("home = \".\"", "home = \".\"\nzone = \"Mars/Phobos\"", ": gateway.zone", "`+01:00` or an IANA name"),
        ("[ledger]", "[notify]\n[ledger]", ": notify: expected exactly one of `url` and `url_file`", ""),
        (
            "[ledger]",
            "[notify]\nurl = \"http://u:CANARY@h\"\n[ledger]",
            ":19:1: notify: url",
            "expected amqp:// or amqps://",
        ),
        ("[vault]", "[vault", "/etc/gateway.toml:", "expected"),
    ];
    for (from, to, begin, end) in cases {
        let message = fault(from, to);
        assert!(message.contains(begin) && message.contains(end), "{from} -> {to}: {message}");
    }
}
