//! What a reload takes over, and what it says of the rest.

use super::*;

const FILE: &str = r#"
[gateway]
institution = "North"
institution_id = "000102030405060708090a0b0c0d0e0f"
home = "."
listen = "127.0.0.1:8443"
operators = "127.0.0.1:9443"
mappings = "mappings"
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
"#;

#[test]
fn a_reload_says_what_it_took_over_and_what_waits_for_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, mappings) = (folder.path().join("gateway.toml"), folder.path().join("mappings"));
    std::fs::create_dir(&mappings).expect("a folder");
    std::fs::write(&file, FILE).expect("written");
    let begun = Config::load(&file).expect("good");
    let (normalisers, now) = watch::channel(normaliser(&begun).expect("tables"));
    let read = reload(begun, normalisers);
    let look = || {
        let read = read().expect("read again");
        (read.tables, read.restart)
    };
    assert_eq!(look(), (false, vec![]), "nothing changed");
    let changed = FILE.replace("8443", "8444").replace("objects\"\n", "elsewhere\"\n");
    std::fs::write(&file, changed.replace("[vault]", "zone = \"+01:00\"\n[vault]")).expect("written");
    assert_eq!(look(), (true, vec!["gateway.listen", "objects"]), "the zone is taken over, the rest waits");
    assert_eq!(now.borrow().zone, "+01:00");
    assert_eq!(look(), (false, vec!["gateway.listen", "objects"]), "until it is started again");
    std::fs::write(&file, FILE).expect("written");
    assert_eq!(look(), (true, vec![]));
    std::fs::write(mappings.join("x.map"), "# nothing\n").expect("written");
    let fault = read().expect_err("a table that is none");
    assert!(fault.contains("x.map"), "{fault}");
}

#[test]
fn a_reload_that_would_end_what_runs_for_nothing_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    let connectors = folder.path().join(connector::FOLDER);
    for made in [&connectors, &folder.path().join("mappings")] {
        std::fs::create_dir(made).expect("a folder");
    }
    let ward = "kind = \"mllp\"\nlisten = \"127.0.0.1:2575\"\n";
    write("gateway.toml", FILE);
    write("connectors.d/ward.toml", ward);
    let begun = Config::load(&folder.path().join("gateway.toml")).expect("good");
    let (normalisers, now) = watch::channel(normaliser(&begun).expect("tables"));
    let read = reload(begun, normalisers);
    let refused = |expected: &str| {
        let fault = read().err().unwrap_or_else(|| panic!("taken over, expected {expected}"));
        assert!(fault.contains(expected), "{fault}");
        assert_eq!(now.borrow().zone, "+00:00", "half of it was taken over");
    };
    write("gateway.toml", &FILE.replace("[vault]", "zone = \"+01:00\"\n[vault]"));
    // a typo in one file, with those of all others
    write("connectors.d/lab.toml", "kind = \"mllp\"\nlissten = \"127.0.0.1:2576\"\n");
    refused("lab.toml:2:1: found unknown key `lissten`");
    std::fs::remove_file(connectors.join("lab.toml")).expect("removed");
    // a certificate that is none, and one that is not the key's
    write("connectors.d/ward.toml", &format!("{ward}tls_certificate = \"w.pem\"\ntls_key = \"w.key\"\n"));
    write("connectors.d/w.pem", "CANARY");
    write("connectors.d/w.key", &rcgen::KeyPair::generate().expect("a key").serialize_pem());
    refused("w.pem: found");
    let other = rcgen::generate_simple_self_signed(vec!["ward".to_owned()]).expect("a certificate");
    write("connectors.d/w.pem", &other.cert.pem());
    refused("w.key: found");
    write("connectors.d/ward.toml", ward);
    // the folder is away for a moment
    let away = folder.path().join("away");
    std::fs::rename(&connectors, &away).expect("moved");
    refused("found no folder any more");
    std::fs::rename(&away, &connectors).expect("moved back");
    assert_eq!(read().expect("good again").connectors.len(), 1);
    assert_eq!(now.borrow().zone, "+01:00");
}
