//! The walk-through of connectors/README.md: every line that begins with `$` is run as a newcomer would run it, in a clean folder, and
//! what is printed is looked for below it. It must never know more than the page says.

use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::binary;

/// Longest wait for something that the page says will come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ports of the page: the gateway's first, and the listener's.
const PORTS: [u16; 2] = [7400, 7410];

/// One line to run, and what is expected.
struct Step {
    command: String,
    /// `# exit 64`.
    exit: i32,
    /// `# until …`: run again until this is printed.
    until: Option<String>,
    output: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut open = false;
    for line in page.lines() {
        let Some(line) = line.strip_prefix("    ") else {
            open = false;
            continue;
        };
        if let Some(command) = line.strip_prefix("$ ") {
            let (command, note) = command.split_once("     # ").unwrap_or((command, ""));
            let exit = note.strip_prefix("exit ").map_or(0, |code| code.parse().expect("a code"));
            let until = note.strip_prefix("until ").map(str::to_owned);
            steps.push(Step { command: command.to_owned(), exit, until, output: Vec::new() });
            open = true;
        } else if open && let Some(step) = steps.last_mut() {
            step.output.push(line.to_owned());
        }
    }
    steps
}

/// Whether a line is as the page shows it; `…` stands for anything.
fn is_like(found: &str, shown: &str) -> bool {
    let mut rest = found;
    let mut parts = shown.split('…').enumerate().peekable();
    while let Some((at, part)) = parts.next() {
        let here = if at == 0 { rest.starts_with(part).then_some(0) } else { rest.find(part) };
        let Some(here) = here else { return false };
        let last = parts.peek().is_none();
        // what ends the page's line ends ours
        let here = if last && at > 0 {
            rest.len().checked_sub(part.len()).filter(|_| rest.ends_with(part))
        } else {
            Some(here)
        };
        let Some(here) = here else { return false };
        rest = &rest[here + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn three_dots_stand_for_anything() {
    assert!(is_like("abc", "abc") && is_like("abc", "a…") && is_like("abc", "…c") && is_like("abcabc", "…b…c"));
    assert!(!is_like("abc", "ab") && !is_like("abc", "…b") && !is_like("abc", "b…") && !is_like("ab", "a…b…b"));
}

/// Processes that the page starts in the background.
pub struct Background(pub Vec<Child>);

impl Drop for Background {
    fn drop(&mut self) {
        for child in &mut self.0 {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

pub fn shell(folder: &Path, binary: &Path, command: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash");
    shell.args(["-c", command]).current_dir(folder).env("NO_COLOR", "1");
    shell.env("PATH", format!("{}:{path}", binary.parent().expect("a folder").display()));
    shell
}

fn run(folder: &Path, binary: &Path, step: &Step) {
    let from = Instant::now();
    loop {
        let output = shell(folder, binary, &step.command).output().expect("bash");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if step.until.as_ref().is_some_and(|until| !text.contains(until.as_str())) && from.elapsed() < PATIENCE {
            continue;
        }
        assert_eq!(output.status.code(), Some(step.exit), "$ {}\n{text}", step.command);
        let mut lines = text.lines();
        for shown in &step.output {
            assert!(lines.any(|line| is_like(line, shown)), "$ {}\nfound:\n{text}\nexpected: {shown}", step.command);
        }
        return;
    }
}

/// Starts something of the page; it is up when its port answers.
pub fn start(folder: &Path, binary: &Path, command: &str, port: u16) -> Child {
    let command = format!("exec {command}");
    let mut child = shell(folder, binary, &command).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("bash");
    let from = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if child.try_wait().expect("asked").is_some() || from.elapsed() > PATIENCE {
            let mut text = String::new();
            drop(child.kill());
            drop(child.stderr.take().map(|mut stderr| stderr.read_to_string(&mut text)));
            panic!("$ {command}\n{text}");
        }
        std::thread::yield_now();
    }
    // what it logs from now on is nobody's: a full pipe must not hold it up
    let mut stderr = child.stderr.take().expect("piped");
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    child
}

#[test]
fn a_newcomer_connects_a_feed_breaks_it_and_mends_it() {
    let Some(binary) = binary() else { return };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../connectors/README.md");
    let mut page = std::fs::read_to_string(page).expect("the page");
    // other tests have ports of their own: so has this one
    let first = 19_000 + u16::try_from(std::process::id() % 1_000).expect("fits") / 20 * 20;
    page = page.replace(&PORTS[0].to_string(), &first.to_string());
    page = page.replace(&PORTS[1].to_string(), &(first + 10).to_string());
    let folder = tempfile::tempdir().expect("a folder");
    let steps = steps(&page);
    assert!(steps.len() > 25, "found {} steps", steps.len());
    let mut background = Background(Vec::new());
    for step in &steps {
        match step.command.strip_suffix(" &") {
            // a validator's RPC is the second of its two ports, behind the gateway's two
            Some(command) if command.contains(" node ") => {
                background.0.push(start(folder.path(), &binary, command, first + 3));
            }
            Some(command) => background.0.push(start(folder.path(), &binary, command, first + 1)),
            None => run(folder.path(), &binary, step),
        }
    }
}
