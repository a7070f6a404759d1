//! `chartseal node` processes made by `chartseal init`, wired through proxies, and what can happen to them.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use gateway_vault::Vault;
use ledger_client::{HttpLedger, LedgerConfig, ValidatorAddress};
use schemas::genesis::Genesis;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::WAIT_MAX;
use crate::proxy::{self, Wires};

/// Blocks of 512 bytes that a file may have when a validator is left without room: less than what it has already.
const ROOM_BLOCKS: u32 = 64;

/// Syncs that a bad disk takes before it takes none: it dies at work, not at the start.
const SYNCS: &str = "200";

/// What happens to a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Pause,
    /// Nothing reaches it and it reaches nobody.
    Cut,
    /// It hears and is not heard.
    Mute,
    /// Killed, and started where no file may grow: it must end by itself and be whole afterwards.
    NoRoom,
    /// Killed, and started on a disk that soon fails to sync: it must end by itself, at the first time.
    BadDisk,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Kill, Self::Cut, Self::Pause, Self::NoRoom, Self::Mute, Self::BadDisk];

    /// What a validator says before it ends by this.
    const fn last_words(self) -> &'static str {
        match self {
            Self::NoRoom => "File too large",
            _ => "Input/output error",
        }
    }
}

/// The binary under test; `None`: this run has none.
pub fn binary() -> Option<PathBuf> {
    let found = std::env::var("CHARTSEAL_BIN").ok().map(PathBuf::from);
    let promised = std::env::var("CHARTSEAL_SERVICES").is_ok();
    assert!(found.is_some() || !promised, "CHARTSEAL_SERVICES is set; found no CHARTSEAL_BIN in the environment");
    if found.is_none() {
        println!("skipped: no binary; run tests/run");
    }
    found
}

pub struct Validators {
    binary: PathBuf,
    dir: PathBuf,
    rpc: Vec<String>,
    nodes: Vec<Child>,
    /// Those that were killed and not started again.
    down: BTreeSet<usize>,
    wires: Wires,
    /// The library that is laid over the process on a bad disk.
    bad_disk: PathBuf,
    _keep: tempfile::TempDir,
}

