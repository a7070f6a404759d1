//! A private broker or database of `compose/services` that a test may stop, kill and start again: it keeps its folder, and with it
//! its address and its data.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub struct Server {
    kind: &'static str,
    folder: PathBuf,
    child: Child,
    /// Where it answers, with its password.
    pub url: String,
}

impl Server {
    /// Starts one of each kind beside each other, in folders of `home`, and waits until they answer.
    pub fn start<const N: usize>(kinds: [&'static str; N], home: &Path) -> [Self; N] {
        let started = kinds.map(|kind| (kind, home.join(kind), launch(kind, &home.join(kind))));
        started.map(|(kind, folder, mut child)| {
            let url = url_of(&mut child);
            Self { kind, folder, child, url }
        })
    }

    /// Stops it as an operator would.
    pub fn stop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().expect("it ends");
    }

    /// Ends RabbitMQ as a power loss would, with all that belongs to it.
    pub fn kill(&mut self) {
        let id = std::fs::read_to_string(self.folder.join("pid")).expect("RabbitMQ runs");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).expect("RabbitMQ runs");
        // behind the name, which may hold anything: state, parent, group
        let group = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(2)).expect("proc(5)");
        let group = format!("-{group}");
        let sent = Command::new("kill").args(["-KILL", "--", &group]).status();
        assert!(sent.expect("kill starts").success(), "RabbitMQ was not there");
        // the script sees it, and ends
        self.child.wait().expect("it ends");
    }

    /// Ends PostgreSQL as a power loss would: nothing is written any more, open connections are cut.
    pub fn crash(&mut self) {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid")).expect("PostgreSQL runs");
        let sent = Command::new("kill").args(["-QUIT", file.lines().next().expect("its id")]).status();
        assert!(sent.expect("kill starts").success(), "PostgreSQL was not there");
        // the script sees it, and ends
        self.child.wait().expect("it ends");
    }

    /// Starts it again and waits until it answers where it did.
    pub fn restart(&mut self) {
        self.child = launch(self.kind, &self.folder);
        assert_eq!(url_of(&mut self.child), self.url, "it came back elsewhere");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn launch(kind: &str, folder: &Path) -> Child {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compose/services");
    let mut command = Command::new(script);
    command.arg(kind).arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    command.spawn().expect("compose/services starts")
}

fn url_of(child: &mut Child) -> String {
    let mut line = String::new();
    let output = child.stdout.as_mut().expect("its output is ours");
    BufReader::new(output).read_line(&mut line).expect("its output is text");
    assert!(line.contains("://"), "found {line:?}, expected a URL from compose/services");
    line.trim().to_owned()
}
