//! The binary from outside: exit codes, documents, files. No service is needed; what needs one is in `tests/stack`.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use schemas::ballot::{Member, possession_to_sign};
use schemas::genesis::Genesis;
use schemas::json::{self, Value};

fn chartseal(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_chartseal"))
        .args(arguments)
        .env_remove("CHARTSEAL_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // A command that does not read its input closes the pipe: that is no failure of the test.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("the binary ends")
}

fn code(arguments: &[&str]) -> i32 {
    chartseal(arguments, b"").status.code().expect("an exit code")
}

fn document(output: &Output) -> Value {
    json::parse(output.stdout.trim_ascii()).expect("one JSON document on standard output")
}

#[test]
fn bad_usage_is_64_and_help_is_0() {
    for arguments in
        [&["nothing"][..], &["verify"], &["bench", "everything"], &["init"], &["connector", "try", "x", "y"]]
    {
        assert_eq!(code(arguments), 64, "{arguments:?}");
    }
    for arguments in [
        &["bench", "seal", "--full"][..],
        &["bench", "ledger", "--full", "--statements", "3"],
        &["bench", "ledger", "--full", "--validators", "7"],
        &["bench", "ledger", "--keys", "20000"],
        &["bench", "ledger", "--full", "--keys", "9"],
    ] {
        assert_eq!(code(arguments), 64, "{arguments:?}");
    }
    let commands = [
        "demo",
        "init",
        "run",
        "node",
        "connector",
        "ledger",
        "consent",
        "wallet",
        "trace",
        "verify",
        "bench",
        "completions",
    ];
    let wallet = ["new", "invite", "bind", "inbox", "accept", "open", "grant", "revoke"].map(|word| ["wallet", word]);
    let ledger = ["submit", "consistency", "follow", "validators", "vote", "join", "confirm", "blocks", "status"];
    let ledger = ledger.map(|word| ["ledger", word]);
    let words = wallet.iter().chain(&ledger).map(<[_; 2]>::as_slice);
    for command in commands.iter().map(std::slice::from_ref).chain(words) {
        let help = chartseal(&[command, &["--help"]].concat(), b"");
        assert_eq!(help.status.code(), Some(0), "{command:?}");
        assert!(String::from_utf8_lossy(&help.stdout).contains("Example: chartseal "), "{command:?} has no example");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert_eq!(code(&["completions", shell]), 0);
    }
}

#[test]
fn a_bad_configuration_is_64_and_names_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "[gateway]\nlissten = \"x\"\n").expect("written");
    let file = file.to_str().expect("text");
    for command in [
        &["run", "--config", file][..],
        &["connector", "validate", "--config", file],
        &["ledger", "status", "--config", file],
    ] {
        let output = chartseal(command, b"");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{message}");
        assert!(message.contains("gateway.toml:2:1") && message.contains("expected"), "{message}");
    }
}

#[test]
fn init_writes_what_validate_accepts_and_never_overwrites() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let dir = home.to_str().expect("text");
    let output = chartseal(&["init", dir, "--name", "Höspital \"A\"", "--json"], b"");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(document(&output).list("validators").len(), 4);
    for secret in ["keys/root.key", "transport.key", "validators/validator-1/validator.key"] {
        let mode = std::fs::metadata(home.join(secret)).expect(secret).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    let config = home.join("gateway.toml");
    let valid = chartseal(&["connector", "validate", "--config", config.to_str().expect("text")], b"");
    assert_eq!(valid.status.code(), Some(0), "{}", String::from_utf8_lossy(&valid.stderr));
    // a typo in one connector's file is a fault, and keeps nobody from the rest
    std::fs::create_dir_all(home.join("connectors.d")).expect("a folder");
    let typo = home.join("connectors.d/typo.toml");
    std::fs::write(&typo, "kind = \"mllp\"\nlissten = \"127.0.0.1:2575\"\n").expect("written");
    for (command, exit) in [("validate", 64), ("list", 0)] {
        let output = chartseal(&["connector", command, "--config", config.to_str().expect("text")], b"");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(exit), "{told}");
        assert!(told.contains("typo.toml:2:1") && told.contains("did you mean `listen`?"), "{told}");
    }
    std::fs::remove_file(typo).expect("removed");
    let before = std::fs::read(home.join("transport.key")).expect("a key");
    assert_eq!(code(&["init", dir]), 64);
    assert_eq!(std::fs::read(home.join("transport.key")).expect("a key"), before);
    // A key that others may read is refused with what to do.
    std::fs::set_permissions(home.join("keys/root.key"), std::fs::Permissions::from_mode(0o644)).expect("changed");
    let refused = chartseal(&["connector", "validate", "--config", config.to_str().expect("text")], b"");
    assert_eq!(refused.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("chmod"), "{}", String::from_utf8_lossy(&refused.stderr));
}