impl Validators {
    pub async fn start(binary: PathBuf, n: usize) -> Self {
        let keep = tempfile::tempdir().expect("a temporary folder");
        let dir = keep.path().join("ledger");
        let port = free_base(2 + 2 * n);
        let (ports, count) = (port.to_string(), n.to_string());
        let made = Command::new(&binary).args(["init", "--port", &ports, "--validators", &count]).arg(&dir).output();
        let made = made.await.expect("chartseal init starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let address = |index: usize, second: usize| format!("127.0.0.1:{}", usize::from(port) + 2 + 2 * index + second);
        let peers: Vec<String> = (0..n).map(|index| address(index, 0)).collect();
        let (wires, ends) = proxy::lay(&peers).await;
        for from in 0..n {
            let path = folder(&dir, from).join("node.toml");
            let mut text = std::fs::read_to_string(&path).expect("node.toml");
            for to in (0..n).filter(|to| *to != from) {
                let (direct, wired) = (format!("address = \"{}\"", peers[to]), ends[&(from, to)]);
                assert!(text.contains(&direct), "node.toml names its peers");
                text = text.replace(&direct, &format!("address = \"{wired}\""));
            }
            std::fs::write(&path, text).expect("node.toml is written");
        }
        let rpc = (0..n).map(|index| address(index, 1)).collect();
        let (nodes, down, bad_disk) = (Vec::new(), BTreeSet::new(), compiled(keep.path()).await);
        let mut validators = Self { binary, dir, rpc, nodes, down, wires, bad_disk, _keep: keep };
        validators.nodes = (0..n).map(|index| validators.spawn(index, None)).collect();
        validators
    }

    pub fn genesis(&self) -> Genesis {
        let text = std::fs::read_to_string(self.dir.join("genesis.json")).expect("genesis.json");
        Genesis::parse(&text).expect("the genesis parses")
    }

    /// The institution's keys.
    pub fn vault(&self) -> Vault {
        Vault::open(&self.dir.join("keys")).expect("the keys open")
    }

    pub fn ledger(&self) -> HttpLedger {
        self.ledger_of(0..self.rpc.len())
    }

    /// The ledger as these validators show it: at least a quorum.
    pub fn ledger_of(&self, validators: impl Iterator<Item = usize>) -> HttpLedger {
        let named = |index: usize| ValidatorAddress {
            name: format!("validator-{}", index + 1),
            url: format!("https://{}", self.rpc[index]),
        };
        HttpLedger::new(&LedgerConfig {
            genesis: self.dir.join("genesis.json"),
            validators: validators.map(named).collect(),
            key: self.dir.join("transport.key"),
            timeout_ms: 5_000,
        })
        .expect("the ledger's configuration loads")
    }

    pub async fn inflict(&mut self, victim: usize, fault: Fault) {
        match fault {
            Fault::Kill => self.kill(victim).await,
            Fault::Pause => self.signal(victim, "STOP"),
            Fault::Cut | Fault::Mute => self.cut(victim, fault, true),
            Fault::NoRoom | Fault::BadDisk => {
                self.kill(victim).await;
                self.nodes[victim] = self.spawn(victim, Some(fault));
            }
        }
    }

    pub async fn heal(&mut self, victim: usize, fault: Fault) {
        match fault {
            Fault::Kill => self.revive(victim),
            Fault::Pause => self.signal(victim, "CONT"),
            Fault::Cut | Fault::Mute => self.cut(victim, fault, false),
            Fault::NoRoom | Fault::BadDisk => {
                let node = &mut self.nodes[victim];
                let ended = tokio::time::timeout(WAIT_MAX, node.wait()).await.expect("it ends by itself");
                let mut said = String::new();
                let mut pipe = node.stderr.take().expect("a pipe");
                pipe.read_to_string(&mut said).await.expect("text");
                // transient: whoever supervises it starts it again
                assert_eq!(ended.expect("a status").code(), Some(75), "validator {victim} said {said}");
                assert!(said.contains(fault.last_words()), "validator {victim} says what it lacks: {said}");
                self.revive(victim);
            }
        }
    }

    fn revive(&mut self, victim: usize) {
        self.nodes[victim] = self.spawn(victim, None);
        self.down.remove(&victim);
    }

    /// Those that ended without being made to.
    pub fn ended(&mut self) -> Vec<usize> {
        let running = self.nodes.iter_mut().enumerate().filter(|(index, _)| !self.down.contains(index));
        running.filter_map(|(index, node)| node.try_wait().ok().flatten().map(|_| index)).collect()
    }

    async fn kill(&mut self, victim: usize) {
        self.nodes[victim].kill().await.expect("the validator runs");
        self.down.insert(victim);
    }

    fn signal(&self, victim: usize, signal: &str) {
        let line = format!("kill -{signal} {}", self.nodes[victim].id().expect("it runs"));
        assert!(
            std::process::Command::new("sh").args(["-c", &line]).status().expect("sh starts").success(),
            "{line} failed"
        );
    }

    fn cut(&self, victim: usize, fault: Fault, cut: bool) {
        for other in 0..self.nodes.len() {
            self.wires.set(victim, other, cut);
            if fault == Fault::Cut {
                self.wires.set(other, victim, cut);
            }
        }
    }

    /// `dies_of`: a fault that it is started with.
    fn spawn(&self, index: usize, dies_of: Option<Fault>) -> Child {
        let folder = folder(&self.dir, index);
        let mut command = Command::new("sh");
        let limit = match dies_of {
            Some(Fault::NoRoom) => format!("trap '' XFSZ; ulimit -f {ROOM_BLOCKS}; "),
            _ => String::new(),
        };
        if dies_of == Some(Fault::BadDisk) {
            command.env("LD_PRELOAD", &self.bad_disk).env("CHARTSEAL_SYNCS", SYNCS);
        }
        command.args(["-c", &format!("{limit}exec \"$0\" node --config \"$1\"")]);
        command.arg(&self.binary).arg(folder.join("node.toml")).stdin(Stdio::null()).stdout(Stdio::null());
        if dies_of.is_some() {
            // a pipe has no size
            command.stderr(Stdio::piped());
        } else {
            let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).expect("a log");
            command.stdout(log.try_clone().expect("a log")).stderr(log);
        }
        command.kill_on_drop(true).spawn().expect("chartseal starts")
    }
}

impl Drop for Validators {
    fn drop(&mut self) {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            // already gone is what we want
            let _ = node.start_kill();
            if std::thread::panicking() {
                let log = std::fs::read_to_string(folder(&self.dir, index).join("log")).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(12).collect();
                eprintln!("validator {index} said last:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

fn folder(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("validators/validator-{}", index + 1))
}

/// `bad_disk.c`, by the compiler that the build needs anyway.
async fn compiled(folder: &Path) -> PathBuf {
    let (source, library) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("rounds/bad_disk.c"), folder.join("bad_disk.so"));
    let made = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output().await;
    let made = made.expect("cc starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    library
}

/// A port from which `count` in a row are free, below those of outgoing connections.
fn free_base(count: usize) -> u16 {
    let mut random = RandomState::new().hash_one(count);
    for _ in 0..200 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let base = 10_000 + u16::try_from((random >> 33) % 19_000).expect("below 19,000");
        if (base..).take(count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return base;
        }
    }
    panic!("found no {count} free ports in a row");
}
