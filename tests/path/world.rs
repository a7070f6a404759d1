//! Four `chartseal node` processes and the configuration of one gateway in a temporary folder, made by `chartseal init` as an
//! operator would. Everything is stopped when the world is dropped; its folder stays when a test fails.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ledger_client::{HttpLedger, LedgerConfig, ValidatorAddress};

/// Validators of the world.
const VALIDATORS: u16 = 4;
/// Longest wait for a process.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// Binaries and broker, as `tests/run` names them. `None`: this run has no services.
pub struct Services {
    pub binary: PathBuf,
    pub failpoints: PathBuf,
    pub amqp: String,
}

impl Services {
    pub fn find() -> Option<Self> {
        let get = |name| std::env::var(name).ok();
        let found = (|| {
            Some(Self {
                binary: get("CHARTSEAL_BIN")?.into(),
                failpoints: get("CHARTSEAL_FAILPOINTS_BIN")?.into(),
                amqp: get("CHARTSEAL_TEST_AMQP")?,
            })
        })();
        let promised = get("CHARTSEAL_SERVICES").is_some();
        assert!(
            found.is_some() || !promised,
            "CHARTSEAL_SERVICES is set; found no binaries or no broker in the environment"
        );
        if found.is_none() {
            println!("skipped: no services; run tests/run");
        }
        found
    }
}

pub struct World {
    pub services: Services,
    pub dir: PathBuf,
    pub queue: String,
    rpc: Vec<String>,
    nodes: Vec<Child>,
    _keep: tempfile::TempDir,
}

