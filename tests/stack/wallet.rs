//! A patient's own key on a real cluster: invited at the desk, bound, used. What is sealed after that opens with her key alone,
//! nobody but she changes her consents, and whatever was tampered with is abandoned.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation, Connection, ConnectionProperties};
use schemas::json::{self, Value};

use super::binary;

const PATIENT: &str = "urn:oid:2.999.1.1|N100201";
/// Longest wait for the demo, and for a case.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// A result that no other message has.
const MESSAGE: &str = "MSH|^~\\&|LAB|NORTH|CHARTSEAL|NORTH|20260401091500+0000||ORU^R01^ORU_R01|WALLET01|P|2.5.1\r\
     PID|1||N100201^^^NORTH&2.999.1.1&ISO^MR||Abelmann^Ruth^Johanna||19481103|F\r\
     OBR|1|PW1^NORTH|FW1^LAB|2345-7^Glucose^LN|||20260401084000+0000\r\
     OBX|1|NM|2345-7^Glucose^LN||104.2|mg/dL^mg/dL^UCUM|||||F|||20260401084000+0000\r";

/// A demo that stays up until it is dropped.
pub struct Demo {
    process: Child,
    binary: PathBuf,
    pub home: PathBuf,
    _folder: tempfile::TempDir,
}

impl Demo {
    pub fn start(binary: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("home");
        let mut process = Command::new(&binary)
            .args(["demo", "--home"])
            .arg(&home)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let up = lines.map_while(Result::ok).any(|line| line.contains("Ctrl-C stops everything"));
        let demo = Self { process, binary, home, _folder: folder };
        assert!(up, "the demo ended before it was up");
        demo
    }

    pub fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("CHARTSEAL_WALLET", self.home.join("patient.key")).current_dir(&self.home);
        command.output().expect("the binary starts")
    }

    /// The document of a command that must succeed.
    pub fn done(&self, arguments: &[&str]) -> Value {
        let output = self.command(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        json::parse(output.stdout.trim_ascii()).expect("one JSON document")
    }

    /// What a command that must fail with 1 says.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        said
    }

    fn office(&self, words: &[&str]) -> Vec<String> {
        let (config, key) = (self.home.join("north/gateway.toml"), self.home.join("north/office.key"));
        let name = if words.first() == Some(&"wallet") { "--client-key" } else { "--key" };
        let office = ["--config", text(&config), "--as", "office", name, text(&key)];
        words.iter().chain(&office).map(|word| (*word).to_owned()).collect()
    }

    fn explains(&self) -> Option<i32> {
        let config = self.home.join("north/gateway.toml");
        let who = ["--patient", PATIENT, "--client", "clinic", "--type", "Observation"];
        self.command(&[&["consent", "explain", "--config", text(&config)], &who[..]].concat()).status.code()
    }

    async fn publish(&self, body: &str) {
        let url = std::fs::read_to_string(self.home.join("north/amqp.url")).expect("the broker's URL");
        let connection = Connection::connect(&url, ConnectionProperties::default()).await.expect("the broker answers");
        let channel = connection.create_channel().await.expect("a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("confirms");
        let properties =
            BasicProperties::default().with_content_type("application/hl7-v2+er7".into()).with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let (exchange, key) = ("hospital.events", "north.oru");
        let sent = channel.basic_publish(exchange.into(), key.into(), options, body.as_bytes(), properties).await;
        let confirm = sent.expect("a publish").await.expect("a confirm");
        assert!(matches!(confirm, Confirmation::Ack(None)), "the message was not routed");
    }

    /// The inbox once there is a case in it.
    fn first_case(&self) -> String {
        let from = Instant::now();
        loop {
            if let Some(case) = self.done(&["wallet", "inbox"]).list("cases").first() {
                return case.text("case").expect("an id").to_owned();
            }
            assert!(from.elapsed() < WAIT_MAX, "no case for the bound key after {WAIT_MAX:?}");
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Told, not killed: the broker that it started ends with it.
        let told = Command::new("kill").arg(self.process.id().to_string()).status();
        if told.is_err() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn words(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn a_patient_holds_her_own_key() {
    let Some(binary) = binary() else { return };
    let demo = Demo::start(binary);
    demo.done(&["wallet", "new", "--key", "patient.key"]);
    let invite = demo.office(&["wallet", "invite", "--patient", PATIENT]);
    let invited = demo.done(&words(&invite));
    let invitation = invited.text("invitation").expect("an invitation");
    demo.done(&["wallet", "bind", invitation]);
    demo.done(&["wallet", "bind", invitation]);

    demo.done(&["wallet", "new", "--key", "second.key"]);
    assert!(demo.fails(&["wallet", "bind", invitation, "--key", "second.key"]).contains("409"));
    assert!(demo.fails(&words(&invite)).contains("409"), "who has a key is not invited again");
    let grant = demo.office(&["consent", "grant", "--patient", PATIENT, "--to", "Organization/family-practice"]);
    assert!(demo.fails(&words(&grant)).contains("409"), "the institution alone attests no more");

    demo.publish(MESSAGE).await;
    let case = demo.first_case();
    let accepted = demo.done(&["wallet", "accept", "--to", "cases"]);
    assert_eq!(accepted.list("cases").len(), 1);
    let file = demo.home.join(format!("cases/{case}.case"));
    let opened = demo.command(&["wallet", "open", text(&file)]);
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    let bundle = json::parse(opened.stdout.trim_ascii()).expect("a Bundle");
    assert!(bundle.list("entry").len() >= 3 && String::from_utf8_lossy(&opened.stdout).contains("104.2"));
    assert_eq!(demo.command(&["wallet", "open", "--raw", text(&file)]).stdout, MESSAGE.as_bytes());

    assert!(demo.fails(&["wallet", "open", text(&file), "--key", "second.key"]).contains("abandoned"));
    let good = std::fs::read(&file).expect("a case");
    for at in (20..good.len()).step_by(good.len() / 40) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        std::fs::write(&file, &bad).expect("written");
        assert!(demo.fails(&["wallet", "open", text(&file)]).contains("abandoned"), "byte {at} of {}", good.len());
    }

    assert_eq!(demo.explains(), Some(1), "nothing is permitted yet");
    let granted = demo.done(&["wallet", "grant", "--to", "Organization/family-practice"]);
    assert_eq!(demo.explains(), Some(0));
    let id = granted.text("id").expect("an id");
    demo.done(&["wallet", "revoke", id]);
    assert_eq!(demo.explains(), Some(1));
    demo.done(&["wallet", "revoke", id]);
}
