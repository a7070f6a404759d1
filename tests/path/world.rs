//! Four `chartseal node` processes and the configuration of one gateway in a temporary folder, made by `chartseal init` as an
//! operator would. Everything is stopped when the world is dropped; its folder stays when a test fails.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ledger_client::{HttpLedger, LedgerConfig, ValidatorAddress};

/// Validators of the world.
const VALIDATORS: u16 = 4;
/// Longest wait for a process, in seconds.
const WAIT_SECONDS_MAX: u64 = 120;

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
            world.nodes.push(spawn(
                &world.services.binary,
                &["node"],
                &folder.join("node.toml"),
                &folder.join("log"),
                None,
            ));
            world.rpc.push(format!("127.0.0.1:{}", port + 1 + 2 * index));
        }
        let deadline = Instant::now() + Duration::from_secs(WAIT_SECONDS_MAX);
        while !world.rpc.iter().all(|address| TcpStream::connect(address).is_ok()) {
            assert!(Instant::now() < deadline, "the validators do not listen after {WAIT_SECONDS_MAX} s");
            std::thread::yield_now();
        }
        world
    }

    /// Gives the gateway its queue; a small prefetch makes many small groups, so that every failpoint is passed often.
    fn connect_broker(&self, port: u16) {
        let mut secret = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.dir.join("amqp.url"))
            .expect("amqp.url");
        secret.write_all(self.services.amqp.as_bytes()).expect("amqp.url is written");
        let mut config = OpenOptions::new().append(true).open(self.dir.join("gateway.toml")).expect("gateway.toml");
        write!(
            config,
            "\n[[connector]]\nkind = \"amqp\"\nname = \"crash\"\nurl_file = \"amqp.url\"\nexchange = \"hospital.events\"\n\
             queue = \"{}\"\nbindings = [\"crash-{port}.#\"]\nprefetch = 16\n",
            self.queue
        )
        .expect("gateway.toml is written");
    }

    /// The key to which publishers send.
    pub fn routing_key(&self) -> String {
        format!("{}.adt", self.queue.trim_start_matches("chartseal."))
    }

    /// A gateway that kills itself with SIGKILL when it passes `kill_at` (`name:nth`), or one that runs on.
    pub fn gateway(&self, kill_at: Option<&str>) -> Gateway {
        let log = self.dir.join("gateway.log");
        Gateway(spawn(&self.services.failpoints, &["run"], &self.dir.join("gateway.toml"), &log, kill_at))
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

    /// Starts a killed validator again.
    pub fn restart_validator(&mut self, index: usize) {
        let folder = self.dir.join(format!("validators/validator-{}", index + 1));
        self.nodes[index] =
            spawn(&self.services.binary, &["node"], &folder.join("node.toml"), &folder.join("log"), None);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // Already gone is what we want.
            let _ = node.kill();
            let _ = node.wait();
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.join("gateway.log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(30).collect();
            eprintln!("the end of gateway.log:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// A gateway process, killed when dropped.
pub struct Gateway(Child);

impl Gateway {
    /// Waits until it has killed itself.
    pub fn killed_itself(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(WAIT_SECONDS_MAX);
        loop {
            if let Some(status) = self.0.try_wait().expect("the gateway's status") {
                assert_eq!(status.signal(), Some(9), "the gateway ended by itself: {status}");
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            std::thread::yield_now();
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("the gateway's status").is_none()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn spawn(binary: &Path, command: &[&str], config: &Path, log: &Path, kill_at: Option<&str>) -> Child {
    let open = || -> File { OpenOptions::new().create(true).append(true).open(log).expect("a log file") };
    let mut process = Command::new(binary);
    process.args(command).arg("--config").arg(config).stdin(Stdio::null()).stdout(open()).stderr(open());
    if let Some((point, nth)) = kill_at.and_then(|kill_at| kill_at.rsplit_once(':')) {
        let passes_before = nth.parse::<u32>().expect("a number") - 1;
        // `fail`'s own words: so many passes do nothing, the next one ends the process.
        process.env("FAILPOINTS", format!("{point}={passes_before}*off->return"));
    }
    process.spawn().expect("chartseal starts")
}

/// A port from which ten in a row are free.
fn free_base() -> u16 {
    for _ in 0..200 {
        let first = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let base = first.local_addr().expect("its address").port();
        let held: Vec<_> = (1..10).map_while(|i| TcpListener::bind(("127.0.0.1", base.checked_add(i)?)).ok()).collect();
        if held.len() == 9 && base < 65_000 {
            return base;
        }
    }
    panic!("found no ten free ports in a row");
}
