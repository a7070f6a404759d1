//! Validators that come as their operators meet it: a line for the list, votes, the newcomers' word that they are there, and their
//! first start, while the epoch of the others still goes on. Two take the seats of two that leave.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{binary, run};

/// An address of this test alone: some of its validators start late.
const HOST: &str = "127.0.0.78";
/// Longest wait for an epoch of an idle ledger.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// A validator's process; killed when dropped.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A ledger's folder with two folders more, for newcomers.
struct Home {
    binary: PathBuf,
    folder: tempfile::TempDir,
}

impl Home {
    fn new(binary: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Self { binary, folder };
        let made = run(&home.binary, &["init", home.path("").to_str().expect("text")]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let newcomer = |n: usize, port: usize| format!("{{ name = \"lakeside-{n}\", address = \"{HOST}:{port}\" }},\n");
        for n in 1..=4 {
            home.change(&format!("validators/validator-{n}/node.toml"), |text| {
                text.replace("127.0.0.1:74", &format!("{HOST}:74"))
                    .replace("peers = [\n", &format!("peers = [\n{}{}", newcomer(1, 7412), newcomer(2, 7414)))
            });
        }
        for n in 1..=2 {
            let (folder, rpc) = (format!("validators/lakeside-{n}"), 7411 + 2 * n);
            std::fs::create_dir(home.path(&folder)).expect("made");
            let of_another = std::fs::read_to_string(home.path("validators/validator-4/node.toml")).expect("written");
            std::fs::write(home.path(&format!("{folder}/node.toml")), of_another).expect("written");
            home.change(&format!("{folder}/node.toml"), |text| {
                let fourth = format!("{{ name = \"validator-4\", address = \"{HOST}:7408\" }},\n");
                text.replace("\"validator-4\" ", &format!("\"lakeside-{n}\" "))
                    .replace(&format!("\"{HOST}:7408\""), &format!("\"{HOST}:{}\"", rpc - 1))
                    .replace(&format!("\"{HOST}:7409\""), &format!("\"{HOST}:{rpc}\""))
                    .replace(&newcomer(n, rpc - 1), &fourth)
            });
        }
        home.change("gateway.toml", |text| {
            let url = |n, port| format!("{{ name = \"lakeside-{n}\", url = \"https://{HOST}:{port}\" }},\n");
            text.replace("127.0.0.1:74", &format!("{HOST}:74"))
                .replace("validators = [\n", &format!("validators = [\n{}{}", url(1, 7413), url(2, 7415)))
        });
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("home").join(name)
    }

    fn change(&self, name: &str, change: impl FnOnce(&str) -> String) {
        let text = std::fs::read_to_string(self.path(name)).expect("a file");
        std::fs::write(self.path(name), change(&text)).expect("written");
    }

    fn start(&self, name: &str) -> Node {
        let config = self.path("validators").join(name).join("node.toml");
        let mut command = Command::new(&self.binary);
        command.args(["node", "--config"]).arg(config).stderr(Stdio::null());
        Node(command.spawn().expect("the binary starts"))
    }

    fn ledger(&self, arguments: &[&str]) -> Output {
        let config = self.path("gateway.toml");
        run(&self.binary, &[&["ledger"], arguments, &["--json", "--config", text(&config)]].concat())
    }

    /// The document of a command that must succeed.
    fn done(&self, arguments: &[&str]) -> Value {
        let output = self.ledger(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("one JSON document")
    }

    /// The validators, once they are as they shall be.
    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let output = self.ledger(&["validators"]);
            if let Ok(found) = serde_json::from_slice(&output.stdout)
                && is_so(&found)
            {
                return found;
            }
            let said = [output.stdout, output.stderr].concat();
            assert!(Instant::now() < deadline, "{what}: {}", String::from_utf8_lossy(&said));
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// How many of the list that is voted for are there.
fn there(found: &Value) -> usize {
    found["ballots"][0]["there"].as_array().map_or(0, Vec::len)
}

#[test]
fn newcomers_confirm_their_seats_and_take_them() {
    let Some(binary) = binary() else { return };
    let home = Home::new(binary);
    let mut nodes: Vec<_> = (1..=4).map(|n| home.start(&format!("validator-{n}"))).collect();
    home.until("four validators", |found| found["epoch"] == 0 && found["fresh"] == true);

    let keys = [1, 2].map(|n| home.path(&format!("validators/lakeside-{n}/validator.key")));
    let lines: Vec<String> = (1..)
        .zip(&keys)
        .map(|(n, key)| {
            let joined = home.ledger(&["join", "--key", text(key), "--name", &format!("lakeside-{n}")]);
            assert!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
            String::from_utf8(joined.stdout).expect("JSON")
        })
        .collect();
    let early = home.ledger(&["confirm", "--key", text(&keys[0])]);
    assert_eq!(early.status.code(), Some(75), "{}", String::from_utf8_lossy(&early.stderr));
    assert!(String::from_utf8_lossy(&early.stderr).contains("that a quorum votes for"), "nobody voted for it");

    // two of now stay, two come
    let members = home.path("members.json");
    home.done(&["validators", "--members", text(&members)]);
    let now: Vec<Value> = serde_json::from_slice(&std::fs::read(&members).expect("written")).expect("a list of four");
    let comers = lines.iter().map(|line| serde_json::from_str(line).expect("a member"));
    let next: Vec<Value> = now.iter().take(2).cloned().chain(comers).collect();
    std::fs::write(&members, serde_json::to_vec(&next).expect("JSON")).expect("written");
    for n in 1..=3 {
        let key = home.path(&format!("validators/validator-{n}/validator.key"));
        home.done(&["vote", "--key", text(&key), "--members", text(&members)]);
    }
    // who stays is there by itself: two, where three are needed
    let waiting = home.until("those who stay are there", |found| there(found) == 2);
    assert_eq!((waiting["ballots"][0]["voters"].as_array().map(Vec::len), &waiting["next"]), (Some(3), &Value::Null));

    let wrong = home.ledger(&["confirm", "--key", text(&home.path("validators/validator-3/validator.key"))]);
    assert_eq!(
        wrong.status.code(),
        Some(1),
        "the list is without this one: {:?}",
        String::from_utf8_lossy(&wrong.stderr)
    );
    for key in &keys {
        assert_eq!(home.done(&["confirm", "--key", text(key)])["epoch"], 1);
        assert!(key.with_extension("epochs.json").is_file(), "what its validator starts with");
    }
    nodes.extend((1..=2).map(|n| home.start(&format!("lakeside-{n}"))));
    let later =
        home.until("the next epoch, of four that answer", |found| found["epoch"] == 1 && found["fresh"] == true);
    let names = [0, 1, 2, 3].map(|index| later["validators"][index]["name"].as_str());
    assert_eq!(names, ["validator-1", "validator-2", "lakeside-1", "lakeside-2"].map(Some));
    for left in &mut nodes[2..4] {
        assert_eq!(left.0.wait().expect("it ends by itself").code(), Some(64), "it has no seat");
    }
    // now one of those who stay is needed no more: three of four go on, and decide the next thing
    drop(nodes.remove(0));
    let mut reordered: Vec<Value> = later["validators"].as_array().expect("four").clone();
    reordered.iter_mut().for_each(|one| drop(one.as_object_mut().expect("an object").remove("faulty")));
    reordered.swap(0, 1);
    std::fs::write(&members, serde_json::to_vec(&reordered).expect("JSON")).expect("written");
    home.done(&["vote", "--key", text(&keys[0]), "--members", text(&members)]);
    // it can be said again; whoever was there before has nothing to say
    assert_eq!(home.done(&["confirm", "--key", text(&keys[0])])["epoch"], 1);
    let stays = home.path("validators/validator-2/validator.key");
    assert_eq!(home.done(&["confirm", "--key", text(&stays)])["proofs"], Value::Null);
}
