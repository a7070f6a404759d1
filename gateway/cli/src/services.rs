//! The private servers of demo and bench: runs `compose/services`, which is embedded, with a pipe as its standard input, so
//! that a server ends when we do, whatever ends us. Used where a newcomer has none; production has its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::Context;

use crate::failure::Failure;

const SCRIPT: &str = include_str!("../../../compose/services");
const DEFINITIONS: &str = include_str!("../../../compose/rabbitmq.json");

/// A running server, or several that belong together; dropping it stops them.
pub struct Service {
    /// What the script says about where it is reached. The broker's is a secret of this folder:
    /// `amqp://user:password@127.0.0.1:port/%2f`. etcd's are three URLs with spaces between them.
    pub address: String,
    child: Child,
    input: Option<ChildStdin>,
}

impl Service {
    /// Starts RabbitMQ, whose data live in `folder`, and waits until it is ready.
    ///
    /// # Errors
    /// Unavailable, when it is not installed or does not start; its log is in the folder.
    pub fn broker(folder: &Path) -> Result<Self, Failure> {
        Self::start("rabbitmq", folder)
    }

    /// Starts three nodes of etcd, whose data live in `folder`, and waits until they listen.
    ///
    /// # Errors
    /// Unavailable, when it is not installed or does not start; its logs are in the folder.
    pub fn etcd(folder: &Path) -> Result<Self, Failure> {
        Self::start("etcd", folder)
    }

    /// The script's process: the servers are its children.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    fn start(part: &str, folder: &Path) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        let script = folder.join("services");
        let definitions = folder.join("definitions.json");
        std::fs::write(&script, SCRIPT).with_context(|| format!("{}", script.display()))?;
        std::fs::write(&definitions, DEFINITIONS).with_context(|| format!("{}", definitions.display()))?;
        let mut child = Command::new("bash")
            .arg("./services")
            .arg(part)
            .arg("node")
            // Ours may be a folder that no longer exists.
            .current_dir(folder)
            .env("CHARTSEAL_RABBITMQ_DEFINITIONS", "definitions.json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Failure::unavailable(format_args!("bash: {e}; expected bash to start {part}")))?;
        let input = child.stdin.take();
        let mut address = String::new();
        if let Some(stdout) = child.stdout.take() {
            // The script answers within its own time limit, or ends.
            BufReader::new(stdout).read_line(&mut address).with_context(|| format!("the script that starts {part}"))?;
        }
        let service = Self { address: address.trim_end().to_owned(), child, input };
        if service.address.is_empty() {
            return Err(Failure::unavailable(format_args!(
                "{part} did not start; see the message above, or run: compose/services install {part}"
            )));
        }
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The end of its input stops the script, which stops its servers.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
