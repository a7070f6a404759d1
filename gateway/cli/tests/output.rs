//! What becomes of a command whose output cannot be written, and of one that is asked for what there is not.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chartseal"));
    command.args(arguments).env_remove("CHARTSEAL_CONFIG").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary starts")
}

/// Ended with this code and said these words.
fn ends(arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(words.iter().all(|word| said.contains(word)), "{arguments:?}: {said}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn output_that_is_lost_is_a_failure_and_a_closed_pipe_is_none() {
    let wire = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/wire");
    let (receipt, genesis) = (wire.join("receipt.json"), wire.join("genesis.json"));
    let verify = ["verify", text(&receipt), "--genesis", text(&genesis)];
    let as_json = [&verify[..], &["--json"]].concat();
    for arguments in
        [&verify[..], &as_json, &["completions", "bash"], &["connector", "schema"], &["connector", "list"], &["--help"]]
    {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let output = command(arguments).stdout(full).output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(arguments == ["--help"] || said.contains("standard output: "), "{arguments:?}: {said}");
        // nobody reads
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let status = command(arguments).stdout(writer).status().expect("the binary starts");
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
    // a verdict stays what it is
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let status = command(&["verify", text(&genesis), "--genesis", text(&genesis)]).stdout(full).status();
    assert_eq!(status.expect("the binary starts").code(), Some(2));
}

/// A folder as `init` makes it.
fn home(folder: &Path) -> std::path::PathBuf {
    let home = folder.join("home");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let port = port.clamp(1024, 65_000).to_string();
    let made = run(&["init", text(&home), "--validators", "1", "--port", &port]);
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    home
}

#[test]
fn init_closes_an_empty_folder_that_was_there() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("home")).expect("a folder");
    std::fs::set_permissions(folder.path().join("home"), std::fs::Permissions::from_mode(0o755)).expect("changed");
    let home = home(folder.path());
    assert_eq!(std::fs::metadata(home).expect("there").permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_validator_that_cannot_start_says_which_setting_and_ends_with_64() {
    let folder = tempfile::tempdir().expect("a folder");
    let validator = home(folder.path()).join("validators/validator-1");
    let file = validator.join("node.toml");
    let made = std::fs::read_to_string(&file).expect("made");
    let node = ["node", "--config", text(&file)];
    let with = |from: &str, to: &str| {
        let changed = made.replacen(from, to, 1);
        assert_ne!(changed, made, "{from}");
        std::fs::write(&file, changed).expect("written");
    };
    let of = |key: &str| made.lines().find(|line| line.starts_with(&format!("{key} = "))).expect(key).to_owned();
    with(&of("name"), "name = \"another\"");
    ends(&node, 64, &["another"]);
    with(&of("genesis"), "genesis = \"nothing.json\"");
    ends(&node, 64, &["nothing.json"]);
    with(&of("key"), "key = \"nothing.key\"");
    ends(&node, 64, &["nothing.key"]);
    with(&of("listen"), "lissten = \"127.0.0.1:1\"");
    ends(&node, 64, &["node.toml:", "found unknown key `lissten`", "did you mean `listen`?"]);
    with(&of("listen"), "listen = \"nohost\"");
    ends(&node, 64, &["listen: cannot listen on nohost", "`host:port`"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    with(&of("rpc"), &format!("rpc = \"{}\"", taken.local_addr().expect("an address")));
    ends(&node, 64, &["rpc: cannot listen on", "expected an address that nobody listens on"]);
    std::fs::write(&file, &made).expect("written");
    use std::os::unix::fs::PermissionsExt as _;
    let loose = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(validator.join("validator.key"), loose).expect("changed");
    ends(&node, 64, &["chmod 600"]);
    ends(&["restore", "--config", text(&file), "--from", "/no/such/backup"], 64, &["backup.json", "chartseal backup"]);
}

#[test]
fn a_gateway_that_cannot_start_says_which_setting_and_ends_with_64() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = home(folder.path());
    let file = home.join("gateway.toml");
    let made = std::fs::read_to_string(&file).expect("made");
    let line = made.lines().find(|line| line.starts_with("listen = ")).expect("a listener");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a socket");
    let other = format!("listen = \"{}\"", taken.local_addr().expect("an address"));
    std::fs::write(&file, made.replacen(line, &other, 1)).expect("written");
    let said = ["gateway.listen: cannot listen on", "expected an address that nobody listens on"];
    ends(&["run", "--config", text(&file)], 64, &said);
    // a log that goes to a file has no escape codes
    let output = run(&["run", "--config", text(&file)]);
    assert!(!output.stderr.contains(&0x1b), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&file, &made).expect("written");
    std::fs::rename(home.join("keys"), home.join("elsewhere")).expect("moved");
    ends(&["run", "--config", text(&file)], 64, &["keys"]);
}

#[test]
fn arguments_that_cannot_be_meant_are_64_before_anything_is_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = home(folder.path());
    let (file, key) = (home.join("gateway.toml"), folder.path().join("patient.key"));
    let (config, key) = (text(&file), text(&key));
    let to = ["--to", "family-practice"];
    let grant = ["consent", "grant", "--config", config, "--patient", "a|b", "--as", "office", "--key", key];
    ends(&[&grant[..], &to].concat(), 64, &["Type/id", "family-practice"]);
    ends(&[&["wallet", "grant", "--key", key][..], &to].concat(), 64, &["Type/id"]);
    ends(&["connector", "import", "ehr", "--since", "2026", "--config", config], 64, &["--since"]);
    ends(&["connector", "send", "localhost", config], 64, &["host:port"]);
    ends(&["dlq", "show", "3", "--raw", "--json", "--config", config], 64, &["--json"]);
    // what the system said, and not its class alone
    ends(&["connector", "send", "127.0.0.1:1", config], 75, &["127.0.0.1:1: connecting: Connection refused"]);
}

#[test]
fn the_command_of_a_hint_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = home(folder.path());
    let file = home.join("gateway.toml");
    assert_eq!(
        run(&["connector", "new", "mllp", "ward-3", "--dir", text(&home.join("connectors.d"))]).status.code(),
        Some(0)
    );
    let message = folder.path().join("message.hl7");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/north.hl7");
    let samples = std::fs::read_to_string(samples).expect("samples");
    std::fs::write(&message, samples.split("\n\n").next().expect("one")).expect("written");
    let hint = gateway_server::dead_letters::hint("normaliser-failed");
    let (_, said) = hint.split_once("`chartseal ").expect("a command");
    let (said, _) = said.split_once('`').expect("its end");
    let arguments: Vec<&str> = said
        .split(' ')
        .map(|word| match word {
            "NAME" => "ward-3",
            "gateway.toml" => text(&file),
            word => word,
        })
        .collect();
    let input = std::fs::File::open(&message).expect("a message");
    let output = command(&arguments).stdin(input).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