#[test]
fn a_newcomer_proves_its_key_and_a_bad_list_is_named_before_the_ledger_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    assert_eq!(code(&["init", home.to_str().expect("text")]), 0);
    let path = |name: &str| home.join(name).to_str().expect("text").to_owned();
    let (config, key) = (path("gateway.toml"), path("new.key"));
    let join = |name: &str, epoch: &str| {
        chartseal(&["ledger", "--config", &config, "join", "--key", &key, "--name", name, "--epoch", epoch], b"")
    };
    assert_eq!(join("a b", "0").status.code(), Some(64));
    assert!(!home.join("new.key").exists(), "no key for a name that cannot be");
    let genesis = Genesis::parse(&std::fs::read_to_string(path("genesis.json")).expect("a file")).expect("a genesis");
    let mut made = vec![];
    for epoch in [0, 3] {
        let output = join("hospital-7", &epoch.to_string());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let member: Member = serde_json::from_slice(&output.stdout).expect("a line of the members file");
        let message = possession_to_sign(&genesis.chain_id(), epoch, &member.validator());
        let possession = member.possession.expect("a newcomer");
        assert!(ledger_proof::verify_signature(&member.key, &message, &possession).is_ok(), "epoch {epoch}");
        made.push((member.name, member.key));
    }
    assert_eq!(made[0], made[1], "the key is made once");
    let mode = std::fs::metadata(&key).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(path("members.json"), "[{\"name\":\"v1\"}]").expect("written");
    let vote =
        chartseal(&["ledger", "--config", &config, "vote", "--key", &key, "--members", &path("members.json")], b"");
    let message = String::from_utf8_lossy(&vote.stderr).into_owned();
    assert_eq!(vote.status.code(), Some(64), "{message}");
    assert!(message.contains("members.json") && message.contains("missing field `key`"), "{message}");
}

#[test]
fn a_listener_that_cannot_open_is_64_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    assert_eq!(code(&["init", home.to_str().expect("text")]), 0);
    let config = home.join("gateway.toml");
    let made = std::fs::read_to_string(&config).expect("gateway.toml");
    let pair = || rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["gateway".to_owned()]).expect("a name");
    let own = pair();
    std::fs::write(home.join("tls.crt"), certificate.self_signed(&own).expect("a certificate").pem()).expect("written");
    std::fs::write(home.join("own.key"), own.serialize_pem()).expect("written");
    std::fs::write(home.join("other.key"), pair().serialize_pem()).expect("written");
    let with = |certificate: &str, key: &str| {
        let tls = format!("home = \".\"\ntls_certificate = \"{certificate}\"\ntls_key = \"{key}\"\n");
        std::fs::write(&config, made.replacen("home = \".\"\n", &tls, 1)).expect("written");
    };
    let file = config.to_str().expect("text");
    let refused = |arguments: &[&str], named: &str| {
        let output = chartseal(arguments, b"");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{message}");
        assert!(message.contains(named) && message.contains("expected"), "{message}");
    };
    for (certificate, key, named) in [
        ("tls.crt", "other.key", "other.key"),
        ("tls.crt", "absent.key", "absent.key"),
        ("own.key", "own.key", "own.key"),
    ] {
        with(certificate, key);
        refused(&["connector", "validate", "--config", file], named);
        refused(&["run", "--config", file], named);
    }
    with("tls.crt", "own.key");
    assert_eq!(code(&["connector", "validate", "--config", file]), 0);
    // neither listener is plain where others reach it
    for key in ["listen", "operators"] {
        let at = made.find(&format!("\n{key} = \"127.0.0.1:")).expect("a listener") + 1;
        let port = made[at..].find(':').expect("a port") + at;
        let open = format!("{}{key} = \"0.0.0.0{}", &made[..at], &made[port..]);
        std::fs::write(&config, open).expect("written");
        refused(&["run", "--config", file], "0.0.0.0:");
    }
}

