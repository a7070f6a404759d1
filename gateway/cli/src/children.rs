//! Processes of our own kind that demo and bench start: validators and gateways. Each holds a pipe to us as its standard input
//! and ends when it closes, so that nothing outlives us, not even after kill -9. What the system says about them is in `usage`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::failure::{Exit, Failure};

/// Longest time that a child may take to end by itself, in milliseconds.
const STOP_MS_MAX: u64 = 10_000;

/// A running child; dropping it stops it.
pub struct Process {
    /// What it is, for messages: `validator 2`, `gateway north`.
    pub name: String,
    log: PathBuf,
    child: Child,
    input: Option<ChildStdin>,
}

impl Process {
    /// Starts this very binary with arguments; its output goes to a log file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, arguments: &[&str], log: &Path) -> Result<Self, Failure> {
        let binary = std::env::current_exe().context("the path of this binary")?;
        let file = File::create(log).with_context(|| format!("{}", log.display()))?;
        let copy = file.try_clone().with_context(|| format!("{}", log.display()))?;
        let mut child = Command::new(binary)
            .args(arguments)
            .arg("--until-input-ends")
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(copy)
            .spawn()
            .with_context(|| name.to_owned())?;
        let input = child.stdin.take();
        Ok(Self { name: name.to_owned(), log: log.to_owned(), child, input })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once, without a word to it.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().and_then(|()| self.child.wait()).with_context(|| self.name.clone())?;
        Ok(())
    }

    /// An error with the end of its log when it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check(&mut self) -> Result<(), Failure> {
        let Ok(Some(status)) = self.child.try_wait() else { return Ok(()) };
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(5)..].join("\n");
        let found = format!("{} ended with {status}; the end of {}:\n{tail}", self.name, self.log.display());
        Err(Failure::new(Exit::Failed, found))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        let deadline = Instant::now() + Duration::from_millis(STOP_MS_MAX);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends when standard input does: what a child does with `--until-input-ends`. Otherwise ends on SIGINT or SIGTERM.
pub async fn until_told(input_ends: bool) {
    let signals = async {
        let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
            return std::future::pending().await;
        };
        tokio::select! { _ = term.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
    };
    if !input_ends {
        return signals.await;
    }
    // A thread of its own: tokio's standard input would keep the runtime from ending.
    let (told, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = told.send(());
    });
    tokio::select! { () = signals => {}, _ = ended => {} }
}
