//! Good is said only of what was looked at and is good.

use connectors_source::Level;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use schemas::block::{Head, SignedHead, ValidatorSignature};
use schemas::id::{ChainId, Digest, RawSignature, Signature};

use super::*;

fn head(time: TimeMs) -> SignedHead {
    let head = Head { chain: ChainId([0; 32]), epoch: 0, height: 1, header: Digest::ZERO, time };
    SignedHead { head, by: ValidatorSignature { validator: 0, signature: Signature(RawSignature([0; 64])) } }
}

#[test]
fn clocks_are_compared_with_the_median_of_the_validators() {
    let now = 1_000_000;
    let of = |times: &[TimeMs]| {
        clock(&times.iter().map(|time| head(*time)).collect::<Vec<_>>(), now).map(|finding| finding.level)
    };
    assert_eq!(of(&[]), None, "nobody to compare with");
    assert_eq!(of(&[now, now - 900, now + 3, 1]), Some(Level::Good), "one liar moves nothing");
    assert_eq!(of(&[now - 3_000; 4]), Some(Level::Warning));
    assert_eq!(of(&[now + 9_000; 4]), Some(Level::Bad));
}

#[test]
fn fewer_validators_than_a_quorum_are_a_fault() {
    let level = |answer| answering(4, answer, &["d"]).level;
    assert_eq!([4, 3, 2, 0].map(level), [Level::Good, Level::Warning, Level::Bad, Level::Bad]);
}

fn certificate(until: (i32, u8, u8)) -> String {
    let mut params = CertificateParams::new(vec!["host".to_owned()]).expect("parameters");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").pem()
}

#[test]
fn certificates_have_an_end_and_secrets_an_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
        path
    };
    let key = KeyPair::generate().expect("a key").serialize_pem();
    let (long, soon) = (certificate((2040, 1, 1)), certificate((2026, 7, 10)));
    let now = 1_782_864_000_000; // 2026-07-01
    for (path, level, text) in [
        (file("long", &long, 0o644), Level::Good, "holds until 2040-01-01"),
        (file("soon", &format!("{long}{soon}"), 0o644), Level::Warning, "in 9 days"),
        (file("over", &certificate((2026, 6, 30)), 0o644), Level::Bad, "ended on 2026-06-30"),
        (file("key", &key, 0o600), Level::Good, "mode 0600"),
        (file("loose", &key, 0o640), Level::Bad, "mode 0640"),
        (file("both", &format!("{long}{key}"), 0o644), Level::Bad, "mode 0644"),
        (file("password", "user:CANARY", 0o604), Level::Bad, "mode 0604"),
        (folder.path().join("nothing"), Level::Bad, "no readable file"),
    ] {
        let found = files::findings(&[path], now).remove(0);
        assert!(found.level == level && found.found.contains(text), "{found:?}");
        assert!(!format!("{found:?}").contains("CANARY"));
    }
}

#[tokio::test]
async fn a_database_is_looked_at_and_not_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.db");
    let url = format!("sqlite:{}", file.display());
    migrations::look(&url).await.expect_err("there is none");
    assert!(!file.exists(), "none was made");
    let store = crate::store::Store::open(&url).await.expect("opened");
    let schema = migrations::look(&url).await.expect("beside a gateway that runs");
    assert_eq!(schema, Schema { engine: Engine::Sqlite, missing: vec![], unknown: vec![] });
    let sql = "UPDATE _sqlx_migrations SET version = 999 WHERE version = 201";
    sqlx::query(sql).execute(store.reader()).await.expect("changed");
    let schema = migrations::look(&url).await.expect("looked at");
    assert_eq!((schema.missing, schema.unknown), (vec![201], vec![999]));
    store.close().await;
}

/// A gateway's file in a folder, with connectors behind it.
fn config(folder: &std::path::Path, listen: &str, operators: &str, objects: &str, connectors: &str) -> Config {
    let text = format!(
        r#"
[gateway]
institution = "North"
institution_id = "03030303030303030303030303030303"
home = "."
listen = "{listen}"
operators = "{operators}"
[vault]
dir = "keys"
[database]
url = "sqlite:gateway.db"
[objects]
url = "{objects}"
[ledger]
genesis = "genesis.json"
key = "transport.key"
validators = [{{ name = "a", url = "https://127.0.0.1:7001" }}]
{connectors}
"#
    );
    Config::parse(&text, &folder.join("gateway.toml")).expect("a good file")
}

fn said(finding: &Finding) -> (&str, Level) {
    (&finding.about, finding.level)
}

#[tokio::test]
async fn an_address_that_run_refuses_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let mllp = |name: &str, at: &dyn std::fmt::Display| {
        format!("[[connector]]\nkind = \"mllp\"\nname = \"{name}\"\nlisten = \"{at}\"\n")
    };
    let at = taken.local_addr().expect("an address");
    let connectors = mllp("a", &free) + &mllp("b", &free) + &mllp("c", &at);
    let config = config(folder.path(), "0.0.0.0:0", "127.0.0.1:0", "objects", &connectors);
    let found = local::listeners(&config).await;
    let all: Vec<_> = found.iter().map(said).collect();
    let expected = [
        ("listen", Level::Bad),
        ("operators", Level::Good),
        ("a: listen", Level::Good),
        ("b: listen", Level::Bad),
        ("c: listen", Level::Bad),
    ];
    assert_eq!(all, expected, "{found:?}");
    assert!(found[0].found.contains("plain HTTP") && found[3].found.contains("of a: listen too"), "{found:?}");
    assert!(found[4].found.contains("somebody listens there"), "{found:?}");
}

#[test]
fn keys_of_another_institution_a_loose_token_and_no_folder_for_objects_are_errors() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let create = |name: &str| gateway_vault::Vault::create(&folder.path().join(name)).expect("keys");
    let (own, other, validator) = (create("keys"), create("other"), create("validator"));
    let of = |vault: &gateway_vault::Vault| {
        let institution = vault.register("North", schemas::id::InstitutionId([3; 16]), vec![]);
        let validators = vec![schemas::genesis::Validator { name: "a".into(), key: validator.gateway_key() }];
        let genesis = schemas::genesis::Genesis { created: 1, validators, institutions: vec![institution] };
        std::fs::write(folder.path().join("genesis.json"), genesis.to_json()).expect("written");
    };
    let config = config(folder.path(), "127.0.0.1:0", "127.0.0.1:0", "gateway.toml/objects", "");
    let levels = || local::keys(&config).iter().map(|finding| finding.level).collect::<Vec<_>>();
    of(&own);
    assert_eq!(levels(), [Level::Good, Level::Good]);
    of(&other);
    assert_eq!(levels(), [Level::Good, Level::Bad]);
    assert!(local::keys(&config)[1].found.contains("another signing key in the genesis"));
    assert_eq!(local::token(&config), None, "before it ran");
    let token = folder.path().join(crate::operators::hands::TOKEN_FILE);
    std::fs::write(&token, "0".repeat(64)).expect("written");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).expect("changed");
    assert_eq!(local::token(&config).map(|finding| finding.level), Some(Level::Bad));
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).expect("changed");
    assert_eq!(local::token(&config).map(|finding| finding.level), Some(Level::Good));
    std::fs::write(folder.path().join("gateway.toml"), "").expect("a file where a folder should be");
    assert_eq!(local::objects(&config).level, Level::Bad);
}