#[test]
fn a_wallets_key_is_private_and_bound_before_it_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let (home, key) = (folder.path().join("home"), folder.path().join("patient.key"));
    assert_eq!(code(&["init", home.to_str().expect("text")]), 0);
    let (genesis, file) = (home.join("genesis.json"), key.to_str().expect("text").to_owned());
    let made = chartseal(&["wallet", "new", "--key", &file, "--json"], b"");
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    assert!(document(&made).text("public_key").is_some_and(|key| key.starts_with("es256:")));
    assert_eq!(std::fs::metadata(&key).expect("a key").permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&key).expect("a key");
    assert_eq!(code(&["wallet", "new", "--key", &file]), 64, "never overwritten");
    assert_eq!(std::fs::read(&key).expect("a key"), before);
    let genesis = genesis.to_str().expect("text");
    let unbound = chartseal(&["wallet", "inbox", "--key", &file, "--genesis", genesis], b"");
    assert_eq!(unbound.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&unbound.stderr).contains("wallet bind"));
    assert_eq!(code(&["wallet", "bind", "nothing", "--key", &file, "--genesis", genesis]), 64);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).expect("changed");
    let loose = chartseal(&["wallet", "inbox", "--key", &file, "--genesis", genesis], b"");
    assert_eq!(loose.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&loose.stderr).contains("chmod"));
}

#[test]
fn try_maps_every_sample_and_prints_one_document() {
    for hospital in ["north", "south"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(format!("{hospital}.hl7"));
        let text = std::fs::read_to_string(path).expect("samples");
        for message in text.split("\n\n") {
            let output = chartseal(&["connector", "try", "hl7v2", "-", "--json"], message.as_bytes());
            let found = document(&output);
            assert_eq!(output.status.code(), Some(0), "{message}");
            assert_eq!(found.list("cases").len(), 1, "{message}");
            assert!(found.list("errors").is_empty(), "{message}");
        }
    }
}

#[test]
fn try_tells_of_a_batch_that_counts_others_than_it_holds() {
    let message = "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5.1\rPID|1||7^^^X||Quell^Ina\rPV1|1|I\r";
    for (body, cases, code) in [
        (format!("BHS|^~\\&\r{message}BTS|1\r"), 1, None),
        (format!("BHS|^~\\&\r{message}BTS|2\r"), 1, Some("batch-count")),
        ("BHS|^~\\&\rBTS|2\r".to_owned(), 0, Some("batch-count")),
        ("BHS|^~\\&\rBTS|0\r".to_owned(), 0, None),
    ] {
        let output = chartseal(&["connector", "try", "hl7v2", "-", "--json"], body.as_bytes());
        let found = document(&output);
        let codes: Vec<_> = found.list("errors").iter().map(|error| error.text("code")).collect();
        assert_eq!((found.list("cases").len(), codes), (cases, code.into_iter().map(Some).collect()), "{body:?}");
        assert_eq!(output.status.code(), Some(i32::from(cases == 0 && code.is_some())), "{body:?}");
    }
}

#[test]
fn what_is_refused_is_named_by_path_and_never_by_value() {
    let broken: [(&str, &[u8]); 6] = [
        ("hl7v2", b"PID|1||CANARY-7731^^^X||CANARY-7731^A\r"),
        ("hl7v2", b"MSH|^~\\&|A|B|C|D|20260101||ZZZ^Z99|CANARY-7731|P|2.5.1\rPID|1||CANARY-7731\r"),
        ("hl7v2", b""),
        ("fhir", b"{\"resourceType\":\"Patient\",\"id\":\"CANARY-7731\",\"id\":\"b\"}"),
        ("fhir", b"{\"resourceType\":\"Patient\",\"birthDate\":\"CANARY-7731\""),
        ("fhir", b"{\"resourceType\":\"CANARY-7731\"}"),
    ];
    for (name, body) in broken {
        let output = chartseal(&["connector", "try", name, "-", "--json"], body);
        let found = document(&output);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(body));
        assert_eq!(found.list("errors").len(), 1);
        assert!(found.list("errors")[0].text("code").is_some_and(|code| !code.is_empty()));
        let all = [output.stdout, output.stderr].concat();
        assert!(!String::from_utf8_lossy(&all).contains("CANARY-7731"), "{}", String::from_utf8_lossy(&all));
    }
}

