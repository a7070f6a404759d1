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
    match read() {
        Ok(read) => assert!(read.tables),
        Err(fault) => assert!(fault.contains("x.map"), "{fault}"),
    }
}