impl World {
    pub fn start(services: Services) -> Self {
        let keep = tempfile::tempdir().expect("a temporary folder");
        let dir = keep.path().join("hospital");
        let port = free_base();
        let made = Command::new(&services.binary)
            .args(["init", "--name", "Crash Clinic", "--port", &port.to_string()])
            .arg(&dir)
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("chartseal init starts").success(), "chartseal init failed");
        let queue = format!("chartseal.crash-{port}");
        let mut world = Self { services, dir, queue, rpc: Vec::new(), nodes: Vec::new(), _keep: keep };
        world.connect_broker(port);
        for index in 1..=VALIDATORS {
            let folder = world.dir.join(format!("validators/validator-{index}"));
            let node = world.validator(&folder).spawn();
            world.nodes.push(node.expect("chartseal starts"));
            world.rpc.push(format!("127.0.0.1:{}", port + 1 + 2 * index));
        }
        world
    }

    /// Gives the gateway its queue; a small prefetch makes many small groups, so that every failpoint is passed often.
    fn connect_broker(&self, port: u16) {
        write_secret(&self.dir.join("amqp.url"), &self.services.amqp);
        let mut config = OpenOptions::new().append(true).open(self.dir.join("gateway.toml")).expect("gateway.toml");
        write!(
            config,
            "\n[[connector]]\nkind = \"amqp\"\nname = \"crash\"\nurl_file = \"amqp.url\"\nexchange = \"hospital.events\"\n\
             queue = \"{}\"\nbindings = [\"crash-{port}.#\"]\nprefetch = 16\n",
            self.queue
        )
        .expect("gateway.toml is written");
    }

    /// Has the gateway use this PostgreSQL database.
    pub fn use_database(&self, url: &str) {
        write_secret(&self.dir.join("database.url"), url);
        self.configure("url = \"sqlite:gateway.db\"", "url_file = \"database.url\"");
    }

    /// Replaces a line of the gateway's configuration.
    pub fn configure(&self, from: &str, to: &str) {
        let path = self.dir.join("gateway.toml");
        let text = std::fs::read_to_string(&path).expect("gateway.toml");
        assert!(text.contains(from), "gateway.toml has no {from}");
        std::fs::write(path, text.replacen(from, to, 1)).expect("gateway.toml is written");
    }

    /// Where the gateway listens: `listen` for clients, `operators`.
    pub fn address(&self, listener: &str) -> String {
        let config = std::fs::read_to_string(self.dir.join("gateway.toml")).expect("gateway.toml");
        let begin = format!("{listener} = \"");
        let address = config.lines().find_map(|line| line.strip_prefix(&begin)?.split('"').next());
        address.expect("a listener").to_owned()
    }

    /// The parts that `/readyz` says are not ready. None: there is no answer.
    pub async fn not_ready(&self) -> Option<BTreeSet<String>> {
        let answer = reqwest::get(format!("http://{}/readyz", self.address("operators"))).await.ok()?;
        let status = answer.status();
        let body: serde_json::Value = answer.json().await.ok()?;
        let parts = body["parts"].as_object()?.iter().filter(|(_, part)| part["ready"] != true);
        let parts: BTreeSet<String> = parts.map(|(name, _)| name.clone()).collect();
        assert_eq!((status.is_success(), &body["ready"]), (parts.is_empty(), &parts.is_empty().into()), "{body}");
        Some(parts)
    }

    /// How many times the gateway's log holds this.
    pub fn logged(&self, text: &str) -> usize {
        std::fs::read_to_string(self.dir.join("gateway.log")).expect("gateway.log").matches(text).count()
    }

    /// Waits until the gateway's log holds this so many times.
    pub async fn until_logged(&self, text: &str, times: usize) {
        let from = Instant::now();
        while self.logged(text) < times {
            assert!(from.elapsed() < WAIT_MAX, "found `{text}` fewer than {times} times in gateway.log");
            // an answer takes a moment
            self.not_ready().await;
        }
    }

    /// The key to which publishers send.
    pub fn routing_key(&self) -> String {
        format!("{}.adt", self.queue.trim_start_matches("chartseal."))
    }

    /// A gateway that kills itself with SIGKILL when it passes `kill_at` (`name:nth`), or one that runs on.
    pub fn gateway(&self, kill_at: Option<&str>) -> Gateway {
        let log = self.dir.join("gateway.log");
        let binary = if kill_at.is_some() { &self.services.failpoints } else { &self.services.binary };
        let command = command(binary, &["run"], &self.dir.join("gateway.toml"), &log, kill_at);
        Gateway(tokio::process::Command::from(command).kill_on_drop(true).spawn().expect("chartseal starts"))
    }

    pub fn ledger(&self) -> HttpLedger {
        let validators = (1..).zip(&self.rpc);
        HttpLedger::new(&LedgerConfig {
            genesis: self.dir.join("genesis.json"),
            validators: validators
                .map(|(index, rpc)| ValidatorAddress {
                    name: format!("validator-{index}"),
                    url: format!("https://{rpc}"),
                })
                .collect(),
            key: self.dir.join("transport.key"),
            timeout_ms: 5_000,
        })
        .expect("the ledger's configuration loads")
    }

    /// Kills a validator with SIGKILL.
    pub fn kill_validator(&mut self, index: usize) {
        self.nodes[index].kill().expect("the validator runs");
        self.nodes[index].wait().expect("the validator ends");
    }

    /// Stops a validator where it is (SIGSTOP), or lets it go on (SIGCONT).
    pub fn signal_validator(&self, index: usize, signal: &str) {
        let line = format!("kill -{signal} {}", self.nodes[index].id());
        let sent = Command::new("sh").args(["-c", &line]).status().expect("sh starts");
        assert!(sent.success(), "{line} failed");
    }

    /// Starts a killed validator again.
    pub fn restart_validator(&mut self, index: usize) {
        let folder = self.dir.join(format!("validators/validator-{}", index + 1));
        self.nodes[index] = self.validator(&folder).spawn().expect("chartseal starts");
    }

    fn validator(&self, folder: &Path) -> Command {
        command(&self.services.binary, &["node"], &folder.join("node.toml"), &folder.join("log"), None)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // Already gone is what we want.
            let _ = node.kill();
            let _ = node.wait();
        }
        if !std::thread::panicking() {
            return;
        }
        let validators = (1..=VALIDATORS).map(|index| format!("validators/validator-{index}/log"));
        for name in std::iter::once("gateway.log".to_owned()).chain(validators) {
            let log = std::fs::read_to_string(self.dir.join(&name)).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(20).collect();
            eprintln!("the end of {name}:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// A gateway process, killed when dropped.
pub struct Gateway(tokio::process::Child);

impl Gateway {
    /// Waits until it has killed itself.
    pub async fn killed_itself(&mut self) -> bool {
        match tokio::time::timeout(WAIT_MAX, self.0.wait()).await {
            Ok(status) => {
                let status = status.expect("the gateway's status");
                assert_eq!(status.signal(), Some(9), "the gateway ended by itself: {status}");
                true
            }
            Err(_) => false,
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("the gateway's status").is_none()
    }

    /// Whether it lives on for so long.
    pub async fn lives_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.0.wait()).await.is_err()
    }

    /// Ends it as an operator would (SIGTERM), and waits until it has.
    pub async fn stop(mut self) {
        let line = format!("kill -TERM {}", self.0.id().expect("the gateway runs"));
        assert!(Command::new("sh").args(["-c", &line]).status().expect("sh starts").success(), "{line} failed");
        let ended = tokio::time::timeout(WAIT_MAX, self.0.wait()).await.expect("the gateway ends in time");
        assert!(ended.expect("the gateway's status").success(), "the gateway did not end well");
    }

    /// Kills it with SIGKILL, and waits until its ports and its database are free.
    pub async fn kill(mut self) {
        // Already gone is what we want.
        let _ = self.0.kill().await;
    }
}

fn write_secret(path: &Path, text: &str) {
    let mut secret = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("a new file");
    secret.write_all(text.as_bytes()).expect("it is written");
}

fn command(binary: &Path, words: &[&str], config: &Path, log: &Path, kill_at: Option<&str>) -> Command {
    let open = || -> File { OpenOptions::new().create(true).append(true).open(log).expect("a log file") };
    let mut command = Command::new(binary);
    command.args(words).arg("--config").arg(config).stdin(Stdio::null()).stdout(open()).stderr(open());
    command.env("NO_COLOR", "1");
    if let Some((point, nth)) = kill_at.and_then(|kill_at| kill_at.rsplit_once(':')) {
        let passes_before = nth.parse::<u32>().expect("a number") - 1;
        // `fail`'s own words: so many passes do nothing, the next one ends the process.
        command.env("FAILPOINTS", format!("{point}={passes_before}*off->return"));
    }
    command
}

/// A port from which ten in a row are free, below those of outgoing connections: one of these could hold the port of a
/// process that is just being restarted.
fn free_base() -> u16 {
    let mut random = RandomState::new().hash_one(0);
    for _ in 0..200 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let base = 10_000 + u16::try_from((random >> 33) % 20_000).expect("below 20,000");
        if (base..base + 10).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
    panic!("found no ten free ports in a row");
}