#[test]
fn fhir_comes_out_as_it_went_in() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/south.ndjson");
    let mut files: Vec<Vec<u8>> =
        std::fs::read_to_string(path).expect("samples").lines().map(|line| line.as_bytes().to_vec()).collect();
    match std::env::var_os("CHARTSEAL_DATA") {
        Some(data) => {
            for folder in ["fhir-r4", "synthea"] {
                let entries = Path::new(&data).join(folder).read_dir().expect("outside data");
                let paths = entries.map(|e| e.expect("an entry").path());
                files.extend(
                    paths
                        .filter(|p| p.extension().is_some_and(|e| e == "json"))
                        .map(|p| std::fs::read(p).expect("readable")),
                );
            }
        }
        None => println!("skipped: no CHARTSEAL_DATA"),
    }
    let halves = files.split_at(files.len() / 2);
    std::thread::scope(|scope| {
        for half in [halves.0, halves.1] {
            scope.spawn(|| half.iter().for_each(|body| same_bytes(body)));
        }
    });
}

/// Every resource that went in comes out once for each case that holds it, canonical bytes equal.
fn same_bytes(body: &[u8]) {
    let output = chartseal(&["connector", "try", "fhir", "-", "--json"], body);
    let found = document(&output);
    let tree = json::parse(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).expect("JSON");
    let name = tree.resource_type().unwrap_or("").to_owned();
    assert_eq!(output.status.code(), Some(0), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    let mut sent: Vec<Vec<u8>> = if name == "Bundle" {
        tree.list("entry").iter().filter_map(|entry| entry.get("resource")).map(Value::canonical).collect()
    } else {
        vec![tree.canonical()]
    };
    let mut received: Vec<Vec<u8>> = Vec::new();
    for case in found.list("cases") {
        let bundle = case.get("bundle").expect("a bundle");
        received.extend(bundle.list("entry").iter().filter_map(|entry| entry.get("resource")).map(Value::canonical));
    }
    for list in [&mut sent, &mut received] {
        list.sort();
        list.dedup();
    }
    assert!(sent == received, "{name}: found {} resources, expected {}", received.len(), sent.len());
}

#[test]
fn verify_says_what_it_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("receipt.json");
    std::fs::write(&file, "{}").expect("written");
    let file = file.to_str().expect("text");
    assert_eq!(code(&["verify", file]), 64, "no genesis");
    let home = folder.path().join("home");
    assert_eq!(code(&["init", home.to_str().expect("text")]), 0);
    let genesis = home.join("genesis.json");
    let output = chartseal(&["verify", file, "--genesis", genesis.to_str().expect("text"), "--json"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(document(&output).list("files")[0].text("status"), Some("invalid"));
    assert_eq!(code(&["verify", "/no/such/file", "--genesis", genesis.to_str().expect("text")]), 64);
}

/// The frozen file of every kind, and each with a flipped byte.
#[test]
fn verify_takes_every_kind_of_proof() {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/wire");
    let genesis = wire.join("genesis.json");
    let genesis = genesis.to_str().expect("text");
    let names = ["receipt.json", "proofs/entry.json", "proofs/present.json", "proofs/absent.json"];
    let names = names.into_iter().chain(["proofs/consistency.json", "proofs/receipts.cose"]);
    let files: Vec<String> = names.map(|name| wire.join(name).to_str().expect("text").to_owned()).collect();
    let arguments: Vec<&str> = files.iter().map(String::as_str).chain(["--genesis", genesis, "--json"]).collect();
    let output = chartseal(&[&["verify"][..], &arguments].concat(), b"");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let document = document(&output);
    let rows = document.list("files");
    let kinds: Vec<_> = rows.iter().map(|row| row.text("kind").expect("a kind")).collect();
    assert_eq!(kinds, ["receipt", "entry", "state", "state", "consistency", "cose"]);
    assert!(rows.iter().all(|row| row.text("status") == Some("valid")));
    let folder = tempfile::tempdir().expect("a folder");
    for (index, file) in files.iter().enumerate() {
        let mut bytes = std::fs::read(file).expect("frozen");
        let at = bytes.len() - 40 - index;
        bytes[at] ^= 1;
        let bad = folder.path().join("bad");
        std::fs::write(&bad, bytes).expect("written");
        assert_eq!(code(&["verify", bad.to_str().expect("text"), "--genesis", genesis]), 2, "{file}");
    }
}
